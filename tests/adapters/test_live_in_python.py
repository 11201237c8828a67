"""Tuning from Python: the policy of the command, told of round by round, in notebooks too, and stopped at a word."""

import asyncio
import json
import sys
import threading
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live_runs import MINIMAL, RUN, digit, iapo, write
from live_server import Model, serving

from sim import algorithms, live
from sim.adapters import config as reading
from sim.adapters import progress
from sim.adapters.live import RunStep
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.planning import Round, RunPlan
from sim.adapters.run_file.settings import MONEY, Caps, Prices

pytest.importorskip("openai", reason="the extra [llm] is not installed")


def result(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The policy but for its place, and the table of arms."""
    policy = json.loads((folder / "policy.json").read_text())
    return {key: policy[key] for key in ("policy", "prices", "prompts", "contexts", "spent", "run")}, (
        folder / "arms.csv"
    ).read_bytes()


def test_it_ends_as_the_command_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file, from tables with rows of queries and an algorithm of one's own, and in a running event loop.

    Seen to end with "cannot be called from a running event loop" without a thread.
    """
    told: list[live.RunProgress] = []
    monkeypatch.chdir(folder)
    with serving(Model(answer=digit)) as url:
        file = write(folder, url)
        assert iapo("tune", file, "--yes").exit_code == 0
        said, arms = result(folder / "out")
        content = tomllib.loads(file.read_text()) | {"out": str(folder / "again")}
        tuned = live.tune(content, on_round=told.append)
        assert result(folder / "again") == (said, arms)
        assert capsys.readouterr().err.splitlines() == list(map(str, told))
        rows = [json.loads(line) for line in (folder / "q.jsonl").read_text().splitlines()]
        content |= {"out": str(folder / "third"), "queries": {}}

        async def in_a_notebook() -> live.Tuned:
            return live.tune(content, algorithm=algorithms.get("psst"), queries=rows, progress=False)

        third = asyncio.run(in_a_notebook())
    assert capsys.readouterr().err == ""
    assert third.choices == tuned.choices
    assert (folder / "third" / "arms.csv").read_bytes() == arms
    assert tuned.file == folder / "again" / "policy.json"
    assert (tuned.rounds, tuned.stopped, tuned.notes) == (4, None, ())
    assert tuned.spent == said["spent"]
    assert tuned.seen == said["run"]["seen"]
    assert tuned.statements == json.loads(tuned.file.read_text())["statements"]
    assert [one["text"].startswith("Use `") for one in tuned.statements.values()] == [True, True]
    assert [(one.round, one.rounds, one.whole) for one in told] == [(k, 4, True) for k in (1, 2, 3, 4)]
    assert told[-1].completions + 3 * 4 * 4 == tuned.spent["completions"]


def test_a_cap_ends_it_with_the_best_so_far_and_the_same_call_goes_on(folder: Path) -> None:
    """Also after whoever is told of a round ends it. Seen to go on in the background."""
    enough = threading.Event()

    def answer(prompt: str, number: int) -> str:
        if model.completions >= 200:
            enough.wait(20)
        return digit(prompt, number)

    def interrupt(step: live.RunProgress) -> None:
        enough.set()
        raise KeyboardInterrupt

    model = Model(answer=answer)

    with serving(model) as url:
        whole = RUN.replace("[tune]", "[caps]\ncompletions = 600\ntokens = TOKENS\n[tune]")
        file = write(folder, url, whole.replace("TOKENS", "100_000"))
        with pytest.raises(KeyboardInterrupt):
            live.tune(file, on_round=interrupt, progress=False)
        asked = model.completions
        assert 48 < asked < 400
        file.write_text(file.read_text().replace("100_000", "1_200"))
        tuned = live.tune(str(file), progress=False)
        assert "caps.tokens is 1,200" in str(tuned.stopped)
        assert json.loads(tuned.file.read_text())["run"]["complete"] is False
        file.write_text(file.read_text().replace("1_200", "100_000"))
        ended = live.tune(file, progress=False)
        again = write(folder, url).rename(folder / "calm.toml")
        again.write_text(again.read_text().replace('"out"', '"calm"'))
        calm = live.tune(again, progress=False)
    assert (ended.choices, ended.stopped) == (calm.choices, None)


def test_what_cannot_be_meant_is_refused(folder: Path) -> None:
    with serving(Model(answer=lambda prompt, number: "none")) as url:
        content = tomllib.loads(write(folder, url).read_text())
        with pytest.raises(ValueError, match=r"\(in Python\): tune\.budgt is not known; did you mean 'budget'"):
            live.tune(content | {"tune": content["tune"] | {"budgt": 3}})
        with pytest.raises(ValueError, match="which may spend more than the budget"):
            live.tune(folder / "run.toml", algorithm=algorithms.get("psst:budget_rule=reference"))
        with pytest.raises(ValueError, match="cannot be read by the scorer of 'right'; the first of them is: none"):
            live.tune(folder / "run.toml", progress=False)


def steps(folder: Path, caps: Caps, prices: Prices, seconds: list[float]) -> list[str]:
    """Sentences of a run of two rounds of 1,000 and 3,000 completions, told at these seconds after its beginning."""
    plan = RunPlan(tuple(Round(9, 3, 4, 10, size) for size in (1000, 3000)), Amount(), None, False, 0)
    run = replace(reading.load(folder / "run.toml"), budget=5000, caps=caps, prices={"": {"m": prices}})
    ledger, told, clock = Ledger(None), list[str](), iter([0.0, *seconds])
    report = progress.watching(run, plan, ledger, lambda step: told.append(str(step)), lambda: next(clock))
    report(RunStep(0, 5, 10, 500))  # kept by the journal
    ledger.spent = Amount(500, 9000, 310_000_000_000)
    report(RunStep(0, 10, 10, 1000))
    report(RunStep(1, 3, 10, 1240))
    report(RunStep(2, 10, 10, 4100))
    return told


def test_progress_is_told_in_one_sentence(folder: Path) -> None:
    """By hand: 500 new completions in 100 s leave 3,000; 740 in 74 s leave 2,760. Seen to count what was kept."""
    (folder / "run.toml").write_text(MINIMAL)
    assert steps(folder, Caps(9, None, 2 * MONEY), Prices(1, 1), [100.0, 74.0, 7200.0]) == [
        "round 1 of 2, 500 of 5,000 completions, money 0.00 of 2.00",
        "round 1 of 2, 1,000 of 5,000 completions, money 0.31 of 2.00, about 10 min left",
        "round 2 of 2, 1,240 of 5,000 completions, money 0.31 of 2.00, about 5 min left",
        "round 3 of 3, 4,100 of 5,000 completions, money 0.31 of 2.00, about 0 s left",
    ]
    assert steps(folder, Caps(9, None, None), Prices(0, 0), [5.0, 7400.0, 1.0])[1:3] == [
        "round 1 of 2, 1,000 of 5,000 completions, about 30 s left",
        "round 2 of 2, 1,240 of 5,000 completions, about 7.7 h left",
    ]


def test_a_notebook_has_a_picture_that_renews_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to print a line for every pull."""
    from sim.adapters import display

    shown: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data))

    def show(data: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        shown.append(data)
        return handle

    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=show))
    step = progress.RunProgress(1, 2, 3, 10, 70, 100, {}, None, False, None)
    tell = display.display()
    for done in (70, 80):
        tell(step._replace(completions=done))
    assert [one["text/plain"] for one in shown] == [f"round 1 of 2, {k} of 100 completions" for k in (70, 80)]
    assert shown[1]["text/html"].startswith('<progress value="80" max="100"></progress> round 1 of 2')
