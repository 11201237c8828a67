"""Tests of whether one option is best in every setting: exact values per query, where queries are a sample.

Options are prompts and settings scales (claim C1), or options are arms and settings contexts (claim C2). The best of a
finite sample changes from setting to setting even where nothing does in the population: so both answers are tested.

* "one option is best in every setting" is false if it is false of each option. On one half of the queries each option
  is given the rival, and the setting, that beats it most surely; on the other half each of these single differences,
  paired by query, is tested at the full level. All must be rejected: the largest p counts, and no correction is due
  (an intersection-union test; Berger, 1982).
* "no option is best in every setting" is false if some option is strictly best everywhere. One half proposes it, on the
  other all its differences must be above zero: again the largest p counts.

Halves are drawn at random several times; twice the median p holds the level (Ruger, 1978; DiCiccio et al., 2020).
"""

from typing import NamedTuple

import numpy as np

FEWEST = 10
"""Queries in a half below which Student's t is not relied on: no p then."""
LEVEL = 0.05
SPLITS, RESAMPLES = 25, 1000
_ROUNDING = 1e-9
"""Standard error, of the largest value, below which a mean difference is not told from rounding."""


class PValues(NamedTuple):
    """Verdict of a sample of queries.

    Attributes:
        changes: p-value of "one option is best in every setting".
        constant: p-value of "no option is best in every setting".
    """

    changes: float
    constant: float

    @property
    def answer(self) -> str:
        """Answer that is shown at `LEVEL`: "changes", "constant" or, where neither is, "open"."""
        return "changes" if self.changes <= LEVEL else "constant" if self.constant <= LEVEL else "open"


def judge(values: np.ndarray, rng: np.random.Generator, splits: int = SPLITS) -> PValues:
    """Both p-values; NaN with fewer than `FEWEST` queries in a half.

    Args:
        values: exact, shape (setting, option, query); queries are an equally likely sample.
        rng: draws the halves.
        splits: how often; 1 gives an exact level, more make the answer depend less on the draw.
    """
    queries = values.shape[2]
    if queries // 2 < FEWEST:
        return PValues(np.nan, np.nan)
    found = []
    for _ in range(splits):
        order = rng.permutation(queries)
        found.append(_split(values[..., order[: queries // 2]], values[..., order[queries // 2 :]]))
    changes, constant = np.median(found, axis=0) * (1 if splits == 1 else 2)
    return PValues(min(1.0, float(changes)), min(1.0, float(constant)))


def bootstrap(values: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> tuple[float, np.ndarray]:
    """Bootstrap over queries: how far samples of them agree with this one.

    Args:
        values: as in `judge`.
        rng: draws the samples, with replacement.
        resamples: how many.

    Returns:
        The share of samples in which no option is best in every setting, and by setting the share in which its best
        option is the one of this sample. Of equal options the first one is best.
    """
    settings, options, queries = values.shape
    flat = values.reshape(-1, queries)
    unit = _ROUNDING * (np.abs(values).max() or 1.0)
    ours = _best(values.mean(axis=2), unit)
    changes, same, left = 0, np.zeros(settings), resamples
    while left:
        number = min(left, max(1, (1 << 24) // len(flat)))
        counts = rng.multinomial(queries, np.full(queries, 1 / queries), number)
        best = _best((counts @ flat.T / queries).reshape(number, settings, options), unit)
        changes += int((best != best[:, :1]).any(axis=1).sum())
        same += (best == ours).sum(axis=0)
        left -= number
    return changes / resamples, same / resamples


def _best(means: np.ndarray, unit: float) -> np.ndarray:
    return np.round(means / unit).argmax(axis=-1)


def _split(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Both p-values with options and settings chosen on the first half and tested on the second."""
    options = np.arange(first.shape[1])
    above, rival = zip(*map(_rivals, first), strict=True)  # per setting: how surely an option is behind, and which one
    where = np.argmax(above, axis=0)
    changes = _p(second[where, np.array(rival)[where, options]] - second[where, options]).max()
    proposed = np.max(above, axis=0).argmin()
    rest = second[:, [proposed]] - np.delete(second, proposed, axis=1)
    return float(changes), float(_p(rest).max(initial=0.0))


def _rivals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each option of one setting: the largest t of another's lead over it, and whose that is.

    Args:
        values: shape (option, query).
    """
    number, mean = values.shape[1], values.mean(axis=1)
    centred = values - mean[:, None]
    product = centred @ centred.T
    own = np.diag(product)
    variance = np.maximum(own[:, None] + own - 2 * product, 0.0) / (number - 1) / number
    floor = _ROUNDING * (np.abs(values).max() or 1.0)
    t = (mean - mean[:, None]) / np.sqrt(variance + floor**2)
    return t.max(axis=1), t.argmax(axis=1)


def _p(differences: np.ndarray) -> np.ndarray:
    """One-sided p-values of "the mean over the last axis is at most 0", by Student's t."""
    from scipy import special

    number = differences.shape[-1]
    mean, variance = differences.mean(axis=-1), differences.var(axis=-1, ddof=1) / number
    floor = _ROUNDING * (np.abs(differences).max(initial=0.0) or 1.0)
    return special.stdtr(number - 1, -mean / np.sqrt(variance + floor**2))
