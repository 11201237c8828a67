"""Algorithms that take any query design, and any estimator, as an option."""

import equinox as eqx

from sim.core import Algorithm, Spec
from sim.designs import QUERIES, estimator_parts


class Designed(Algorithm):
    """An algorithm that takes any query design. Abstract.

    Attributes:
        queries: which queries pulls meet. "independent": each a query of its own, drawn by the law. "common": pull i
            of a round the same one for every row. "common-wor": the same without replacement over the whole run.
    """

    queries: str = eqx.field(static=True, default="independent", kw_only=True)  # pyright: ignore

    def __check_init__(self) -> None:
        """Reject designs that do not exist."""
        if self.queries not in QUERIES:
            raise ValueError(f"queries is {self.queries!r}; allowed are {', '.join(QUERIES)}")


class Estimating(Designed):
    """An algorithm that takes any estimator too. Abstract.

    Attributes:
        estimator: what a pull of n completions says about scale k. "blocks": the mean over floor(n / k) disjoint
            blocks. "subsets": the mean over all subsets of size k, the complete U-statistic. "plug-in": the value of
            the pull's empirical law, biased, but known for k > n too. "subsets-R" and "plug-in-R" average over blocks
            in R random orders or redraws of the pull (`kernels.orders`), as the two do by themselves where their tables
            would be too large. All count as floor(n / k) blocks, "plug-in" at least as one.
    """

    estimator: str = eqx.field(static=True, default="blocks", kw_only=True)  # pyright: ignore

    def __check_init__(self) -> None:
        """Reject estimators that do not exist."""
        estimator_parts(self.estimator)


class CommonQueries(Estimating):
    """An algorithm that compares prompts on common queries by all subsets of its pulls, of a size to choose. Abstract.

    Attributes:
        pull: completions of a pull, at most Nmax; 0 for Nmax.
    """

    queries: str = eqx.field(static=True, default="common-wor", kw_only=True)
    estimator: str = eqx.field(static=True, default="subsets", kw_only=True)
    pull: int = eqx.field(static=True, default=0, kw_only=True)

    def __check_init__(self) -> None:
        """Reject pulls of no size."""
        if self.pull < 0:
            raise ValueError(f"pull is {self.pull}; it must be at least 1 completion, or 0 for the largest scale")

    def max_pull(self, spec: Spec) -> int:
        """Completions of a pull, at most."""
        return min(self.pull or spec.max_scale, spec.max_scale)
