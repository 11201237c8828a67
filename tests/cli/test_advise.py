"""`iapo advise` of logs and of environments made of them: guess, tables, sentences, picture, refusals."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import iapo
from html_pages import whole

from sim.cli import common
from sim.envs import files
from theory import sample_values


def log(path: Path, cost: str = "cost", queries: int = 12) -> Path:
    """Four completions a query: "plain" is right in two, for 1; "steps" in three, or in four, for 3."""
    rows = []
    for prompt, price in (("plain", 1), ("steps", 3)):
        for query in range(queries):
            right = 2 if prompt == "plain" else 3 + query % 2
            rows += [(prompt, query, "4" if k < right else "5", "4", price) for k in range(4)]
    pd.DataFrame(rows, columns=["prompt", "query", "answer", "gold", cost]).to_csv(path, index=False)
    return path


def test_advice_by_a_log(tmp_path: Path) -> None:
    """The guess, a sentence a context, values as `iapo values` has them, and a picture."""
    result = iapo("advise", log(tmp_path / "log.csv"), "--out", tmp_path / "out", "--currency", "$")
    assert result.exit_code == 0, result.output
    assert "--context dear=1,0.01" in result.stdout
    assert f"iapo env import {tmp_path / 'log.csv'} --out {tmp_path / 'log.npz'} --objective answer:mv" in result.stdout
    free, dear = (line for line in result.stdout.splitlines() if line.startswith(("free: Use", "dear: Use")))
    assert free.startswith("free: Use `steps` with N = 3 at $9 a query: 1.00 (1.00 to 1.00); with 95 % confidence ")
    assert "2 contexts at once" in free
    assert "on exactly these queries" in free
    assert dear.startswith("dear: Use `")
    table = pd.read_csv(tmp_path / "out" / "values.csv")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["advice.pdf", "advice.png", "values.csv"]
    chosen = table[table["chosen"]].set_index("context")
    assert (chosen.loc["free", "prompt"], chosen.loc["free", "scale"]) == ("steps", 3)
    np.testing.assert_allclose(table["reward"], table["value"] + 0.01 * table["cost"] * (table["context"] == "dear"))
    assert "Stands on 4 completions per (prompt, query) of a log, 12 queries: unbiased" in result.stdout


def test_advice_by_an_environment_is_that_by_its_log(tmp_path: Path) -> None:
    """`env import` with what was guessed, then its file: the same sentences. And the values are those of theory."""
    source = log(tmp_path / "log.csv")
    said = iapo("advise", source, "--out", tmp_path / "out").stdout
    assert iapo("env", "import", source, "--out", tmp_path / "log.npz").exit_code == 0
    again = iapo("advise", tmp_path / "log.npz", "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    assert again.stdout in said
    found = sample_values(files.load(tmp_path / "log.npz")).value
    table = pd.read_csv(tmp_path / "out" / "values.csv")
    np.testing.assert_allclose(table["value"], found.ravel(), atol=1e-12)


def test_a_right_answer_has_a_worth_in_money(tmp_path: Path) -> None:
    """.5 right for 1; steps has .875 for 3, so one more right answer costs 2 / .375; at 6 it is worth that, at 5 not.

    Seen to fail with the worth taken for the cost weight itself.
    """
    source = log(tmp_path / "log.csv")
    dear = iapo("advise", source, "--worth", 6, "--out", tmp_path / "out")
    assert dear.exit_code == 0, dear.output
    bought = dear.stdout.partition("what money buys")[2].splitlines()
    steps = next(line.split() for line in bought if line.split()[:2] == ["steps", "1"])
    assert steps == ["steps", "1", "3", "0.8750", "5.33", "yes"]
    assert "Use `steps` with N = 1 at 3 a query: .38 (" in dear.stdout  # .875 less 3 / 6
    assert "In money: 2.25 a query, after costs." in dear.stdout
    cheap = iapo("advise", source, "--worth", 5, "--out", tmp_path / "out")
    assert "Use `plain` with N = 1 at 1 a query: .30 (" in cheap.stdout
    assert "costs are taken for money" in cheap.stderr


def test_tokens_have_a_price(tmp_path: Path) -> None:
    """A million tokens cost 1, so that a completion of "plain" costs 1e-6."""
    source = log(tmp_path / "log.csv", "completion_tokens")
    unpriced = iapo("advise", source, "--worth", 6, "--out", tmp_path / "out")
    assert unpriced.exit_code == common.USER_ERROR
    assert "error: costs are tokens (column 'completion_tokens'); --price P says" in unpriced.stderr
    assert not (tmp_path / "out").exists()
    found = iapo("advise", source, "--worth", 5e-6, "--price", 1, "--out", tmp_path / "out", "--currency", "$")
    assert found.exit_code == 0, found.output
    assert "Use `plain` with N = 1 at $1e-06 a query: .30 (" in found.stdout


def test_few_queries_and_environments_without_costs(tmp_path: Path) -> None:
    source = log(tmp_path / "log.csv", "other", queries=9)
    found = iapo("advise", source, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "`steps` with N = 3 looks best, by its mean alone." in found.stdout
    assert "Nothing can be said yet: `steps` with N = 3 has met 9 queries" in found.stdout
    assert "what money buys" not in found.stdout
    assert "nan" not in found.stdout


def test_advice_has_a_page(tmp_path: Path) -> None:
    """The sentences of the screen, and every arm of values.csv; a bad place is refused first."""
    source, page = log(tmp_path / "log.csv"), tmp_path / "out" / "r.html"
    refused = iapo("advise", source, "--out", tmp_path / "out", "--report", tmp_path / "r.pdf")
    assert refused.exit_code == common.USER_ERROR
    assert "its name ends with .html" in refused.stderr
    assert not (tmp_path / "out").exists()
    said = iapo("advise", source, "--worth", 6, "--out", tmp_path / "out", "--report", page)
    assert said.exit_code == 0, said.output
    found = whole(page.read_text(encoding="utf-8"))
    sentence = next(line for line in said.stdout.splitlines() if line.startswith("Use `steps`"))
    assert sentence in found.text
    bought, arms = found.tables
    assert bought[2] == ["worth 6", "steps", "1", "3", "0.8750", "5.33"]
    table = pd.read_csv(tmp_path / "out" / "values.csv")
    assert [row[1:3] for row in arms[1:]] == [[one.prompt, str(one.scale)] for one in table.itertuples()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("crossover",), "crossover: is no log: its laws are given"),
        (("log.csv", "--price", 1), "--price goes with --worth"),
        (("log.csv", "--worth", -1), "worth is -1.0; it must be above 0"),
        (("log.csv", "--eps", 0), "--eps is 0.0; it must be above 0"),
        (("law.npz",), "law: is no log: its laws are given, and `iapo values` computes exact values"),
        (("law.npz", "log.csv"), "law.npz is no log of completions"),
        (("odd.csv",), "no column can be told .*`iapo env import` takes such options, and `iapo advise` the .npz"),
    ],
)
def test_refusals(
    arguments: tuple[object, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = files.load(_made(tmp_path))
    files.save(type(data)(**(vars(data) | {"completions": None, "pair_costs": None, "name": "law"})), Path("law.npz"))
    pd.DataFrame({"prompt": ["a"], "query": ["b"], "what": ["c"]}).to_csv("odd.csv", index=False)
    result = iapo("advise", *arguments)
    assert result.exit_code == 2, result.output
    assert re.search(rf"^error: [^\n]*{sentence}", result.stderr, re.MULTILINE), result.stderr
    assert not (tmp_path / "results").exists()


def _made(folder: Path) -> Path:
    iapo("env", "import", log(folder / "log.csv"), "--out", folder / "log.npz")
    return folder / "log.npz"
