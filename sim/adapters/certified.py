"""Statements about the choices of a live run: evidence per query from the completions in its journal, in words.

Completions of a prompt on a query are pooled, whatever pull they came from. Arms with N above the completions of every
pair, which a rule may choose by extrapolation, get no statement.

A run of one round has its sizes fixed beforehand: its statements are of the asymptotic grade. Other rules decide by
what they saw which prompts go on: theirs are valid at any time, narrowest at a number of queries that the configuration
alone decides.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sim.adapters.evaluation import Measured
from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.sampler import cell_of, runs
from sim.adapters.policy import Chosen
from sim.adapters.run_file.settings import Config, Prompt
from sim.adapters.scoring import Item, Scored
from sim.adapters.session import Session
from sim.adapters.summing import with_answers
from sim.adapters.tune import Costs, completion_cost, vote_ranges, world
from sim.adapters.wire.retry import Stopped
from sim.advice import MOST_ROWS, Advice, advise, in_sentences
from sim.certify import GRADES, Confidence, ContextTerms, QueryEvidence, evidence_of

LEAST = 0.5
"""Share of the queries of the arm with most that an arm of a run needs to be compared by its mean."""


Said = dict[str, list[str]]
"""Sentences, by the name of the context."""


class RunStatements(NamedTuple):
    """Statements about the choices of a run.

    Attributes:
        said: in words.
        facts: as a policy file holds them, by the name of the context.
    """

    said: Said
    facts: dict[str, dict[str, Any]]


def run_evidence(live: Session[Config], items: Sequence[Item], costs: Costs | None = None) -> QueryEvidence:
    """Evidence from all completions that the journal has of a tuning run; asks for nothing.

    Args:
        live: the run's session.
        items: its queries.
        costs: of completions, for prompts whose tokens the server did not report with their pulls.

    Raises:
        ValueError: nothing is known of what a prompt costs.
    """
    config, journal = live.config, live.journal
    have, outcomes = journal.counts(), {}

    async def read() -> None:
        for p, prompt in enumerate(config.prompts):
            for x, item in enumerate(items):
                cell = cell_of("tune", config.endpoint_of(prompt), prompt, item.text, item.fields)
                if not have.get(cell.digest):
                    continue
                draws, parts = await journal.draws(cell, 0, 2**31), []
                for first, count in runs(sorted(draws), len(draws)):  # scores are kept by numbers, which have gaps
                    own = [draws[number] for number in range(first, first + count)]
                    parts += await _read(live, cell, first, item, prompt, own)
                if not parts:
                    continue
                found = [[one for part in parts for one in part[k]] for k in range(len(config.objectives))]
                outcomes[p, x] = cell.digest, live.reader.outcomes(item, found)

    counted = Counter(live.reader.seen)
    with live.sampler.ending.silent():
        live.loop.run(read())
    live.reader.seen = counted  # as they were read when they came
    shape = (len(config.prompts), len(items))
    completions, cost = np.zeros(shape, int), np.zeros(shape)
    width = max((len(found) for _, found in outcomes.values()), default=1)
    width = 1 << (width - 1).bit_length()  # few widths, few compilations
    filled = np.zeros((*shape, width, len(config.objectives)))
    for (p, x), (cell, found) in outcomes.items():
        completions[p, x], filled[p, x, : len(found)] = len(found), found
        cost[p, x] = _cost(live, config.prompts[p], [cell])
    for p, prompt in enumerate(config.prompts):
        unknown = np.isnan(cost[p])
        if unknown.any():
            every = _cost(live, prompt, [cell for (own, _), (cell, _) in outcomes.items() if own == p])
            cost[p, unknown] = every if costs is None or np.isfinite(every) else costs.cost[p]
        if np.isnan(cost[p]).any():
            raise ValueError(f"the server reported no usable token counts for prompt {prompt.name!r}; give it a cost")
    spec, strategy = world(config, Costs(*np.zeros((3, shape[0]))))
    vote = strategy.columns("mv")
    strategy = with_answers(strategy, int(filled[..., vote[0]].max(initial=1)) if vote else 0)
    known = all(prompt.cost is not None for prompt in config.prompts)
    made = evidence_of(
        strategy,
        spec,
        strategy.measured(filled),
        completions,
        np.array([prompt.cost for prompt in config.prompts]) if known else cost,
        np.array([context.cost_weight for context in config.contexts]),
        [context.name for context in config.contexts],
        noise=len(strategy.weights) * completions.size * width**2 <= MOST_ROWS,
        population=len(items),
        bounds=vote_ranges(config, strategy),
    )
    rows = None if made.residuals is None else made.residuals[..., : config.max_scale]
    return replace(made, rewards=made.rewards[..., : config.max_scale], residuals=rows)


async def _read(
    live: Session[Config], cell: Asked, first: int, item: Item, prompt: Prompt, draws: Sequence[Draw]
) -> list[list[list[Scored]]]:
    """Findings in draws first, first + 1, ..; without those that a judge was not asked about before the run stopped."""
    try:
        return [await live.reader.read(cell, first, item, prompt.text, draws)]
    except Stopped:
        if len(draws) == 1:
            return []
    return [part for k, draw in enumerate(draws) for part in await _read(live, cell, first + k, item, prompt, [draw])]


def _cost(live: Session[Config], prompt: Prompt, cells: Sequence[bytes]) -> float:
    """Cost of a completion in some cells, NaN where the server reported nothing usable."""
    if prompt.cost is not None:
        return prompt.cost
    usage = live.journal.usage(cells) if cells else None
    return np.nan if usage is None else completion_cost(live.config, prompt, *usage)


def confidence_of(config: Config, num_queries: int, rounds: int | None) -> Confidence:
    """Terms on which statements of a run hold.

    Args:
        config: the run.
        num_queries: of its list.
        rounds: that it made; None where nobody knows.
    """
    if rounds == 1:
        return Confidence()
    return Confidence(grade="anytime", planned=max(min(num_queries, config.budget // len(config.prompts)), 1))


def run_advice(
    config: Config, evidence: QueryEvidence, choices: Sequence[Chosen], rounds: int | None
) -> tuple[Advice, ...]:
    """Advice about the arms that a run chose, one for every context.

    Args:
        config: the run.
        evidence: as `run_evidence` makes it.
        choices: of the run, in the order of contexts.
        rounds: as in `confidence_of`.
    """
    names = [prompt.name for prompt in config.prompts]
    arms = [(names.index(one.chosen.prompt), one.chosen.scale) for one in choices]
    return advise(evidence, arms, confidence_of(config, evidence.list_length, rounds), least=LEAST)


def of_run(config: Config, evidence: QueryEvidence, choices: Sequence[Chosen], rounds: int | None) -> RunStatements:
    """Statements about the arms that a run chose, in words and as a policy file holds them; as `run_advice`."""
    names, (sign, unit) = [prompt.name for prompt in config.prompts], signs(config)
    said, facts = {}, {}
    for own, one in zip(choices, run_advice(config, evidence, choices, rounds), strict=True):
        said[own.context] = in_sentences(evidence, one, names, sign, unit=unit)
        facts[own.context] = as_facts(one, names, " ".join(said[own.context]))
    return RunStatements(said, facts)


def signs(config: Config) -> tuple[str, str]:
    """The sign before the costs of a run, and their unit after them."""
    return ("", "tokens") if config.cost_measure == "tokens" else (config.currency or "", "")


def evaluated(config: Config, measured: Measured, pulls: int) -> QueryEvidence:
    """Evidence from an evaluation on held-out queries: every prompt that was asked, in the order of `measured.width`.

    Args:
        config: the run with the held-out queries.
        measured: what was measured.
        pulls: of every prompt on every query.
    """
    spec, strategy = world(config, Costs(*np.zeros((3, len(config.prompts)))))
    unit, num_queries = np.asarray(strategy.unit, np.float64), len(next(iter(measured.cost.values())))
    size = max(measured.width.values())
    rewards = np.full((len(unit), len(measured.width), num_queries, size), np.nan)
    for place, (name, width) in enumerate(measured.width.items()):
        blocks = pulls * (width // np.arange(1, width + 1))
        own = measured.units[name][..., :width] / blocks * unit[:, None]
        rewards[:, place, :, :width] = own.transpose(1, 0, 2)
    weights, offset = np.asarray(spec.task_weight, np.float64), np.asarray(spec.offset, np.float64).sum(axis=0)
    contexts = [
        ContextTerms(one.name, spec.task[c], float(weights[c]), one.cost_weight, float(offset[c]))
        for c, one in enumerate(config.contexts)
    ]
    completions = np.repeat(np.array([*measured.width.values()])[:, None], num_queries, axis=1)
    costs = np.stack([measured.cost[name] for name in measured.width])  # measured in another order
    return QueryEvidence(rewards, completions, tuple(contexts), costs, bounds=vote_ranges(config, strategy))


def as_facts(advice: Advice, prompts: Sequence[str], text: str) -> dict[str, Any]:
    """A statement as a policy file holds it; what is infinite or unknown is null.

    Args:
        advice: of one context.
        prompts: names of all prompts.
        text: its sentences.
    """
    found: dict[str, Any] = {"text": text, "cost_per_query": _finite(advice.cost), "refusal": advice.refusal or None}
    statement = advice.statement
    if statement is None:
        return found
    found |= {"prompt": prompts[statement.prompt], "scale": statement.scale}
    terms = statement.confidence
    found |= {"level": terms.level, "grade": terms.grade, "holds": GRADES[terms.grade], "contexts": terms.together}
    found |= {"eps": _finite(statement.eps), "eps_these": advice.these and _finite(advice.these.eps)}
    found |= {part: _finite(value) for part, value in statement.value._asdict().items()}
    found |= {"queries": statement.queries, "arms": statement.num_arms, "left_out": statement.left_out}
    apart = [(prompts[one.prompt], one.scale, *map(_finite, one.value)) for one in statement.not_apart]
    keys = ("prompt", "scale", "estimate", "low", "high")
    return found | {"not_apart": [dict(zip(keys, one, strict=True)) for one in apart]}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
