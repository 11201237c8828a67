"""Until sure: pull the leader and the prompts that may still be better by more than eps, and stop when none may.

All prompts meet the queries in one order, `batch` of them a round, by pulls of Nmax whose mean over all subsets values
every scale. The leader of a context is the arm with the best estimate; the reach of another arm is its estimated lead
over it on the queries that both prompts have met, plus a half-width that holds at any time, for all arms of all
contexts at once. By comparisons with the best (Hsu, Annals of Statistics 12, 1984) the leader then loses at most eps,
the largest reach (theory/proofs.md, "Statements after the fact"), at whatever round one looks. The rule stops when that
is at most the eps asked for in every context, when the list of queries is through, or when the budget is spent.

Pulled are the pairs of leader and prompt whose reach is above the eps asked for and at least `near` times the largest
of the context: of a pair the one that has met fewer queries, both if equally many.

Half-widths are those of `certify` at grade "anytime". On new queries the whole spread of differences over queries
counts. On exactly these queries each is visited by two pulls, whose difference tells the noise of completions; of m of
X queries the share 1 - m / X of the spread counts and m / X of the noise, at the half-width of as many queries as would
make the whole spread as small. Then the list is gone through again, whole cycles count, and of them noise alone. Before
and after the end of the list have half of the error each. Queries must be equally frequent for that.

Sums of differences and of their squares are whole numbers, squares of differences in steps of about 1/100: the spread
that rounding adds counts as well.
"""

import math
from functools import lru_cache
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sim import draws, estimators, trim
from sim.certify.sequences import mixture_half_width
from sim.core import Algorithm, Allocation, Key, Places, Policy, Spec, Standing, Stats

FEWEST = 10
"""Queries in common below which nothing is said (`sim.certify.statement.FEWEST`)."""
_UNKNOWN = 2**20
"""Queries where nobody has said how many."""
_BITS = 30
"""Bits of the largest sum of squares."""
_MARKS, _CLOCKS = 16, 16 * 40
"""Clocks of a table of half-widths between a power of two and the next, and in all."""
_NOTHING = 2**31 - 1
"""Reach, in steps of the grid, where nothing can be said."""


class State(NamedTuple):
    """State of a run.

    Attributes:
        left: completions not spent.
        over: whether the run has ended.
        num_queries: X.
        met: visits of each prompt; visit v is on query v modulo X.
        places: places in the order of queries so far (`core.Places`).
        values: reward of each pull in units; a visit has one pull, or two.
        leader: the best arm of each context.
        reach: of each prompt's best arm beside the leader, in steps of the grid.
    """

    left: Int[Array, ""]
    over: Bool[Array, ""]
    num_queries: Int[Array, ""]
    met: Int[Array, " prompt"]
    places: Int[Array, ""]
    values: Int[Array, "task prompt visit pull scale"]
    leader: Policy
    reach: Int[Array, "context prompt"]


class UntilSure(Algorithm):
    """Pull on common queries whatever may be better than the leader by more than eps, and stop when nothing may.

    Attributes:
        target: "new" queries of this kind, or exactly "these".
        eps: how much better another arm may be, in utility.
        near: prompts are pulled whose reach is at least this part of the largest, from 0 to 1.
        level: probability with which all contexts' leaders lose at most their eps, at all rounds at once.
        batch: queries of a round.
        planned: queries at which half-widths shall be narrow.
        cycles: with "these", how often the list is gone through at most.
        visits: visits of a prompt at most: what each brought is kept, so that memory grows with it.
    """

    queries: ClassVar[str] = "common-wor"
    estimator: ClassVar[str] = "subsets"
    target: str = eqx.field(static=True, default="new")
    eps: float | Float[Array, ""] = 0.02
    near: float | Float[Array, ""] = 0.5
    level: float = eqx.field(static=True, default=0.95)
    batch: int = eqx.field(static=True, default=10)  # `FEWEST`, written out for lists, which run nothing
    planned: int = eqx.field(static=True, default=100)
    cycles: int = eqx.field(static=True, default=8)
    visits: int = eqx.field(static=True, default=256)

    def __check_init__(self) -> None:
        """Reject options that make no sense."""
        if self.target not in ("new", "these"):
            raise ValueError(f"target is {self.target!r}; it must be 'new' or 'these'")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; it must lie between 0 and 1")
        for name in ("batch", "planned", "cycles", "visits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.eps >= 0 or not 0 <= self.near <= 1:
            raise ValueError(f"eps is {self.eps}, near {self.near}; they must be at least 0, and lie in 0..1")

    @property
    def pulls(self) -> int:
        """Pulls of a visit."""
        return 2 if self.target == "these" else 1

    def num_visits(self, spec: Spec) -> int:
        """Visits of a prompt, at most."""
        listed = spec.num_queries or self.visits
        return min(listed * (self.cycles if self.target == "these" else 1), self.visits)

    def num_rounds(self, spec: Spec) -> int:
        """As many as take every prompt through all its visits, one prompt a round."""
        return spec.num_prompts * -(-self.num_visits(spec) // self.batch)

    def num_rows(self, spec: Spec) -> int:
        """A batch of pulls for each prompt."""
        return spec.num_prompts * self.batch * self.pulls

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """No data; over if the budget does not pay a visit."""
        nobody, visits = jnp.zeros(spec.num_contexts, jnp.int32), self.num_visits(spec)
        return State(
            left=budget,
            over=budget < spec.max_scale * self.pulls,
            num_queries=jnp.int32(spec.num_queries or _UNKNOWN),
            met=jnp.zeros(spec.num_prompts, jnp.int32),
            places=jnp.int32(0),
            values=jnp.zeros((spec.num_tasks, spec.num_prompts, visits, self.pulls, spec.max_scale), jnp.int32),
            leader=Policy(nobody, nobody + 1),
            reach=jnp.full((spec.num_contexts, spec.num_prompts), _NOTHING, jnp.int32),
        )

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """True when sure, or when nothing more can be pulled."""
        return state.over

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """The next visits of the prompts that keep eps up, query by query; as many as can be paid, drawn by lot."""
        lot = jnp.argsort(draws.order(key, (spec.num_prompts,))).astype(jnp.int32)
        item = jnp.arange(self.num_rows(spec), dtype=jnp.int32)
        prompt = lot[item // self.pulls % spec.num_prompts]
        visit = state.met[prompt] + item // (self.pulls * spec.num_prompts)
        asked = self._wanted(spec, state)[prompt] & (visit < state.values.shape[2])
        affordable = state.left // (spec.max_scale * self.pulls) * self.pulls
        paid = asked & (jnp.cumsum(asked.astype(jnp.int32)) <= affordable)
        place = self._place(state, visit, item % self.pulls)
        places = Places(jnp.where(paid, place - state.places, 0), jnp.zeros_like(item))
        scale = jnp.full(item.shape, spec.max_scale, jnp.int32)
        return Allocation(prompt, scale, paid.astype(jnp.int32), places)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the visits, choose the leaders, and see whether they are sure."""
        assert allocation.places is not None
        running, paid, prompt = ~state.over, allocation.pulls > 0, allocation.prompt
        item = jnp.arange(self.num_rows(spec), dtype=jnp.int32)
        visit = state.met[prompt] + item // (self.pulls * spec.num_prompts)
        mean = stats.total / jnp.maximum(stats.blocks, 1.0)[:, None]
        units = jnp.round(mean / spec.unit[None, :, None]).astype(jnp.int32)
        units = jnp.where(paid[:, None, None], units, 0)
        values = state.values.at[:, prompt, visit, item % self.pulls].add(jnp.moveaxis(units, 0, 1), mode="drop")
        met = state.met + jnp.zeros_like(state.met).at[prompt].add(allocation.pulls) // self.pulls
        last = jnp.max(jnp.where(paid, allocation.places.start + 1, 0))
        found = state._replace(
            left=state.left - allocation.completions,
            met=met,
            places=state.places + jnp.maximum(last, 0),
            values=values,
        )
        best = trim.best_estimate(key, spec, self._value(spec, found))
        leader = Policy(*(jnp.where(running, new, old) for new, old in zip(best, state.leader, strict=True)))
        found = found._replace(leader=leader, reach=jnp.where(running, self._reach(spec, found, leader), state.reach))
        goes_on = self._wanted(spec, found) & (found.met < values.shape[2])
        broke = found.left < spec.max_scale * self.pulls
        return found._replace(over=state.over | broke | ~jnp.any(goes_on))

    def standing(self, spec: Spec, state: State) -> Standing:
        """The estimates of all arms; nothing is dropped for good."""
        shape = (spec.num_contexts, spec.num_arms)
        value = self._value(spec, state)
        visits = jnp.where(jnp.isfinite(value), self._whole(state)[None, :, None], 0).astype(jnp.float32)
        return Standing(None, value.reshape(shape), visits.reshape(shape))

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The leaders; any arm if nothing was pulled."""
        anything = trim.best_estimate(key, spec, self._value(spec, state))
        pulled = jnp.any(state.met > 0)
        return Policy(*(jnp.where(pulled, one, other) for one, other in zip(state.leader, anything, strict=True)))

    def _place(self, state: State, visit: Int[Array, " row"], pull: Int[Array, " row"]) -> Int[Array, " row"]:
        """Place in the order of queries: a further pull on a query is a place of a further cycle."""
        cycle = visit // state.num_queries
        return visit % state.num_queries + (self.pulls * cycle + pull) * state.num_queries

    def _whole(self, state: State) -> Int[Array, " prompt"]:
        """Visits of each prompt that count: those of a first cycle, then of whole ones."""
        return _whole(state.met, state.num_queries)

    def _wanted(self, spec: Spec, state: State) -> Bool[Array, " prompt"]:
        """Prompts to pull: of every pair that keeps eps up, the one that has met fewer queries."""
        reach = state.reach
        most = jnp.round(jnp.max(reach, axis=1).astype(jnp.float32) * self.near)
        allowed = jnp.minimum(jnp.floor(self.eps / spec.grid), estimators.LARGEST).astype(jnp.int32)
        above = reach > allowed[:, None]
        pair = above & (reach.astype(jnp.float32) >= most[:, None])
        leader, own = state.leader.prompt, jnp.arange(spec.num_prompts, dtype=jnp.int32)
        other, lead = state.met[None], state.met[leader][:, None]
        behind = jnp.any(pair & (other <= lead), axis=0)
        leads = jnp.any(pair & (lead <= other), axis=1)
        return behind | jnp.any(leads[:, None] & (own[None] == leader[:, None]), axis=0)

    def _value(self, spec: Spec, state: State) -> Float[Array, "context prompt scale"]:
        """Estimated value of every arm; -inf where it was never pulled."""
        own = self._whole(state)
        inside = jnp.arange(state.values.shape[2], dtype=jnp.int32)[None] < own[:, None]
        total = jnp.sum(jnp.where(inside[None, :, :, None, None], state.values, 0), axis=(2, 3))
        mean = total.astype(jnp.float32) / jnp.maximum(own * self.pulls, 1).astype(jnp.float32)[None, :, None]
        return estimators.value_of(spec, mean * spec.unit[:, None, None], own > 0)

    def _reach(self, spec: Spec, state: State, leader: Policy) -> Int[Array, "context prompt"]:
        """Upper bound of each prompt's lead, in steps of the grid, were it the best."""
        task, visits = jnp.asarray(spec.task, jnp.int32), state.values.shape[2]
        common = jnp.minimum(state.met[None], state.met[leader.prompt][:, None])
        common = _whole(common, state.num_queries)
        inside = (jnp.arange(visits, dtype=jnp.int32)[None, None] < common[..., None])[..., None]
        own = jax.vmap(lambda t, p, n: state.values[t, p, :, :, n])(task, leader.prompt, leader.scale - 1)
        differs = jnp.where(inside[..., None], state.values[task] - own[:, None, :, :, None], 0)
        both = jnp.sum(differs, axis=3)
        number = jnp.maximum(common, 1).astype(jnp.float32)[..., None]
        mean = jnp.sum(both, axis=2).astype(jnp.float32) / number
        shift = _shift(visits)
        fine = _rounded(both, shift)
        middle = _rounded(jnp.round(mean).astype(jnp.int32), shift)
        off = jnp.where(inside, fine - middle[:, :, None], 0)
        square = jnp.sum(off * off, axis=2) + common[..., None] // 8
        weight, unit = spec.task_weight[:, None, None], spec.unit[task][:, None, None] / self.pulls
        whole = square.astype(jnp.float32) / jnp.maximum(number - 1.0, 1.0)
        variance, comparisons = whole, max(spec.num_arms - 1, 1)
        alpha = (1 - self.level) / (spec.num_contexts * comparisons)
        if self.target == "new":
            critical = jnp.asarray(critical_values(visits, alpha, self.planned))[common][..., None]
        else:
            apart = _rounded(differs[:, :, :, 0] - differs[:, :, :, 1], shift)
            noise = (jnp.sum(apart * apart, axis=2) + common[..., None] // 8).astype(jnp.float32) / number
            gone = jnp.minimum(number / state.num_queries.astype(jnp.float32), 1.0)
            spread, rest = jnp.round(whole * (1.0 - gone) * 2.0**8), jnp.round(noise * gone * 2.0**8)
            mixed, early = (spread + rest) * 2.0**-8, common[..., None] < state.num_queries
            variance = jnp.where(early, jnp.minimum(whole, mixed), mixed)
            clock = number * (whole / jnp.maximum(variance, 2.0**-8))
            after = jnp.asarray(critical_values(visits, alpha / 2, self.planned))[common][..., None]
            critical = jnp.where(early, critical_at(clock, alpha / 2, self.planned), after)
        error = jnp.sqrt(variance / number) * 2.0**shift * unit * weight
        half = estimators.on_grid(spec.grid[:, None, None], critical * error)
        ones = jnp.ones((spec.num_prompts, spec.max_scale), jnp.float32)
        less = estimators.steps(spec, estimators.BlockSums(jnp.zeros((spec.num_tasks, *ones.shape), jnp.float32), ones))
        known = less - jax.vmap(lambda row, p, n: row[p, n])(less, leader.prompt, leader.scale - 1)[:, None, None]
        most = int(estimators.LARGEST)
        lead = estimators.on_grid(spec.grid[:, None, None], mean * unit * weight)
        lead = jnp.clip(lead + jnp.clip(known, -most, most), -most, most)
        reach = jnp.where(common[..., None] >= FEWEST, lead + half, _NOTHING)
        prompt, scale = (jnp.arange(1, size + 1, dtype=jnp.int32) for size in (spec.num_prompts, spec.max_scale))
        itself = prompt[None, :, None] == leader.prompt[:, None, None] + 1
        itself = itself & (scale[None, None] == leader.scale[:, None, None])
        return jnp.max(jnp.where(itself, 0, reach), axis=2)


def eps(spec: Spec, state: State) -> Float[Array, " context"]:
    """Bound on what the leader of each context loses against the best arm; infinite where nothing can be said.

    For those who watch a run: it holds at all rounds at once (`UntilSure`).
    """
    most = jnp.max(state.reach, axis=1)
    return jnp.where(most < _NOTHING, jnp.maximum(most, 0).astype(jnp.float32) * spec.grid, jnp.inf)


@lru_cache(16)
def critical_values(visits: int, alpha: float, planned: int) -> Float[np.ndarray, " number"]:
    """Half-widths on one side, in standard errors, that hold at all numbers of visits at once; 0 at 0."""
    found = mixture_half_width(np.arange(1.0, visits + 1), alpha, planned)
    return np.concatenate([[0.0], found]).astype(np.float32)


def critical_at(clock: Float[Array, "*arm"], alpha: float, planned: int) -> Float[Array, "*arm"]:
    """The same at any real number of visits: the larger of those of the nearest two clocks of a table.

    Between them it is no larger: it falls, and then rises. From a table, for the same bits wherever it is compiled.
    """
    marks, values = clock_table(alpha, planned)
    place = jnp.searchsorted(jnp.asarray(marks), clock, side="right", method="scan_unrolled") - 1
    return jnp.asarray(values)[jnp.clip(place, 0, len(values) - 1)]


@lru_cache(16)
def clock_table(alpha: float, planned: int) -> tuple[Float[np.ndarray, " mark"], Float[np.ndarray, " mark"]]:
    """Clocks, and the largest half-width between each and the next."""
    marks = 2.0 ** (np.arange(_CLOCKS + 1) / _MARKS)
    values = mixture_half_width(marks, alpha, planned)
    return marks[:-1].astype(np.float32), np.maximum(values[:-1], values[1:]).astype(np.float32)


def _whole(met: Int[Array, "*prompt"], num_queries: Int[Array, ""]) -> Int[Array, "*prompt"]:
    """Visits without those of a cycle that is not the first and not whole."""
    return jnp.where(met > num_queries, met // num_queries * num_queries, met)


def _shift(visits: int) -> int:
    """Bits that differences lose before they are squared, so that sums of squares fit: they have up to 19."""
    return max(math.ceil((38 + math.log2(visits) - _BITS) / 2), 1)


def _rounded(units: Int[Array, "*shape"], shift: int) -> Int[Array, "*shape"]:
    """Whole units in steps of 2**shift, to the nearest."""
    return (units + 2 ** (shift - 1)) >> shift
