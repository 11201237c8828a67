"""Names of how pulls meet queries and become statistics. Imports no other room."""

QUERIES = ("independent", "common", "common-wor")
"""Query designs; see `designed.Designed`."""
ESTIMATORS = ("blocks", "subsets", "plug-in")
"""How a pull's completions become statistics of every scale; see `designed.Estimating`."""
MAX_ORDERS = 64
"""Random orders over which an estimator averages, at most: sums over them then fit int32."""


def estimator_parts(estimator: str) -> tuple[str, int]:
    """The kind of an estimator, one of `ESTIMATORS`, and over how many random orders it averages, 0 where over none.

    Raises:
        ValueError: there is no such estimator.
    """
    kind, _, orders = estimator.rpartition("-")
    if kind in ESTIMATORS[1:] and orders in map(str, range(1, MAX_ORDERS + 1)):
        return kind, int(orders)
    if estimator not in ESTIMATORS:
        several = " and ".join(f"{kind}-1 to {kind}-{MAX_ORDERS}" for kind in ESTIMATORS[1:])
        raise ValueError(f"estimator is {estimator!r}; allowed are {', '.join(ESTIMATORS)}, and {several}")
    return estimator, 0
