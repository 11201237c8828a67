"""Runs whose statements a figure counts: evidence drawn from an environment, and designs that decide what is pulled.

Of every environment the best few prompts count, at small N, in its first context. Queries are drawn independently by
the environment's law; as exactly these queries, those drawn are the list. Prompts meet them in one order, by equally
many completions each, from one size to the next. The worst prompt comes first: where estimates tie it is chosen.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64, Int

from figures.coverage_worlds import WORLDS
from figures.inputs import SEED, Lab
from sim.certify import Confidence
from sim.certify.bulk import Beginnings, ManyRuns, Said
from sim.certify.completions import left_out_rows, subset_rewards
from sim.envs.continuous import ContinuousWorld
from sim.envs.sources import fixed
from theory import exact, truth

_PULLS = 2**14
"""Pulls that are drawn at a time."""


class Drawn(NamedTuple):
    """Evidence of many runs, and what is true of their arms; arms are counted by prompt, then N.

    Attributes:
        runs: the evidence.
        new: value of every arm on new queries, shape (arm,).
        these: on each run's queries, shape (run, arm).
        rounding: values are rounded to this.
        votes: whether nothing but votes counts.
    """

    runs: ManyRuns
    new: Float64[np.ndarray, " arm"]
    these: Float64[np.ndarray, "run arm"]
    rounding: float
    votes: bool

    def truth(self, target: str) -> Float64[np.ndarray, "run arm"]:
        """Values of arms in every run."""
        return self.these if target == "these" else np.broadcast_to(self.new, self.these.shape)

    def some(self, which: slice) -> "Drawn":
        """Some of the runs."""
        runs = self.runs._replace(utilities=self.runs.utilities[which], noise=self.runs.noise[which])
        return self._replace(runs=runs, these=self.these[which])


class RunEnd(NamedTuple):
    """Ends of the runs of one design.

    Attributes:
        missed: whether the arm that was chosen lost more than was said of it.
        missed_any: whether some arm, any of which may have been chosen, did; as `missed` where that is not known.
        eps: of the last statement.
        regret: of the arm that was chosen at the end.
        sure: whether the run ended because it was sure.
    """

    missed: Bool[np.ndarray, " run"]
    missed_any: Bool[np.ndarray, " run"]
    eps: Float64[np.ndarray, " run"]
    regret: Float64[np.ndarray, " run"]
    sure: Bool[np.ndarray, " run"]


def draw(lab: Lab, name: str, sweep: dict[str, Any]) -> Drawn:
    """Evidence of runs on an environment.

    Args:
        lab: knows environments.
        name: of the environment, or one of `WORLDS`.
        sweep: gives trials, prompts, scales, completions and queries.
    """
    named = fixed(WORLDS[name](), 1.0) if name in WORLDS else lab.get(name)
    world: Any = truth.draw_first(named, SEED).world
    known = truth.drawn_per_query(named, SEED, 0) if named.source.fresh else truth.per_query(named)
    spec, law = world.spec, known.weights / known.weights.sum()
    scales = min(sweep["scales"], spec.max_scale)
    task, cost = spec.task[0], np.asarray(spec.cost, np.float64)[0]
    weight, offset = float(spec.task_weight[0]), float(np.asarray(spec.offset, np.float64)[:, 0].sum())
    each = np.moveaxis(known.rewards, 2, 0)
    values = exact.combine(each, known.task, known.task_weight, known.cost)[:, 0, :, :scales]
    prompts = np.argsort(-(law @ values.max(axis=2)), kind="stable")[: sweep["prompts"]][::-1]
    values = values[:, prompts]
    strategy = world.strategy
    strategy = replace(strategy, weights=strategy.weights[task : task + 1], unit=strategy.unit[task : task + 1])
    rng = np.random.default_rng([SEED, *name.encode()])
    trials, completions = sweep["trials"], sweep["completions"]
    queries = rng.choice(len(law), (trials, sweep["queries"]), p=law)
    shape = (*queries.shape, len(prompts))
    asked, on = np.broadcast_to(prompts, shape).ravel(), np.broadcast_to(queries[..., None], shape).ravel()
    pulled = _outcomes(world, rng, asked.astype(np.int32), on.astype(np.int32), completions)
    sizes = np.full(len(pulled), completions)
    rewards = subset_rewards(strategy, pulled, sizes)[:, 0, :scales].reshape(*shape, scales)
    rows = left_out_rows(strategy, pulled, sizes)[:, 0, :, :scales].reshape(*shape, completions, scales)
    shift = offset - cost[prompts, None] * np.arange(1, scales + 1)
    ends = _ends(world, strategy)
    runs = ManyRuns(
        weight * rewards + shift,
        weight * np.moveaxis(rows, 3, 2).astype(np.float64),
        None if ends is None else (weight * ends[0], weight * ends[1]),
        shift,
    )
    flat = values.reshape(len(values), -1)
    counts = np.asarray(strategy.weights)[0] != 0
    votes = all(how == "mv" for how, here in zip(strategy.aggregate, counts, strict=True) if here)
    rounding = 2 * weight * float(strategy.unit[0])
    return Drawn(runs, law @ flat, flat[queries].mean(axis=1), rounding, votes)


def _outcomes(
    world: Any, rng: np.random.Generator, prompts: np.ndarray, queries: np.ndarray, number: int
) -> np.ndarray:
    """So many completions of every pair, shape (pair, number, objective)."""
    width, pulled, found = min(number, world.spec.max_scale), eqx.filter_jit(_pulled), []
    for first in range(0, len(prompts), _PULLS):
        some = [jnp.asarray(np.resize(part[first : first + _PULLS], _PULLS)) for part in (prompts, queries)]
        keys = rng.integers(0, 2**32, (-(-number // width), _PULLS, 2), np.uint32)
        parts = [np.asarray(pulled(world, jnp.asarray(key), some[0], some[1], width)) for key in keys]
        found.append(np.concatenate(parts, axis=1)[:, :number])
    return np.concatenate(found)[: len(prompts)]


def _pulled(world: Any, keys: jax.Array, prompts: jax.Array, queries: jax.Array, width: int) -> jax.Array:
    def one(key: jax.Array, prompt: jax.Array, query: jax.Array) -> jax.Array:
        return world.pull(key, prompt, query, jnp.int32(width)).outcomes[:width]

    return jax.vmap(one)(keys, prompts, queries)


def _ends(world: Any, strategy: Any) -> tuple[float, float] | None:
    """Least and largest reward of the one task."""
    low = high = 0.0
    for how in set(strategy.aggregate):
        columns = list(strategy.columns(how))
        weights = np.asarray(strategy.weights, np.float64)[0, columns]
        if how == "mv":
            scores = np.concatenate([0 * weights, weights])
        elif isinstance(world, ContinuousWorld):
            ends = np.stack(world.law.ends)[:, columns] * weights
            scores = np.stack([ends.min(axis=0).sum(), ends.max(axis=0).sum()])
        elif getattr(world, "atoms", None) is not None:
            scores = np.asarray(world.atoms, np.float64)[..., columns] @ weights
        else:
            return None
        low, high = low + float(scores.min()), high + float(scores.max())
    return low, high


class Design:
    """Runs of one environment, looked at by one kind of statement."""

    def __init__(self, drawn: Drawn, beginnings: Beginnings, terms: Confidence):
        """Know the truth."""
        values = drawn.truth(terms.target)
        self.regret = values.max(axis=1, keepdims=True) - values
        self.rounding, self.beginnings, self.terms = drawn.rounding, beginnings, terms
        self.begun: tuple[np.ndarray, Said] | None = None
        self.everyone, self.last = np.arange(len(values)), len(beginnings.sizes) - 1

    def say(self, which: np.ndarray, met: np.ndarray, chosen: np.ndarray) -> Said:
        """Statements from numbers of runs, places of the sizes that prompts have met, and chosen arms."""
        if self.terms.grade.startswith("bounded"):
            return self.beginnings.say_bounded(which, met, chosen, self.terms)
        return self.beginnings.say(which, met, self.terms)

    def at(self, size: int) -> np.ndarray:
        """All prompts of all runs at one size."""
        return np.full((len(self.everyone), self.beginnings.prompts), size)

    def best(self, which: np.ndarray, met: np.ndarray) -> Int[np.ndarray, " run"]:
        """The arm with the best estimate among those of the prompts that have met the most queries."""
        level = np.repeat(met, self.beginnings.scales, axis=1)
        mean = np.take_along_axis(self.beginnings.mean[which], level[:, None], axis=1)[:, 0]
        return np.where(level == level.max(axis=1, keepdims=True), mean, -np.inf).argmax(axis=1)

    def look(self, which: np.ndarray, met: np.ndarray) -> tuple[np.ndarray, Said]:
        """The arms that are chosen, and what is said of them; of the first look of all runs it is kept."""
        first = len(which) == len(self.everyone) and not met.any()
        if first and self.begun is not None:
            return self.begun
        chosen = self.best(which, met)
        found = chosen, self.say(which, met, chosen)
        self.begun = found if first else self.begun
        return found

    def judge(self, which: np.ndarray, said: Said, chosen: np.ndarray) -> RunEnd:
        """Whether statements hold."""
        beyond = self.regret[which] > said.eps + self.rounding
        here = np.arange(len(which))
        own = beyond[here, chosen]
        some = np.where(np.isnan(said.eps).any(axis=1), own, beyond.any(axis=1))
        return RunEnd(own, some, said.eps[here, chosen], self.regret[which, chosen], np.zeros(len(which), bool))

    def fixed(self) -> RunEnd:
        """One look at the end."""
        chosen, said = self.look(self.everyone, self.at(self.last))
        return self.judge(self.everyone, said, chosen)

    def peeking(self) -> RunEnd:
        """A look at every size: a run is missed where any of the looks is."""
        found = []
        for size in range(self.last + 1):
            chosen, said = self.look(self.everyone, self.at(size))
            found.append(self.judge(self.everyone, said, chosen))
        own, some = (np.any([one[part] for one in found], axis=0) for part in (0, 1))
        return found[-1]._replace(missed=own, missed_any=some)

    def elimination(self) -> RunEnd:
        """A look at every size, after which prompts that are told apart from the leader meet no more queries."""
        met, active = self.at(0), np.ones((len(self.everyone), self.beginnings.prompts), bool)
        for size in range(self.last + 1):
            met = np.where(active, size, met)
            chosen, said = self.look(self.everyone, met)
            reach = self.reach(said, chosen)
            active &= (reach > 0) | (np.arange(active.shape[1]) == (chosen // self.beginnings.scales)[:, None])
        return self.judge(self.everyone, said, chosen)

    def until(self, eps: float) -> RunEnd:
        """Prompts that keep eps above this meet more queries, of each pair with the leader the one that met fewer."""
        count, prompts = len(self.everyone), self.beginnings.prompts
        met, running = self.at(0), self.everyone
        ends = RunEnd(*(np.zeros(count, kind) for kind in (bool, bool, float, float, bool)))
        own = np.arange(prompts)
        while len(running):
            chosen, said = self.look(running, met[running])
            now = self.judge(running, said, chosen)
            reach, leader = self.reach(said, chosen), (chosen // self.beginnings.scales)[:, None]
            pair = (reach > eps) & (reach >= reach.max(axis=1, keepdims=True) / 2) & (own != leader)
            lead = np.take_along_axis(met[running], leader, axis=1)
            wanted = pair & (met[running] <= lead)
            wanted |= (pair & (lead <= met[running])).any(axis=1, keepdims=True) & (own == leader)
            wanted |= (now.eps > eps)[:, None] & (own == leader) & ~wanted.any(axis=1, keepdims=True)
            wanted &= met[running] < self.last
            sure = now.eps <= eps
            over = sure | ~wanted.any(axis=1)
            for part, new in zip(ends, now._replace(sure=sure), strict=True):
                part[running] = new
            met[running] += wanted
            running = running[~over]
        return ends

    def reach(self, said: Said, chosen: np.ndarray) -> Float64[np.ndarray, "run prompt"]:
        """The most that an arm of each prompt may be better than the chosen arm by."""
        most = said.most[np.arange(len(chosen)), :, chosen]
        return most.reshape(len(chosen), self.beginnings.prompts, -1).max(axis=2)
