"""Number of digits with which a value is shown."""

import math
from collections.abc import Callable, Sequence

import numpy as np

_DECIMALS = 4
"""As many as papers print, of utilities that differ by hundredths or more."""
_SMALL, _LARGE = 1e-3, 1e9
"""Values below, and from, these sizes are shown with an exponent."""
_EXACT = 15
"""Digits that float64 holds."""


def shown(values: np.ndarray | Sequence[float], apart: float | None = None) -> Callable[[float], str]:
    """Format of values that belong together: enough digits to tell them apart, in any unit.

    Four decimals; more where values differ by less than .01, so that three digits of what they differ by are seen. With
    an exponent where the largest is below .001 or very large.

    Args:
        values: that are held against one another, of any shape.
        apart: by how much they differ; largest less smallest when None.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    size = float(np.abs(known).max(initial=0.0))
    spread = (float(np.ptp(known)) if known.size else 0.0) if apart is None or not math.isfinite(apart) else apart
    spread = spread if spread > size * 10.0**-_EXACT else size  # all alike, but for rounding
    if size == 0:
        return lambda value: f"{value:.{_DECIMALS}f}"
    if _SMALL <= size < _LARGE:
        most = _EXACT - 1 - math.floor(math.log10(size))
        decimals = max(_DECIMALS, min(2 - math.floor(math.log10(spread)), most))
        return lambda value: f"{value:.{decimals}f}"
    digits = min(max(_DECIMALS, 2 + math.floor(math.log10(size)) - math.floor(math.log10(spread))), _EXACT)
    return lambda value: f"{value:.{digits}e}" if value else "0"
