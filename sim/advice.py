"""Advice from recorded completions: the best arm of every context, how sure that is, and what to record next.

Values are unbiased, means over all subsets of a pair's completions (`certify.evidence_of`), and end at their number.
What is said of the best arm is the statement of `sim.certify`, which allows for its having been chosen from the same
data, for all contexts at once. docs/certificates.md says what it assumes.

    >>> import numpy as np
    >>> from sim import Dataset
    >>> from sim.advice import advise, at_worth, evidence_of_sample
    >>> right = np.array([[3] * 12, [1, 2] * 6])  # of four completions on each of twelve queries
    >>> data = Dataset("log", ("mv",), np.stack([right, 4 - right], axis=2) / 4, np.ones((1, 1)), np.zeros(1),
    ...     np.array([0.002, 0.001]), 4, answers=np.zeros(12, int), completions=np.full((2, 12), 4))
    >>> advice, = advise(evidence_of_sample(at_worth(data, 0.05)), target=0.02)
    >>> (advice.prompt, advice.scale), advice.statement.eps
    ((0, 3), 0.0)
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sim.certify import (
    Confidence,
    Outlook,
    QueryEvidence,
    Statement,
    certify,
    evidence_of,
    in_words,
    more_needed,
    vote_bounds,
)
from sim.certify.statement import FEWEST
from sim.certify.wording import amount, number, ranges, round_up
from sim.envs.dataset import Dataset

TARGET = 0.02
"""Eps that further recording is planned for."""
MOST_ROWS = 2**26
"""Numbers in the rows of left-out completions; where there would be more, nothing is said of exactly these queries."""
_WHOLE = 1e-6
_NAMED = 4
"""Prompts that are named one by one."""


class Advice(NamedTuple):
    """Advice for one context.

    Attributes:
        prompt, scale: the arm; prompts count from 0.
        cost: mean cost of a query with it.
        statement: for new queries; None where none is possible. Of the same prompt at its best N that was measured
            where that of the arm was not.
        these: for exactly these queries; None where the noise of completions is not known.
        outlook: what it is expected to take to be surer; None without a statement.
        refusal: why there is no statement about the arm, else empty.
    """

    prompt: int
    scale: int
    cost: float
    statement: Statement | None
    these: Statement | None
    outlook: Outlook | None
    refusal: str


class Purchase(NamedTuple):
    """An arm worth its cost to somebody, and what one more unit of reward costs by going on to it.

    Attributes:
        prompt, scale: the arm; prompts count from 0.
        cost: of a query.
        reward: before costs.
        price: of one more unit of reward than with the purchase before; NaN for the cheapest.
    """

    prompt: int
    scale: int
    cost: float
    reward: float
    price: float


def evidence_of_sample(data: Dataset, noise: bool = True) -> QueryEvidence:
    """Evidence per query from an environment that was made of a log.

    Args:
        data: says how many completions stand behind every pair.
        noise: whether to measure the noise of completions, which statements on exactly these queries need.

    Returns:
        Evidence for N up to the completions of a pair, and no further than `data.max_scale`.

    Raises:
        ValueError: the data is no sample, or its laws are not the frequencies of its completions.
    """
    counts = _counts(data)
    width = int(counts.sum(axis=2).max())
    world, (_, values) = data.environment(), data.gold_first()
    strategy, completions = world.strategy, counts.sum(axis=2)
    pairs, outcome = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), counts.shape[2])
    first = np.cumsum(completions.ravel()) - completions.ravel()
    place = np.arange(len(pairs)) - first[pairs]
    found = np.zeros((data.num_prompts * data.num_queries, width, len(data.aggregate)))
    if values is None:
        found[pairs, place, 0] = outcome
    else:
        found[pairs, place] = values.reshape(-1, *values.shape[2:])[pairs, outcome]
    rows = len(strategy.weights) * completions.size * width**2
    made = evidence_of(
        strategy,
        world.spec,
        strategy.measured(found).reshape(*completions.shape, width, -1),
        completions,
        _costs(data),
        data.cost_weights,
        data.context_names,
        noise=noise and rows <= MOST_ROWS,
        bounds=vote_bounds([how == "mv" for how in data.aggregate], np.asarray(strategy.weights, np.float64)),
    )
    top = min(width, data.max_scale)
    rows = None if made.residuals is None else made.residuals[..., :top]
    return replace(made, rewards=made.rewards[..., :top], residuals=rows, query_weights=data.query_weights)


def at_worth(data: Dataset, worth: float, price: float = 1.0) -> Dataset:
    """The environment with contexts by what a unit of reward, such as a right answer, is worth on a query.

    Utility is in units of reward: a cost of `worth` takes one. There is a context for every weighting of objectives.

    Args:
        data: the environment.
        worth: in money, > 0.
        price: money for one unit of the environment's costs, > 0; 1 where these are money.

    Raises:
        ValueError: it has no costs, or a number is out of range.
    """
    _check_worth(worth, price, data.costs, data.name)
    weights, first = np.unique(data.objective_weights, axis=0, return_index=True)
    weights = weights[np.argsort(first)]
    return replace(
        data,
        objective_weights=weights,
        costs=data.costs * price,
        pair_costs=None if data.pair_costs is None else data.pair_costs * price,
        cost_weights=np.full(len(weights), 1 / worth),
        context_names=_worth_names(worth, len(weights)),
        context_probs=None,
    )


def evidence_at_worth(evidence: QueryEvidence, worth: float, price: float = 1.0) -> QueryEvidence:
    """Evidence with contexts by what a unit of reward is worth on a query, as `at_worth` makes them.

    Args:
        evidence: what was measured.
        worth: in money, > 0.
        price: money for one unit of cost, > 0; 1 where costs are money.

    Raises:
        ValueError: there are no costs, or a number is out of range.
    """
    _check_worth(worth, price, evidence.cost, "the run")
    unlike = list(dict.fromkeys(one._replace(name="", cost_weight=1 / worth) for one in evidence.contexts))
    names, rows = _worth_names(worth, len(unlike)), evidence.cost_residuals
    contexts = tuple(one._replace(name=name) for one, name in zip(unlike, names, strict=True))
    return replace(
        evidence,
        contexts=contexts,
        cost=evidence.cost * price,
        cost_residuals=None if rows is None else rows * price,
    )


def advise(
    evidence: QueryEvidence,
    arms: Sequence[tuple[int, int]] | None = None,
    confidence: Confidence | None = None,
    target: float = TARGET,
    least: float = 1.0,
) -> tuple[Advice, ...]:
    """Advice for every context; all statements hold at once with the level asked for.

    Args:
        evidence: what was measured.
        arms: prompt and N of every context's arm, prompts counted from 0; the best by their means when None.
        confidence: terms on which statements are to hold.
        target: eps that further recording is planned for, > 0.
        least: as in `best`.
    """
    terms = (confidence or Confidence())._replace(together=len(evidence.contexts))
    found = []
    for context in range(len(evidence.contexts)):
        prompt, scale = best(evidence, context, least=least) if arms is None else arms[context]
        cost, refusal, measured = float(mean_costs(evidence)[prompt]) * scale, "", scale
        known = evidence.measured[prompt].any(axis=0)
        if known.any() and not known[scale - 1 : scale].any():
            refusal, measured = "N is above the completions of every pair", best(evidence, context, prompt, least)[1]
        try:
            statement = certify(evidence, context, prompt, measured, terms)
        except ValueError as error:
            found.append(Advice(prompt, scale, cost, None, None, None, str(error)))
            continue
        these = None
        if evidence.noise(context) is not None:
            these = certify(evidence, context, prompt, measured, terms._replace(target="these"))
        outlook = more_needed(evidence, statement, target)
        found.append(Advice(prompt, scale, cost, statement, these, outlook, refusal))
    return tuple(found)


def best(evidence: QueryEvidence, context: int, prompt: int | None = None, least: float = 1.0) -> tuple[int, int]:
    """Prompt and N of a context's best arm by means, among those that were measured on most queries.

    Args:
        evidence: what was measured.
        context: number of the context.
        prompt: the arm's, counted from 0; any when None.
        least: share of the queries of the arm with most that an arm needs, of the prompt's where one is given.
    """
    mean = np.where(_on_most(evidence, prompt, least), _means(evidence, evidence.utilities(context)), -np.inf)
    if prompt is not None:
        mean[np.arange(len(mean)) != prompt] = -np.inf
    found, place = np.unravel_index(int(mean.round(12).argmax()), mean.shape)
    return int(found), int(place) + 1


def purchases(evidence: QueryEvidence, context: int, least: float = 1.0) -> list[Purchase]:
    """Arms from the cheapest on, each the one that makes a further unit of reward cheapest (a convex hull).

    Who pays up to some price for one more unit of reward is served best by the last of those that ask no more.

    Args:
        evidence: what was measured.
        context: whose weights of objectives count; its cost weight does not.
        least: as in `best`.
    """
    terms = list(evidence.contexts)
    terms[context] = terms[context]._replace(cost_weight=0.0)
    free = replace(evidence, contexts=tuple(terms))
    reward = np.where(_on_most(evidence, None, least), _means(evidence, free.utilities(context)), -np.inf)
    cost = mean_costs(evidence)[:, None] * np.arange(1, evidence.max_scale + 1)
    order = np.lexsort((-reward.ravel(), np.where(np.isfinite(reward), cost, np.inf).ravel()))
    place, price, found = int(order[0]), np.nan, []
    while True:
        prompt, n = divmod(place, evidence.max_scale)
        found.append(Purchase(prompt, n + 1, float(cost[prompt, n]), float(reward[prompt, n]), float(price)))
        more, dearer = reward - reward[prompt, n], cost - cost[prompt, n]
        with np.errstate(divide="ignore", invalid="ignore"):
            prices = np.where(more > _WHOLE, dearer / more, np.inf).ravel()
        price = prices.min()
        if not np.isfinite(price):
            return found
        alike = np.flatnonzero(prices <= price * (1 + 1e-12))
        place = int(alike[np.argmax(reward.ravel()[alike])])


def in_sentences(
    evidence: QueryEvidence,
    advice: Advice,
    prompts: Sequence[str],
    currency: str = "",
    worth: float | None = None,
    unit: str = "",
) -> list[str]:
    """The advice in words: the statement, its value in money, and what to record next.

    Args:
        evidence: behind the advice.
        advice: of one context.
        prompts: names of all prompts.
        currency: sign before costs.
        worth: of a unit of reward, in money, where utilities are in such units.
        unit: of costs that are no money, such as tokens.
    """
    statement, name = advice.statement, f"`{prompts[advice.prompt]}` with N = {advice.scale}"
    if statement is None:
        return [f"{name} looks best, by its mean alone.", *next_steps(evidence, advice, prompts, currency, unit)]
    cost, said = advice.cost / advice.scale * statement.scale, []
    if advice.refusal:
        said.append(f"Chosen: {name}; it gets no statement, as {advice.refusal}. By what was measured:")
    spent = f"{currency}{amount(cost)} {unit and f'{unit} '}a query" if cost > 0 else ""
    said.append(in_words(statement, prompts, advice.these, advice.outlook, spent))
    if worth is not None:
        said.append(f"In money: {currency}{amount(statement.value.estimate * worth)} a query, after costs.")
    return [*said, *next_steps(evidence, advice, prompts, currency, unit)]


def next_steps(
    evidence: QueryEvidence, advice: Advice, prompts: Sequence[str], currency: str = "", unit: str = ""
) -> list[str]:
    """Sentences about what to record next; none where eps is small enough and N is inside what was recorded.

    Args:
        evidence: behind the advice.
        advice: of one context.
        prompts: names of all prompts.
        currency: sign before costs.
        unit: of costs that are no money, such as tokens.
    """
    if advice.statement is None or advice.outlook is None:
        why = advice.refusal.replace(f"prompt {advice.prompt} ", f"`{prompts[advice.prompt]}` ")
        return [f"Nothing can be said yet: {why}."]
    said, statement, further, target = [], advice.statement, advice.outlook.queries, advice.outlook.target
    if np.isinf(statement.eps):
        said += _unknown(statement, prompts)
    elif statement.eps > target and 0 < advice.outlook.completions < np.inf:
        parts = []
        for size in sorted({round_up(one) for one in further.tolist() if one > 0}, reverse=True):
            own = [p for p, one in enumerate(further.tolist()) if one > 0 and round_up(one) == size]
            parts.append(f"{size:,} more queries with {_names(own, prompts)}")
        each = (evidence.completions.sum(axis=1) / np.maximum((evidence.completions > 0).sum(axis=1), 1)) * further
        money = float((each * mean_costs(evidence))[further > 0].sum())
        costs = f", which cost {currency}{amount(money)}{unit and f' {unit}'}" if money > 0 else ""
        total = round_up(advice.outlook.completions)
        said.append(f"To bring eps to {number(target)}, record {'; '.join(parts)} ({total:,} completions{costs}).")
    if not advice.refusal and 1 < advice.scale == evidence.completions[advice.prompt].max():
        more = f"record {2 * advice.scale} completions of a query to see whether more are better"
        said.append(f"N = {advice.scale} is the largest that `{prompts[advice.prompt]}` was recorded for: {more}.")
    return said


def _unknown(statement: Statement, prompts: Sequence[str]) -> list[str]:
    """Arms that nothing is said of, and what holds unless one of them is best."""
    arms = np.isposinf(statement.most)
    own = [
        (prompt, (np.flatnonzero(arms[prompt]) + 1).tolist()) for prompt in np.flatnonzero(arms.any(axis=1)).tolist()
    ]
    named = [f"`{prompts[prompt]}`, N = {ranges(scales)}" for prompt, scales in own[:_NAMED]]
    more = f"; and of {len(own) - _NAMED} more prompts" if len(own) > _NAMED else ""
    others = max(float(statement.most[~arms].max()), 0.0)
    places = 2 if others > 0.01 else 3
    most = number(np.ceil(others * 10**places - 1e-9) / 10**places, places)
    return [
        f"Fewer than {FEWEST} queries in common: {'; '.join(named)}{more}. Unless one of these is best, no arm is "
        f"better by more than {most}. To know, record them on the queries of `{prompts[statement.prompt]}`."
    ]


def mean_costs(evidence: QueryEvidence) -> Float64[np.ndarray, " prompt"]:
    """Mean cost of a completion of every prompt; NaN where it was never measured."""
    if evidence.cost.ndim == 1:
        return evidence.cost
    weights = evidence.weights * (evidence.completions > 0)
    with np.errstate(invalid="ignore"):
        return np.where(weights > 0, weights * evidence.cost, 0.0).sum(axis=1) / weights.sum(axis=1)


def _check_worth(worth: float, price: float, costs: np.ndarray, name: str) -> None:
    for option, value in (("worth", worth), ("price", price)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{option} is {value}; it must be above 0")
    if not np.nan_to_num(costs).any():
        raise ValueError(f"{name}: completions cost nothing there; worth needs costs to hold against")


def _worth_names(worth: float, number: int) -> tuple[str, ...]:
    return tuple(f"worth {worth:g}" + (f" {place}" if number > 1 else "") for place in range(number))


def _means(evidence: QueryEvidence, each: Float64[np.ndarray, "prompt query scale"]) -> np.ndarray:
    """Means over the queries that were measured, -inf where there are none."""
    weights = np.where(evidence.measured, evidence.weights[:, None], 0.0)
    total, there = (weights * np.where(evidence.measured, each, 0.0)).sum(axis=1), weights.sum(axis=1)
    return np.where(there > 0, total / np.where(there > 0, there, 1.0), -np.inf)


def _on_most(evidence: QueryEvidence, prompt: int | None, least: float) -> np.ndarray:
    """Whether an arm was measured on so large a share of the queries of the arm that has most."""
    met = evidence.measured.sum(axis=1)
    return (met > 0) & (met >= least * (met if prompt is None else met[prompt]).max())


def _names(numbers: Sequence[int], prompts: Sequence[str]) -> str:
    names = [f"`{prompts[one]}`" for one in numbers[:_NAMED]]
    left = len(numbers) - len(names)
    if left:
        return f"{', '.join(names)} and {left} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counts(data: Dataset) -> np.ndarray:
    """Completions of every outcome, right answers first, shape (prompt, query, outcome)."""
    if data.completions is None:
        raise ValueError(f"{data.name}: is no log: its laws are given, and `iapo values` computes exact values")
    times = data.gold_first()[0] * data.completions[..., None]
    counts = np.rint(times).astype(np.int64)
    if np.abs(times - counts).max() > _WHOLE * data.completions.max() or (counts.sum(axis=2) != data.completions).any():
        raise ValueError(f"{data.name}: probs are no frequencies of as many completions as it says stand behind them")
    return counts


def _costs(data: Dataset) -> np.ndarray:
    """Costs of completions: known where all of a prompt's are the same, else as measured on every query."""
    pairs = data.pair_costs
    if pairs is None or np.all(np.ptp(pairs, axis=1) <= 1e-9 * pairs.max(axis=1)):
        return data.costs
    return pairs
