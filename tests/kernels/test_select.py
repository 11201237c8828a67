"""Selection and lists against sorting: the same choices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.kernels import select

WORDS = st.integers(0, 2**32 - 1)
SIZES = (1, 2, 7, 33)


@functools.cache
def _select(size: int):
    both = jax.jit(lambda *arguments: (select.best(*arguments), select.plain(*arguments)))
    return lambda *arguments: [np.asarray(mask) for mask in both(*arguments)]


@st.composite
def selections(data):
    """Scores with few or many ties, a mask of some or all items, how many to keep: none, one, some, all."""
    size = data(st.sampled_from(SIZES))
    few = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.25, 3.0])
    any_score = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
    score = data(st.lists(data(st.sampled_from([few, any_score])), min_size=size, max_size=size))
    tiebreak = data(st.lists(WORDS, min_size=size, max_size=size, unique=True))
    mask = data(st.lists(st.booleans(), min_size=size, max_size=size)) if data(st.booleans()) else [True] * size
    kept = data(st.sampled_from([0, 1, sum(mask), data(st.integers(0, sum(mask)))]))
    return score, tiebreak, mask, min(kept, sum(mask))


@given(selections())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_best_is_the_sorted_choice(case) -> None:
    score, tiebreak, mask, kept = case
    fast, plain = _select(len(score))(
        jnp.array(score, jnp.float32), jnp.array(tiebreak, jnp.uint32), jnp.array(mask), jnp.int32(kept)
    )
    np.testing.assert_array_equal(fast, plain)
    by_hand = sorted((i for i in range(len(score)) if mask[i]), key=lambda i: (-score[i], -tiebreak[i]))[:kept]
    assert set(np.flatnonzero(fast)) == set(by_hand)


@pytest.mark.parametrize("size", [33, 800, 8161, 9000])
@pytest.mark.parametrize("spread", [1, 50, 2**31 - 1])
def test_best_of_many_whole_numbers(size: int, spread: int) -> None:
    """Lists of more lines than a byte counts, ties everywhere or nowhere, and items never estimated.

    Seen to fail with one byte a line at any size (`_MOST` = 10,000), and with `_from_one` starting at 1.
    """
    rng = np.random.default_rng(size + spread % 97)
    score = rng.integers(-spread, spread, size, endpoint=True).astype(np.int32)
    score[rng.random(size) < 0.2] = -(2**31)
    tiebreak, mask = rng.permutation(size).astype(np.uint32), rng.random(size) < 0.97
    for kept in (1, mask.sum() // 2, mask.sum() - 3):
        arguments = (jnp.asarray(score), jnp.asarray(tiebreak), jnp.asarray(mask), jnp.int32(kept))
        np.testing.assert_array_equal(*_select(size)(*arguments))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 800])
def test_listed_are_the_places_of_the_set_items(size: int) -> None:
    rng = np.random.default_rng(size)
    for share in (0.1, 0.5, 1.0):
        mask = rng.random(size) < share
        places = np.flatnonzero(mask)
        for asked in {1, size // 2 + 1, size}:
            found = np.asarray(select.listed(jnp.asarray(mask), asked))
            np.testing.assert_array_equal(found[: len(places)], places[:asked])
            assert np.all(found[len(places) :] == size - 1)


def test_order_words_sort_as_the_scores_do() -> None:
    scores = np.array([-np.inf, -3e38, -1.0, -2e-38, -0.0, 0.0, 2e-38, 0.5, 1.0, 3e38, np.inf], np.float32)
    words = np.asarray(select.sortable(jnp.asarray(scores))).astype(np.int64)
    assert np.sign(np.diff(words)).tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_distinct_words_are_distinct(size: int) -> None:
    words = np.asarray(select.distinct(jnp.full(size, 0xDEADBEEF, jnp.uint32)))
    assert len(set(words.tolist())) == size
