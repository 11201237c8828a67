"""Mixture racing: prompts are raced on one matrix of queries, each valued by the law of its answers.

All prompts left have the same matrix: n completions on each of M queries, the same for all. A phase adds queries and
completions to it, estimates every scale from it (`sim.extrapolation`), and halves the prompts, for all contexts
together. Nothing is paid twice, and estimates of all prompts are biased alike.

Phases (k prompts left, k_1 = |P|, then halved, rounded up, down to 2): before its cut every prompt has had
B_i = T / (k_i S) completions, S = 1 + sum over i > 1 of (1 - k_i / k_(i-1)): in proportion to 1 / k_i, as in Successive
Rejects (Audibert, Bubeck and Munos, COLT 2010), and T in all. The last phase spends what is left. Where T is below
|P| S, as many prompts as have B_1 >= 1 enter, drawn at random.

Of B completions, n = round(B^(1/3)) on a query for votes, the order at which squared bias (1/n^2) and variance (n/B) of
extrapolated values are alike; n = floor(B^(1/2)) for best of N alone. Never fewer than before. Where M would exceed the
X training queries, they are deepened first, n = floor or ceil(B / X), and from n = Nmax on met again as pulls of their
own; of two layouts the one is taken that spends more of B.

A cut keeps the three best prompts of every context (`seats`), then the prompts with the smallest gap to the best in
some context: gaps are utilities, so that contexts should have one unit. As more stay than k_i where contexts differ,
the last phases have less for each.

Source: this project; `kernels.mixture` and `kernels.polynomial` cite theirs.
"""

from itertools import pairwise
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sim import draws, extrapolation, trim
from sim.core import Algorithm, Allocation, Key, Places, Policy, Spec, Standing, Stats
from sim.kernels import parts, select
from sim.raw import RAW

ROWS = 256
"""Pulls of a round, at least one of every prompt; larger phases take several rounds."""
_MANY = 2**22
"""Queries where nobody has said how many: more than are ever met."""


class Matrix(NamedTuple):
    """Completions on each query, and queries."""

    size: Int[Array, ""]
    pulls: Int[Array, ""]

    @property
    def completions(self) -> Int[Array, ""]:
        """Completions of one prompt."""
        return self.size * self.pulls


class State(NamedTuple):
    """State of a race: prompts left, their matrix, and what is left of the budget.

    Attributes:
        left: completions not spent.
        budget: completions in all.
        entered: prompts that took part in the first phase.
        size: k_i of this phase; 0 when the race is over.
        active: prompts left in each context.
        had: the matrix before this phase.
        wanted: the matrix that this phase makes.
        done: pulls of this phase so far.
        met: queries met so far.
        num_queries: X.
        sums: of the pulls of the wanted size.
        value: estimates of the last phase.
    """

    left: Int[Array, ""]
    budget: Int[Array, ""]
    entered: Int[Array, ""]
    size: Int[Array, ""]
    active: Bool[Array, "context prompt"]
    had: Matrix
    wanted: Matrix
    done: Int[Array, ""]
    met: Int[Array, ""]
    num_queries: Int[Array, ""]
    sums: extrapolation.PullSums
    value: Float[Array, "context prompt scale"]


class MixtureRacing(Algorithm):
    """Race prompts on one matrix of queries and completions, each valued by the law of its answers.

    Attributes:
        seats: best prompts of every context that no cut takes.
        least: completions that every prompt has in the first phase; where T is too small for that, fewer prompts enter.
        fitted: whether laws are fitted. If not, each pull's frequencies are taken for its law ("plug-in").
        nested: whether a phase adds to the matrix that is there. If not, each makes one of its own, on further queries.
        together: whether contexts have one set of prompts. If not, each halves its own, and all of them are pulled.
        equal_rounds: whether phases cost the same, T / R, as those of Sequential Halving.
    """

    queries: ClassVar[str] = "common-wor"
    estimator: ClassVar[str] = RAW
    seats: int = eqx.field(static=True, default=3)
    least: int = eqx.field(static=True, default=1)
    fitted: bool = eqx.field(static=True, default=True)
    nested: bool = eqx.field(static=True, default=True)
    together: bool = eqx.field(static=True, default=True)
    equal_rounds: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Reject numbers below one."""
        for name in ("seats", "least"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def max_pull(self, spec: Spec) -> int:
        """The largest pull from which values can be estimated."""
        return extrapolation.widest(spec)

    def num_rows(self, spec: Spec) -> int:
        """Pulls of a round."""
        return max(ROWS, spec.num_prompts)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing pulled; as many prompts as can have a completion each will enter."""
        first = [_completions(k, self.equal_rounds)[0] for k in range(1, spec.num_prompts + 1)]
        enough = [int(np.ceil(self.least / part - 1e-9)) for part in first]
        number = jnp.arange(1, spec.num_prompts + 1, dtype=jnp.int32)
        entered = jnp.max(jnp.where(budget >= jnp.asarray(enough, jnp.int32), number, 1))
        none, zero = Matrix(jnp.int32(0), jnp.int32(0)), jnp.int32(0)
        value = jnp.full((spec.num_contexts, spec.num_prompts, spec.max_scale), -jnp.inf, jnp.float32)
        active = jnp.ones((spec.num_contexts, spec.num_prompts), bool)
        num_queries = jnp.int32(spec.num_queries or _MANY)
        race = budget, budget, entered, entered, active, none, none, zero, zero, num_queries
        state = State(*race, extrapolation.empty(spec), value)
        return state._replace(wanted=self._wanted(spec, state, entered))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last phase."""
        return state.size == 0

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """The next pulls of the phase, query by query; those that the prompts left have had go on where they were."""
        active = jnp.any(state.active, axis=0)
        lucky = trim.first(draws.order(key, active.shape), state.entered)
        listed = select.listed(jnp.where(self._entering(state), lucky, active), spec.num_prompts)
        first, total = self._pulls(state)
        before = self._before(state)
        item = state.done + jnp.arange(self.num_rows(spec), dtype=jnp.int32)
        number = jnp.maximum(self._racing(state), 1)
        new = 0 if self.nested else state.met - -(-state.done // number)  # a phase of its own begins where all was met
        place = new + first + item // number
        pulls = ((item < total) & ~self.finished(spec, state)).astype(jnp.int32)
        scale = jnp.full(item.shape, jnp.maximum(state.wanted.size, 1), jnp.int32)
        places = Places(place - state.met, jnp.where(place < before.pulls, before.size, 0))
        return Allocation(jnp.where(pulls > 0, listed[item % number], 0), scale, pulls, places)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls; at the end of a phase estimate, cut, and plan the next."""
        assert stats.raw is not None
        assert allocation.places is not None
        running, pulled = ~self.finished(spec, state), allocation.pulls > 0
        here = jnp.zeros(spec.num_prompts, bool).at[allocation.prompt].max(pulled)
        active = jnp.where(running & self._entering(state), here[None], state.active)
        last = jnp.max(jnp.where(pulled, allocation.places.start + 1, 0))
        done = state.done + self.num_rows(spec)
        ends = running & (done >= self._pulls(state)[1])
        sums = extrapolation.add(spec, state.sums, allocation.prompt, pulled, stats.raw)
        value = extrapolation.value(
            spec, sums, state.wanted.size, state.wanted.pulls, jnp.any(active, axis=0) & ends, self.fitted
        )
        over = state.size <= 2
        kept = jnp.where(over, active, self._cut(key, spec, value, active, (state.size + 1) // 2))
        found = state._replace(
            left=state.left - allocation.completions,
            active=jnp.where(ends, kept, active),
            size=jnp.where(ends, jnp.where(over, 0, (state.size + 1) // 2), state.size),
            done=jnp.where(ends, 0, jnp.where(running, done, state.done)),
            met=state.met + jnp.maximum(last, 0),
            had=_either(ends, state.wanted, state.had),
            sums=sums,
            value=jnp.where(ends, value, state.value),
        )
        wanted = _either(ends & ~over, self._wanted(spec, found, found.size), state.wanted)
        again = ends & (
            (wanted.size != state.wanted.size) | (not self.nested)
        )  # pulls of another size are all asked for once more
        sums = jax.tree.map(lambda leaf: jnp.where(again, 0, leaf), sums)
        return found._replace(wanted=wanted, sums=sums)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The prompts left and the estimates of all arms before the last cut."""
        shape = (spec.num_contexts, spec.num_arms)
        pulls = jnp.where(jnp.isfinite(state.value), state.had.pulls, 0).astype(jnp.float32)
        return Standing(state.active, state.value.reshape(shape), pulls.reshape(shape))

    def arms_left(self, spec: Spec, state: State) -> int:
        """All scales of the prompts left."""
        return spec.max_scale * int(state.active.any(axis=0).sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best arm of the prompts left, ties at random."""
        return trim.best_estimate(key, spec, state.value, state.active)

    def _entering(self, state: State) -> Bool[Array, ""]:
        """Whether nothing has been pulled."""
        return state.met == 0

    def _before(self, state: State) -> Matrix:
        """The part of this phase's matrix that is there already."""
        return state.had if self.nested else Matrix(jnp.int32(0), jnp.int32(0))

    def _racing(self, state: State) -> Int[Array, ""]:
        """Prompts in the race."""
        return jnp.where(self._entering(state), state.entered, jnp.sum(jnp.any(state.active, axis=0).astype(jnp.int32)))

    def _pulls(self, state: State) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """Place of the first query that the phase pulls, and pulls of all prompts."""
        before = self._before(state)
        first = jnp.where(state.wanted.size == before.size, before.pulls, 0)
        more = state.wanted.completions > before.completions
        return first, jnp.where(more, (state.wanted.pulls - first) * self._racing(state), 0)

    def _wanted(self, spec: Spec, state: State, size: Int[Array, ""]) -> Matrix:
        """The matrix that a phase of `size` prompts makes of `state.had`."""
        had = self._before(state)
        most = had.completions + state.left // jnp.maximum(self._racing(state), 1)
        share = parts.share(
            state.budget, jnp.asarray(_shares(spec.num_prompts, self.equal_rounds, self.nested))[state.entered, size]
        )
        wanted = jnp.where(size <= 2, most, jnp.minimum(share, most))
        votes = "mv" in extrapolation.rewards_of(spec).aggregate
        found = matrix(wanted, had, self.max_pull(spec), state.num_queries, votes)
        return _either(found.completions > had.completions, found, had)

    def _cut(
        self,
        key: Key,
        spec: Spec,
        value: Float[Array, "context prompt scale"],
        active: Bool[Array, "context prompt"],
        keep: Array,
    ) -> Bool[Array, "context prompt"]:
        """Keep every context's best prompts, then those nearest to the best of some context."""
        score = jnp.max(value, axis=2)
        order = draws.order(key, (spec.num_contexts + 1, spec.num_prompts))
        number = jnp.minimum(keep if not self.together else self.seats, jnp.sum(active, axis=1)).astype(jnp.int32)
        own = trim.keep_best(score, order[1:], active, number)
        if not self.together:
            return own
        seated = jnp.any(own, axis=0)
        top = jnp.max(jnp.where(active, score, -jnp.inf), axis=1, keepdims=True)
        gap = jnp.min(jnp.where(active, top - score, jnp.inf), axis=0)
        number = jnp.maximum(jnp.minimum(keep, jnp.sum(active[0])), jnp.sum(seated)).astype(jnp.int32)
        kept = select.best(jnp.where(seated, 1.0, -gap), order[0], active[0], number)
        return jnp.broadcast_to(kept, active.shape)


def matrix(wanted: Int[Array, ""], had: Matrix, width: int, num_queries: Int[Array, ""], votes: bool) -> Matrix:
    """Layout of a prompt's completions: never fewer on a query, nor on fewer queries, than it has had.

    Args:
        wanted: completions of a prompt, B.
        had: what it has.
        width: the most completions on a query.
        num_queries: X.
        votes: whether n is the cube root of B, as for votes, or the square root.
    """
    root = jnp.asarray([(2 * n - 1) ** 3 // 8 + 1 if votes else n**2 for n in range(2, width + 1)], jnp.int32)
    size = 1 + jnp.sum((wanted >= root).astype(jnp.int32))
    size = jnp.maximum(had.size, jnp.minimum(size, jnp.maximum(jnp.minimum(width, wanted), 1)))
    less = jnp.maximum(had.size, wanted // jnp.maximum(had.pulls, 1))
    size = jnp.where(had.pulls * size > wanted, jnp.maximum(less, 1), size)
    once = Matrix(size, jnp.maximum(had.pulls, wanted // size))
    return _either(once.pulls > num_queries, _deep(wanted, had, width, num_queries), once)


def _deep(wanted: Int[Array, ""], had: Matrix, width: int, num_queries: Int[Array, ""]) -> Matrix:
    """Layout on about X queries, or on more pulls of the largest size: of two nearest, the one that spends more."""
    each, cycles = wanted // num_queries, -(-wanted // width)
    many = Matrix(each, num_queries)
    few = Matrix(each + 1, wanted // (each + 1))
    repeats = each >= width
    many = _either(repeats, Matrix(wanted // jnp.maximum(cycles, 1), cycles), many)
    few = _either(repeats, Matrix(jnp.int32(width), wanted // width), few)
    spent = [
        jnp.where((one.size >= had.size) & (one.pulls >= had.pulls), one.completions, 0)  # 0: less than it has had
        for one in (many, few)
    ]
    deeper = Matrix(jnp.minimum(width, wanted // jnp.maximum(had.pulls, 1)), had.pulls)
    wider = Matrix(had.size, wanted // jnp.maximum(had.size, 1))
    kept = _either(deeper.size > had.size, deeper, wider)
    found = _either(spent[0] >= spent[1], many, few)
    return _either(jnp.maximum(spent[0], spent[1]) > 0, found, kept)


def phases(entered: int) -> list[int]:
    """Prompts before each cut."""
    sizes = [entered]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _completions(entered: int, equal_rounds: bool) -> list[float]:
    """B_i / T: parts of the budget that a prompt left in phase i has had by its end."""
    sizes = phases(entered)
    if equal_rounds:
        return [sum(1 / size for size in sizes[: i + 1]) / len(sizes) for i in range(len(sizes))]
    spread = 1.0 + sum(1 - after / before for before, after in pairwise(sizes))
    return [1 / (size * spread) for size in sizes]


def _shares(num_prompts: int, equal_rounds: bool, nested: bool) -> np.ndarray:
    """B_i / T in units of 2**-32, rounded up, by prompts that entered and prompts left; or each phase's own."""
    shares = np.zeros((num_prompts + 1, num_prompts + 1))
    for entered in range(3, num_prompts + 1):
        parts = _completions(entered, equal_rounds)
        shares[entered, phases(entered)] = parts if nested else np.diff(parts, prepend=0.0)
    return np.ceil(shares * 2.0**32).astype(np.uint32)


def _either(which: Bool[Array, ""], new: Matrix, old: Matrix) -> Matrix:
    return Matrix(*(jnp.where(which, a, b) for a, b in zip(new, old, strict=True)))
