"""Tasks of the tiny models by name: which model has learnt them, its vocabulary, and where its weights are."""

from pathlib import Path
from typing import NamedTuple

from sim.adapters.tiny import notes, tokenizer, weights
from sim.adapters.tiny.tokenizer import Vocabulary


class TinyTask(NamedTuple):
    """A task that a tiny model has learnt.

    Attributes:
        model: name of the model in requests; that of the run file in the example, too.
        vocabulary: tokens of the model.
        weights: file of its weights.
    """

    model: str
    vocabulary: Vocabulary
    weights: Path


SUMS = TinyTask("tiny", tokenizer.SUMS, weights.SUMS)
NOTES = TinyTask("tiny-notes", notes.VOCABULARY, weights.NOTES)
TASKS = {"sums": SUMS, "notes": NOTES}
"""Name on the command line -> task."""
