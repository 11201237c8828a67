"""Completions that cannot be read: without text, cut off, of no known form; a probe says so before money is spent."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from live_runs import RUN, digit, iapo, write
from live_server import Model, serving

from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.run_file.settings import Objective
from sim.adapters.scorers.reader import Reader
from sim.adapters.scorers.text import Exact
from sim.adapters.scoring import OK, UNREADABLE, Item, Scored
from sim.cli import common


def test_a_completion_without_a_text_is_unreadable_and_said():
    """No scorer is asked what an empty text is worth; how completions ended is counted as ever."""
    asked = []

    class Asked(Exact):
        async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
            asked.extend(texts)
            return await super().score(item, prompt, texts)

    draws = [
        Draw("a", "stop"),
        Draw("", "length; no text, but reasoning_content"),
        Draw("", "stop; no text"),
        Draw("", "stop"),
    ]
    reader, journal = reader_of(Asked())
    try:
        (found,) = asyncio.run(reader.read(CELL, 0, Item("q", "a"), "p", draws))
    finally:
        journal.close()
    assert [one.status for one in found[:3]] == [OK, UNREADABLE, UNREADABLE]
    assert asked == ["a", ""]
    assert reader.seen["truncated"] == 1
    assert reader.seen["without text"] == reader.seen["without text, but reasoning_content"] == 1
    assert not any(name.startswith("ended by") for name in reader.seen)


CELL = Asked("s", "u", "m", "{}", (("user", "q"),), "p", "q")


def reader_of(scorer: Any) -> tuple[Reader, Journal]:
    journal = Journal(":memory:")
    return Reader([Objective("right", "mv", scorer, 0.0, 1.0, 0.0)], journal), journal


def dressed(**message: Any) -> Model:
    """A model of digits whose messages become these; a value may be "text", for its text."""

    def dress(reply: dict[str, Any]) -> dict[str, Any]:
        for choice in reply["choices"]:
            said = choice["message"]["content"]
            choice["message"] = {key: said if value == "text" else value for key, value in message.items()}
        return reply

    return Model(answer=digit, dress=dress)


TWO = re.sub(r'\[\[prompts\]\]\nname = "wrong"\n.*\n.*\n', "", RUN)
"""Two prompts, and so a probe of 32 completions."""


def test_a_probe_of_empty_completions_ends_the_run_before_its_budget_is_spent(folder: Path):
    """With where the server's text is. Seen to spend a whole budget on nothing."""
    model = dressed(role="assistant", content=None, reasoning_content="text")
    said = "all 32 completions of the probe are empty (the server's text is in reasoning_content)"
    with serving(model) as url:
        file = write(folder, url, TWO)
        stopped = iapo("tune", file, "--yes")
        assert stopped.exit_code == common.USER_ERROR
        assert stopped.stderr == f"error: {said}; what came is kept; where that is as it should be, {FLAG} goes on\n"
        assert model.completions == 32
        asked = iapo("tune", file, said="n\n")
        assert asked.exit_code == common.INTERRUPTED
        assert asked.stderr.startswith(f"note: {said}\n")
        assert "Go on all the same?" in asked.output
        planned = iapo("tune", file, "--plan", "--yes")
        assert (planned.exit_code, planned.stderr) == (0, f"note: {said}\n")
        assert model.completions == 32
        assert iapo("tune", file, "--yes", FLAG).exit_code == 0
        assert model.completions > 32


FLAG = "--accept-unreadable"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            Model(answer=lambda prompt, number: "I would say\x1b[m four."),
            "all 32 completions of the probe cannot be read by the scorer of 'right'; the first of them is: I would "
            "say\\x1b[m four.",
        ),
        (
            Model(answer=lambda prompt, number: "4" if number % 32 < 8 else "no"),
            "24 of 32 completions of the probe cannot be read by the scorer of 'right'; the first of them is: no",
        ),
        (
            Model(answer=digit, dress=lambda reply: cut(reply)),
            "all 32 completions of the probe were cut off at max_tokens; a larger one in [[prompts]] helps",
        ),
    ],
    ids=["unreadable", "most", "truncated"],
)
def test_a_probe_of_which_most_is_unreadable_or_cut_off_says_so(model: Model, said: str, folder: Path):
    with serving(model) as url:
        stopped = iapo("tune", write(folder, url, TWO), "--yes")
    assert stopped.exit_code == common.USER_ERROR
    assert stopped.stderr.startswith(f"error: {said}; what came is kept")
    assert model.completions == 32


def cut(reply: dict[str, Any]) -> dict[str, Any]:
    return reply | {"choices": [one | {"finish_reason": "length"} for one in reply["choices"]]}


def test_a_prompt_that_cannot_be_read_is_said_and_no_reason_to_stop(folder: Path):
    model = Model(answer=lambda prompt, number: "no" if prompt.startswith("[0.45]") else digit(prompt, number))
    with serving(model) as url:
        result = iapo("tune", write(folder, url, RUN), "--plan", "--yes")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: all 16 completions of the probe with prompt 'weak' cannot be read by the scorer of 'right'; the first "
        "of them is: no\n"
    )


def test_without_a_probe_the_first_completions_are_looked_at(folder: Path):
    """In `tune`, and in `record`, which has no probe. Seen to buy everything."""
    model = dressed(content=None, reasoning="text")
    said = r"all of the first \d+ completions are empty \(the server's text is in reasoning\); what came is kept; .*"
    with serving(model) as url:
        file = write(folder, url, RUN.replace("max_tokens", "cost = 5\nmax_tokens"))
        for command in (("tune",), ("record", "--out", folder / "made.npz", "-n", 4)):
            before = model.completions
            stopped = iapo(command[0], file, *command[1:], "--yes")
            assert stopped.exit_code == common.USER_ERROR, stopped.output
            assert re.search(rf"error: {said}\n$", stopped.stderr)
            assert 32 <= model.completions - before < 200
