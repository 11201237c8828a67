"""Measures the tiny model directly: `python -m sim.adapters.tiny.flip` shows accuracy per prompt and scale, and pairs.

Queries are independent draws: two, three or four numbers equally likely. Every prompt answers every query `DRAWS`
times; votes of N use disjoint blocks of N of these, a tie of t answers counts 1/t, and what cannot be read is one wrong
answer, as `iapo` counts. Intervals are Student's t over queries, paired between prompts.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import typer
from jaxtyping import Float, Int
from scipy import stats

from sim.adapters.scorers.text import Number
from sim.adapters.tiny import task, weights
from sim.adapters.tiny.generate import ROWS, Draft, complete
from sim.adapters.tiny.model import Params
from sim.adapters.tiny.tokenizer import SUMS

TEMPERATURE = 1.8
"""Hot enough for slips: what one long answer loses by them, a vote wins back."""
DRAWS = 16
SCALES = (1, 2, 4, 8, 16)
WRONG = 10
"""The label of what cannot be read as an answer."""


class Graded(NamedTuple):
    """Completions of the model beside the right answers."""

    labels: Int[np.ndarray, "prompt query draw"]
    tokens: Int[np.ndarray, "prompt query draw"]
    gold: Int[np.ndarray, " query"]


class Difference(NamedTuple):
    """Mean of a paired difference over queries, and the ends of its interval."""

    mean: float
    low: float
    high: float


def ask(
    params: Params, temperature: float, queries: int, seed: int, report: Callable[[int, int], None] = lambda a, b: None
) -> Graded:
    """Ask every prompt every query; `report` is told how many completions are done, of how many."""
    rng = np.random.default_rng(seed)
    questions = [task.draw(rng, int(count)) for count in rng.choice(task.COUNTS, queries)]
    rows = _rows(questions, temperature, seed)
    labels = np.full((len(task.MODES), queries, DRAWS), WRONG)
    tokens = np.zeros_like(labels)
    for start in range(0, labels.size, ROWS):
        found = complete(params, list(islice(rows, ROWS)))
        labels.ravel()[start : start + len(found)] = [_label(one.text) for one in found]
        tokens.ravel()[start : start + len(found)] = [one.tokens for one in found]
        report(start + len(found), labels.size)
    return Graded(labels, tokens, np.array([numbers.sum() % task.MODULUS for numbers in questions]))


def _rows(questions: list[np.ndarray], temperature: float, seed: int) -> Iterator[Draft]:
    number = seed << 40
    for mode in task.MODES:
        for numbers in questions:
            prompt = tuple(SUMS.chat(mode, task.question(numbers)))
            for _ in range(DRAWS):
                yield Draft(prompt, number, temperature, max_tokens=40)
                number += 1


def _label(text: str) -> int:
    answer = Number().answer(text)
    return int(answer) if answer is not None and answer.isdigit() and len(answer) == 1 else WRONG


def credit(answers: Graded, scale: int) -> Float[np.ndarray, "prompt query"]:
    """Mean credit of votes of `scale`, over disjoint blocks of a query's draws."""
    prompts, queries, draws = answers.labels.shape
    blocks = answers.labels.reshape(prompts, queries, draws // scale, scale)
    votes = (blocks[..., None] == np.arange(WRONG + 1)).sum(axis=-2)
    most = votes == votes.max(axis=-1, keepdims=True)
    right = np.take_along_axis(most, answers.gold[None, :, None, None], axis=-1)[..., 0]
    return (right / most.sum(axis=-1)).mean(axis=-1)


def difference(answers: Graded, one: int, other: int, scale: int, confidence: float = 0.95) -> Difference:
    """Credit of prompt `one` above that of prompt `other`, paired over queries."""
    found = credit(answers, scale)
    paired = found[one] - found[other]
    half = stats.t.ppf((1 + confidence) / 2, paired.size - 1) * stats.sem(paired)
    return Difference(float(paired.mean()), float(paired.mean() - half), float(paired.mean() + half))


def flips(answers: Graded) -> list[str]:
    """Prompts surely ahead at N = 1 and surely behind at N = 16, both intervals clear of zero."""
    found = []
    for one, ahead in enumerate(task.MODES):
        for other, behind in enumerate(task.MODES):
            if difference(answers, one, other, 1).low > 0 > difference(answers, one, other, 16).high:
                found.append(f"{ahead!r} is ahead of {behind!r} at N = 1 and behind at N = 16")
    return found


def table(answers: Graded) -> str:
    """Accuracies and paired differences as text."""
    lines = [f"{'prompt':<32} tokens " + "".join(f"{f'N = {scale}':>28}" for scale in SCALES)]
    accuracy = {scale: credit(answers, scale).mean(axis=1) for scale in SCALES}
    for place, mode in enumerate(task.MODES):
        cells = "".join(f"{accuracy[scale][place]:>28.4f}" for scale in SCALES)
        lines.append(f"{mode:<32} {answers.tokens[place].mean():>6.2f} {cells}")
    for one, other in ((1, 0), (2, 0), (2, 1)):
        pairs = [difference(answers, one, other, scale) for scale in SCALES]
        cells = "".join(f"{f'{pair.mean:+.4f} ({pair.low:+.4f}, {pair.high:+.4f})':>28}" for pair in pairs)
        lines.append(f"{task.MODES[one]} - {task.MODES[other]:<{28 - len(task.MODES[one])}}        {cells}")
    return "\n".join([*lines, *(flips(answers) or ["no pair of prompts changes places"])])


def main() -> None:
    """Read the command line, ask, and show the table."""
    parser = argparse.ArgumentParser(prog="python -m sim.adapters.tiny.flip", description=__doc__)
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help=f"of sampling (default: {TEMPERATURE})")
    parser.add_argument("--queries", type=int, default=1500, help="independent queries (default: 1500)")
    parser.add_argument("--seed", type=int, default=1, help="of queries and draws (default: 1)")
    given = parser.parse_args()

    def report(done: int, total: int) -> None:
        if done % 6400 == 0 or done == total:
            typer.echo(f"{done} of {total} completions", err=True)

    typer.echo(table(ask(weights.load()[0], given.temperature, given.queries, given.seed, report)))


if __name__ == "__main__":
    main()
