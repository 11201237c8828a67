"""Plan from a pilot: queries and completions expected to bring eps down to a target.

Half-widths are taken to shrink like one over the square root of the queries, and estimated leads to stay: an
expectation, not a bound.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sim.certify.evidence import QueryEvidence
from sim.certify.statement import Statement


class Outlook(NamedTuple):
    """Further effort expected to bring eps to a target.

    Attributes:
        target: eps to reach.
        queries: further queries of each prompt; infinite where none suffice, shape (prompt,).
        completions: further completions in all; infinite likewise.
        beyond: whether a fixed list has fewer queries than that: its end comes first.
    """

    target: float
    queries: Float64[np.ndarray, " prompt"]
    completions: float
    beyond: bool


def more_needed(evidence: QueryEvidence, statement: Statement, target: float) -> Outlook:
    """The further queries, of the chosen prompt and of those whose arms keep eps up, expected to bring it to `target`.

    Each gets as many completions per query as it had. On an exhausted list "queries" are further completions, in units
    of what the prompt had per query.

    Args:
        evidence: behind the statement.
        statement: of one context.
        target: eps to reach, > 0.
    """
    if not target > 0:
        raise ValueError(f"the target of eps is {target}; it must be above 0")
    had = (evidence.completions > 0).sum(axis=1)
    each = evidence.completions.sum(axis=1) / np.maximum(had, 1)
    needed = had.astype(np.float64)
    own = statement.prompt
    for prompt, scale in np.argwhere(statement.most > target).tolist():
        lead, common = statement.lead[prompt, scale], statement.common[prompt, scale]
        most = statement.most[prompt, scale]
        queries = np.inf
        if np.isfinite(most) and lead < target:
            queries = np.ceil(common * ((most - lead) / (target - lead)) ** 2)
        for one in (prompt, own):
            needed[one] = max(needed[one], queries)
    further = needed - had
    fixed = statement.confidence.target == "these" and not statement.exhausted
    beyond = fixed and bool(needed.max() > evidence.list_length)
    return Outlook(target, further, float((further * each)[further > 0].sum()), beyond)
