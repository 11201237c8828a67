"""A run told to machines: an event a line, the last with the exit code; and to people, a sentence a round."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from live_runs import MINIMAL, RUN, digit, iapo, write
from live_server import KEY, Model, serving

from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")


def events(done: Result) -> list[dict[str, Any]]:
    """What was said on standard output, every line of it."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_is_told_in_events_and_ends_with_its_code(folder: Path) -> None:
    """Seen to fail with a table of the plan among the events, and with no end where a cap stops the run."""
    with serving(Model(answer=digit)) as url:
        capped = write(folder, url, RUN.replace("[tune]", "[caps]\ntokens = 1_200\ncompletions = 900\n[tune]"))
        stopped = iapo("tune", capped, "--yes", "--json")
        assert stopped.exit_code == common.CAPPED, stopped.output
        told = events(stopped)
        assert {one["event"] for one in told} == {"run", "plan", "progress", "policy", "end"}
        assert told[0] | {"caps": None, "file": None} == {
            "event": "run",
            "name": "digits",
            "file": None,
            "algorithm": "psst",
            "budget": 400,
            "max_scale": 4,
            "prompts": 3,
            "queries": 30,
            "contexts": 2,
            "caps": None,
        }
        assert told[0]["caps"] == {"completions": 900, "tokens": 1200, "money": None}
        assert "caps.tokens is 1,200" in told[-2]["stopped"]
        assert (told[-1]["event"], told[-1]["code"]) == ("end", 3)
        assert told[-1]["why"].startswith("stopped by a cap: caps.tokens is 1,200")
        done = iapo("tune", write(folder, url), "--yes", "--json")
    assert done.exit_code == 0, done.output
    told = events(done)
    assert [one["event"] for one in told if one["event"] != "progress"] == ["run", "plan", "policy", "end"]
    assert [step["completions"] for step in told[1]["rounds"]]
    ends = [one for one in told if one["event"] == "progress" and one["pulls"] == one["pulls_of_round"]]
    assert [(one["round"], one["rounds"]) for one in ends] == [(k, 4) for k in (1, 2, 3, 4)]
    assert ends[-1]["completions"] + 48 == ends[-1]["spent"]["completions"] == told[-2]["spent"]["completions"]
    policy = json.loads((folder / "out" / "policy.json").read_text())
    assert told[-2]["choices"] == policy["policy"]
    assert told[-2]["file"] == str(folder / "out" / "policy.json")
    assert told[-1] == {"event": "end", "code": 0, "why": ""}
    assert KEY not in done.output + stopped.output


def test_what_is_refused_ends_with_2(folder: Path) -> None:
    (folder / "run.toml").write_text(MINIMAL.replace("budget = 100", "budget = -1"))
    refused = iapo("tune", folder / "run.toml", "--yes", "--json")
    assert refused.exit_code == common.USER_ERROR
    (end,) = events(refused)
    assert (end["event"], end["code"]) == ("end", 2)
    assert refused.stderr == f"error: {end['why']}\n"
    asking = iapo("tune", folder / "run.toml", "--json")
    assert asking.exit_code == common.USER_ERROR
    assert "--json asks nothing; --yes goes with it" in asking.stderr


def test_a_plan_is_an_event_and_asks_nobody(folder: Path) -> None:
    (folder / "run.toml").write_text(MINIMAL)
    planned = iapo("tune", folder / "run.toml", "--plan", "--no-probe", "--json")
    assert planned.exit_code == 0, planned.output
    assert [one["event"] for one in events(planned)] == ["run", "plan", "end"]


def test_people_are_told_a_sentence_a_round(folder: Path) -> None:
    """Rounds, completions, money and time, of how many each."""
    with serving(Model(answer=digit)) as url:
        text = RUN.replace("[tune]", "[caps]\nmoney = 2.0\ncompletions = 900\n[tune]")
        done = iapo("tune", write(folder, url, text), "--yes")
    assert done.exit_code == 0, done.output
    sentence = r"round ([1-4]) of 4, \d+ of 400 completions, money 0\.00\d\d of 2\.00, about \d+ s left"
    told = [re.fullmatch(sentence, line) for line in done.stderr.splitlines()]
    assert [one and one[1] for one in told] == ["1", "2", "3", "4"]
