"""A trial's least work, counted by hand."""

import pytest
import roofline

from sim import envs


@pytest.mark.parametrize(("name", "scored"), [("uniform", 2), ("psst", 4)])
def test_least_work_of_forty_single_completions(name: str, scored: int) -> None:
    """Two arms of scale 1, one query, one threshold: 40 pulls of one completion, one round, one context.

    Seen to fail with every pull's two words counted once.
    """
    found = roofline.work(envs.get("two-arm"), name, 40, trials=2)
    assert found is not None
    assert found.words == 40 + 2 * 40 + 1 + 1
    assert found.operations == 2 * 40 + 40 * 4 + roofline.SCORE * scored
    assert found.lookups == 40 + 1
    assert found.bytes == 4 * (40 + 2 * 4)


def test_statistics_that_contexts_share_count_once() -> None:
    """Eight prompts pulled twice at scale 15, each pull of 45 blocks, one query and threshold; two contexts.

    Seen to fail with blocks and pulls summed over contexts.
    """
    found = roofline.work(envs.get("mv-three-scales"), "uniform", 240, trials=2)
    assert found is not None
    assert found.words == 240 + 2 * 16 + 1 + 2
    assert found.operations == 2 * 240 + 16 * 45 * 4 + roofline.SCORE * 2 * 120
    assert found.lookups == 16 + 1
