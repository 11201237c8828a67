"""kill -9 of tuning runs on two tiny models at different prices: what is lost, and what is paid for twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live_server import words
from nursery import Nursery
from tiny_pair import CAPS, UNITS, TinyEnd, TinyRun, tiny_pair

from sim.adapters.paid.ledger import Amount

pytest.importorskip("openai", reason="the extra [llm] is not installed")

SECONDS = 1.5
"""About as long as a run takes whose computations are remembered."""


class TinyCalm(NamedTuple):
    """A run that nobody disturbs, the charges of each endpoint, and what makes further runs beside it."""

    end: TinyEnd
    charged: dict[str, Amount]
    more: tuple[Any, ...]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyCalm]:
    """The calm run. Each server is charged for just what it computed."""
    memory, folder = tmp_path_factory.mktemp("memory"), tmp_path_factory.mktemp("calm") / "run"
    with Nursery("tune_child") as nursery, tiny_pair() as (addresses, bills):
        run = TinyRun(nursery, folder, addresses, bills, memory).go()
        charged = {name: run.charged(name) for name in UNITS}
        for name in UNITS:
            assert run.billed(name) == charged[name]._replace(money=0)
            assert charged[name].completions > 20
        yield TinyCalm(run.end(), charged, (addresses, bills, memory, nursery))


def campaign(calm: TinyCalm, folder: Path, kills: int, chance: int) -> int:
    """Kill a run so many times if it lasts so long: it ends as the calm one, and is charged as much and what was cut.

    Every other run has a cap on money that binds: where it is met, the run goes on with a larger one.
    """
    addresses, bills, memory, nursery = calm.more
    run = TinyRun(nursery, folder, addresses, bills, memory, chance)
    whole = sum(one.money for one in calm.charged.values())
    run.go(kills, CAPS._replace(money=whole * 3 // 4) if chance % 2 else CAPS, SECONDS)
    assert run.end() == calm.end
    for name, expected in calm.charged.items():
        lost = run.lost(name)
        assert run.charged(name) == expected.plus(lost)
        assert expected.completions <= run.billed(name).completions <= expected.completions + lost.completions
    return run.killed


def survive(calm: TinyCalm, folder: Path, kills: int, seed: int) -> None:
    """So many kills, of one run where it lives through them all, else of several."""
    killed = number = 0
    while killed < kills:
        killed += campaign(calm, folder / str(number), kills - killed, words(seed, number))
        number += 1


def test_three_kills_on_two_endpoints_lose_nothing(calm: TinyCalm, tmp_path: Path):
    """The policy, all draws and the charges of each endpoint are those of the calm run, but for what was under way."""
    survive(calm, tmp_path, 3, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_fifty_kills_on_two_endpoints_lose_nothing(calm: TinyCalm, seed: int, tmp_path: Path):
    """Five each."""
    survive(calm, tmp_path, 5, seed)
