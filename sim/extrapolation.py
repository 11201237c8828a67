"""Values of every scale, also beyond a pull's completions, from pulls of equal size that are taken as they are.

Votes by a mixture of answer laws for each prompt (`kernels.mixture`), best of N by tables of least error
(`kernels.polynomial`), averages as they are; a mixed reward is their sum.

Bias: averages have none. Best of N has next to none up to a pull's size where there are many pulls, and none at all
where a pull is as large as the largest scale; beyond a pull's size some remains however many pulls there are. Votes
have a little at every scale, because EM ends early, and more beyond. All are consistent as pulls and their number grow.
In the limit of many pulls, on a small world of four queries (tests/core), the largest error at N up to 8 from pulls of
2, 4 and 8 is .015, .005 and .004 for votes, .061, .013 and 0 for best of N. Where all queries are alike, votes have the
value of their law from pulls of any size, to .008.

Sums are whole numbers, and rewards are rounded to a sixteenth of `Spec.unit`, so that the same bits come out wherever
they are compiled.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sim import estimators
from sim.core import Spec
from sim.kernels import digits, mixture, polynomial, tallies
from sim.raw import Raw, Rewards

MOST_TALLIES = 1024
"""Tallies of a pull: more answers than two have smaller pulls (22 completions with five answers)."""
FINER = 16.0
"""Steps of an estimated reward in a unit."""
_HALF = 12
"""Bits of the lower part of a sum."""


class PullSums(NamedTuple):
    """Sums over pulls of one size, prompt by prompt.

    Attributes:
        tallies: pulls of every tally of votes.
        ranked: scores of every rank, in units, in two parts: multiples of 2**12 and what is left.
        total: sums of what is averaged, likewise.
    """

    tallies: Int[Array, "prompt tally"]
    ranked: Int[Array, "2 prompt task rank"]
    total: Int[Array, "2 prompt averaged"]


def widest(spec: Spec) -> int:
    """The most completions of a pull, up to the largest scale, that values can be estimated from."""
    known, width = rewards_of(spec), spec.max_scale
    if "mv" in known.aggregate:
        width = mixture.widest(known.num_answers, width)
        if known.num_answers > 2:
            sizes = tallies.sizes(known.num_answers, width)
            width = max(1, int(np.flatnonzero(sizes <= MOST_TALLIES)[-1]))
    if "bon" in known.aggregate:
        width = polynomial.widest(width, spec.max_scale)
    return width


def rewards_of(spec: Spec) -> Rewards:
    """The rewards that a spec describes; a ValueError where it does not."""
    if spec.rewards is None:
        raise ValueError("the spec does not say how completions become rewards (Spec.rewards)")
    return spec.rewards


def empty(spec: Spec) -> PullSums:
    """Sums before any pull."""
    known, width = rewards_of(spec), widest(spec)
    sizes = tallies.sizes(known.num_answers, width)[-1] if "mv" in known.aggregate else 0
    ranks, averaged = width * ("bon" in known.aggregate), spec.num_tasks * ("mean" in known.aggregate)
    shapes = (
        (spec.num_prompts, int(sizes)),
        (2, spec.num_prompts, spec.num_tasks, ranks),
        (2, spec.num_prompts, averaged),
    )
    return PullSums(*(jnp.zeros(shape, jnp.int32) for shape in shapes))


def add(spec: Spec, sums: PullSums, prompt: Int[Array, " row"], pulled: Bool[Array, " row"], raw: Raw) -> PullSums:
    """Add one pull of every row that was `pulled`."""
    known, counts = rewards_of(spec), sums.tallies
    if "mv" in known.aggregate:
        number = tallies.rank(tallies.table(known.num_answers, widest(spec)), raw.votes[:, 1:].T)
        counts = counts.at[prompt, number].add(pulled.astype(jnp.int32))
    return PullSums(counts, _added(sums.ranked, prompt, raw.ranked), _added(sums.total, prompt, raw.total))


def value(
    spec: Spec,
    sums: PullSums,
    size: Int[Array, ""],
    pulls: Int[Array, ""],
    inside: Bool[Array, " prompt"],
    fitted: bool = True,
) -> Float[Array, "context prompt scale"]:
    """Estimated value of every arm, as `estimators.value`.

    Args:
        spec: what is known.
        sums: of all pulls.
        size: completions of a pull.
        pulls: pulls of every prompt inside.
        inside: prompts to estimate; the others have -inf.
        fitted: whether laws are fitted; if not, each pull's frequencies are taken for its law ("plug-in").
    """
    known, width = rewards_of(spec), widest(spec)
    size, pulls = jnp.maximum(size, 1), jnp.maximum(pulls, 1)
    reward = jnp.zeros((spec.num_tasks, spec.num_prompts, spec.max_scale), jnp.int32)
    if "mv" in known.aggregate:
        about = known.num_answers, known.tie, width, spec.max_scale
        counts = jnp.where(inside[:, None], sums.tallies, 0)
        if fitted:
            credit = mixture.values(mixture.tables(*about), counts, jnp.full(spec.num_prompts, size, jnp.int32))
        else:
            units = jnp.einsum("pt,ts->ps", counts, jnp.asarray(mixture.plug_in(*about))[size])
            credit = units.astype(jnp.float32) / (pulls.astype(jnp.float32) * 2.0**12)
        reward = reward + _rounded((known.credit / spec.unit * FINER)[:, None, None] * credit[None])
    if "bon" in known.aggregate:
        ranked = jnp.swapaxes(_mean(sums.ranked, pulls), 0, 1)
        weights = polynomial.weights(width, spec.max_scale, not fitted)
        reward = reward + _rounded(polynomial.values(weights, ranked, size, pulls) * FINER)
    if "mean" in known.aggregate:
        reward = reward + _rounded(_mean(sums.total, pulls * size) * FINER).T[:, :, None]
    return estimators.value_of(spec, reward.astype(jnp.float32) * (spec.unit / FINER)[:, None, None], inside)


def _added(
    sums: Int[Array, "2 prompt *rest"], prompt: Array, own: Int[Array, "row *rest"]
) -> Int[Array, "2 prompt *rest"]:
    """Sums with a number of every row, whose lower parts are kept below 2**12."""
    high, low = sums.at[:, prompt].add(jnp.stack(digits.split(own, _HALF)))
    carry, low = digits.split(low, _HALF)
    return jnp.stack([high + carry, low])


def _mean(sums: Int[Array, "2 *rest"], number: Int[Array, ""]) -> Float[Array, "*rest"]:
    return digits.joined(sums[0], sums[1], _HALF) / number.astype(jnp.float32)


def _rounded(units: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    return jnp.round(units).astype(jnp.int32)
