"""The task: a+b(+c(+d)) modulo 7, answered at once, in steps, or in two passes that check each other.

What the model is taught to write after "2+6+4+5":

| system prompt | completion | meaning |
| --- | --- | --- |
| answer at once | 3 | the sum |
| work step by step | 6 1 4 5 5 3 | next number, running sum; and so on |
| check twice | 6 1 4 5 5 3 ; 6 1 4 5 5 3 ok 3 | the same in two passes; the sum |
| check twice | 6 1 4 5 5 3 ; 6 2 4 6 5 4 no 6 1 4 5 5 3 ; 3 | where the passes disagree: once more; the sum |

Slips are planted in the two passes of "check twice" (and not learnt: they carry no loss), so that checking has a use.
There are 2,793 questions, and training meets nearly all. The steps are easy to learn; answering at once is not.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sim.adapters.tiny.tokenizer import EOS, PAD, SUMS

DIRECT, STEPS, TWICE = "answer at once", "work step by step", "check twice"
MODES = (DIRECT, STEPS, TWICE)
LENGTHS = {DIRECT: 14, STEPS: 20, TWICE: 34}
"""Tokens of the longest training text less one."""
MODULUS = 7
COUNTS = (2, 3, 4)
"""How many numbers a question has."""
SLIP = 0.3
"""Chance that a pass of "check twice" goes wrong somewhere, in training texts."""


class Lessons(NamedTuple):
    """Training texts of one prompt in one step.

    Attributes:
        rows: how many.
        chances: how often they have two, three and four numbers.
        zeros: chance that a number is made 0. A sum of three random numbers is no easier to guess from any two of
            them, which leaves nothing to begin with; zeros do.
    """

    rows: int
    chances: tuple[float, float, float]
    zeros: float = 0.0


class TrainingBatch(NamedTuple):
    """Training texts: what is read, what comes next, and what counts."""

    tokens: Int[np.ndarray, "row token"]
    targets: Int[np.ndarray, "row token"]
    weights: Float[np.ndarray, "row token"]


def question(numbers: Int[np.ndarray, " number"]) -> str:
    """The user's message."""
    return "+".join(str(number) for number in numbers)


def draw(rng: np.random.Generator, count: int, zeros: float = 0.0) -> Int[np.ndarray, " number"]:
    """The numbers of a question; each is made 0 with chance `zeros`."""
    numbers = rng.integers(MODULUS, size=count)
    return numbers * (rng.random(count) >= zeros) if zeros else numbers


def batches(rng: np.random.Generator, plans: Mapping[str, Lessons]) -> tuple[TrainingBatch, ...]:
    """Random training texts; those of one prompt together, so that little is padding."""
    return tuple(batch(rng, mode, plan) for mode, plan in plans.items())


def batch(rng: np.random.Generator, mode: str, plan: Lessons) -> TrainingBatch:
    """Random training texts of one prompt."""
    sizes = rng.choice(COUNTS, plan.rows, p=plan.chances)
    return padded([example(rng, mode, draw(rng, int(size), plan.zeros)) for size in sizes], LENGTHS[mode])


def padded(texts: Sequence[tuple[list[int], list[float]]], length: int) -> TrainingBatch:
    """Training texts of one more than `length` tokens at most, and the weights of their tokens, as one batch."""
    tokens = np.full((len(texts), length + 1), PAD, np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    for row, (text, counts) in enumerate(texts):
        tokens[row, : len(text)] = text
        weights[row, : len(text)] = counts
    return TrainingBatch(tokens[:, :-1], tokens[:, 1:], weights[:, 1:])


def example(rng: np.random.Generator, mode: str, numbers: Int[np.ndarray, " number"]) -> tuple[list[int], list[float]]:
    """One training text, and the weight of each of its tokens in the loss."""
    prompt = SUMS.chat(mode, question(numbers))
    written, counts = answer(rng, mode, numbers)
    return prompt + written, [0.0] * len(prompt) + counts


def answer(rng: np.random.Generator, mode: str, numbers: Int[np.ndarray, " number"]) -> tuple[list[int], list[float]]:
    """A completion, and the weight of each of its tokens in the loss: 0 for a planted slip."""
    right, _ = one_pass(rng, numbers, slip=0.0)
    total = int(numbers.sum() % MODULUS)
    if mode != TWICE:
        written = [*SUMS.encode(right if mode == STEPS else str(total)), EOS]
        return written, [1.0] * len(written)
    first, first_counts = one_pass(rng, numbers)
    second, second_counts = one_pass(rng, numbers)
    end = [*SUMS.encode(f"ok {total}" if first[-1] == second[-1] else f"no {right} ; {total}"), EOS]
    written = [*SUMS.encode(f"{first} ; {second}"), *end]
    return written, [*first_counts, 1.0, *second_counts] + [1.0] * len(end)


def one_pass(
    rng: np.random.Generator, numbers: Int[np.ndarray, " number"], slip: float = SLIP
) -> tuple[str, list[float]]:
    """Numbers with running sums that may slip at one place and go on from there, and the weights of the tokens."""
    sums, counts = np.cumsum(numbers)[1:] % MODULUS, np.ones((len(numbers) - 1, 2))
    if rng.random() < slip:
        place = rng.integers(len(sums))
        sums[place:] = (sums[place:] + rng.integers(1, MODULUS)) % MODULUS
        counts[place, 1] = 0.0
    return " ".join(
        f"{number} {total}" for number, total in zip(numbers[1:], sums, strict=True)
    ), counts.ravel().tolist()
