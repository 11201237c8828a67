"""A finite world at rest: float64 NumPy tables with names and provenance, validated field by field.

`Dataset` is what files hold and exact values are computed from; `environment` turns it into the
pytree that trials run on.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sim.constants import AGGREGATES, GOLD, MAX_SCALE, TIES
from sim.core import Queries
from sim.envs.contexts import Outcomes, describe
from sim.envs.tabular import TabularWorld

LARGEST = 1e30
"""Largest size of values, weights, costs and their products: trials run in float32, which ends at 3e38, and add them
up over as many as 2**24 completions."""
MAX_LABELS = 2**20
"""Answer labels lie below."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A finite environment.

    Attributes:
        name: short name, used in tables and figures.
        aggregate: "mv", "bon" or "mean" for each of the K objectives.
        probs: probability of each of M outcomes, shape (prompt, query, outcome).
        objective_weights: shape (context, objective).
        cost_weights: utility of one unit of cost per context, >= 0, shape (context,).
        costs: cost of one completion of each prompt, >= 0, shape (prompt,).
        max_scale: largest inference scale Nmax.
        values: outcome vectors, shape (prompt, query, outcome, objective); an "mv" column holds answer
            labels. None where the only objective is "mv": the outcome is then the answer label.
        answers: label of each query's right answer, shape (query,); None without an "mv" objective.
        context_probs: distribution over contexts; uniform when None.
        query_weights: relative frequency of each query; uniform when None.
        test: mask of the queries that the source holds out, shape (query,); None when it names none.
        completions: how many completions of a model stand behind the law of each pair, >= 1, shape (prompt, query);
            None where the law was given, or nobody knows. Each law is then that of their frequencies.
        pair_costs: mean cost of the completions behind each pair, >= 0, shape (prompt, query); None where costs are
            known, or nobody knows. Trials charge `costs`.
        tie: majority-vote credit of a tied right answer: "uniform" (1/t) or "half" (0.5).
        prompt_names, context_names: labels for people.
        provenance: where it comes from (any JSON object).

    Example:
        >>> import numpy as np
        >>> from sim import Dataset
        >>> data = Dataset(
        ...     name="two votes",
        ...     aggregate=("mv",),
        ...     probs=np.array([[[0.6, 0.4]], [[0.7, 0.3]]]),  # two prompts, one query, two answers
        ...     answers=np.array([0]),
        ...     objective_weights=np.ones((1, 1)),
        ...     cost_weights=np.zeros(1),
        ...     costs=np.ones(2),
        ...     max_scale=5,
        ... )
        >>> data.num_prompts, data.num_queries, data.num_contexts
        (2, 1, 1)
    """

    name: str
    aggregate: tuple[str, ...]
    probs: np.ndarray
    objective_weights: np.ndarray
    cost_weights: np.ndarray
    costs: np.ndarray
    max_scale: int
    values: np.ndarray | None = None
    answers: np.ndarray | None = None
    context_probs: np.ndarray | None = None
    query_weights: np.ndarray | None = None
    test: np.ndarray | None = None
    completions: np.ndarray | None = None
    pair_costs: np.ndarray | None = None
    tie: str = "uniform"
    prompt_names: tuple[str, ...] = ()
    context_names: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field; a ValueError names the field, what is wrong and what would be right."""
        _validate(self)

    @property
    def num_prompts(self) -> int:
        """Number of prompts |P|."""
        return self.probs.shape[0]

    @property
    def num_queries(self) -> int:
        """Number of queries over all splits."""
        return self.probs.shape[1]

    @property
    def num_contexts(self) -> int:
        """Number of contexts |C|."""
        return self.objective_weights.shape[0]

    @property
    def context_distribution(self) -> np.ndarray:
        """Probability of each context, shape (context,)."""
        if self.context_probs is None:
            return np.full(self.num_contexts, 1.0 / self.num_contexts)
        return self.context_probs

    @property
    def query_distribution(self) -> np.ndarray:
        """Probability of each query over all splits, shape (query,)."""
        weights = np.ones(self.num_queries) if self.query_weights is None else self.query_weights
        return weights / weights.sum()

    def subset(self, ids: np.ndarray) -> "Dataset":
        """The same environment with some of its queries.

        Args:
            ids: numbers of the queries to keep, in their new order, shape (query,).

        Raises:
            ValueError: `ids` holds no query, or one that the data lacks.

        Example:
            >>> import numpy as np
            >>> from sim import envs
            >>> envs.get("bon-query-effects").data.subset(np.array([1])).num_queries
            1
        """
        if len(ids) == 0 or np.min(ids) < 0 or np.max(ids) >= self.num_queries:
            raise ValueError(f"{self.name}: ids must hold at least one query, each from 0 to {self.num_queries - 1}")
        parts: dict[str, Any] = {"probs": self.probs[:, ids], "test": None}
        for name, axis in (("values", 1), ("completions", 1), ("pair_costs", 1), ("answers", 0), ("query_weights", 0)):
            table = getattr(self, name)
            parts[name] = None if table is None else np.take(table, ids, axis=axis)
        names = self.provenance.get("queries")
        if isinstance(names, list) and len(names) == self.num_queries:
            parts["provenance"] = self.provenance | {"queries": [names[x] for x in ids]}
        return replace(self, **parts)

    def gold_first(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Tables with labels renamed, query by query, so that the right answer has label 0.

        Returns:
            probs (prompt, query, outcome) and values (prompt, query, outcome, objective) or None.
        """
        if self.answers is None:
            return self.probs, self.values
        if self.values is None:
            order = np.tile(np.arange(self.probs.shape[2]), (self.num_queries, 1))
            rows = np.arange(self.num_queries)
            order[rows, self.answers], order[:, GOLD] = GOLD, self.answers
            return np.take_along_axis(self.probs, order[None], axis=2), None
        values = self.values.copy()
        for k, how in enumerate(self.aggregate):
            if how == "mv":
                gold = self.answers[None, :, None]
                labels = self.values[..., k]
                values[..., k] = np.where(labels == gold, GOLD, np.where(labels == GOLD, gold, labels))
        return self.probs, values

    def environment(self) -> TabularWorld:
        """The pytree that trials run on (float32 tables, 32-bit thresholds)."""
        probs, values = self.gold_first()
        below = np.clip(np.cumsum(probs, axis=2)[..., :-1], 0.0, 1.0)
        thresholds = np.minimum(np.rint(below * 2.0**32), 2.0**32 - 1).astype(np.uint32)
        low, high = self._ends(probs > 0, values)
        spec, strategy = describe(
            Outcomes(self.aggregate, low, high),
            self.objective_weights,
            self.cost_weights,
            np.asarray(self.costs, np.float64),
            self.max_scale,
            num_answers=self.num_answers,
            tie=self.tie,
        )
        if values is not None:  # what cannot occur may be of any size
            vote = np.array([how == "mv" for how in self.aggregate])
            values = strategy.measured(np.where(vote, values, np.clip(values, low, high)))
        atoms = None if values is None else jax.device_put(values)
        return TabularWorld(jax.device_put(thresholds), atoms, strategy, spec)

    def queries(self, ids: np.ndarray) -> Queries:
        """The query law of the split that holds the queries `ids`."""
        if self.query_weights is None:
            return Queries(jnp.asarray(ids, jnp.int32))
        below = np.cumsum(self.query_weights[ids]) / self.query_weights[ids].sum()
        cumulative = np.minimum(np.rint(below * 2.0**32), 2.0**32 - 1).astype(np.uint32)
        return Queries(jnp.asarray(ids, jnp.int32), jnp.asarray(cumulative))

    @property
    def num_answers(self) -> int:
        """Number of answer labels; 1 where nothing is voted on."""
        if "mv" not in self.aggregate:
            return 1
        if self.values is None:
            return self.probs.shape[2]
        labels = self.values[..., self.aggregate.index("mv")]
        return int(max(labels.max(), np.max(self.answers) if self.answers is not None else 0)) + 1

    def _ends(self, possible: np.ndarray, values: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest outcome of each objective among those that can occur; of a vote, credit.

        Args:
            possible: mask (prompt, query, outcome).
            values: outcomes, right answers labelled `GOLD`; None where outcomes are labels.
        """
        low, high = np.zeros(len(self.aggregate)), np.ones(len(self.aggregate))
        for k, how in enumerate(self.aggregate):
            if values is None:
                own = np.broadcast_to(np.arange(possible.shape[2]), possible.shape)[possible]
            else:
                own = values[..., k][possible]
            if how == "mv":
                low[k], high[k] = float((own == GOLD).all()), float((own == GOLD).any())
            else:
                low[k], high[k] = own.min(), own.max()
        return low, high

    def _largest(self) -> np.ndarray:
        """Largest absolute value of each objective, 1 for a vote."""
        vote = np.array([how == "mv" for how in self.aggregate])
        if self.values is None:
            return np.ones(len(vote))
        return np.where(vote, 1.0, np.abs(self.values).max(axis=(0, 1, 2)))


def _validate(data: Dataset) -> None:
    def need(condition: Any, field_name: str, problem: str) -> None:
        if not np.all(condition):
            raise ValueError(f"{data.name}: {field_name} {problem}")

    def shaped(array: np.ndarray | None, field_name: str, shape: tuple[int, ...]) -> None:
        if array is not None:
            need(array.shape == shape, field_name, f"has shape {array.shape}; expected {shape}")
            need(np.isfinite(array), field_name, "holds a NaN or an infinity; all its numbers must be finite")

    for one in fields(data):
        given = getattr(data, one.name)
        if "ndarray" in str(one.type) and given is not None:
            there = hasattr(given, "shape") and hasattr(given, "dtype")
            need(there, one.name, f"is a {type(given).__name__}; a NumPy array is needed, as np.array(...) makes one")
    need(data.aggregate, "aggregate", f"is empty; name one of {', '.join(AGGREGATES)} for every objective")
    for how in data.aggregate:
        need(how in AGGREGATES, "aggregate", f"holds {how!r}; allowed are {', '.join(AGGREGATES)}")
    need(data.tie in TIES, "tie", f"is {data.tie!r}; allowed are {', '.join(TIES)}")
    need(data.probs.ndim == 3, "probs", f"has {data.probs.ndim} axes; expected (prompt, query, outcome)")
    num_prompts, num_queries, num_outcomes = data.probs.shape
    need(data.probs.size > 0, "probs", f"has shape {data.probs.shape}; every axis needs at least one entry")
    shaped(data.probs, "probs", data.probs.shape)
    need((data.probs >= 0) & (data.probs <= 1 + 1e-9), "probs", "leaves [0, 1]; probabilities are needed")
    sums = data.probs.sum(axis=2)
    worst = np.unravel_index(np.argmax(np.abs(sums - 1)), sums.shape)
    where = f"prompt {worst[0]}, query {worst[1]}"
    need(np.abs(sums - 1) <= 1e-6, "probs", f"sums to {sums[worst]:.6g} at {where}; it must sum to 1")
    num_objectives = len(data.aggregate)
    need(data.objective_weights.ndim == 2, "objective_weights", "must have the axes (context, objective)")
    num_contexts = data.objective_weights.shape[0]
    need(num_contexts > 0, "objective_weights", "holds no context; at least one is needed")
    shaped(data.objective_weights, "objective_weights", (num_contexts, num_objectives))
    shaped(data.cost_weights, "cost_weights", (num_contexts,))
    need(data.cost_weights >= 0, "cost_weights", "is negative somewhere; a cost weight is >= 0 (cost lowers utility)")
    shaped(data.costs, "costs", (num_prompts,))
    need(data.costs >= 0, "costs", "is negative somewhere; the cost of a completion is >= 0")
    whole = isinstance(data.max_scale, int) and 1 <= data.max_scale <= MAX_SCALE
    need(whole, "max_scale", f"is {data.max_scale!r}; expected a whole number from 1 to {MAX_SCALE}")
    shaped(data.values, "values", (num_prompts, num_queries, num_outcomes, num_objectives))
    mv = [k for k, how in enumerate(data.aggregate) if how == "mv"]
    if data.values is None:
        need(data.aggregate == ("mv",), "values", "is missing; only a single 'mv' objective can do without it")
    if mv:
        need(data.answers is not None, "answers", "is missing; an 'mv' objective needs each query's right answer")
        need(len(mv) == 1, "aggregate", "names 'mv' more than once; one objective can be voted on")
    if data.answers is not None:
        need(
            data.answers.shape == (num_queries,),
            "answers",
            f"has shape {data.answers.shape}; expected {(num_queries,)}",
        )
        need(
            np.issubdtype(data.answers.dtype, np.integer),
            "answers",
            f"has dtype {data.answers.dtype}; expected whole numbers",
        )
        limit = num_outcomes if data.values is None else MAX_LABELS
        need(
            (data.answers >= 0) & (data.answers < limit),
            "answers",
            f"leaves 0..{limit - 1}; it must hold answer labels",
        )
    if data.values is not None:
        for k in mv:
            labels = data.values[..., k]
            need(
                (labels == np.rint(labels)) & (labels >= 0) & (labels < MAX_LABELS),
                "values",
                f"objective {k} is voted on; its labels must be whole numbers in 0..{MAX_LABELS - 1}",
            )
    shaped(data.context_probs, "context_probs", (num_contexts,))
    if data.context_probs is not None:
        total = data.context_probs.sum()
        need(
            (data.context_probs >= 0).all() and abs(total - 1) <= 1e-6,
            "context_probs",
            f"sums to {total:.6g}; it must be a distribution over contexts",
        )
    shaped(data.query_weights, "query_weights", (num_queries,))
    _validate_sizes(data)
    if data.query_weights is not None:
        need(data.query_weights > 0, "query_weights", "is not positive somewhere; every query needs a weight > 0")
    if data.test is not None:
        need(
            data.test.shape == (num_queries,) and data.test.dtype == bool,
            "test",
            f"must be a mask of shape {(num_queries,)}",
        )
        need(0 < data.test.sum() < num_queries, "test", "leaves a split empty; both need a query")
    if data.completions is not None:
        counts, shape = data.completions, (num_prompts, num_queries)
        need(counts.shape == shape, "completions", f"has shape {counts.shape}; expected {shape}")
        whole = np.issubdtype(counts.dtype, np.integer)
        need(whole, "completions", f"has dtype {counts.dtype}; expected whole numbers")
        need(counts >= 1, "completions", f"holds {counts.min()}; a pair has at least one completion")
    shaped(data.pair_costs, "pair_costs", (num_prompts, num_queries))
    if data.pair_costs is not None:
        need(data.completions is not None, "pair_costs", "are those of completions, but completions is missing")
        need(data.pair_costs >= 0, "pair_costs", "is negative somewhere; the cost of a completion is >= 0")
    for names, field_name, length in (
        (data.prompt_names, "prompt_names", num_prompts),
        (data.context_names, "context_names", num_contexts),
    ):
        need(not names or len(names) == length, field_name, f"holds {len(names)} names; expected {length}")


def _validate_sizes(data: Dataset) -> None:
    """Refuse finite numbers so large that float32 loses them."""

    def small(size: float, fields: str) -> None:
        if size > LARGEST:
            raise ValueError(
                f"{data.name}: {fields} reach {size:.3g}; at most {LARGEST:g} is allowed (trials run in float32)"
            )

    for name in ("values", "objective_weights", "cost_weights", "costs", "query_weights", "pair_costs"):
        array = getattr(data, name)
        if array is not None:
            small(float(np.abs(array).max()), name)
    rewards = np.abs(data.objective_weights) @ data._largest()
    small(float(rewards.max()), "objective_weights times values")
    costs = data.cost_weights.max() * data.costs.max() * data.max_scale
    small(float(costs), "cost_weights times costs times max_scale")
