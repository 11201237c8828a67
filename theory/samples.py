"""Values of arms from a log: unbiased estimates with intervals over queries, where a data set's laws are frequencies.

The value of drawing again and again from n completions of a pair (`theory.values`) is biased at N near n. The mean over
all subsets of N of them, the U-statistic (Hoeffding, 1948), has the mean that N new completions have, for N up to n;
beyond, a log says nothing without a model, and no value is given. A query counts once, however many completions it has:
values are means over queries, and intervals those of queries that are drawn independently (cluster by query, pair
differences by query; Miller, arXiv 2411.00640).

Intervals are those of `sim.certify.intervals`. The range of rewards is known in a context that weighs votes alone, and
scores of which nothing but 0 and 1 was seen.
"""

import numpy as np
from jaxtyping import Float64, Int

from sim.certify.intervals import FEWEST, LEVEL, Estimates, Utilities, intervals
from sim.envs.dataset import Dataset
from sim.kernels.majority import credit_of_subsets
from sim.utilities import tasks_of
from theory.blocks.best_of_n import best_of_subsets
from theory.blocks.law import Law, answer_probs, law_of_data
from theory.exact import query_law

_WHOLE = 1e-6


def sample_values(data: Dataset, rewards: Float64[np.ndarray, "task prompt query scale"] | None = None) -> Estimates:
    """Unbiased values of every arm of a log's environment, with 95 % intervals over queries.

    Args:
        data: an environment that says how many completions stand behind each pair, as `sim.from_log` makes them.
        rewards: `sample_task_values(data)` where at hand already.

    Returns:
        Estimates of shape (context, prompt, scale), NaN at scales beyond the fewest completions of a prompt's pairs.

    Raises:
        ValueError: the data is no sample, or its laws are not the frequencies of its completions.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from sim import Columns, Contexts, from_log
        >>> from theory import sample_values, values
        >>> answers = {"q1": "4445", "q2": "7788"}
        >>> rows = [("plain", query, answer, "47"[k]) for k, query in enumerate(answers) for answer in answers[query]]
        >>> log = pd.DataFrame(rows, columns=["prompt", "query", "answer", "right"])
        >>> columns, contexts = Columns(("answer",), ("mv",), gold="right"), Contexts(np.ones((1, 1)), np.zeros(1))
        >>> data = from_log(log, columns, contexts, max_scale=3)
        >>> sample_values(data).value.round(3).tolist(), values(data).round(3).tolist()
        ([[[0.625, 0.625, 0.75]]], [[[0.625, 0.625, 0.672]]])
    """
    rewards = sample_task_values(data) if rewards is None else rewards
    per_context = [over_queries(data, utilities(data, rewards, c)) for c in range(data.num_contexts)]
    return Estimates(*(np.stack(part) for part in zip(*per_context, strict=True)))


def behind_best(data: Dataset, rewards: Float64[np.ndarray, "task prompt query scale"], context: int) -> Estimates:
    """Value of a context's best arm less that of every other, (prompt, scale), with intervals paired by query.

    Args:
        data: as in `sample_values`.
        rewards: `sample_task_values(data)`.
        context: number of the context.
    """
    each, ends, known = own = utilities(data, rewards, context)
    mean = over_queries(data, own).value
    prompt, n = np.unravel_index(np.nanargmax(mean), mean.shape)
    if ends is not None:
        ends = np.stack([ends[0, prompt, n] - ends[1], ends[1, prompt, n] - ends[0]])
    return over_queries(data, Utilities(each[prompt, :, n, None] - each, ends, known))


def statements(data: Dataset) -> list[str]:
    """Sentences about what the estimates of a sample stand on: completions, queries, intervals, and where they end."""
    counts = np.asarray(data.completions)
    low, high = int(counts.min()), int(counts.max())
    number = f"{low}" if low == high else f"{low} to {high}"
    queries = "1 query" if data.num_queries == 1 else f"{data.num_queries:,} queries"
    found = [
        f"Stands on {number} completions per (prompt, query) of a log, {queries}: unbiased estimates (means over all "
        "subsets of N of them), not exact values"
    ]
    if data.num_queries < FEWEST:
        found.append(f"No intervals: {queries}; at least {FEWEST} are needed")
    else:
        found.append(
            "Intervals: Student's t over queries, for new queries of this kind; of votes, and scores of 0 and 1, with "
            "two made-up queries at either end, of other scores corrected for skewness. Each holds by itself: the best "
            "arm is picked by its value, which is therefore rather too high"
        )
    if low < data.max_scale:
        more = "a log says nothing beyond the completions of a pair; record more of them"
        found.append(
            f"No values at N > {low}: {more}" if low == high else f"Values are for {_reach(data, counts)}: {more}"
        )
    return found


def _reach(data: Dataset, counts: Int[np.ndarray, "prompt query"]) -> str:
    """Prompts by where their values end, those of one place together."""
    found = []
    for least in np.unique(counts.min(axis=1)):
        own = np.flatnonzero(counts.min(axis=1) == least)
        names = [data.prompt_names[p] if any(data.prompt_names) else str(p) for p in own[:3]]
        some = ", ".join(names) + (f" and {len(own) - 3} more" if len(own) > 3 else "")
        short, queries = int((counts[own] == least).any(axis=0).sum()), counts.shape[1]
        where = "every query" if short == queries else f"{short} of {queries} queries"
        found.append(f"N <= {least} of prompt {some} ({where} with no more)")
    return "; ".join(found)


def sample_task_values(data: Dataset) -> Float64[np.ndarray, "task prompt query scale"]:
    """Unbiased task rewards of every pair: means over all subsets of its completions, NaN beyond them.

    Args:
        data: as in `sample_values`.

    Raises:
        ValueError: as there.
    """
    law = law_of_data(data)
    counts = _counts(data, law)
    largest = min(data.max_scale, int(counts.sum(axis=2).max()))
    found = np.full((len(law.weights), *law.probs.shape[:2], data.max_scale), np.nan)
    found[..., :largest] = 0
    for how in law.used:
        found[..., :largest] += _part(law, counts, how, largest)
    return found


def utilities(data: Dataset, rewards: Float64[np.ndarray, "task prompt query scale"], context: int) -> Utilities:
    """Utilities of one context; costs are those of the pair's own completions, where the data has them.

    Args:
        data: as in `sample_values`.
        rewards: `sample_task_values(data)`.
        context: number of the context.
    """
    tasks, cost = tasks_of(data.objective_weights), data.pair_costs
    if cost is None:
        cost = np.broadcast_to(data.costs[:, None], rewards.shape[1:3])
    charged = data.cost_weights[context] * cost[..., None] * np.arange(1, data.max_scale + 1)
    each = tasks.factor[context] * rewards[tasks.index[context]] - charged
    known = data.pair_costs is None or float(data.cost_weights[context]) == 0.0
    weights = data.objective_weights[context]
    if not all(_is_share(data, k) for k in np.flatnonzero(weights).tolist()):
        return Utilities(each, None, known)
    mean_cost = np.einsum("q,pqs->ps", query_law(data), charged)
    ends = np.stack([part.sum() - mean_cost for part in (np.minimum(weights, 0), np.maximum(weights, 0))])
    return Utilities(each, ends, known)


def over_queries(data: Dataset, utilities: Utilities, level: float = LEVEL) -> Estimates:
    """Means over queries, with intervals for the mean over all queries of this kind.

    Args:
        data: says how frequent queries are.
        utilities: of every query.
        level: chance that one interval covers.
    """
    return intervals(utilities, query_law(data), level)


def _is_share(data: Dataset, objective: int) -> bool:
    """Whether means of an objective lie between 0 and 1: it is voted on, or nothing but 0 and 1 was seen of it."""
    if data.aggregate[objective] == "mv" or data.values is None:
        return True
    return bool(np.isin(data.values[..., objective][data.probs > 0], (0.0, 1.0)).all())


def _counts(data: Dataset, law: Law) -> Int[np.ndarray, "prompt query outcome"]:
    """Completions of every outcome, in the order of the law's."""
    if data.completions is None:
        raise ValueError(f"{data.name}: is no sample: it does not say how many completions stand behind each law")
    times = law.probs * data.completions[..., None]
    counts = np.rint(times).astype(np.int64)
    off = np.abs(times - counts).max(axis=2)
    if off.max() > _WHOLE * data.completions.max():
        p, x = np.unravel_index(off.argmax(), off.shape)
        raise ValueError(
            f"{data.name}: probs of prompt {p}, query {x} are no frequencies of its {data.completions[p, x]} "
            "completions; leave completions out where laws were given"
        )
    return counts


def _part(law: Law, counts: np.ndarray, how: str, largest: int) -> Float64[np.ndarray, "task prompt query scale"]:
    """Unbiased means of the part of the reward that one aggregate gives, at scales up to the largest."""
    if how == "mv":
        votes = np.rint(answer_probs(law._replace(probs=counts.astype(np.float64)))).astype(np.int64)
        return law.weights[:, law.columns("mv")[0], None, None, None] * credit_of_subsets(votes, largest, law.tie)
    scores = law.scores(how)
    scores = np.broadcast_to(scores[:, None, None] if scores.ndim == 2 else scores, (len(scores), *counts.shape))
    if how == "bon":
        return np.stack([best_of_subsets(own, counts, largest) for own in scores])
    total = counts.sum(axis=2)
    mean = (scores * counts).sum(axis=3) / total
    return np.where(np.arange(1, largest + 1) <= total[..., None], mean[..., None], np.nan)
