"""`--report`: pages of compare, values and tune hold what the tables hold; bad places are refused before the work."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import QUICK, iapo, refused
from html_pages import Page, whole
from live_runs import RUN, digit, write
from live_server import KEY, Model, serving

from sim.cli import common, ranking
from sim.cli.pages import parts, verification
from sim.comparison import tables
from sim.envs import files
from sim.envs.dataset import Dataset
from theory import sample_values
from theory.checks.verdicts import ORDER


def read(path: Path) -> Page:
    return whole(path.read_text(encoding="utf-8"))


def test_a_comparison_has_a_page_with_every_cell(tmp_path: Path) -> None:
    """In the folder of the results, which the command makes."""
    out = tmp_path / "results"
    result = iapo("compare", "crossover", "two-arm", *QUICK, "--budget", 50, "--out", out, "--report", out / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"wrote {out / 'r.html'}"
    found, summary = read(out / "r.html"), pd.read_csv(out / "summary.csv")
    assert [len(rows) - 1 for rows in found.tables] == [2, 2, 4, 4]
    assert [row[:3] for row in found.tables[2][1:]] == [
        [env, name, str(t)] for env, name, t in summary[["env", "algorithm", "budget"]].to_numpy()
    ]
    np.testing.assert_allclose([float(row[4]) for row in found.tables[2][1:]], summary["acr_mean"], atol=5e-5)
    assert "crossover: random was compared with no other: at T = 50 its arms are worth" in found.text
    seed = json.loads((out / "provenance.json").read_text())["settings"]["environments"][0]["sha256"]
    assert seed in found.text
    assert [name for name, _ in found.tags].count("svg") == 1
    assert not list(out.glob(".*.part"))


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("r.pdf", r"its name ends with \.html"),
        ("none/r.html", "the folder .*none does not exist"),
        (".html", "ends wi"),
    ],
)
def test_a_bad_place_is_refused_before_the_work(tmp_path: Path, place: str, sentence: str) -> None:
    report = ("--report", tmp_path / place)
    refused(iapo("compare", "crossover", *QUICK, "--out", tmp_path / "out", *report), sentence)
    refused(iapo("verify", "--quick", "--family", "two-arm", "--out", tmp_path / "out", *report), sentence)
    refused(iapo("values", "crossover", *report), sentence)
    assert list(tmp_path.iterdir()) == []


def test_exact_values_have_a_page_without_intervals(tmp_path: Path) -> None:
    result = iapo("values", "crossover", "--report", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    found = read(tmp_path / "r.html")
    assert found.tables == [
        [
            ["context", "prompt", "value at N = 1", "value at its best N", "best N"],
            ["0", "1", "0.6200", "0.7738", "9"],
            ["0", "0", "0.6500", "0.6620", "3"],
        ]
    ]
    assert "Prompt 1 with N = 9 is best for context 0 (value 0.7738)." in found.text
    assert "Exact values over all queries" in found.text


def test_values_of_a_log_have_intervals_and_say_what_they_stand_on(tmp_path: Path) -> None:
    """Of a prompt whose name is code, too."""
    right = np.array([[3] * 12, [4 * (x % 2) for x in range(12)]])
    data = Dataset(
        name="four",
        aggregate=("mv",),
        probs=np.stack([right, 4 - right], axis=2) / 4,
        answers=np.zeros(12, int),
        objective_weights=np.ones((2, 1)),
        cost_weights=np.array([0.0, 0.1]),
        costs=np.ones(2),
        max_scale=8,
        completions=np.full((2, 12), 4),
        prompt_names=("<b>a</b>", "b"),
        context_names=("free", "dear"),
    )
    files.save(data, tmp_path / "four.npz")
    result = iapo("values", tmp_path / "four.npz", "--report", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    found, known = read(tmp_path / "r.html"), sample_values(data)
    low = f"{known.low[0, 0, 2]:.4f}"
    assert found.tables[0][1] == ["free", "<b>a</b>", "0.7500", "1.0000", "3", low, "1.0000"]
    assert f"Prompt <b>a</b> with N = 3 is best for free (value 1.0000, {low} to 1.0000), dear" in found.text
    assert "Stands on 4 completions per (prompt, query) of a log, 12 queries" in found.text


def test_a_live_run_has_a_page_and_no_key_in_it(folder: Path) -> None:
    """The arms are those of the policy file and of arms.csv."""
    pytest.importorskip("openai", reason="the extra [llm] is not installed")
    priced = RUN.replace("max_tokens", "cost = 5\nmax_tokens")
    with serving(Model(answer=digit)) as url:
        file = write(folder, url, priced)
        refused(iapo("tune", file, "--yes", "--report", folder / "r.pdf"), r"its name ends with \.html")
        assert not (folder / "out").exists()
        result = iapo("tune", file, "--yes", "--report", folder / "out" / "r.html")
        assert result.exit_code == 0, result.output
    found = read(folder / "out" / "r.html")
    policy = json.loads((folder / "out" / "policy.json").read_text())
    free = policy["policy"]["cost 0"]["chosen"]
    assert f"For cost 0: use {free['prompt']} with N = {free['scale']}, value {free['value']:.4f} (" in found.text
    assert found.tables[0][1][:4] == ["cost 0", "chosen", free["prompt"], str(free["scale"])]
    arms = pd.read_csv(folder / "out" / "arms.csv")
    assert [row[:3] for row in found.tables[1][1:]] == [
        [context, prompt, str(scale)] for context, prompt, scale in arms[["context", "prompt", "scale"]].to_numpy()
    ]
    assert found.tables[2][1][1] == f"{policy['spent']['completions']:,}"
    assert KEY not in (folder / "out" / "r.html").read_text()
    assert "[0.75] {query}" in found.text


def test_a_plan_has_no_page(folder: Path) -> None:
    for end in ("--plan", "--schema", "--example"):
        refused(iapo("tune", folder / "run.toml", end, "--report", folder / "r.html"), "--report is of a run")


def test_a_capped_run_has_its_page_all_the_same(folder: Path) -> None:
    """And ends with the exit code of a cap."""
    pytest.importorskip("openai", reason="the extra [llm] is not installed")
    text = RUN.replace("max_tokens", "cost = 5\nmax_tokens").replace('"psst"\nbudget = 400', '"uniform"\nbudget = 360')
    with serving(Model(answer=digit)) as url:
        result = iapo(
            "tune", write(folder, url, f"{text}[caps]\ntokens = 1200\n"), "--yes", "--report", folder / "r.html"
        )
    assert result.exit_code == common.CAPPED, result.output
    assert "A cap stopped the run (caps.tokens is " in read(folder / "r.html").text


def verdicts(**said: str) -> pd.DataFrame:
    counts = dict.fromkeys(map(str, ORDER), 0)
    return pd.DataFrame([{"claim": claim, "family": "f", "verdict": word, **counts} for claim, word in said.items()])


def test_the_sentence_on_bounds_names_what_is_violated() -> None:
    fine = verification.verdict(verdicts(a="holds", b="vacuous", c="not resolved"))
    assert fine.startswith("No bound is violated in 3 cases (3 bounds")
    assert "1 hold, " in fine
    wrong = verification.verdict(verdicts(a="holds", b="violated"))
    assert wrong.startswith("Violated in 1 of 2 cases")
    assert wrong.endswith(": b on f.")


def test_digits_of_a_column_tell_its_numbers_apart() -> None:
    rows = pd.DataFrame({"a": [0.12345, np.nan], "p": [1e-9, 0.5], "n": [1, 20_000], "t": ["x", "y"]})
    table = parts.frame("t", rows, dict(zip("apnt", "APNT", strict=True)), formats={"p": "{:.2g}".format})
    assert table.columns == ("A", "P", "N", "T")
    assert [[one.text for one in row] for row in table.rows] == [
        ["0.1235", "1e-09", "1", "x"],
        ["-", "0.5", "20,000", "y"],
    ]
    assert [one.key for one in table.rows[1]] == [None, 0.5, 20_000, None]


def trials(**acr: list[float]) -> pd.DataFrame:
    rows = [("w", name, 9, t, one, 0.0, 0.0, 9) for name, own in acr.items() for t, one in enumerate(own)]
    return pd.DataFrame(rows, columns=list(tables.TRIALS))


def test_verdicts_do_without_an_oracle_and_without_a_second() -> None:
    """By hand. The best on training queries is no ceiling on held-out ones."""
    gain = [0.01 * k for k in range(1, 11)]
    two = trials(a=[0.5] * 10, b=[0.5 + one for one in gain])
    assert ranking.verdict(two).startswith("b won: at T = 9 its arms are worth 0.5550, 0.0550 ± ")
    held = ranking.verdict(pd.concat([two, trials(oracle=[0.6] * 10)]), held_out=True)
    assert held.startswith("b won: at T = 9 its arms are worth 0.5550 on held-out queries, 0.0550 ± ")
    assert (
        ranking.verdict(trials(a=[0.5]))
        == "a was compared with no other: at T = 9 its arms are worth 0.5000 (1 trial)."
    )
    once = ranking.verdict(trials(a=[0.5], b=[0.75]))
    assert once.endswith("its 0.2500 over a are not beyond their error (1 paired trial, p = 1).")
    assert ranking.verdict(trials(oracle=[1.0])) == "No algorithm was compared that learns."
    assert ranking.verdicts(pd.concat([two, two.assign(env="v")]), {"w": False, "v": True})[1].startswith("v: b won: ")
