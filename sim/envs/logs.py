"""An environment from a log of completions: the empirical distribution per prompt and query.

The paper's real environments are made in this way, from 128 completions per (prompt, query)
(Mahmud et al., arXiv 2508.10030, section 5).
"""

import re
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sim.constants import AGGREGATES
from sim.envs.dataset import Dataset

if TYPE_CHECKING:
    import pandas

_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
"""Text that is a number and no code such as 007."""


class Columns(NamedTuple):
    """Columns of a log by what they hold.

    Attributes:
        objectives: of each objective: answers where it is voted on, else scores.
        aggregate: "mv", "bon" or "mean" for each objective.
        gold: the right answer, or lists of accepted ones that count each, the same in all rows of a query; needed with
            "mv" only.
        cost: the cost of a completion; without it completions are free.
        prompt: tells prompts apart.
        query: tells queries apart.

    Example:
        >>> from sim import Columns
        >>> Columns(("answer", "brevity"), ("mv", "mean"), gold="right").votes
        ('answer',)
    """

    objectives: tuple[str, ...]
    aggregate: tuple[str, ...]
    gold: str | None = None
    cost: str | None = None
    prompt: str = "prompt"
    query: str = "query"

    @property
    def votes(self) -> tuple[str, ...]:
        """The columns that are voted on."""
        return tuple(column for column, how in zip(self.objectives, self.aggregate, strict=True) if how == "mv")


class Contexts(NamedTuple):
    """Contexts of an environment: how each weighs the objectives and the cost.

    Attributes:
        objective_weights: shape (context, objective).
        cost_weights: utility of one unit of cost per context, >= 0, shape (context,).
        names: for people; none by default.

    Example:
        >>> import numpy as np
        >>> from sim import Contexts
        >>> prices = Contexts(np.ones((2, 1)), np.array([0.0, 0.01]), ("free", "dear"))
        >>> dict(zip(prices.names, prices.cost_weights.tolist()))
        {'free': 0.0, 'dear': 0.01}
    """

    objective_weights: np.ndarray
    cost_weights: np.ndarray
    names: tuple[str, ...] = ()


def from_log(
    frame: "pandas.DataFrame", columns: Columns, contexts: Contexts, *, max_scale: int, name: str = "log"
) -> Dataset:
    """Build the environment in which a completion is drawn, with replacement, from those logged.

    The log has a row per completion. Prompts and queries are numbered in the order in which they
    appear; every prompt needs a completion for every query. An "mv" column holds answers, numbers or
    text; they are numbered query by query, the right answer included. Text is compared as it is, 007
    is not 7; where a log holds numbers, 4, 4.0 and the text "4" are one answer. (Read a CSV file with
    `dtype=str, keep_default_na=False`: "NA" and "None" are answers, too.) Other objectives hold finite
    scores. A prompt's cost is the mean of the cost column over its completions.

    Args:
        frame: the log.
        columns: which columns hold what.
        contexts: how contexts weigh objectives and cost.
        max_scale: largest inference scale Nmax.
        name: short name of the environment, with which the sentences of errors begin.

    Raises:
        ValueError: something is missing or wrong; the sentence names the column, and the row where it can.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from sim import Columns, Contexts, from_log
        >>> rows = [("terse", 0, "4", "4"), ("terse", 0, "5", "4"), ("wordy", 0, "4", "4")]
        >>> log = pd.DataFrame(rows, columns=["prompt", "query", "answer", "right"])
        >>> columns = Columns(("answer",), ("mv",), gold="right")
        >>> data = from_log(log, columns, Contexts(np.ones((1, 1)), np.zeros(1)), max_scale=4, name="sums")
        >>> data.prompt_names, data.completions.tolist()
        (('terse', 'wordy'), [[2], [1]])
    """
    objectives, aggregate, gold, cost, prompt, query = columns

    def wrong(problem: str) -> ValueError:
        return ValueError(f"{name}: {problem}")

    for how in aggregate:
        if how not in AGGREGATES:
            raise wrong(f"aggregate holds {how!r}; allowed are {', '.join(AGGREGATES)}")
    if len(objectives) != len(aggregate):
        raise wrong(f"{len(objectives)} objective columns for {len(aggregate)} aggregates; one each is needed")
    if "mv" in aggregate and gold is None:
        raise wrong("an 'mv' objective needs the column of the right answers; name it as gold")
    if "mv" not in aggregate and gold is not None:
        raise wrong(f"gold names the column {gold!r}, but no objective is voted on ('mv')")
    if cost is None and np.any(np.asarray(contexts.cost_weights) != 0):
        raise wrong("cost_weights charge for completions, but no cost column is named")
    wanted = [column for column in (prompt, query, *objectives, gold, cost) if column is not None]
    log = _columns(frame, wanted, wrong)
    prompts, prompt_names = _number(log[prompt], prompt, wrong)
    queries, query_names = _number(log[query], query, wrong)
    pulled = np.zeros((len(prompt_names), len(query_names)), np.int64)
    np.add.at(pulled, (prompts, queries), 1)
    if not pulled.all():
        p, x = np.argwhere(pulled == 0)[0]
        raise wrong(f"prompt {prompt_names[p]!r} has no completion for query {query_names[x]!r}; every pair needs one")

    answers, outcomes = None, []
    for column, how in zip(objectives, aggregate, strict=True):
        if how == "mv":
            _check_answers(log[column], column, wrong, log[str(gold)])
            labels, answers, torn = _label(log[column], log[str(gold)], queries)
            if torn is not None:
                asked = query_names[torn]
                raise wrong(f"query {asked!r} has several right answers; gold must be the same in all rows of a query")
            outcomes.append(labels)
        else:
            outcomes.append(_numbers(log[column], column, wrong))
    num_labels = None
    if aggregate == ("mv",) and answers is not None:
        num_labels = int(max(outcomes[0].max(), answers.max())) + 1
    probs, values = _empirical(prompts, queries, outcomes, pulled, num_labels)
    costs, pair_costs = np.zeros(len(prompt_names)), None
    if cost is not None:
        charged, pair_costs = _numbers(log[cost], cost, wrong), np.zeros(pulled.shape)
        costs = np.bincount(prompts, charged) / pulled.sum(axis=1)
        np.add.at(pair_costs, (prompts, queries), charged)
        pair_costs /= pulled
    return Dataset(
        name=name,
        aggregate=aggregate,
        probs=probs,
        objective_weights=np.asarray(contexts.objective_weights, np.float64),
        cost_weights=np.asarray(contexts.cost_weights, np.float64),
        costs=costs,
        max_scale=max_scale,
        values=values,
        answers=answers,
        completions=pulled,
        pair_costs=pair_costs,
        prompt_names=tuple(prompt_names),
        context_names=contexts.names,
        provenance={
            "source": "log of completions",
            "completions": len(frame),
            "completions_per_pair": [int(pulled.min()), int(pulled.max())],
            "queries": query_names,
        },
    )


def _columns(frame: "pandas.DataFrame", wanted: list[str], wrong: Callable[[str], ValueError]) -> dict[str, np.ndarray]:
    if len(frame) == 0:
        raise wrong("the log is empty; a row per completion is needed")
    if not frame.columns.is_unique:
        raise wrong("the log has two columns of the same name")
    log = {}
    for column in wanted:
        if column not in frame.columns:
            raise wrong(f"the log has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
        log[column] = frame[column].to_numpy()
        empty = np.flatnonzero(frame[column].isna())
        if empty.size:
            hint = "give answers that could not be read a label of their own"
            raise wrong(f"column {column!r} is empty in row {empty[0] + 1}; every row needs a value ({hint})")
    return log


def _number(column: np.ndarray, name: str, wrong: Callable[[str], ValueError]) -> tuple[np.ndarray, list[str]]:
    """Number entries from 0 as they appear, 1 and "1" as one: the number of each row, and the entries as text."""
    for row, entry in enumerate(column, start=1):
        if isinstance(entry, list | tuple | dict | np.ndarray):
            raise wrong(f"column {name!r} holds {str(entry)[:60]!r} in row {row}; a name is text or a number")
    places: dict[str, int] = {}
    numbers = np.array([places.setdefault(str(entry), len(places)) for entry in column])
    return numbers, list(places)


def _numbers(column: np.ndarray, name: str, wrong: Callable[[str], ValueError]) -> np.ndarray:
    numbers = np.array([_finite(entry) for entry in column])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        held = str(column[bad[0]])[:60]
        raise wrong(f"column {name!r} holds {held!r} in row {bad[0] + 1}; finite numbers are needed")
    return numbers


def _finite(entry: Any) -> float:
    """A number, or text that is one, as float64; NaN for all else."""
    try:
        return np.nan if isinstance(entry, str) and "_" in entry else float(entry)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _check_answers(column: np.ndarray, name: str, wrong: Callable[[str], ValueError], gold: np.ndarray) -> None:
    """Refuse answers that are no text, number or truth value, and truth values beside "true", which is not True."""
    rights = [one for entry in gold for one in (entry if isinstance(entry, list | tuple | np.ndarray) else [entry])]
    both = [*column, *rights]
    words = any(isinstance(entry, str) and entry.strip() in ("true", "false", "TRUE", "FALSE") for entry in both)
    truths = any(isinstance(entry, bool | np.bool_) for entry in both)
    for row, entry in enumerate(column, start=1):
        if isinstance(entry, list | tuple | dict | set | np.ndarray):
            kind = type(entry).__name__
            raise wrong(
                f"column {name!r} holds a {kind} ({str(entry)[:60]!r}) in row {row}; answers are text or numbers"
            )
    if words and truths:
        raise wrong(f"column {name!r} and its right answers hold truth values beside text as 'true'; write all as text")
    for entry in rights:
        if isinstance(entry, list | tuple | dict | set | np.ndarray):
            raise wrong(f"the right answers of {name!r} hold a {type(entry).__name__}; they are text or numbers")


def _label(answers: np.ndarray, gold: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Number the answers of each query from 0, in sorted order; all accepted answers of a query share a label.

    Returns:
        the label of each row's answer, the right label of each query, and a query whose rows accept different answers.
    """
    import pandas as pd

    golds = [list(entry) if isinstance(entry, list | tuple | np.ndarray) else [entry] for entry in gold]
    rights = [one for entry in golds for one in entry]
    of_rights = np.repeat(queries, [len(entry) for entry in golds])
    both = [*answers, *rights]
    numeric = [isinstance(entry, Real) and not isinstance(entry, bool) for entry in both]
    keys = np.empty(len(both), object)
    if all(numeric):
        keys[:] = both
    else:
        keys[:] = [_by_value(entry) if any(numeric) else str(entry) for entry in both]
    codes = pd.factorize(keys, sort=True)[0]
    accepted: dict[int, set[int]] = {}
    start, torn = len(answers), None
    for query, entry in zip(queries, golds, strict=True):
        own = set(codes[start : start + len(entry)].tolist())
        if accepted.setdefault(int(query), own) != own and torn is None:
            torn = int(query)
        start += len(entry)
    query = np.concatenate([queries, of_rights])
    first = {of: min(own) for of, own in accepted.items()}
    codes = np.array(
        [first[of] if code in accepted[of] else code for of, code in zip(query.tolist(), codes.tolist(), strict=True)]
    )
    group, rows, _ = _group([query, codes])
    begin = np.searchsorted(query[rows], np.arange(queries.max() + 1))
    labels = group - begin[query]
    right = np.empty(queries.max() + 1, np.int64)
    right[of_rights] = labels[queries.size :]
    return labels[: queries.size], right, torn


def basis(data: Dataset) -> str | None:
    """A sentence about what exact computation on a sample stands on; None where the law was given."""
    if data.completions is None:
        return None
    behind = f"Stands on {_behind(data.completions)} completions per (prompt, query) of a log"
    return f"{behind}: the plug-in law of a sample, not exact truth"


def few_completions(data: Dataset) -> str | None:
    """A sentence where values reach beyond the completions that stand behind them; None where they do not."""
    if data.completions is None or data.max_scale <= data.completions.min():
        return None
    least, behind = int(data.completions.min()), _behind(data.completions)
    return (
        f"N up to {data.max_scale} from {behind} completions per pair: a value at N > {least} is that of drawing from "
        "these again and again, as if there were no other completions"
    )


def _behind(counts: np.ndarray) -> str:
    """Completions of a pair: 16, or 2 to 16."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _by_value(entry: Any) -> str:
    """Text that is the same for a number however it is written, and all other text as it is."""
    text = str(entry)
    number = isinstance(entry, Real) and not isinstance(entry, bool)
    if _PLAIN.fullmatch(text) or (number and np.isfinite(_finite(entry))):
        plain = format(Decimal(text), "f")
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return "0" if plain == "-0" else plain
    return text


def _empirical(
    prompts: np.ndarray,
    queries: np.ndarray,
    outcomes: list[np.ndarray],
    pulled: np.ndarray,
    num_labels: int | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Frequencies of the distinct outcomes of each pair, and their vectors.

    With `num_labels`, outcomes are labels that stand for themselves and need no vectors. Pairs with
    fewer outcomes than others are filled up with their last one, at probability 0.
    """
    _, rows, times = _group([prompts, queries, *outcomes])
    p, x = prompts[rows], queries[rows]
    if num_labels is not None:
        probs = np.zeros((*pulled.shape, num_labels))
        probs[p, x, outcomes[0][rows]] = times / pulled[p, x]
        return probs, None
    pair = p * pulled.shape[1] + x
    first = np.searchsorted(pair, np.arange(pulled.size + 1))
    num_outcomes = int(np.diff(first).max())
    probs = np.zeros((*pulled.shape, num_outcomes))
    probs[p, x, np.arange(rows.size) - first[pair]] = times / pulled[p, x]
    vectors = np.stack([outcome[rows] for outcome in outcomes], axis=1).astype(np.float64)
    position = np.minimum(first[:-1, None] + np.arange(num_outcomes), first[1:, None] - 1)
    return probs, vectors[position].reshape(*probs.shape, len(outcomes))


def _group(keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with equal keys, in the order of the keys: group of each row, a row of each group, its size."""
    order = np.lexsort(keys[::-1])
    starts = np.ones(order.size, bool)
    starts[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    group = np.empty(order.size, np.int64)
    group[order] = np.cumsum(starts) - 1
    return group, order[starts], np.diff(np.flatnonzero(starts), append=order.size)
