"""The second task: notes of different importance, passed on as a headline, in brief, in a report or in a free draft.

What the model is taught to write after "3 bridge closed ; 7 market open ; 4 train late":

| system prompt | completion | meaning |
| --- | --- | --- |
| headline | market open | the most important note |
| in brief | market open , train late | the two most important ones |
| full report | dear all : bridge closed , and market open , and train late . thanks | all, in order, and politely |
| free draft | bridge closed , train late | any of them, in order: every choice but none is as likely |

Two objectives pull apart, coverage and brevity (`scores`). A draft may be all notes without a word too many, which no
other prompt asks for; but it seldom is, so that it takes a best of N.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sim.adapters.tiny.task import TrainingBatch, padded
from sim.adapters.tiny.tokenizer import EOS, Vocabulary

HEADLINE, BRIEF, REPORT, DRAFT = "headline", "in brief", "full report", "free draft"
MODES = (HEADLINE, BRIEF, REPORT, DRAFT)
SUBJECTS = (
    "bridge",
    "train",
    "market",
    "school",
    "harbour",
    "library",
    "museum",
    "pool",
    "ferry",
    "park",
    "road",
    "bus",
)
STATES = ("closed", "late", "open", "empty", "moved", "crowded", "flooded", "repaired", "cancelled", "ready")
VOCABULARY = Vocabulary((*" ".join(MODES).split(), "dear", "all", "and", "thanks", *SUBJECTS, *STATES))
COUNTS = (3, 4, 5)
"""How many notes a query has."""
LENGTHS = {HEADLINE: 25, BRIEF: 29, REPORT: 47, DRAFT: 38}
"""Tokens of the longest training text less one."""


class Notes(NamedTuple):
    """A query: subjects, states and importances of its notes, each of them only once."""

    subjects: Int[np.ndarray, " note"]
    states: Int[np.ndarray, " note"]
    importances: Int[np.ndarray, " note"]


def draw(rng: np.random.Generator, count: int) -> Notes:
    """Random notes; importances are 1 to 9."""
    sizes = (len(SUBJECTS), len(STATES), 9)
    subjects, states, importances = (rng.choice(size, count, replace=False) for size in sizes)
    return Notes(subjects, states, importances + 1)


def question(notes: Notes) -> str:
    """The user's message."""
    return " ; ".join(f"{importance} {text}" for importance, text in zip(notes.importances, texts(notes), strict=True))


def texts(notes: Notes) -> list[str]:
    """The notes without their importance."""
    return [f"{SUBJECTS[one]} {STATES[state]}" for one, state in zip(notes.subjects, notes.states, strict=True)]


def answer(rng: np.random.Generator, mode: str, notes: Notes) -> str:
    """A completion; only a draft is random."""
    told = texts(notes)
    if mode == REPORT:
        return f"dear all : {' , and '.join(told)} . thanks"
    if mode == DRAFT:
        return " , ".join(text for text, kept in zip(told, some(rng, len(told)), strict=True) if kept)
    first = np.argsort(-notes.importances)[: 1 if mode == HEADLINE else 2]
    return " , ".join(told[place] for place in first)


def some(rng: np.random.Generator, count: int) -> Bool[np.ndarray, " note"]:
    """Mask of the things out of `count` that are kept: every choice but none is as likely."""
    return (rng.integers(1, 2**count) >> np.arange(count)) % 2 == 1


def batches(rng: np.random.Generator, rows: Mapping[str, int]) -> tuple[TrainingBatch, ...]:
    """Random training texts, so many of each prompt; those of one prompt together, so that little is padding."""
    return tuple(batch(rng, mode, number) for mode, number in rows.items())


def batch(rng: np.random.Generator, mode: str, rows: int) -> TrainingBatch:
    """Random training texts of one prompt."""
    return padded([example(rng, mode, draw(rng, int(rng.choice(COUNTS)))) for _ in range(rows)], LENGTHS[mode])


def example(rng: np.random.Generator, mode: str, notes: Notes) -> tuple[list[int], list[float]]:
    """One training text, and the weight of each of its tokens in the loss."""
    prompt = VOCABULARY.chat(mode, question(notes))
    written = [*VOCABULARY.encode(answer(rng, mode, notes)), EOS]
    return prompt + written, [0.0] * len(prompt) + [1.0] * len(written)
