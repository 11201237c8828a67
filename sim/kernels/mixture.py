"""Value of a vote at every scale, also beyond n, from pulls of n completions: a mixture of answer laws, fitted by EM.

Queries differ in their answer law theta. With G the law of theta over queries, the value of k votes is the integral of
f_k dG, f_k(theta) the expected credit (`kernels.majority`). A pull of n completions is one multinomial observation of a
theta, seen as a tally (`kernels.tallies`) because names of wrong answers mean nothing. G is fitted by maximum
likelihood without a parametric form (Kiefer and Wolfowitz, 1956) as weights of fixed laws, by EM (Laird, 1978) from
equal weights, `STEPS` steps. Laws: two answers, right with chance sin^2(pi j / 128), j = 0..64; A answers, right with
chance sin^2(pi (j + 1/2) / 600), j = 0..299, where the wrong ones share the rest by Dirichlet laws with parameters
1/(A - 1), 1/2 and 3 in turn. (Draws of one Dirichlet law with all parameters 1/2 leave few laws near the middle, and
hardly any with a likely right answer where there are many.)

Biased: n completions show moments of G up to the n-th, so at scales above n a bias remains however many pulls there
are, and EM that ends early leaves some at every scale. Consistent as n grows: each pull's theta then shows, up to the
distance of the laws. With two answers the fit's distance from G falls like 1/n for few completions, that of the pulls'
own frequencies ("plug-in") like 1/sqrt(n) (Vinayak, Kong, Valiant and Kakade, 2019).

The same bits in any batch: weights, likelihoods and quotients are rounded to 12 binary digits, so that their products
are exact and no compiler can round them otherwise, and sums are written out in a fixed order. A tally that no pull has
adds zero, so capacities change nothing.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int
from scipy.special import gammaincinv

from sim.kernels import digits, tallies
from sim.kernels.majority import majority_credit

STEPS = 50
"""EM steps. More fit closer, and follow chance more: the start is a prior of little weight."""
NUM_LAWS = 300
"""Laws of three answers and more; time is in proportion."""

_SEED = 19
_TWO = 64
"""Steps between the laws of two answers."""
_LEAST = 2.0**-40
"""Weights and relative likelihoods below it are zero, so that no product is too small for float32."""
_GROUPS = 25
"""Sums of so many groups of laws are added at the end; fewer, and compilers work out each group several times."""
_TALLIES = 16
"""Tallies at a time; with fewer, the compiler looks them up inside the sums, which takes three times as long."""
_ROWS = 128
"""Rows at a time: their weights stay in cache."""


class Mixture(NamedTuple):
    """Likelihoods and curves of the laws, the number of laws padded to whole groups; see `tables`.

    Attributes:
        laws: chance of every answer, the right one first.
        chance: of a tally's wrong votes to fall so, given their number, relative to the law that makes it largest.
        wrong: wrong votes of every tally.
        by_wrong: chance of so many wrong votes in pulls of n completions, relative likewise.
        sizes: tallies of pulls of n completions.
        credit: expected credit at every scale, in two parts that add up.
    """

    laws: Float64[np.ndarray, "law answer"]
    chance: Float32[np.ndarray, "tally padded"]
    wrong: Int[np.ndarray, " tally"]
    by_wrong: Float32[np.ndarray, "size votes padded"]
    sizes: Int[np.ndarray, " size"]
    credit: Float32[np.ndarray, "2 scale padded"]


@lru_cache(maxsize=4)
def tables(num_answers: int, tie: str, width: int, num_scales: int, num_laws: int = NUM_LAWS) -> Mixture:
    """The mixture for pulls of up to `width` completions.

    Args:
        num_answers: answers, the right one included.
        tie: credit among tied answers, as in `utilities.Strategy`.
        width: completions in a pull, at most.
        num_scales: scales to estimate, 1 to so many.
        num_laws: laws to mix, for three answers and more.

    Raises:
        ValueError: a table would have more than `tallies.MAX_ENTRIES` numbers; says the largest width that can be had.
    """
    if (most := widest(num_answers, width, num_laws)) < width:
        raise ValueError(
            f"a mixture for {num_answers} answers in pulls of {width} completions needs a table of more than"
            f" {tallies.MAX_ENTRIES:,} numbers; take pulls of at most {most}"
        )
    laws = answer_laws(num_answers, num_laws)
    tally = tallies.table(num_answers, width)
    wrong = tally.parts.sum(axis=1)
    right, times = laws[:, 0], np.arange(width + 1)[:, None]
    size = np.arange(width + 1)[:, None, None]
    binomial = np.where(times <= size, right ** np.maximum(size - times, 0) * (1 - right) ** times, 0.0)
    credit = majority_credit(laws, num_scales, tie).T
    high = _short(credit)
    padding = -len(laws) % _GROUPS

    def padded(table: np.ndarray) -> np.ndarray:
        return np.pad(table, [(0, 0)] * (table.ndim - 1) + [(0, padding)]).astype(np.float32)

    return Mixture(
        laws,
        padded(_relative(_wrong_chances(tally, laws))),
        wrong.astype(np.int32),
        padded(_relative(binomial)),
        tally.sizes,
        padded(np.stack([high, _short(credit - high)])),
    )


@lru_cache(maxsize=4)
def plug_in(num_answers: int, tie: str, width: int, num_scales: int) -> Int[np.ndarray, "size tally scale"]:
    """Credit of every scale by the frequencies of one pull ("plug-in"), in units of 2**-12, tally by tally.

    For comparison: its bias at scales above n stays however many pulls there are, that of the mixture is smaller.

    Example:
        >>> from sim.kernels import mixture
        >>> (mixture.plug_in(2, "uniform", 3, 3)[3] / 2**12).round(2).tolist()  # 0 to 3 wrong votes of three
        [[1.0, 1.0, 1.0], [0.67, 0.67, 0.74], [0.33, 0.33, 0.26], [0.0, 0.0, 0.0]]
    """
    tally = tallies.table(num_answers, width)
    found = np.zeros((width + 1, len(tally.parts), num_scales), np.int32)
    for size in range(1, width + 1):
        wrong = tally.parts[: tally.sizes[size]] / size
        laws = np.concatenate([1 - wrong.sum(axis=1, keepdims=True), wrong], axis=1)
        credit = majority_credit(np.maximum(laws, 0), num_scales, tie)
        found[size, : len(laws)] = np.rint(credit * 2**12)
    return found


def widest(num_answers: int, width: int, num_laws: int = NUM_LAWS) -> int:
    """The most completions in a pull, up to `width`, for which `tables` has a mixture."""
    entries = np.maximum(tallies.sizes(num_answers, width), np.arange(1, width + 2) ** 2)
    entries = entries * {1: 1, 2: _TWO + 1}.get(num_answers, num_laws)
    return int(np.flatnonzero(entries <= tallies.MAX_ENTRIES)[-1])


def answer_laws(num_answers: int, num_laws: int = NUM_LAWS) -> Float64[np.ndarray, "law answer"]:
    """The laws that are mixed, the right answer first; multiples of 2**-20, the same with any library of mathematics.

    Draws of a Dirichlet law are draws of gamma laws over their sum.
    """
    if num_answers == 1:
        return np.ones((1, 1))
    if num_answers == 2:
        wrong = np.cos(np.pi / 2 * np.arange(_TWO + 1) / _TWO)[:, None] ** 2
    else:
        number = np.arange(num_laws)
        shape = np.array([1 / (num_answers - 1), 0.5, 3.0])[number % 3, None]
        parts = gammaincinv(shape, _uniform(num_laws, num_answers - 1))
        wrong = np.cos(np.pi / 2 * (number[:, None] + 0.5) / num_laws) ** 2 * parts / parts.sum(axis=1, keepdims=True)
    wrong = np.rint(wrong * 2**20) / 2**20
    right = 1 - wrong.sum(axis=1, keepdims=True)
    return np.concatenate([np.maximum(right, 0), wrong], axis=1)


def _uniform(num_laws: int, width: int) -> Float64[np.ndarray, "law width"]:
    """Numbers uniform between 0 and 1, always the same."""
    words = np.random.Philox(_SEED).random_raw(num_laws * width).reshape(num_laws, width)
    return ((words >> np.uint64(11)) + 0.5) * 2.0**-53


def values(
    mixture: Mixture, counts: Int[Array, "row tally"], size: Int[Array, " row"], steps: int = STEPS
) -> Float[Array, "row scale"]:
    """Estimated value of every scale from the pulls of each row, such as a prompt, every row fitted alone.

    Args:
        mixture: of at least the largest size.
        counts: pulls of each tally (numbers as `tallies.rank` gives), below 2**24 in all; tallies left out have none.
        size: completions of the row's pulls.
        steps: EM steps (static).

    Returns:
        Estimates, 0 for a row without pulls. The same bits whatever other rows or lanes of a vmap there are.
    """

    @jax.custom_batching.custom_vmap
    def of_rows(counts: Array, size: Array) -> Array:
        return _of_rows(mixture, counts, size, steps)

    @of_rows.def_vmap
    def _of_lanes(lanes: int, batched: list[bool], counts: Array, size: Array) -> tuple[Array, bool]:
        def flat(leaf: Array, has_axis: bool) -> Array:
            leaf = leaf if has_axis else jnp.broadcast_to(leaf, (lanes, *leaf.shape))
            return leaf.reshape(-1, *leaf.shape[2:])

        found = of_rows(flat(counts, batched[0]), flat(size, batched[1]))
        return found.reshape(lanes, -1, found.shape[-1]), True

    return of_rows(counts, size)


def _of_rows(mixture: Mixture, counts: Array, size: Array, steps: int) -> Array:
    """`values`, the rows of one size after the other, `_ROWS` at a time; those without pulls not at all."""
    num_rows, num_scales = counts.shape[0], mixture.credit.shape[1]
    block = min(_ROWS, num_rows + -num_rows % 8)
    largest = jnp.int32(mixture.sizes.shape[0])
    key = jnp.where(jnp.any(counts > 0, axis=1), size, largest)
    order = jnp.argsort(key)
    padding = (0, -counts.shape[1] % _TALLIES), (0, 0)

    def serve(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, found = carry
        place = done + jnp.arange(block, dtype=jnp.int32)
        rows = order[jnp.minimum(place, num_rows - 1)]
        own = key[rows[0]]
        served = (place < num_rows) & (key[rows] == own)
        pulls = jnp.pad(jnp.where(served, counts[rows].T, 0), padding).astype(jnp.float32)
        estimates = _fitted(mixture, own, pulls, steps)
        found = found.at[jnp.where(served, rows, num_rows)].set(estimates, mode="drop")
        return done + jnp.sum(served.astype(jnp.int32)), found

    held = jnp.sum((key < largest).astype(jnp.int32))
    start = jnp.int32(0), jnp.zeros((num_rows, num_scales), jnp.float32)
    return jax.lax.while_loop(lambda carry: carry[0] < held, serve, start)[1]


def _fitted(mixture: Mixture, size: Array, pulls: Float[Array, "tally row"], steps: int) -> Float[Array, "row scale"]:
    """Estimates from pulls of one size."""
    num_laws = mixture.chance.shape[1]
    blocks = -(-jnp.asarray(mixture.sizes)[size] // _TALLIES)
    likelihood = _likelihood(mixture, size, pulls.shape[0], blocks)

    def some(table: Array, block: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(table, block * _TALLIES, _TALLIES)

    def step(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        weight, quotient = carry  # of the last step, whose place is used again

        def divide(block: Array, quotient: Array) -> Array:  # each tally's pulls by its chance
            had = some(pulls, block)
            chance = jnp.maximum(_sums(some(likelihood, block), weight), _LEAST**2)
            share = _rounded(jnp.where(had > 0, had / chance, 0.0))
            return jax.lax.dynamic_update_slice_in_dim(quotient, share, block * _TALLIES, 0)

        def gather(block: Array, gain: Array) -> Array:
            own, quotients = some(likelihood, block), some(quotient, block)
            return _added([gain, *(own[t][:, None] * quotients[t][None] for t in range(_TALLIES))])

        quotient = jax.lax.fori_loop(0, blocks, divide, quotient)
        gain = jax.lax.fori_loop(0, blocks, gather, jnp.zeros_like(weight))
        return _rounded(weight * gain), quotient

    equal = (jnp.arange(num_laws) < len(mixture.laws)).astype(jnp.float32)
    equal = jnp.broadcast_to(equal[:, None], (num_laws, pulls.shape[1]))
    weight, _ = jax.lax.fori_loop(0, steps, step, (equal, jnp.zeros_like(pulls)))
    total = _sums(jnp.ones((1, num_laws), jnp.float32), weight)
    high, low = (_sums(jnp.asarray(part), weight) for part in mixture.credit)
    return ((high + low) / jnp.where(total > 0, total, 1.0)).T


def _likelihood(mixture: Mixture, size: Array, capacity: int, blocks: Array) -> Float[Array, "tally law"]:
    """Relative likelihood of the first tallies in pulls of one size, zero in blocks that are not needed."""
    padding = (0, max(0, capacity - len(mixture.wrong)))
    chance = jnp.asarray(np.pad(mixture.chance, (padding, (0, 0)))[:capacity])
    wrong = jnp.asarray(np.pad(mixture.wrong, padding)[:capacity])
    by_wrong = jnp.asarray(mixture.by_wrong)[size]

    def some(block: Array, likelihood: Array) -> Array:
        own, votes = (jax.lax.dynamic_slice_in_dim(part, block * _TALLIES, _TALLIES) for part in (chance, wrong))
        return jax.lax.dynamic_update_slice_in_dim(likelihood, _rounded(own * by_wrong[votes]), block * _TALLIES, 0)

    return jax.lax.fori_loop(0, blocks, some, jnp.zeros_like(chance))


def _sums(left: Float[Array, "item law"], weight: Float[Array, "law row"]) -> Float[Array, "item row"]:
    """Products summed over laws in a fixed order: the members of each group, then groups."""
    left = left.T.reshape(-1, _GROUPS, left.shape[0])
    weight = weight.reshape(-1, _GROUPS, weight.shape[-1])
    groups = _added([own[:, :, None] * some[:, None] for own, some in zip(left, weight, strict=True)])
    return _added(list(groups))


def _added(terms: list[Array]) -> Array:
    """The sum from left to right: compilers keep the order of what is written out."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _rounded(numbers: Array) -> Array:
    """To few binary digits (`kernels.digits`); what is below `_LEAST` to zero."""
    short = digits.shortened(numbers)
    return jnp.where(short < _LEAST, 0.0, short)


def _short(numbers: np.ndarray) -> np.ndarray:
    """`_rounded` on the host, of numbers of any sign."""
    short = digits.short(numbers)
    return np.where(np.abs(short) < _LEAST, 0.0, short)


def _relative(likelihood: np.ndarray) -> np.ndarray:
    """Over the law that makes it largest."""
    largest = likelihood.max(axis=-1, keepdims=True)
    return _short(likelihood / np.where(largest > 0, largest, 1.0))


def _wrong_chances(tally: tallies.Tallies, laws: np.ndarray) -> Float64[np.ndarray, "tally law"]:
    """Chance of wrong votes to fall as in a tally, whichever answers they are for, up to a factor of each tally.

    Sum over the ways to give its parts to wrong answers of the product of phi**c / c!, phi the answer's share among
    wrong ones: answer by answer, over all tallies at once.
    """
    wrong = laws[:, 1:].sum(axis=1, keepdims=True)
    share = laws[:, 1:] / np.where(wrong > 0, wrong, 1.0)
    place = {tuple(parts): i for i, parts in enumerate(tally.parts.tolist())}
    moves = []  # a part taken away, each size once: its place, the tally without it, the tally, its size
    for part in range(tally.parts.shape[1]):
        for to, parts in enumerate(tally.parts.tolist()):
            if parts[part] and (part == 0 or parts[part] != parts[part - 1]):
                moves.append((part, place[(*parts[:part], *parts[part + 1 :], 0)], to, parts[part]))
    table = np.array(moves, int).reshape(-1, 4)
    times = np.arange(1, len(tally.sizes))[:, None]
    found = np.zeros((len(tally.parts), len(laws)))
    found[0] = 1.0
    for answer in share.T:
        power = np.cumprod(np.concatenate([np.ones((1, len(laws))), answer / times]), axis=0)
        before = found.copy()
        for part in np.unique(table[:, 0]):
            _, rest, to, size = table[table[:, 0] == part].T
            found[to] += power[size] * before[rest]
    return found
