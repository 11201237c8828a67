"""Numbers of tallies against a dictionary of all of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sim.kernels import tallies


@pytest.mark.parametrize(("answers", "width"), [(1, 3), (2, 9), (3, 7), (5, 6), (9, 4)])
def test_tallies_are_numbered_without_gaps_whatever_the_width(answers: int, width: int) -> None:
    """All votes of up to `width` completions, in any order of the wrong answers; a wider table numbers them alike.

    Seen to fail with votes unsorted, and with `before` counting one sum more.
    """
    table = tallies.table(answers, width)
    cast = [votes for votes in itertools.product(range(width + 1), repeat=answers) if sum(votes) <= width]
    wrong = jnp.array(cast, jnp.int32).T[1:]
    numbers = np.asarray(jax.jit(lambda votes: tallies.rank(table, votes))(wrong))
    plain = sorted({(sum(votes[1:]), tuple(sorted(votes[1:], reverse=True))) for votes in cast})
    assert numbers.tolist() == [plain.index((sum(v[1:]), tuple(sorted(v[1:], reverse=True)))) for v in cast]
    np.testing.assert_array_equal(numbers, tallies.rank(tallies.table(answers, width + 3), wrong))
    for total, size in enumerate(tallies.sizes(answers, width)):
        assert size == table.sizes[total] == sum(votes[0] <= total for votes in plain)
    for (_, votes), parts in zip(plain, table.parts, strict=True):
        assert [part for part in votes if part] == [part for part in parts.tolist() if part]
