"""The worlds on which guarantees are put to the test, and at which budgets.

To add a family: write a function of an instance number that returns a `Dataset`, and add one entry to `FAMILIES`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sim import envs, origins, program
from sim.envs import families
from sim.envs.dataset import Dataset
from theory import exact
from theory.checks import rules

MATH = "math"
"""The family whose world is a file."""
_LEAST_GAP = 0.1
_COMMON = ("psst, fresh", "psst", "psst, equal pulls", "psst, common queries", "prompt halving", "uniform")
_SHARED = ("prompt halving, common queries", "proven racing")
_ONCE = ("prompt halving, no query twice", "proven racing, no query twice")
_ALL = (*_COMMON, *_SHARED, *_ONCE)


class Family(NamedTuple):
    """Worlds of one kind and size.

    Attributes:
        build: the world with this number; None for one read from a file.
        budgets: completions T, in the full run.
        quick: those of the quick run, in which a family without any does not take part.
        rules: names in `theory.checks.rules.RULES`.
        splitting: (rule, budget) that get an estimate by splitting; per rule the smallest budget is one at which
            simulation sees failures too, and both must agree there.
        quick_splitting: those of the quick run.
        particles: runs per replicate of an estimate by splitting, in the full run; fewer than 1,000 are moved half as
            often too.
        enumerated: whether runs are enumerated in full, for exact values of every rule.
        instances: worlds in the quick and in the full run.
        share: part of the usual effort spent on a cell.
        hurry: part of that which the quick run spends.
        unhurried: rules that the quick run leaves out: each takes a compilation.
    """

    build: Callable[[int], Dataset] | None
    budgets: tuple[int, ...]
    quick: tuple[int, ...] = ()
    rules: tuple[str, ...] = _ALL
    splitting: tuple[tuple[str, int], ...] = ()
    quick_splitting: tuple[tuple[str, int], ...] = ()
    particles: int = 1000
    enumerated: bool = False
    instances: tuple[int, int] = (1, 1)
    share: float = 1.0
    hurry: float = 1.0
    unhurried: tuple[str, ...] = ()


def bon(query_effects: bool) -> Dataset:
    """`families.bon_two_scales` or `families.bon_query_effects`, in one shape: the former's query is there twice."""
    if query_effects:
        return families.bon_query_effects()
    once = families.bon_two_scales()
    assert once.values is not None
    return _replace(once, "bon-two-scales", np.repeat(once.probs, 2, axis=1), np.repeat(once.values, 2, axis=1))


def easy_arms() -> Dataset:
    """Three arms with rewards +-1 and P(+1) = .95, .1, .05: gaps so large that UCB-E's bound is below 1 at 600."""
    return replace(families.two_arm((0.95, 0.1, 0.05)), name="easy-arms")


def enumerable(num_contexts: int) -> Dataset:
    """Best of one or two, so small that every run can be enumerated: two prompts, two queries.

    One context: success (1, .9) and (0, .1), cost weight .3; values (.65, .395) and (-.25, -.505). Two contexts:
    success (.9, 0) and (0, .1), cost weights 0 and .35; N = 2 is best in the first, N = 1 in the second.
    """
    like = families.bon_query_effects()
    assert like.values is not None
    success = np.array([[1.0, 0.9], [0.0, 0.1]] if num_contexts == 1 else [[0.9, 0.0], [0.0, 0.1]])
    found = _replace(
        like, f"enumerable-{num_contexts}", np.stack([1 - success, success], axis=2), like.values[:2], np.ones(2)
    )
    cost_weights = np.array([0.3] if num_contexts == 1 else [0.0, 0.35])
    return replace(found, objective_weights=np.ones((num_contexts, 1)), cost_weights=cost_weights)


def enumerable_race() -> Dataset:
    """Three prompts of one completion on two queries, so small that a race with a cut can be enumerated.

    Success (1, .8), (.8, .3) and (.1, .7): values .9, .55 and .4.
    """
    success = np.array([[1.0, 0.8], [0.8, 0.3], [0.1, 0.7]])
    values = np.broadcast_to(np.array([[0.0], [1.0]]), (*success.shape, 2, 1)).copy()
    return families.scored("enumerable-race", np.stack([1 - success, success], axis=2), values, 1, (0.0,), 0.0)


def graded_queries() -> Dataset:
    """Best of one or two of eight prompts whose success differs more between queries than between prompts.

    That of `families.graded_halving` on average, up to what 0 and 1 cut off: easier by .4 and .2 on two queries, harder
    by as much on two. Cost weight .05. Prompt 0 is best at N = 2, gap .087 to itself at N = 1 and .16 to prompt 1.
    """
    mean = np.array([0.7, 0.5, 0.45, 0.4, 0.4, 0.35, 0.3, 0.3])[:, None]
    success = np.clip(mean + np.array([0.4, 0.2, -0.2, -0.4]), 0.0, 1.0)
    values = np.broadcast_to(np.array([[0.0], [1.0]]), (*success.shape, 2, 1)).copy()
    return families.scored("graded-queries", np.stack([1 - success, success], axis=2), values, 2, (0.05,), 1.0)


def mv_two_prompts() -> Dataset:
    """Majority voting of up to three answers, with and without cost.

    Success probabilities (.8, .5), cost weight 0 or .15. Prompt 0 is best: at N = 3 without cost (gap .096 to N = 1
    and to N = 2, which are equal), at N = 1 with it.
    """
    success = np.array([0.8, 0.5])[:, None]
    return Dataset(
        name="mv-two-prompts",
        aggregate=("mv",),
        probs=np.stack([success, 1.0 - success], axis=2),
        answers=np.zeros(1, int),
        objective_weights=np.ones((2, 1)),
        cost_weights=np.array([0.0, 0.15]),
        costs=np.ones(2),
        max_scale=3,
    )


def random_bon(number: int) -> Dataset:
    """Best of one or two with random success on two queries and random costs; smallest gap at least .1."""
    draw = np.random.default_rng([number, 0x1A90])
    like = families.bon_query_effects()
    assert like.values is not None
    while True:
        success = draw.beta(0.7, 0.7, like.probs.shape[:2])
        costs = draw.uniform(0.05, 0.4, len(success))
        probs = np.stack([1 - success, success], axis=2)
        data = _replace(like, f"random-{number}", probs, like.values, costs)
        gaps = np.sort(exact.gaps(exact.values(data)).reshape(data.num_contexts, -1), axis=1)[:, 1]
        if gaps.min() >= _LEAST_GAP:
            return data


FAMILIES: dict[str, Family] = {
    "two-arm": Family(
        lambda _: families.two_arm(),
        budgets=(200, 400, 614, 800, 1200, 1600, 2000, 3000, 4000, 6000, 8000),
        quick=(400, 800, 2000, 4000),
        share=3.0,
        splitting=(("psst, fresh", 1200), ("psst, fresh", 2000), ("psst, fresh", 4000)),
        hurry=0.2,
    ),
    "graded halving": Family(
        lambda _: families.graded_halving(),
        budgets=(150, 300, 600, 900, 1200, 1800, 2400, 3600, 4800, 7200, 9600),
        quick=(150, 300, 600, 1200, 2400, 4800, 9600),
        rules=(*_ALL, "successive rejects"),
        splitting=(
            *((rule, t) for rule in ("psst, fresh", "psst") for t in (600, 900, 1200, 1800, 2400)),
            *(("successive rejects", t) for t in (600, 1200)),
        ),
        quick_splitting=(("psst", 600), ("psst", 1200)),
        share=2.0,
        hurry=0.75,
        unhurried=("successive rejects", "uniform", *_SHARED, *_ONCE),
    ),
    "easy arms": Family(
        lambda _: easy_arms(),
        budgets=(600, 750, 900, 1200),
        quick=(900,),
        rules=("psst, fresh", "successive rejects", "ucb-e"),
        share=0.25,
        hurry=4.0,
        unhurried=("psst, fresh", "successive rejects"),
    ),
    "bon, two scales": Family(
        lambda _: bon(query_effects=False),
        budgets=(60, 120, 240, 360, 480, 960, 2000, 4000, 16000, 24000),
        quick=(120, 240, 960, 4000, 24000),
        unhurried=("uniform", *_SHARED, *_ONCE),
        splitting=(
            *(("psst", t) for t in (240, 360, 480, 960)),
            *(("psst, fresh", t) for t in (480, 960)),
            *((rule, t) for rule in ("psst, equal pulls", "prompt halving") for t in (360, 960)),
            *((rule, t) for rule in ("psst, common queries", "uniform") for t in (480, 960)),
        ),
        particles=500,
    ),
    "bon, query effects": Family(
        lambda _: bon(query_effects=True),
        budgets=(60, 120, 240, 360, 480, 960, 2000, 4000, 16000, 20000),
        quick=(120, 240, 960, 4000, 20000),
        unhurried=("uniform", *_SHARED, "prompt halving, no query twice"),
        splitting=(
            *(("psst", t) for t in (240, 480, 960)),
            *(("psst, common queries", t) for t in (240, 480, 960)),
            *((rule, t) for rule in ("psst, fresh", "psst, equal pulls") for t in (360, 960)),
            *((rule, t) for rule in ("prompt halving", "uniform") for t in (360, 960)),
        ),
        particles=500,
    ),
    "graded, query effects": Family(
        lambda _: graded_queries(),
        budgets=(240, 480, 960, 1920, 3840),
        rules=("psst, fresh", "psst", "psst, common queries", *_SHARED, *_ONCE),
        splitting=(("proven racing", 480), ("proven racing", 960)),
        particles=500,
        share=0.3,
    ),
    "mv, three scales": Family(
        lambda _: mv_two_prompts(),
        budgets=(150, 300, 600, 1200, 2400, 4800, 12000, 24000),
        quick=(300, 1200, 2400, 12000, 24000),
        unhurried=("uniform", "prompt halving", *_SHARED, *_ONCE),
        splitting=(
            *((rule, t) for rule in ("psst", "psst, equal pulls") for t in (300, 600)),
            *((rule, t) for rule in ("psst, fresh", "prompt halving", "uniform") for t in (600, 1200)),
        ),
        particles=500,
    ),
    "random": Family(
        random_bon,
        budgets=(120, 480, 1920, 4000, 24000),
        quick=(240, 960, 4000, 24000),
        instances=(2, 6),
        unhurried=("uniform", *_SHARED, *_ONCE),
        splitting=(("psst", 120), ("psst", 480)),
        particles=500,
        share=0.6,
    ),
    "enumerable": Family(
        lambda _: enumerable(1),
        budgets=(8, 16, 24, 32, 48),
        splitting=(("psst", 32), ("psst", 48)),
        particles=500,
        enumerated=True,
        share=0.02,
    ),
    "enumerable, two contexts": Family(lambda _: enumerable(2), budgets=(8, 16, 24), enumerated=True, share=0.02),
    "enumerable race": Family(
        lambda _: enumerable_race(),
        budgets=(9, 15, 21),
        rules=("psst, common queries", *_SHARED),
        enumerated=True,
        share=0.02,
    ),
    "mv, fifteen scales": Family(
        lambda _: families.mv_three_scales(),
        budgets=(1500, 6000, 24000),
        rules=("psst, fresh", "psst", "uniform"),
        share=0.3,
    ),
    MATH: Family(
        None, budgets=(5000, 20000, 80000), quick=(5000,), rules=("psst, fresh", "psst", "uniform"), share=0.3
    ),
}
"""Name -> family."""


def world(family: str, number: int, math: str | None = None) -> Dataset:
    """The world of this number in a family.

    Args:
        family: one of `FAMILIES`.
        number: of the instance, from 0.
        math: path of the MATH environment.
    """
    build = FAMILIES[family].build
    if build is not None:
        return _built(build, number, "" if origins.own(build.__module__) else program.behind(build).key)
    return _read(str(math), Path(str(math)).stat().st_mtime_ns if Path(str(math)).exists() else 0)


@lru_cache(maxsize=64)
def _built(build: Callable[[int], Dataset], number: int, key: str) -> Dataset:
    """The world with this number; built again where the program behind it is another."""
    return build(number)


@lru_cache(maxsize=2)
def _read(math: str, changed: int) -> Dataset:
    """The MATH environment; read again where its file was changed."""
    data = envs.get(math).data
    if data is None:
        raise ValueError(f"{math}: holds no finite world; the authors' MATH_final.pkl is expected")
    return data


def chosen(quick: bool, math: str | None) -> dict[str, Family]:
    """The families of a run."""
    found = {name: family for name, family in FAMILIES.items() if (family.quick or not quick)}
    return {name: family for name, family in found.items() if name != MATH or math is not None}


def law(rule: str, data: Dataset) -> str:
    """`theory.checks.rules.canonical` for a world."""
    return rules.canonical(rule, data.num_prompts, data.num_queries, data.max_scale, data.num_contexts)


def _replace(
    like: Dataset, name: str, probs: np.ndarray, values: np.ndarray, costs: np.ndarray | None = None
) -> Dataset:
    return Dataset(
        name=name,
        aggregate=like.aggregate,
        probs=probs,
        values=values,
        objective_weights=like.objective_weights,
        cost_weights=like.cost_weights,
        costs=like.costs if costs is None else costs,
        max_scale=like.max_scale,
    )
