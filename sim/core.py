"""The value types of the story and its two abstract classes. Imports no rooms but `sim.designs` and `sim.raw`.

environment -> allocation -> pulls -> statistics -> trim -> policy. An algorithm says what to pull (`Allocation`), is
told what came back (`Stats`) and answers (`Policy`). It never meets the environment: it serves trials and live models.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from sim.designs import estimator_parts
from sim.raw import RAW, Raw, Rewards

Key = UInt32[Array, "2"]
"""A raw counter-based key: the two words of a threefry key (see `sim.kernels.counter`)."""

REWARD_UNIT = 2.0**-16
"""Task rewards of one block are rounded to this unit (times the task's bound), so that sums are exact."""


class Spec(eqx.Module):
    """All that a learner may know about the world.

    A task is a direction of objective weights. Contexts that differ only in their cost weight, or by
    a positive factor, share a task and hence its statistics; the known cost is added at selection:
    value[c, p, n] = task_weight[c] * reward[task[c], p, n] + offset[c] - n * cost[c, p].

    Estimates leave out what is the same for all arms of a context: `offset`, and with `spared` what the cheapest first
    completion costs. Units, grids and what is left out are numerical: they follow from weights, costs and the outcomes
    that can occur, and say nothing of how likely these are.

    Attributes:
        num_contexts: number of contexts |C|.
        num_prompts: number of prompts |P|.
        max_scale: largest inference scale Nmax.
        task: index of each context's task, one int per context.
        task_weight: positive factor of each context's task.
        cost: utility that one completion of a prompt costs in a context (cost weight times cost).
        unit: the integer unit in which each task's rewards are summed, a power of two.
        grid: utility of one step of the estimates of each context, a power of two.
        offset: utility that every arm of a context has beside its measured reward, in two parts that add up.
        spared: 1 where estimates leave out the cheapest first completion's cost, 0 elsewhere.
        excess: where `spared`, the cost of a prompt's first completion less that of the cheapest; 0 elsewhere.
        rewards: how completions become task rewards.
        num_queries: queries that a run draws from; None where nobody has said.

    Example:
        >>> from sim import envs
        >>> spec = envs.get("mv-three-scales").data.environment().spec
        >>> spec.num_contexts, spec.num_prompts, spec.max_scale, spec.num_arms
        (2, 8, 15, 120)
    """

    num_contexts: int = eqx.field(static=True)
    num_prompts: int = eqx.field(static=True)
    max_scale: int = eqx.field(static=True)
    task: tuple[int, ...] = eqx.field(static=True)
    task_weight: Float[Array, " context"]
    cost: Float[Array, "context prompt"]
    unit: Float[Array, " task"]
    grid: Float[Array, " context"]
    offset: Float[Array, "2 context"]
    spared: Float[Array, " context"]
    excess: Float[Array, "context prompt"]
    rewards: Rewards | None = None
    num_queries: int | None = eqx.field(static=True, default=None)

    @property
    def num_tasks(self) -> int:
        """Number of distinct tasks among the contexts."""
        return max(self.task) + 1

    @property
    def num_arms(self) -> int:
        """Number of arms |A| = |P| * Nmax."""
        return self.num_prompts * self.max_scale


class Queries(NamedTuple):
    """The query law of one split: which queries it holds and how they are drawn.

    Attributes:
        ids: the environment's indices of the split's queries.
        cumulative: for a non-uniform law, the distribution function over `ids` in units of 2**-32
            (query i is drawn when word < cumulative[i] first holds); None for a uniform law.
        met: only in a run without replacement: pull i of a round is the one at place met + i of an order that
            `kernels.rounds.in_order` has fixed.
    """

    ids: Int[Array, " query"]
    cumulative: UInt32[Array, " query"] | None = None
    met: UInt32[Array, ""] | None = None


class Pull(NamedTuple):
    """`scale` completions of one prompt on one query; costs `scale` completions.

    Attributes:
        outcomes: a row per completion, a column per objective (an answer label where the objective
            is voted on). Rows from `scale` on are padding.
        key: its randomness, for what an estimator draws; None where it draws nothing.
    """

    prompt: Int[Array, ""]
    query: Int[Array, ""]
    scale: Int[Array, ""]
    outcomes: Float[Array, "max_scale objective"]
    key: Key | None = None

    def narrowed(self, width: int) -> "Pull":
        """The same with padding up to `width` only."""
        return self._replace(outcomes=self.outcomes[:width])


class Places(NamedTuple):
    """Queries that the pulls of a round meet, new ones or ones met before, and what is there already.

    For runs without replacement ("common-wor"), whose queries have an order. The pull of a prompt at a place has the
    same completions whenever it is made, and in whichever row: a larger scale adds to them, and only what is added
    costs. Statistics are of all its completions, old and new. Evidence per query takes a row for every query.

    Attributes:
        start: place of the row's first query, counted from the next query not met before: 0 is that one, -m the first
            of the last m met. The row's other pulls take the places that follow.
        had: completions that each of the row's pulls has had before; 0 at a place where the row made none.

    Example:
        >>> import jax.numpy as jnp
        >>> from sim import Allocation
        >>> from sim.core import Places
        >>> one = jnp.int32([1])  # the last query met again: two completions are there, three more are asked for
        >>> rows = Allocation(prompt=0 * one, scale=5 * one, pulls=one, places=Places(start=-one, had=2 * one))
        >>> int(rows.completions)
        3
    """

    start: Int[Array, " row"]
    had: Int[Array, " row"]


class Allocation(NamedTuple):
    """Pulls of one round: row l asks for `pulls[l]` pulls of `scale[l]` completions of `prompt[l]`.

    The number of rows is fixed per algorithm: one per prompt for PSST, one for a sequential rule. With `places` a row
    says which queries it meets; None: the next ones, all not met before in this run.

    Example:
        >>> import jax.numpy as jnp
        >>> from sim import Allocation
        >>> rows = Allocation(prompt=jnp.int32([0, 1]), scale=jnp.int32([1, 8]), pulls=jnp.int32([10, 2]))
        >>> int(rows.completions)
        26
    """

    prompt: Int[Array, " row"]
    scale: Int[Array, " row"]
    pulls: Int[Array, " row"]
    places: Places | None = None

    @property
    def completions(self) -> Int[Array, ""]:
        """Completions that this allocation costs."""
        new = self.scale if self.places is None else self.scale - self.places.had
        return jnp.sum(new * self.pulls)


class Stats(NamedTuple):
    """Statistics that came back, aligned with the rows of the allocation.

    Attributes:
        total: sum of task rewards over the blocks of each scale: disjoint blocks of a pull, or an estimate from the
            pull that counts as as many.
        blocks: number of blocks summed. With `reuse = False` the scale axis has length one: only
            the whole pull counts, as one block of the row's own scale.
        raw: the completions themselves, for `estimator = "raw"`; the scale axis of the others is then empty.

    Example:
        >>> import jax.numpy as jnp
        >>> from sim import Stats
        >>> both = Stats(total=jnp.float32([[[6.0, 2.0]]]), blocks=jnp.float32([[8.0, 4.0]]))  # four pulls of two
        >>> (both.total[0, 0] / both.blocks[0]).tolist()
        [0.75, 0.5]
    """

    total: Float[Array, "row task scale"]
    blocks: Float[Array, "row scale"]
    raw: Raw | None = None


class Policy(NamedTuple):
    """The answer: one arm per context. Prompts count from 0, scales from 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from sim import Policy
        >>> answer = Policy(prompt=jnp.int32([2, 0]), scale=jnp.int32([16, 1]))  # two contexts
        >>> answer.scale.tolist()
        [16, 1]
    """

    prompt: Int[Array, " context"]
    scale: Int[Array, " context"]


class Standing(NamedTuple):
    """Standing of an algorithm's choice: what it still considers, and by which estimates.

    Attributes:
        active: which arms, or which prompts where those are dropped as a whole, may still be recommended; None for a
            rule that drops nothing. Arms are ordered by prompt, then scale.
        score: estimated value of every arm, -inf for an arm never pulled.
        blocks: blocks behind every estimate, 1 where the rule keeps no count.
    """

    active: Bool[Array, "context item"] | None
    score: Float[Array, "context arm"]
    blocks: Float[Array, "context arm"]


class Trial(NamedTuple):
    """One run. Vmapped runs carry a leading trial axis.

    Attributes:
        policy: the answer.
        spent: completions spent.
        seen: what was observed of its rounds (`engine.turn.Observer`); None where nobody looked.
    """

    policy: Policy
    spent: Int[Array, ""]
    seen: Any = None


class Environment(eqx.Module):
    """A world that answers pulls. Abstract: see `sim.envs` for tabular and continuous worlds."""

    @property
    def spec(self) -> Spec:
        """All that a learner may know."""
        raise NotImplementedError

    @property
    def num_queries(self) -> int:
        """Number of queries over all splits."""
        raise NotImplementedError

    def pull(self, key: Key, prompt: Int[Array, ""], query: Int[Array, ""], scale: Int[Array, ""]) -> Pull:
        """Draw `scale` i.i.d. completions of `prompt` on `query`."""
        raise NotImplementedError

    def block_units(self, pull: Pull, estimator: str = "blocks") -> Int[Array, "task num_scales"]:
        """Sum of task rewards over a pull's blocks of every scale, in units of `spec.unit` (`kernels.subsets`).

        Scales go up to the rows of `pull.outcomes`, with "plug-in" up to `spec.max_scale`.
        """
        raise NotImplementedError

    def pull_rows(
        self,
        keys: UInt32[Array, "row 2"],
        prompts: Int[Array, " row"],
        queries: Int[Array, " row"],
        scales: Int[Array, " row"],
        width: int,
        estimator: str = "blocks",
    ) -> Int[Array, "row task num_scales"]:
        """`block_units` of one pull per row; no pull is larger than `width`.

        A world may override this with a kernel that returns the same integers faster.
        """

        def one(key: Key, prompt: Int[Array, ""], query: Int[Array, ""], scale: Int[Array, ""]) -> Int[Array, "t s"]:
            drawn = self.pull(key, prompt, query, scale).narrowed(width)
            return self.block_units(drawn._replace(key=key), estimator)

        return jax.vmap(one)(keys, prompts, queries, scales)

    def raw(self, pull: Pull) -> Raw:
        """The completions of a pull as they are (`kernels.completions`)."""
        raise NotImplementedError

    def raw_rows(
        self,
        keys: UInt32[Array, "row 2"],
        prompts: Int[Array, " row"],
        queries: Int[Array, " row"],
        scales: Int[Array, " row"],
        width: int,
    ) -> Raw:
        """`raw` of one pull per row, as `pull_rows`."""
        return jax.vmap(lambda *which: self.raw(self.pull(*which).narrowed(width)))(keys, prompts, queries, scales)

    def estimator_for(self, width: int, estimator: str) -> str:
        """The estimator of pulls of up to `width`: another than asked for where that takes too large a table here."""
        return estimator

    def merged(self) -> "Environment":
        """One world of B * P prompts from a batch of B worlds (leaves with a leading axis B).

        Worlds of one batch share their strategy. Only worlds that a fresh source draws need this.
        """
        raise TypeError(f"{type(self).__name__} cannot be drawn afresh per trial; use it as a fixed world")


class Instance(NamedTuple):
    """Instance of one trial: a world, the queries to train on, and the queries it is scored on."""

    world: Environment
    train: Queries
    test: Queries


class Source(eqx.Module):
    """Source of trials' worlds and splits. Abstract: see `sim.envs.sources`.

    A fixed source always answers with the same world and reshuffles its queries; a fresh source draws
    a new world for every trial, all with one strategy and equal shapes.

    Example:
        >>> from sim import envs
        >>> envs.get("crossover").source.fresh, envs.get("synth-bernoulli").source.fresh
        (False, True)
    """

    fresh: ClassVar[bool] = False
    """Whether every trial draws its own world."""

    context_probs: eqx.AbstractVar[Float[Array, " context"]]
    """Distribution over contexts."""

    @property
    def query_weights(self) -> Int[Array, " query"] | None:
        """Relative frequency of each query of a fixed world, None where all are as frequent."""

    def world(self, key: Key) -> Environment:
        """The world of the trial with this key."""
        raise NotImplementedError

    def split(self, key: Key) -> tuple[Queries, Queries]:
        """Training and test queries of the trial with this key, of sizes that no key changes."""
        raise NotImplementedError


class Algorithm(eqx.Module):
    """A fixed-budget selection rule; fields are hyperparameters. Abstract.

    The runner repeats allocate -> pull -> update until `finished`. Trials run in lockstep, so a
    finished state may be updated again with an allocation of zero pulls: that must change nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from sim import Algorithm, Allocation, Policy, run_one
        >>> class First(Algorithm):
        ...     def init(self, spec, budget):
        ...         return ()
        ...     def finished(self, spec, state):
        ...         return jnp.bool_(True)
        ...     def allocate(self, key, spec, state):
        ...         return Allocation(*jnp.zeros((3, spec.num_prompts), jnp.int32))
        ...     def update(self, key, spec, state, allocation, stats):
        ...         return state
        ...     def recommend(self, key, spec, state):
        ...         return Policy(jnp.zeros(spec.num_contexts, jnp.int32), jnp.ones(spec.num_contexts, jnp.int32))
        >>> run_one("two-arm", First(), 20, seed=0).policy.prompt.tolist()
        [0]
    """

    queries: ClassVar[str] = "independent"
    """How the runner draws queries for it, one of `QUERIES`."""
    estimator: ClassVar[str] = "blocks"
    """How pulls become statistics, one of `designs.ESTIMATORS` or `RAW`: not at all."""
    reuse: ClassVar[bool] = True
    """Whether a pull's disjoint blocks count for every smaller scale."""

    def traced(self) -> "Algorithm":
        """The algorithm with its real numbers as arrays: other constants then need no other program."""
        return jax.tree.map(lambda leaf: jnp.float32(leaf) if isinstance(leaf, float) else leaf, self)

    def shared(self) -> "Algorithm":
        """`traced`, and whole numbers as arrays where one program of single rounds may serve all, a little slower.

        For few trials, which take less than compiling. Whoever observes a run sees states as of `traced`.
        """
        return self.traced()

    @property
    def overspends(self) -> bool:
        """Whether it may spend more than its budget: then no live model may answer it."""
        return False

    @property
    def small_rounds(self) -> bool:
        """Whether a round is one pull or a few, so that a run has many rounds, in proportion to its budget."""
        return False

    def num_rounds(self, spec: Spec) -> int | None:
        """The most rounds of a run (static); None where the budget decides, which then has no more rounds than it."""
        return None

    def max_pull(self, spec: Spec) -> int:
        """The largest scale it ever pulls (static): lets the runner simulate narrower pulls."""
        return spec.max_scale

    def num_scales(self, spec: Spec) -> int:
        """Scales of which its pulls yield statistics (static)."""
        if self.estimator == RAW:
            return 0
        if not self.reuse:
            return 1
        return spec.max_scale if estimator_parts(self.estimator)[0] == "plug-in" else self.max_pull(spec)

    def num_rows(self, spec: Spec) -> int:
        """Rows of its allocations (static)."""
        return spec.num_prompts

    def min_budget(self, spec: Spec) -> int:
        """The smallest budget, in completions, with which the algorithm runs."""
        return 1

    def init(self, spec: Spec, budget: Int[Array, ""]) -> Any:
        """State before the first round."""
        raise NotImplementedError

    def finished(self, spec: Spec, state: Any) -> Bool[Array, ""]:
        """Whether the run is over."""
        raise NotImplementedError

    def allocate(self, key: Key, spec: Spec, state: Any) -> Allocation:
        """Choose the next pulls. Zero are allowed; a finished state must ask for none."""
        raise NotImplementedError

    def update(self, key: Key, spec: Spec, state: Any, allocation: Allocation, stats: Stats) -> Any:
        """State after the round's pulls came back."""
        raise NotImplementedError

    def standing(self, spec: Spec, state: Any) -> Standing | None:
        """Arms that a state still considers, for whoever watches a run; None where the algorithm does not say."""
        return None

    def arms_left(self, spec: Spec, state: Any) -> int:
        """Arms of a context that may still be recommended, for people; a rule that drops none has all left."""
        return spec.num_arms

    def recommend(self, key: Key, spec: Spec, state: Any) -> Policy:
        """The arm for every context."""
        raise NotImplementedError
