"""The command line: quick help, errors in one sentence, and commands end to end."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_runs import QUICK, iapo, refused

import sim.cli.streams
from sim import envs
from sim.algorithms import surrogate
from sim.cli import listing
from sim.comparison import contenders
from sim.envs import files
from theory import exact
from theory.truth import whole_values

ROOT = Path(__file__).resolve().parents[2]
LOG = """prompt,query,answer,right,tokens
a,1,x,x,3
a,2,NA,NA,5
b,1,x,x,2
b,1,y,x,2
b,2,x,NA,2
"""


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("compare",),
        ("quickstart",),
        ("values",),
        ("algorithms",),
        ("hardness",),
        ("agnostic",),
        ("figures",),
        ("env",),
        ("env", "import"),
        ("data", "fetch"),
        ("tune",),
        ("ask",),
        ("record",),
        ("replay",),
        ("journal", "list"),
    ],
)
def test_help_is_quick_to_come(arguments: tuple[str, ...]):
    """Help needs none of the packages that take long to import."""
    slow = "{'jax', 'numpy', 'pandas', 'scipy', 'matplotlib', 'equinox', 'rich'}"
    program = f"""
import sys
from sim.cli import main
sys.argv = ["iapo", *{[*arguments, "--help"]!r}]
try:
    main()
except SystemExit as done:
    assert done.code == 0, done.code
assert not {slow} & set(sys.modules), {slow} & set(sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: iapo")


SLOW = ("jax", "pandas", "scipy", "matplotlib", "seaborn", "equinox", "openai")
PICTURES = ("pandas", "scipy", "matplotlib", "seaborn", "openai")


@pytest.mark.parametrize(
    ("arguments", "unused", "code"),
    [
        (("--version",), (*SLOW, "numpy", "rich"), 0),
        (("env", "list"), (*SLOW, "numpy"), 0),
        (("new", "algorithm", "mine"), (*SLOW, "numpy", "rich"), 0),
        (("tune", "--schema"), SLOW, 0),
        (("tune", "--example", "--out", "run.toml"), SLOW, 0),
        (("tune", "absent.toml"), ("pandas", "matplotlib", "openai"), 2),
        (("journal", "list", "absent"), SLOW, 2),
        (("journal", "export", "absent", "--out", "all.jsonl"), SLOW, 2),
        (("ask", "absent.json", "What?"), SLOW, 2),
        (("data", "fetch", "absent"), SLOW, 2),
        (("algorithms",), SLOW, 0),
        (("values", "two-arm"), PICTURES, 0),
        (("env", "show", "two-arm"), PICTURES, 0),
        (("compare", "two-arm", "--algorithm", "absent"), SLOW, 2),
        (("compare", "absent", "--algorithm", "psst"), SLOW, 2),
        (("values", "absent"), SLOW, 2),
        (("plan", "absent", "--delta", "0.1"), SLOW, 2),
        (("check", "absent"), ("pandas", "scipy", "openai"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and "jax" not in value else "",
)
def test_commands_import_what_they_use(
    arguments: tuple[str, ...], unused: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    """Imports take a second and more. Seen to fail with a registry that imports every environment, or algorithm."""
    program = f"""
import sys
from sim.cli import main
sys.argv = ["iapo", *{list(arguments)!r}]
try:
    main()
except SystemExit as done:
    assert done.code == {code}, done.code
print(*({{*{unused!r}}} & set(sys.modules)), sep=",", file=sys.stderr)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("\n\n") or done.stderr == "\n", done.stderr


def test_compare_end_to_end(tmp_path: Path):
    out = tmp_path / "results"
    command = ("compare", "--env", "crossover", *QUICK, "--budget", 10, "--budget", 100, "--seed", 4, "--out", out)
    result = iapo(*command)
    assert result.exit_code == 0, result.output
    written = ["trials.parquet", "summary.csv", "contexts.csv", "provenance.json", "compare.png", "compare.pdf"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*written, "cells"])
    assert all(name in result.stdout for name in written)
    trials = pd.read_parquet(out / "trials.parquet")
    assert list(trials.columns) == ["env", "algorithm", "budget", "trial", "acr", "regret", "error", "spent"]
    assert len(trials) == 2 * 2 * 6
    summary = pd.read_csv(out / "summary.csv")
    assert list(summary.columns) == [
        *("env", "algorithm", "budget", "trials", "acr_mean", "acr_sem", "regret_mean", "regret_sem"),
        *("error_rate", "spent_mean", "spent_max", "p_holm"),
    ]
    oracle = summary[summary["algorithm"] == "oracle"]
    np.testing.assert_allclose(oracle["acr_mean"], whole_values(envs.get("crossover")).max(), atol=1e-12)
    assert json.loads((out / "provenance.json").read_text())["settings"]["seed"] == 4
    assert "compile s" in result.stdout
    assert "run s" in result.stdout
    assert "crossover: oracle compiled in" in result.stderr
    assert "crossover: average contextual return on the training queries (there is no split)" in result.stdout
    assert "4 of 4 cells" in result.stderr

    before = {name: (out / name).read_bytes() for name in written if name != "provenance.json"}
    again = iapo(*command)
    assert again.exit_code == 0, again.output
    assert "4 cells were there before" in again.stdout
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_algorithms_with_options_have_rows_of_their_own(tmp_path: Path):
    one, other = "random", "oracle"
    result = iapo("compare", "--env", "crossover", *QUICK, "--budget", 10, "--reference", other, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    summary = pd.read_csv(tmp_path / "summary.csv").set_index("algorithm")
    assert summary.index.tolist() == [one, other]
    assert np.isnan(summary.loc[other, "p_holm"])
    assert not np.isnan(summary.loc[one, "p_holm"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--env", "crosover"), "no environment is called 'crosover'; did you mean 'crossover'"),
        (("--env", "missing.npz"), "missing.npz: no such file"),
        (("--algorithm", "pst"), "unknown algorithm 'pst'; did you mean 'psst'"),
        (("--algorithm", "psst:tie=index"), "psst has no option 'tie'; did you mean 'ties'"),
        (("--algorithm", "psst:ties=first"), "ties is 'first'; allowed are random, index"),
        (("--algorithm", "uniform", "--algorithm", "uniform"), "algorithm 'uniform' is given 2 times"),
        (("--budget", "0"), "budget is 0; it must lie in 1..16777216"),
        (("--trials", "0"), "trials is 0"),
        (("--chunk", "0"), "chunk is 0"),
        (("--seed", "-1"), "seed is -1"),
        (("--workers", "0"), "workers is 0"),
        (("--reference", "ucb:constant=2"), "the reference 'ucb:constant=2' is not among the algorithms"),
    ],
)
def test_compare_refuses_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], sentence: str):
    defaults = ("--env", "crossover", "--out", tmp_path / "out")
    given = (*defaults[2:], *arguments) if "--env" in arguments else (*defaults, *arguments)
    refused(iapo("compare", *given), sentence)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [-5, 2**64, 10**23])
def test_every_command_takes_the_same_seeds(seed: int):
    sentence = f"seed is {seed}; it must lie in 0..{2**64 - 1}"
    for command in (("values",), ("env", "show"), ("hardness",), ("agnostic",)):
        refused(iapo(*command, "crossover", "--seed", seed), sentence)
    refused(iapo("compare", "--env", "crossover", "--seed", seed), sentence)
    refused(iapo("plan", "two-arm", "--delta", 0.1, "--seed", seed), sentence)


def test_the_package_runs_as_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """And a worker process, which imports the same module under another name, runs nothing."""
    monkeypatch.setattr(sys, "argv", ["iapo", "--help"])
    for part, name in ((sim.cli.interrupt, "install"), (sim.cli.interrupt, "finish"), (sim.cli.streams, "settle")):
        monkeypatch.setattr(part, name, lambda *_: None)  # which take over the signals and the streams of a process
    monkeypatch.setattr(sim.cli, "_be_ready", lambda: None)
    with pytest.raises(SystemExit) as done:
        runpy.run_module("sim.cli", run_name="__main__")
    assert done.value.code == 0
    assert "Choose a prompt" in capsys.readouterr().out
    runpy.run_module("sim.cli.__main__", run_name="__mp_main__")


def test_compare_refuses_an_output_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("")
    refused(iapo("compare", "--env", "crossover", *QUICK, "--out", tmp_path / "out"), "cannot be made a folder")


def spoil_nan(path: Path) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["probs"][0, 0, 0] = np.nan
    np.savez(path, **arrays)


def spoil_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(("spoil", "sentence"), [(spoil_nan, "probs"), (spoil_end, "no complete .npz archive")])
def test_spoilt_files_are_refused(tmp_path: Path, spoil, sentence: str):
    data = envs.get("crossover").data
    assert data is not None
    path = tmp_path / "e.npz"
    files.save(data, path)
    spoil(path)
    refused(iapo("values", path), sentence)


@pytest.mark.parametrize("bug", [lambda _: 1 / 0, lambda _: np.zeros(3).reshape(2, 2), lambda _: json.loads("{")])
def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, bug):
    """Only complaints of our own, and of the file system, become a sentence."""
    monkeypatch.setattr(envs, "get", bug)
    result = iapo("values", "crossover")
    assert isinstance(result.exception, ZeroDivisionError | ValueError)
    assert result.stderr == ""


def test_values(tmp_path: Path):
    result = iapo("values", "crossover", "--out", tmp_path / "values.csv")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["0"])
    assert line.split() == ["0", "1", "9", "0.7738", "0", "0.6500", "3", "0.6620"]
    table = pd.read_csv(tmp_path / "values.csv")
    assert list(table.columns) == ["context", "prompt", "scale", "value"]
    ten = table[table["scale"] == 10].set_index("prompt")["value"]
    assert ten.round(2).tolist() == [0.63, 0.77]


def test_values_of_one_context_and_another_tie_credit():
    uniform, half = (iapo("values", "mv-three-scales", "--context", 1, "--tie", tie) for tie in ("uniform", "half"))
    assert uniform.exit_code == half.exit_code == 0
    assert len(re.findall(r"^ +[0-7] +0\.\d{4}", uniform.stdout, flags=re.MULTILINE)) == 8
    refused(iapo("values", "mv-three-scales", "--context", 2), "context is 2; mv-three-scales has the contexts 0 to 1")
    refused(iapo("values", "crossover", "--tie", "first"), "tie is 'first'; allowed are uniform, half")


def test_values_of_a_context_are_sorted_and_the_best_marked():
    """Prompt 0 of 16 is best, and 15, the second, by single answers. Seen to fail in the order of the prompts."""
    lines = iapo("values", "deceptive", "--context", 0).stdout.splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["0", "0.6000", "31", "0.8716^"],
        ["15", "0.7160^", "1", "0.7160"],
        ["14", "0.7095", "1", "0.7095"],
    ]
    assert lines[-1].strip() == "Best first. ^ best of its column."


@pytest.mark.parametrize("name", ["beta-bon", "gaussian-bon"])
def test_values_of_continuous_worlds(name: str):
    """Prompts 0 to 3 are best alone, prompts 4 to 7 at large scales; scale N = 1 is the mean of the scores."""
    table = whole_values(envs.get(name))
    assert table.shape == (3, 8, 16)
    assert (table[0, :, 1:] > table[0, :, :-1]).all()
    assert table[0, :, 0].argmax() < 4 <= table[0, :, 15].argmax()


def test_env_list_and_show():
    listed = iapo("env", "list")
    assert all(name in listed.stdout for name in envs.ENVS)
    shown = iapo("env", "show", "mv-three-scales").stdout
    assert re.search(r"prompts +8 +\n", shown)
    assert "0.0199 to 0.0199" in shown
    refused(iapo("env", "show", "nothing-like-it"), "no environment is called")


def test_algorithms_lists_all_with_their_options():
    """Read from the source, as the objects have them. Seen to fail with the fields of base classes last."""
    listed = iapo("algorithms").stdout
    assert all(f" {name} " in listed for name in contenders.names())
    for name in contenders.names():
        made = contenders.get(name)
        of_it = made.algorithm.__class__ if isinstance(made, contenders.Learner) else made.policy
        assert listing.contender(name) == ((of_it.__doc__ or "").partition("\n")[0], made.options), name
    assert "budget_rule=hard, fresh=False, ties=random" in listed


@pytest.mark.parametrize("default", ["2.0**16", "_LARGEST", "some(0.1)", "eqx.field(static=True)", "some(default=0.3)"])
def test_a_default_that_is_no_literal_is_that_of_the_object(default: str, monkeypatch: pytest.MonkeyPatch):
    """Seen to fail with ValueError and StopIteration, and with the keyword of any call taken for the default."""
    read, line = Path.read_text, '    constant: float | Float[Array, ""] = '

    def edited(path: Path, **how: Any) -> str:
        return read(path, **how).replace(f"{line}0.3\n", f"{line}{default}\n")

    monkeypatch.setattr(Path, "read_text", edited)
    monkeypatch.setattr(listing, "_parsed", listing._parsed.__wrapped__)
    assert f"{line}{default}\n" in Path(surrogate.__file__).read_text(encoding="utf-8")
    assert listing.contender("surrogate").options == contenders.get("surrogate").options


def test_import_of_a_log(tmp_path: Path):
    log, to = tmp_path / "log.csv", tmp_path / "mine.npz"
    log.write_text(LOG)
    options = ("--objective", "answer:mv", "--gold", "right", "--cost", "tokens", "--max-scale", 4)
    contexts = ("--context", "free=1,0", "--context", "dear=1,0.1")
    result = iapo("env", "import", log, "--out", to, *options, *contexts)
    assert result.exit_code == 0, result.output
    data = files.load(to)
    assert (data.name, data.num_prompts, data.num_queries, data.max_scale) == ("log", 2, 2, 4)
    assert data.context_names == ("free", "dear")
    assert data.costs.tolist() == [4.0, 2.0]
    assert data.cost_weights.tolist() == [0.0, 0.1]
    assert "--objective answer:mv" in iapo("env", "import", log, "--out", to).stdout  # guessed
    refused(iapo("env", "import", log, "--out", to, *options, "--context", "1"), "--context is '1'; expected 2 numbers")
    refused(iapo("env", "import", tmp_path / "no.csv", "--out", to, *options, *contexts), "no.csv: no such file")


def test_complaints_about_a_log_name_the_file(tmp_path: Path):
    log, to = tmp_path / "log.csv", tmp_path / "mine.npz"
    log.write_text(LOG.replace("b,2,x,NA,2\n", ""))
    options = ("--objective", "answer:mv", "--gold", "right", "--context", "1,0", "--name", "foo")
    told = iapo("env", "import", log, "--out", to, *options, "--max-scale", 4)
    refused(told, "log.csv: prompt 'b' has no completion for query '2'")
    assert "foo" not in told.stderr
    log.write_text(LOG)
    refused(iapo("env", "import", log, "--out", to, *options, "--max-scale", 0), "log.csv: max_scale is 0")
    assert iapo("env", "import", log, "--out", to, *options, "--max-scale", 4).exit_code == 0
    assert files.load(to).name == "foo"


def test_import_with_another_tie_credit(tmp_path: Path):
    """Three votes for three answers, each as likely: 7/27 for two right ones or more, and 6/27 for a tie of all."""
    log, to = tmp_path / "log.csv", tmp_path / "mine.npz"
    log.write_text("prompt,query,answer,right\n" + "".join(f"a,1,{answer},x\n" for answer in "xyz"))
    options = ("--objective", "answer:mv", "--gold", "right", "--context", "1,0", "--max-scale", 3)
    found = {}
    for tie in ("uniform", "half"):
        assert iapo("env", "import", log, "--out", to, *options, "--tie", tie).exit_code == 0
        assert files.load(to).tie == tie
        found[tie] = exact.values(files.load(to))[0, 0, 2]
    np.testing.assert_allclose([found["uniform"], found["half"]], [1 / 3, 7 / 27 + 6 / 54], atol=1e-12)
    assert iapo("env", "import", to, "--out", tmp_path / "again.npz", "--tie", "uniform").exit_code == 0
    assert files.load(tmp_path / "again.npz").tie == "uniform"
    scored = envs.get("bon-two-scales").data
    assert scored is not None
    files.save(scored, tmp_path / "scored.npz")
    refused(iapo("env", "import", tmp_path / "scored.npz", "--out", to, "--tie", "half"), "no objective of .* voted on")
    refused(iapo("env", "import", to, "--out", to, "--tie", "first"), "--tie is 'first'; allowed are uniform, half")


def test_import_of_a_file(tmp_path: Path):
    data = envs.get("crossover").data
    assert data is not None
    files.save(data, tmp_path / "a.npz")
    assert iapo("env", "import", tmp_path / "a.npz", "--out", tmp_path / "b.npz").exit_code == 0
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()
    refused(iapo("env", "import", tmp_path / "a.npz", "--out", tmp_path / "c.npz", "--gold", "x"), "--gold is for logs")
    refused(iapo("env", "import", tmp_path / "a.npz", "--out", tmp_path / "c.txt"), "must end in .npz")


def test_fetch(tmp_path: Path, math_path: Path):
    result = iapo("data", "fetch", "MATH", "--from", math_path.parent, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(tmp_path / "MATH_final.pkl")]
    refused(iapo("data", "fetch", "MAHT", "--out", tmp_path), "unknown released file 'MAHT'; did you mean 'MATH'")
