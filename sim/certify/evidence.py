"""Evidence per query: unbiased values of every arm on every query it met, and what stands behind them.

A row of evidence is a query: all completions of all prompts on it, for they share its difficulty. Two prompts are
compared on the queries that both have met. Values are unbiased: means over all subsets of a pair's completions (the
complete U-statistic, `kernels.subsets`), which exist for N up to the number of completions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

_SLACK = 2.0**-15
"""Share of a bound by which rewards, which are rounded (`sim.utilities`), may lie beyond it."""


class ContextTerms(NamedTuple):
    """Terms of a context's utility: weight x reward of its task + offset - cost_weight x N x cost of a completion.

    Attributes:
        name: for people.
        task: row of `QueryEvidence.rewards`.
        weight: utility of one unit of reward, >= 0.
        cost_weight: utility of one unit of cost, >= 0.
        offset: utility that all arms share.
    """

    name: str
    task: int = 0
    weight: float = 1.0
    cost_weight: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True, eq=False)
class QueryEvidence:
    """Unbiased values of arms on queries, from any design: some prompts may have met few of the queries.

    Pairs of a prompt and a query have their number of completions before their outcomes are seen; which pairs are met
    may depend on all that was seen before. Queries stand in the order in which they were met.

    Attributes:
        rewards: unbiased reward of N completions, shape (task, prompt, query, N); NaN exactly where N is above the
            pair's completions.
        completions: completions behind each pair, 0 where the prompt has not met the query, shape (prompt, query).
        contexts: terms of each context's utility.
        cost: cost of a completion, shape (prompt,) where it is known, (prompt, query) where it was measured.
        residuals: rows whose squares and products, summed, estimate variances and covariances of `rewards` over the
            completions of a pair, shape (task, prompt, query, row, N); NaN for N that they do not cover, as for all
            completions at once. None where nobody knows: nothing narrower is then said of exactly these queries.
        cost_residuals: the same of measured costs, rows aligned with `residuals`, shape (prompt, query, row).
        query_weights: weight of every query, > 0 and finite; None: equal.
        population: how many queries there are in the fixed list that those met come from; those met when None.
        bounds: least and largest reward of every task, shape (task, 2); None where there are none.

    Example:
        >>> import numpy as np
        >>> from sim.certify import ContextTerms, QueryEvidence
        >>> rewards = np.array([[[[1.0], [0.0]], [[1.0], [np.nan]]]])  # one task, two prompts, two queries, N = 1
        >>> found = QueryEvidence(rewards, np.array([[1, 1], [1, 0]]), (ContextTerms("free"),), np.zeros(2))
        >>> found.utilities(0)[0, :, 0].tolist(), found.num_queries
        ([1.0, 0.0], 2)
    """

    rewards: np.ndarray
    completions: np.ndarray
    contexts: tuple[ContextTerms, ...]
    cost: np.ndarray
    residuals: np.ndarray | None = None
    cost_residuals: np.ndarray | None = None
    query_weights: np.ndarray | None = None
    population: int | None = None
    bounds: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check that the fields fit together; a ValueError names the field and both numbers."""
        tasks, prompts, queries, scales = self.rewards.shape

        def shaped(name: str, *allowed: tuple[int, ...]) -> None:
            array = getattr(self, name)
            if array is not None and array.shape not in allowed:
                raise ValueError(f"{name} has shape {array.shape}; expected {' or '.join(map(str, allowed))}")

        shaped("completions", (prompts, queries))
        shaped("cost", (prompts,), (prompts, queries))
        shaped("query_weights", (queries,))
        shaped("bounds", (tasks, 2))
        if self.residuals is not None:
            shaped("residuals", (tasks, prompts, queries, self.residuals.shape[3], scales))
            shaped("cost_residuals", (prompts, queries, self.residuals.shape[3]))
        there = np.arange(1, scales + 1) <= self.completions[..., None]
        if not np.array_equal(np.isfinite(self.rewards), np.broadcast_to(there, self.rewards.shape)):
            raise ValueError("rewards must be finite for N up to the completions of a pair and NaN beyond")
        met = self.completions > 0
        if not np.isfinite(self.cost if self.cost.ndim == 1 else self.cost[met]).all():
            raise ValueError("cost holds a number that is not finite")
        if self.query_weights is not None and not np.all((self.query_weights > 0) & np.isfinite(self.query_weights)):
            raise ValueError("query_weights holds a weight that is not above 0 and finite")
        if self.population is not None and self.population < self.num_queries:
            raise ValueError(f"population is {self.population}, below the {self.num_queries} queries that were met")
        for context in self.contexts:
            if not 0 <= context.task < tasks:
                raise ValueError(f"context {context.name!r} names task {context.task}; there are {tasks}")
            for name, number in (("weight", context.weight), ("cost_weight", context.cost_weight)):
                if not 0 <= number < np.inf:
                    raise ValueError(f"context {context.name!r} has {name} {number}; it must be finite, at least 0")
        if self.bounds is not None:
            for task, ends in enumerate(self.bounds):
                self._check_bounds(task, float(ends[0]), float(ends[1]))

    def _check_bounds(self, task: int, low: float, high: float) -> None:
        """Bounds of a task that its rewards keep; those with an infinite end are none."""
        if not low <= high:
            raise ValueError(f"bounds of task {task} are {low} and {high}; the first must not be above the second")
        seen = self.rewards[task][np.isfinite(self.rewards[task])]
        slack = _SLACK * max(abs(low), abs(high))
        if np.isfinite(slack) and seen.size and not (low - slack <= seen.min() and seen.max() <= high + slack):
            raise ValueError(
                f"rewards of task {task} reach from {seen.min():.6g} to {seen.max():.6g}, beyond their bounds "
                f"{low:.6g} and {high:.6g}"
            )

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return self.rewards.shape[1]

    @property
    def max_scale(self) -> int:
        """Largest N that `rewards` has a place for."""
        return self.rewards.shape[3]

    @property
    def num_queries(self) -> int:
        """Queries that some prompt has met."""
        return int((self.completions > 0).any(axis=0).sum())

    @property
    def weights(self) -> Float64[np.ndarray, " query"]:
        """Weights of the queries, mean 1."""
        if self.query_weights is None:
            return np.ones(self.rewards.shape[2])
        return self.query_weights / self.query_weights.mean()

    def number(self, queries: Bool[np.ndarray, " query"]) -> int:
        """Number of queries; where weights differ, that of equal weight which vary as much (Kish, 1965)."""
        chosen = self.weights[queries]
        if self.query_weights is None or len(chosen) == 0:
            return len(chosen)
        return int(chosen.sum() ** 2 / (chosen**2).sum() + 1e-9)

    @property
    def list_length(self) -> int:
        """Queries of the fixed list."""
        return self.num_queries if self.population is None else self.population

    @property
    def measured(self) -> Bool[np.ndarray, "prompt query scale"]:
        """Mask of the values that are there."""
        return np.isfinite(self.rewards[0])

    def utilities(self, context: int) -> Float64[np.ndarray, "prompt query scale"]:
        """Utility of every arm on every query, NaN where it was not measured."""
        own = self.contexts[context]
        cost = self.cost[:, None] if self.cost.ndim == 1 else self.cost
        scales = np.arange(1, self.max_scale + 1)
        return own.weight * self.rewards[own.task] + own.offset - own.cost_weight * cost[..., None] * scales

    def noise(self, context: int) -> Float[np.ndarray, "prompt query row scale"] | None:
        """Rows that estimate the noise of completions in `utilities`; None where it is not known."""
        own = self.contexts[context]
        if self.residuals is None:
            return None
        rows = own.weight * self.residuals[own.task]
        if self.cost.ndim == 1 or own.cost_weight == 0:
            return rows
        if self.cost_residuals is None:
            return None
        return rows - own.cost_weight * self.cost_residuals[..., None] * np.arange(1, self.max_scale + 1)

    def range(self, context: int) -> tuple[float, float] | None:
        """Ends of the utility before costs and offset; None where scores, or measured costs, have no bound."""
        own = self.contexts[context]
        if self.bounds is None or not np.all(np.isfinite(self.bounds[own.task])):
            return None
        if self.cost.ndim == 2 and own.cost_weight > 0:
            return None
        low, high = self.bounds[own.task].tolist()
        return own.weight * low, own.weight * high

    def limits(self, context: int) -> tuple[Float64[np.ndarray, "prompt scale"], Float64[np.ndarray, "prompt scale"]]:
        """Least and largest utility that an arm may have, infinite where nothing bounds it; costs are at least 0."""
        own, shape = self.contexts[context], (self.num_prompts, self.max_scale)
        low, high = (-np.inf, np.inf) if self.bounds is None else (own.weight * self.bounds[own.task] + own.offset)
        least, most = np.full(shape, low), np.full(shape, high)
        if own.cost_weight == 0:
            return least, most
        if self.cost.ndim == 2:
            return np.full(shape, -np.inf), most
        cost = own.cost_weight * self.cost[:, None] * np.arange(1, self.max_scale + 1)
        return least - cost, most - cost
