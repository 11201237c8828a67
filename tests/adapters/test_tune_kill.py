"""kill -9 of whole tuning runs: the end is that of a run which nobody disturbed."""

import json
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from batch_server import BatchModel, batching
from live_runs import RUN, batch_run, digit, queries
from live_server import KEY, words
from nursery import Nursery
from test_kill import UNDER_WAY, query

from sim.adapters.paid.ledger import Amount

pytest.importorskip("openai", reason="the extra [llm] is not installed")

CAPS = Amount(2000, 30_000, 60_000_000_000)
"""What may be charged in all, more than any run here needs."""
PRICED = RUN.replace("max_tokens", "cost = 5\nmax_tokens")
BATCHES = "poll = 0.001\nmax_requests = 20"
BUDGET = 400
KILLS = 10
"""Kills of a test, of one run where it lives through them all."""
DRAWS = "SELECT prompt, query, draw, seed, finish, text FROM draws JOIN cells USING (cell) ORDER BY seed"
CHARGED = "SELECT total(completions), total(tokens), total(money) FROM attempts"


class End(NamedTuple):
    """What no kill may change: the policy file but for its place and its bill, the table of arms, all draws."""

    policy: dict[str, Any]
    arms: bytes
    draws: list[Any]


class Calm(NamedTuple):
    """A run that nobody disturbed: its end, its bill, and the seconds that it took, computing or remembering."""

    end: End
    charged: Amount
    computing: float
    remembering: float


class Run:
    """A tuning run in a folder, and the server that it asks.

    Attributes:
        killed: kills so far.
        cut: requests that were under way at some kill.
    """

    def __init__(self, nursery: Nursery, mode: str, folder: Path, memory: Path | str = "", chance: int = 0):
        folder.mkdir()
        self.model, self.killed, self.cut = BatchModel(answer=digit), 0, set[int]()
        self._nursery, self._mode, self._folder, self._rng = nursery, mode, folder, random.Random(chance)
        self._kill_at, self._kept, self._base = -1, set[Any](), folder / "out" / "journal.sqlite"
        self._memory, self._begun = str(memory), self.model.log if mode == "batch" else self.model.requests
        self.model.fault, self.model.moment, self.model.broken = self._fault, self._moment, nursery.kill
        queries(folder)

    def _fault(self, number: int, body: dict[str, Any]) -> str | None:
        if number != self._kill_at:
            return None
        self._nursery.kill()
        return self._rng.choice(["reset", "billed-reset"])

    def _moment(self, number: int, said: str) -> str | None:
        return self._rng.choice(["before", "after"]) if number == self._kill_at else None

    def go(self, kills: int = 0, caps: Amount = CAPS, seconds: float = 0.0) -> "Run":
        """Kill it so many times, if it lasts so long, then let it end. Where it meets a cap it goes on under `CAPS`.

        A kill comes when the server has a random request, before or after a random commit of the journal, or after a
        random part of these seconds.
        """
        with batching(self.model) as url:
            while (said := self._once(url, self.killed < kills, caps, seconds)) is not None:
                if said:
                    assert f"caps.completions is {caps.completions}" in said, "met, or known to be too small"
                    caps = CAPS
        return self

    def _once(self, url: str, kill: bool, caps: Amount, seconds: float) -> str | None:
        """One process; what it says where it meets a cap, "" where it is killed, None where it comes to the end."""
        text = (
            f"{PRICED}[caps]\ncompletions = {caps.completions}\ntokens = {caps.tokens}\nmoney = {caps.money / 1e12}\n"
        )
        file, errors, rng = self._folder / "run.toml", self._folder / "errors.txt", self._rng
        file.write_text((batch_run(url, BATCHES, text) if self._mode == "batch" else text).replace("URL", url))
        most = 5 if self._mode == "batch" else 16
        at = rng.choice(["request", "before", "after", "time"]) if kill else ""
        self._kill_at = len(self._begun) + rng.randrange(most) if at == "request" else -1
        after = rng.uniform(0.0, seconds) if at == "time" else None
        self._nursery.begin(errors, str(file), at, rng.randrange(1, most), self._memory, seconds=after)
        code, said = self._nursery.end(), errors.read_text()
        self._check(caps)
        if code == 0:
            return None
        if code != -signal.SIGKILL:
            assert "raise the cap" in said, said
            return said
        assert at
        self.killed += 1
        return ""

    def _check(self, caps: Amount) -> None:
        """No draw that was there is gone; no cap is exceeded; little is in doubt.

        The journal is read in a copy, so that it is the next process that has to mend it.
        """
        copy = self._folder / "copy.sqlite"
        for end in ("", "-wal"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy(f"{self._base}{end}", f"{copy}{end}")
        try:
            rows, (charged,) = set(query(copy, DRAWS)), query(copy, CHARGED)
            cut = {number for (number,) in query(copy, "SELECT id FROM attempts WHERE state = 'open'")} - self.cut
        except sqlite3.OperationalError:  # killed before there were tables
            rows, charged, cut = set(), Amount(), set()
        assert self._kept <= rows
        assert all(mine <= cap for mine, cap in zip(charged, caps, strict=True))
        assert self.model.completions <= charged[0]
        assert self.model.tokens <= charged[1]
        assert len(cut) <= (0 if self._mode == "batch" else 8)
        self._kept, self.cut = rows, self.cut | cut

    def again(self) -> int:
        """Completions that were under way at some kill and count as billed."""
        lost = query(self._base, "SELECT id, completions FROM attempts WHERE state = 'lost'")
        assert {number for number, _ in lost} == self.cut
        return sum(completions for _, completions in lost)

    def charged(self) -> Amount:
        """What the journal holds in charges."""
        return Amount(*map(int, query(self._base, CHARGED)[0]))

    def end(self) -> End:
        """What it left."""
        out = self._folder / "out"
        policy = json.loads((out / "policy.json").read_text())
        spent = policy.pop("spent")
        assert (spent["completions"], spent["tokens"], round(spent["money"] * 1e12)) == self.charged()
        assert policy.pop("config") == str(self._folder / "run.toml")
        assert policy["source"]["endpoint"].pop("base_url").startswith("http://127.0.0.1:")
        assert query(self._base, "PRAGMA integrity_check") == [("ok",)]
        assert query(self._base, "SELECT 1 FROM batches WHERE state != 'done'") == []
        return End(policy, (out / "arms.csv").read_bytes(), query(self._base, DRAWS))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children share what is compiled, and carry the server's key."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), "LIVE_TEST_KEY": KEY}
    with Nursery("tune_child", cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}) as made:
        yield made


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where children remember what JAX computes."""
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def calm(nursery: Nursery, memory: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Calm]:
    """The calm run of a mode, which remembers nothing; others that do end the same."""
    known: dict[str, Calm] = {}

    def of(mode: str) -> Calm:
        if mode not in known:
            ends, seconds = [], []
            for place in ("", "", memory, memory):
                began = time.monotonic()
                run = Run(nursery, mode, tmp_path_factory.mktemp("calm") / mode, place).go()
                seconds.append(time.monotonic() - began)
                ends.append(run.end())
                assert run.charged()[:2] == (run.model.completions, run.model.tokens)
                assert ends[0] == ends[-1]
            known[mode] = Calm(ends[0], run.charged(), seconds[1], seconds[3])
        return known[mode]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_a_killed_run_ends_with_the_policy_of_an_undisturbed_one(
    nursery: Nursery, memory: Path, calm: Callable[[str], Calm], mode: str, seed: int, tmp_path: Path
):
    """Two hundred kills in each mode, ten each time; every other run has a cap that may bind.

    In batch mode nothing is charged twice, and that cap is the budget. JAX computes anew in the processes of the first
    two times; those of the others remember what it computed, and are kept from nothing else.
    """
    expected, killed, number = calm(mode), 0, 0
    charged, place = expected.charged, memory if seed > 1 else ""
    tight = CAPS._replace(completions=charged.completions + UNDER_WAY if mode == "sync" else BUDGET)
    while killed < KILLS:
        run = Run(nursery, mode, tmp_path / str(number), place, words(mode, seed, number))
        caps = tight if (seed + number) % 2 else CAPS
        run.go(KILLS - killed, caps, expected.remembering if place else expected.computing)
        assert run.end() == expected.end
        assert run.charged().completions == charged.completions + run.again()
        assert run.again() <= run.killed * UNDER_WAY
        assert mode == "sync" or run.charged() == charged
        killed, number = killed + run.killed, number + 1
