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
X training queries, all are deepened first, and then met again as pulls of their own.

A cut keeps the best prompt of every context, then the prompts with the smallest gap to the best in some context: gaps
are utilities, so that contexts should have one unit.

Source: this project; `kernels.mixture` and `kernels.polynomial` cite theirs.
"""

from itertools import pairwise
from typing import ClassVar, NamedTuple

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
        active: prompts left.
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
    active: Bool[Array, " prompt"]
    had: Matrix
    wanted: Matrix
    done: Int[Array, ""]
    met: Int[Array, ""]
    num_queries: Int[Array, ""]
    sums: extrapolation.PullSums
    value: Float[Array, "context prompt scale"]


class MixtureRacing(Algorithm):
    """Race prompts on one matrix of queries and completions, each valued by the law of its answers."""

    queries: ClassVar[str] = "common-wor"
    estimator: ClassVar[str] = RAW

    def max_pull(self, spec: Spec) -> int:
        """The largest pull from which values can be estimated."""
        return extrapolation.widest(spec)

    def num_rows(self, spec: Spec) -> int:
        """Pulls of a round."""
        return max(ROWS, spec.num_prompts)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """Nothing pulled; as many prompts as can have a completion each will enter."""
        enough = [int(np.ceil(k * _spread(k) - 1e-9)) for k in range(1, spec.num_prompts + 1)]
        number = jnp.arange(1, spec.num_prompts + 1, dtype=jnp.int32)
        entered = jnp.max(jnp.where(budget >= jnp.asarray(enough, jnp.int32), number, 1))
        none, zero = Matrix(jnp.int32(0), jnp.int32(0)), jnp.int32(0)
        value = jnp.full((spec.num_contexts, spec.num_prompts, spec.max_scale), -jnp.inf, jnp.float32)
        active, num_queries = jnp.ones(spec.num_prompts, bool), jnp.int32(spec.num_queries or _MANY)
        race = budget, budget, entered, entered, active, none, none, zero, zero, num_queries
        state = State(*race, extrapolation.empty(spec), value)
        return state._replace(wanted=self._wanted(spec, state, entered))

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """After the last phase."""
        return state.size == 0

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """The next pulls of the phase, query by query; those that the prompts left have had go on where they were."""
        lucky = trim.first(draws.order(key, state.active.shape), state.entered)
        listed = select.listed(jnp.where(self._entering(state), lucky, state.active), spec.num_prompts)
        first, total = self._pulls(state)
        item = state.done + jnp.arange(self.num_rows(spec), dtype=jnp.int32)
        number = jnp.maximum(self._racing(state), 1)
        place = first + item // number
        pulls = ((item < total) & ~self.finished(spec, state)).astype(jnp.int32)
        scale = jnp.full(item.shape, jnp.maximum(state.wanted.size, 1), jnp.int32)
        places = Places(place - state.met, jnp.where(place < state.had.pulls, state.had.size, 0))
        return Allocation(jnp.where(pulls > 0, listed[item % number], 0), scale, pulls, places)

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """Add the pulls; at the end of a phase estimate, cut, and plan the next."""
        assert stats.raw is not None
        assert allocation.places is not None
        running, pulled = ~self.finished(spec, state), allocation.pulls > 0
        here = jnp.zeros(spec.num_prompts, bool).at[allocation.prompt].max(pulled)
        active = jnp.where(running & self._entering(state), here, state.active)
        last = jnp.max(jnp.where(pulled, allocation.places.start + 1, 0))
        done = state.done + self.num_rows(spec)
        ends = running & (done >= self._pulls(state)[1])
        sums = extrapolation.add(spec, state.sums, allocation.prompt, pulled, stats.raw)
        value = extrapolation.value(spec, sums, state.wanted.size, state.wanted.pulls, active & ends)
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
        again = ends & (wanted.size != state.wanted.size)  # pulls of another size are all asked for once more
        sums = jax.tree.map(lambda leaf: jnp.where(again, 0, leaf), sums)
        return found._replace(wanted=wanted, sums=sums)

    def standing(self, spec: Spec, state: State) -> Standing:
        """The prompts left and the estimates of all arms before the last cut."""
        shape = (spec.num_contexts, spec.num_arms)
        active = jnp.broadcast_to(state.active, (spec.num_contexts, spec.num_prompts))
        pulls = jnp.where(jnp.isfinite(state.value), state.had.pulls, 0).astype(jnp.float32)
        return Standing(active, state.value.reshape(shape), pulls.reshape(shape))

    def arms_left(self, spec: Spec, state: State) -> int:
        """All scales of the prompts left."""
        return spec.max_scale * int(state.active.sum())

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """The best arm of the prompts left, ties at random."""
        active = jnp.broadcast_to(state.active, (spec.num_contexts, spec.num_prompts))
        return trim.best_estimate(key, spec, state.value, active)

    def _entering(self, state: State) -> Bool[Array, ""]:
        """Whether nothing has been pulled."""
        return state.met == 0

    def _racing(self, state: State) -> Int[Array, ""]:
        """Prompts in the race."""
        return jnp.where(self._entering(state), state.entered, jnp.sum(state.active.astype(jnp.int32)))

    def _pulls(self, state: State) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """Place of the first query that the phase pulls, and pulls of all prompts."""
        first = jnp.where(state.wanted.size == state.had.size, state.had.pulls, 0)
        more = state.wanted.completions > state.had.completions
        return first, jnp.where(more, (state.wanted.pulls - first) * self._racing(state), 0)

    def _wanted(self, spec: Spec, state: State, size: Int[Array, ""]) -> Matrix:
        """The matrix that a phase of `size` prompts makes of `state.had`."""
        had, most = state.had, state.had.completions + state.left // jnp.maximum(self._racing(state), 1)
        share = parts.share(state.budget, jnp.asarray(_shares(spec.num_prompts))[state.entered, size])
        wanted = jnp.where(size <= 2, most, jnp.minimum(share, most))
        votes = "mv" in extrapolation.rewards_of(spec).aggregate
        found = matrix(wanted, had, self.max_pull(spec), state.num_queries, votes)
        return _either(found.completions > had.completions, found, had)

    def _cut(
        self,
        key: Key,
        spec: Spec,
        value: Float[Array, "context prompt scale"],
        active: Bool[Array, " prompt"],
        keep: Array,
    ) -> Bool[Array, " prompt"]:
        """Keep every context's best prompt, then those nearest to it."""
        score = jnp.max(value, axis=2)
        order = draws.order(key, (spec.num_contexts + 1, spec.num_prompts))
        inside = jnp.broadcast_to(active, score.shape)
        best = trim.pick(score, order[1:], inside)
        leads = jnp.zeros(spec.num_prompts, bool).at[best].set(True)
        top = jnp.take_along_axis(score, best[:, None], axis=1)
        gap = jnp.where(inside, top - score, jnp.inf)
        rank = jnp.where(leads, 1.0, -jnp.min(gap, axis=0))
        number = jnp.maximum(jnp.minimum(keep, jnp.sum(active)), jnp.sum(leads)).astype(jnp.int32)
        return select.best(rank, order[0], active, number)


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
    pulls = jnp.maximum(had.pulls, num_queries * -(-wanted // (num_queries * width)))
    deeper = jnp.maximum(had.size, jnp.minimum(width, wanted // jnp.maximum(pulls, 1)))
    again = _either(
        deeper * pulls > wanted, Matrix(had.size, wanted // jnp.maximum(had.size, 1)), Matrix(deeper, pulls)
    )
    return _either(once.pulls > num_queries, again, once)


def phases(entered: int) -> list[int]:
    """Prompts before each cut."""
    sizes = [entered]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _spread(entered: int) -> float:
    """S, completions of a race for each that a prompt of the first phase has times their number."""
    sizes = phases(entered)
    return 1.0 + sum(1 - after / before for before, after in pairwise(sizes))


def _shares(num_prompts: int) -> np.ndarray:
    """B_i / T in units of 2**-32, rounded up, by prompts that entered and prompts left."""
    shares = np.zeros((num_prompts + 1, num_prompts + 1))
    for entered in range(3, num_prompts + 1):
        for size in phases(entered):
            shares[entered, size] = 1 / (size * _spread(entered))
    return np.ceil(shares * 2.0**32).astype(np.uint32)


def _either(which: Bool[Array, ""], new: Matrix, old: Matrix) -> Matrix:
    return Matrix(*(jnp.where(which, a, b) for a, b in zip(new, old, strict=True)))
