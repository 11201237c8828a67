"""Best of N beyond the completions of a pull: tables that estimate F^k, F the chance of a score up to a level.

The expected best of k is v_max less the sum over levels v of the step above v times E_x F_x(v)^k. Of n completions,
j score up to v: a table gives b(j) for F^k, averaged over pulls. Its expectation is the polynomial of degree n with
Bernstein coefficients b(0), .., b(n), hence the name.

For n below the largest scale b has the least squared error, the bias of one pull and the variance over M pulls, on
average over F from Jeffreys' prior (arcsine), among tables exact where F is 0 or 1:

    mean of (1 - 1/M) (B b - f)^2 + (B b^2 - 2 f B b + f^2) / M,    f = F^k,  B b the expectation of b(j).

The mean is exact: all is polynomial in F, and Gauss-Chebyshev nodes integrate it. From n = Nmax on it is the
U-statistic C(j, k) / C(n, k), unbiased (Hoeffding, 1948).

Biased below Nmax, at scales above n whatever M is, for F^k is no polynomial of degree n; at scales up to n the bias
goes as M grows. Consistent as n grows: the best polynomial of degree n leaves of F^k less than about 2 exp(-n^2 / 2k)
(Newman and Rivlin, 1976).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int
from scipy.special import comb

from sim.kernels import digits, tallies

HALVINGS = 12
"""More than 2**12 pulls use the table of so many: their variance is small beside their bias."""


@lru_cache(maxsize=512)
def table(size: int, num_scales: int, pulls: int) -> Float64[np.ndarray, "count scale"]:
    """Estimates of F^k for every scale k by how many of a pull's completions score up to a level.

    Args:
        size: completions in a pull, n.
        num_scales: the largest scale Nmax; the table has one column for each, 1 to Nmax.
        pulls: pulls that are averaged, M; rounded down to a power of two, so that there are few tables.

    Returns:
        b, row j for j completions up to the level. Entries may lie outside [0, 1].

    Raises:
        ValueError: no completion or no pull.

    Example:
        >>> from sim.kernels import polynomial
        >>> polynomial.table(2, 2, 1).round(3).tolist()  # F and F^2 from two completions, without bias
        [[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]]
        >>> polynomial.table(2, 4, 64)[1].round(3).tolist()
        [0.5, 0.013, -0.231, -0.373]
    """
    if size < 1 or pulls < 1:
        raise ValueError(f"a table needs at least one completion and one pull; there are {size} and {pulls}")
    count = np.arange(size + 1)
    if size >= num_scales:
        steps = np.arange(num_scales)
        return _kept(np.cumprod(np.maximum(count[:, None] - steps, 0) / (size - steps), axis=1))
    weight = 2.0 ** (1 - pulls.bit_length())  # 1 / M
    angle = (np.arange(num_scales + 1) + 0.5) * np.pi / (num_scales + 1)
    below = (1 - np.cos(angle))[:, None] / 2
    chance = comb(size, count) * below**count * (1 - below) ** (size - count)
    truth = below ** np.arange(1, num_scales + 1)
    quadratic = (1 - weight) * chance.T @ chance / len(below) + weight * np.diag(chance.mean(axis=0))
    linear = chance.T @ truth / len(below)
    found = np.zeros((size + 1, num_scales))
    found[size] = 1.0
    inner = slice(1, size)
    found[inner] = np.linalg.solve(quadratic[inner, inner], linear[inner] - quadratic[inner, size:])
    return _kept(found)


class Weights(NamedTuple):
    """Weights of a pull's ranked scores for every scale, in two parts that add up; see `weights`."""

    high: Float32[np.ndarray, "size halvings rank scale"]
    low: Float32[np.ndarray, "size halvings rank scale"]


@lru_cache(maxsize=4)
def weights(width: int, num_scales: int, plug_in: bool = False) -> Weights:
    """Weights of ranked scores for pulls of 1 to `width` completions and 2**0 to 2**`HALVINGS` pulls.

    With b(j) the table, the expected best of k is the sum over ranks i of (b(i) - b(i - 1)) times the i-th lowest
    score: no list of levels is needed, and scores may be any numbers. With `plug_in` b(j) is (j / n)^k, for comparison.

    Raises:
        ValueError: too many numbers; see `widest`.
    """
    if width > (most := widest(width, num_scales)):
        raise ValueError(f"best of {num_scales} takes pulls of at most {most} completions here, not {width}")
    found = np.zeros((width, HALVINGS + 1, width, num_scales))
    for size in range(1, width + 1):
        frequency = np.arange(size + 1)[:, None] / size
        for halvings in range(HALVINGS + 1):
            if plug_in:
                found[size - 1, halvings, :size] = np.diff(frequency ** np.arange(1, num_scales + 1), axis=0)
                continue
            found[size - 1, halvings, :size] = np.diff(table(size, num_scales, 2**halvings), axis=0)
    high = digits.short(found)
    low = np.ldexp(np.rint(np.ldexp(found - high, 2 * digits.DIGITS)), -2 * digits.DIGITS)
    return Weights(high.astype(np.float32), low.astype(np.float32))


def widest(width: int, num_scales: int) -> int:
    """The most completions in a pull, up to `width`, for which there are `weights`."""
    return min(width, math.isqrt(tallies.MAX_ENTRIES // ((HALVINGS + 1) * num_scales)))


def values(
    weights: Weights, ranked: Float[Array, "*row rank"], size: Int[Array, ""], pulls: Int[Array, ""]
) -> Float[Array, "*row scale"]:
    """Expected best of every scale from mean ranked scores. The same bits in any batch: as in `kernels.mixture`.

    Args:
        weights: of at least this size.
        ranked: mean over pulls of the i-th lowest score, anything beyond a pull's completions.
        size: completions in a pull, at least 1.
        pulls: how many there are, at least 1.
    """
    halvings = jnp.minimum(31 - jax.lax.clz(pulls), HALVINGS)
    own = [jnp.asarray(part)[size - 1, halvings] for part in weights]
    flat = ranked.reshape(-1, ranked.shape[-1]).T[:, :, None]
    high = digits.shortened(flat)
    low = digits.shortened(flat - high)
    above, below = (part[:, None] for part in own)
    total = jnp.zeros((flat.shape[1], own[0].shape[-1]), jnp.float32)
    for rank in range(flat.shape[0]):  # products are exact, and sums in order
        total = total + high[rank] * above[rank]
        total = total + high[rank] * below[rank]
        total = total + low[rank] * above[rank]
    return total.reshape(*ranked.shape[:-1], -1)


def _kept(table: np.ndarray) -> np.ndarray:
    """The same, which nobody may change: it is handed out again."""
    table.setflags(write=False)
    return table
