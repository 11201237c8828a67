"""Reference policies: functions of the truth that comparisons show beside what algorithms learn.

Nobody who has only pulls can follow them: they take exact values on the training queries. `sim.comparison` runs them
like algorithms; the engine, a live model and plans of budgets know nothing of them.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from sim import evaluate

PolicyArms = tuple[Int[np.ndarray, "trial context"], Int[np.ndarray, "trial context"]]
"""Prompts from 0 and scales from 1."""


def oracle(values: Float[np.ndarray, "trial context prompt scale"]) -> PolicyArms:
    """Recommend the arm with the largest exact training value in every context.

    The first of equally good arms: the ceiling of every comparison. Its regret on held-out queries is the price of a
    finite training set.
    """
    best = (evaluate.clear_gaps(values) == 0).reshape(*values.shape[:2], -1).argmax(axis=2).astype(np.int32)
    return best // values.shape[3], best % values.shape[3] + 1


REFERENCES: dict[str, Callable[[Float[np.ndarray, "trial context prompt scale"]], PolicyArms]] = {"oracle": oracle}
"""Name -> exact values of the training queries to the arm of every context."""


def named(text: str) -> str | None:
    """The reference policy that a name with options asks for; None if it asks for none.

    Raises:
        ValueError: it is given options, of which it has none.
    """
    name, _, options = text.partition(":")
    if name not in REFERENCES:
        return None
    if options:
        raise ValueError(f"{name} has no option {options.partition('=')[0]!r}; it has none")
    return name
