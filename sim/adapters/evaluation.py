"""Evaluation of a policy, live on held-out queries, paired over queries with what it competes with.

Per context three arms are compared: the policy's; the prompt that tuning found best for a single completion, deployed
with one ("single"); and the same prompt deployed with more, as methods do that choose the prompt first (TRIPLE, Shi et
al., NeurIPS 2024: best prompt at N = 1, then a given N; "triple").

Arms of one prompt share its completions: a pull as large as the largest of their scales is cut into disjoint blocks
for each. Every arm's mean is over independent completions, so no value and no difference of values is biased by the
sharing; arms only become correlated, which the paired differences account for.

A query's cost of an arm is N times its mean cost of a completion, as the server reported it, or as configured. Where
the server reported none for a query it is the prompt's mean over the others.

Intervals are those of `sim.certify.intervals`; the range of rewards is known where nothing but votes has a weight.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sim.adapters.live import RunStep, in_parallel, jobs_of
from sim.adapters.paid.sampler import REFUSED, Want, consecutive
from sim.adapters.policy import PolicyFile
from sim.adapters.run_file.settings import Config
from sim.adapters.scoring import Item
from sim.adapters.session import Session
from sim.adapters.summing import unit_sums
from sim.adapters.tune import Costs, completion_cost, vote_ranges, world
from sim.certify.intervals import Utilities, intervals

ROLES = ("policy", "single", "triple")
STREAM = "evaluate"
_SAME = 1e-9
"""Values closer than this agree: they differ by rounding only."""
_Ends = Float64[np.ndarray, " end"]


class RoleArms(NamedTuple):
    """Prompt and scale of every role, for every context in the configuration's order."""

    policy: tuple[tuple[str, int], ...]
    single: tuple[tuple[str, int], ...]
    triple: tuple[tuple[str, int], ...]


class Interval(NamedTuple):
    """A mean and the ends of its interval.

    These are None below `sim.certify.intervals.FEWEST` queries, and where all queries agree on scores whose range
    nobody knows, for then nothing says how sure it is.
    """

    mean: float
    low: float | None
    high: float | None


class Row(NamedTuple):
    """One arm in one context.

    Attributes:
        prompt, scale: None in the mean over contexts.
        value: utility on the held-out queries.
        gain: the policy's value minus this one; None for the same arm.
        refused: queries on which a filter refused the prompt; None in the mean over contexts.
    """

    context: str
    role: str
    prompt: str | None
    scale: int | None
    value: Interval
    gain: Interval | None
    refused: int | None


class Measured(NamedTuple):
    """Measurements, a row per query of each prompt.

    Attributes:
        width: completions of a pull, of each prompt.
        units: block sums in integer units over all pulls of a query, shape (query, task, width).
        cost: cost of one completion, shape (query,).
        refused: queries on which a filter refused the prompt, so that nothing could be read.
    """

    width: dict[str, int]
    units: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    refused: dict[str, int]


def arms_of(policy: PolicyFile, config: Config, scale: int | None) -> RoleArms:
    """The arms to compare.

    Args:
        policy: what tuning chose.
        config: says which contexts there are.
        scale: N of the role "triple"; the policy's own of each context when None.

    Raises:
        ValueError: the policy lacks an estimate at N = 1, or a scale is out of range.
    """
    if scale is not None and not 1 <= scale <= config.max_scale:
        raise ValueError(f"the scale is {scale}; it must lie between 1 and tune.max_scale ({config.max_scale})")
    chosen, single, triple = [], [], []
    for context in config.contexts:
        choice = policy.choices[context.name]
        if choice.chosen.scale > config.max_scale:
            raise ValueError(
                f"{policy.file}: policy.{context.name}.chosen.scale is {choice.chosen.scale}, above tune.max_scale "
                f"({config.max_scale})"
            )
        if choice.single is None:
            raise ValueError(f"the policy knows no best prompt at N = 1 in the context {context.name!r}; tune again")
        chosen.append((choice.chosen.prompt, choice.chosen.scale))
        single.append((choice.single.prompt, 1))
        triple.append((choice.single.prompt, choice.chosen.scale if scale is None else scale))
    return RoleArms(tuple(chosen), tuple(single), tuple(triple))


def wants_of(live: Session, arms: RoleArms, items: Sequence[Item], pulls: int) -> tuple[dict[str, int], list[Want]]:
    """Completions of a pull of each prompt, and all draws: prompts in the outer loop, one want per query."""
    config, width = live.config, {}
    for name, scale in (arm for role in arms for arm in role):
        width[name] = max(width.get(name, 1), scale)
    prompts = [prompt for prompt in config.prompts if prompt.name in width]
    counts = [pulls * width[prompt.name] for prompt in prompts]
    seed = live.seeds(STREAM, sum(counts) * len(items), sorted(width.items()), items)
    wants: list[Want] = []
    for prompt, count in zip(prompts, counts, strict=True):
        wants += consecutive(STREAM, config.endpoints, [prompt], items, count, seed)
        seed += count * len(items)
    return width, wants


def measure(
    live: Session,
    items: Sequence[Item],
    width: dict[str, int],
    wants: Sequence[Want],
    pulls: int,
    report: Callable[[RunStep], None],
) -> Measured:
    """Ask for all draws, read them, and sum up their blocks.

    Raises:
        Stopped: the run cannot go on; started again, it goes on where it stopped.
        ValueError: the server reports no usage at all for a prompt, so that its costs cannot be known.
    """
    config = live.config
    strategy = world(config, Costs(*[np.zeros(len(config.prompts))] * 3))[1]
    outcomes = [np.zeros((0, 0, 0), np.float32)] * len(wants)
    cost, refused, done = np.zeros(len(wants)), np.zeros(len(wants), bool), 0

    async def one(place: int) -> None:
        nonlocal done
        want, item = wants[place], items[place % len(items)]
        draws = await live.sampler.draws(want)
        found = await live.reader.read(want.cell, want.first, item, want.prompt.text, draws)
        outcomes[place] = strategy.measured(live.reader.outcomes(item, found)).reshape(
            pulls, width[want.prompt.name], -1
        )
        refused[place] = any(draw.finish == REFUSED for draw in draws)
        unbilled = all(draw.finish == REFUSED for draw in draws) and want.prompt.cost is None
        cost[place] = 0.0 if unbilled else np.nan
        done += 1
        report(RunStep(0, done, len(wants)))

    live.loop.run(live.reader.gather(live.sampler, wants, [*items] * (len(wants) // len(items))))
    live.loop.run(in_parallel(jobs_of(wants, one), live.sampler))
    for place in np.flatnonzero(np.isnan(cost)).tolist():
        cost[place] = _cost(live, wants[place], wants)
    units, costs, odd = {}, {}, {}
    for prompt in config.prompts:
        own = [place for place, want in enumerate(wants) if want.prompt is prompt]
        if not own:
            continue
        size = width[prompt.name]
        blocks = np.concatenate([outcomes[place] for place in own])
        sums = unit_sums(strategy, blocks, np.full(len(blocks), size))
        units[prompt.name] = sums.reshape(len(items), pulls, *sums.shape[1:]).sum(axis=1)
        costs[prompt.name], odd[prompt.name] = cost[own], int(refused[own].sum())
    return Measured(width, units, costs, odd)


def _cost(live: Session, want: Want, wants: Sequence[Want]) -> float:
    """Cost of one completion; of queries without usable token counts the prompt's mean over those that have them."""
    if want.prompt.cost is not None:
        return want.prompt.cost
    usage = live.journal.usage([want.cell.digest])
    if usage is None:
        usage = live.journal.usage([one.cell.digest for one in wants if one.prompt is want.prompt])
    if usage is None:
        raise ValueError(
            f"the server reports no usable token counts for prompt {want.prompt.name!r}, and the policy file holds no "
            "cost for it; what came is kept: give every prompt a cost in the configuration, tune again and evaluate "
            "that policy"
        )
    return completion_cost(live.config, want.prompt, *usage)


def compare(config: Config, arms: RoleArms, measured: Measured, pulls: int) -> list[Row]:
    """Values and the policy's gains: a row per context and role, then the mean over contexts."""
    spec, strategy = world(config, Costs(*[np.zeros(len(config.prompts))] * 3))
    ranges = vote_ranges(config, strategy)
    weights, fixed = np.asarray(spec.task_weight, np.float64), all(prompt.cost is not None for prompt in config.prompts)
    factor = weights * np.asarray(spec.unit, np.float64)[list(spec.task)]
    offset = np.asarray(spec.offset, np.float64).sum(axis=0)
    num_queries = len(next(iter(measured.cost.values())))
    values = {role: np.zeros((len(config.contexts), num_queries)) for role in ROLES}
    ends = {role: np.zeros((len(config.contexts), 2)) for role in ROLES}
    free = all(context.cost_weight == 0 for context in config.contexts)
    rows = []
    for c, context in enumerate(config.contexts):
        known = fixed or context.cost_weight == 0
        for role, own in zip(ROLES, arms, strict=True):
            name, scale = own[c]
            blocks = pulls * (measured.width[name] // scale)
            reward = measured.units[name][:, spec.task[c], scale - 1] / blocks * factor[c] + offset[c]
            cost = context.cost_weight * scale * measured.cost[name]
            values[role][c] = reward - cost
            ends[role][c] = weights[c] * ranges[spec.task[c]] + offset[c] - cost.mean()
            gain = None
            if own[c] != arms.policy[c]:
                best = values["policy"][c], ends["policy"][c]
                gain = _gain(best, (values[role][c], ends[role][c]), known)
            value = interval(values[role][c], ends[role][c], known)
            rows.append(Row(context.name, role, name, scale, value, gain, measured.refused[name]))
    weight = np.array([context.probability for context in config.contexts])
    mean = {role: (weight @ values[role], weight @ ends[role]) for role in ROLES}
    for role, own in zip(ROLES, arms, strict=True):
        gain = None if own == arms.policy else _gain(mean["policy"], mean[role], fixed or free)
        rows.append(Row("mean", role, None, None, interval(*mean[role], fixed or free), gain, None))
    return rows


def _gain(
    policy: tuple[Float64[np.ndarray, " query"], _Ends], other: tuple[Float64[np.ndarray, " query"], _Ends], known: bool
) -> Interval:
    """Mean of what a policy is better by, paired over queries, with its interval."""
    return interval(policy[0] - other[0], policy[1] - other[1][::-1], known)


def interval(values: Float64[np.ndarray, " query"], ends: _Ends | None = None, known: bool = True) -> Interval:
    """Mean over queries with its 95 % interval.

    Args:
        values: of every query.
        ends: least and largest that the mean can be; None or infinite where nobody knows.
        known: whether what moves the ends, mean costs, is known and not measured.
    """
    size, mean = len(values), float(values.mean())
    finite = ends is not None and bool(np.isfinite(ends).all())
    if not finite and np.ptp(values) < _SAME:
        return Interval(mean, None, None)
    column = ends[:, None] if ends is not None and finite else None
    found = intervals(Utilities(values[:, None], column, known), np.full(size, 1 / size))
    low, high = float(found.low[0]), float(found.high[0])
    return Interval(mean, None, None) if np.isnan(low) else Interval(mean, low, high)
