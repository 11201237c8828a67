"""Tuning runs on two tiny models at different prices, in processes that are killed and begun again."""

import json
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from journal_files import query
from live_server import running
from nursery import Nursery
from two_endpoints import charged_at

from sim.adapters.paid.ledger import Amount
from sim.adapters.tiny import server, task, weights

UNITS = {"cheap": (1_000_000, 2_000_000), "dear": (10_000_000, 20_000_000)}
"""Prices of a token in units of 10**-12."""
CAPS = Amount(2000, 100_000, 10**12)
"""What may be charged in all, more than any run here needs."""
UNDER_WAY = 2 * 3
"""Requests that may be under way at a kill."""
TINY_TWO = """
name = "tiny"
out = "out"
strategy = "mv"
[endpoints.cheap]
base_url = "CHEAP"
model = "tiny"
key_variable = ""
concurrency = { start = 3, most = 3 }
prices = { prompt = 1.0, completion = 2.0, currency = "EUR" }
[endpoints.dear]
base_url = "DEAR"
model = "tiny"
key_variable = ""
concurrency = { start = 3, most = 3 }
prices = { prompt = 10.0, completion = 20.0, currency = "EUR" }
[cost]
measure = "money"
probe_queries = 2
probe_completions = 2
[[prompts]]
name = "direct"
endpoint = ["cheap", "dear"]
system = "answer at once"
temperature = 1.8
max_tokens = 6
[[prompts]]
name = "steps"
endpoint = "dear"
system = "work step by step"
temperature = 1.8
max_tokens = 16
[queries]
file = "queries.jsonl"
gold = "gold"
[[objectives]]
scorer = "number"
[contexts]
cost_weights = [0.0, 3000.0]
[tune]
algorithm = "psst"
budget = 120
max_scale = 4
"""
SENT = """
SELECT id, endpoint, completions, tokens, money FROM attempts JOIN cells USING (cell) WHERE state = '{}' ORDER BY id
"""
DRAWS = "SELECT prompt, query, draw, seed, finish, text FROM draws JOIN cells USING (cell) ORDER BY seed"


@dataclass
class Bill:
    """What a tiny server has computed, by its own count, and who is told of a request before that.

    Attributes:
        requests, completions, tokens: in all.
        arrived: told the number of every request.
    """

    requests: int = 0
    completions: int = 0
    tokens: int = 0
    arrived: Callable[[int], None] = lambda number: None


@contextmanager
def tiny_pair() -> Iterator[tuple[dict[str, str], dict[str, Bill]]]:
    """Two servers of the tiny model: their addresses and their bills, by the names of `UNITS`."""
    params, lock = weights.load()[0], threading.Lock()
    with ExitStack() as stack:
        addresses, bills = {}, {name: Bill() for name in UNITS}
        for name, bill in bills.items():
            made = server.serve(params)
            engine: Any = made.RequestHandlerClass.engine  # type: ignore[attr-defined]

            def submit(rows: list[Any], bill: Bill = bill, real: Callable = engine.submit) -> list[Any]:
                with lock:
                    bill.requests += 1
                bill.arrived(bill.requests)
                found = real(rows)
                with lock:
                    bill.completions += len(rows)
                    bill.tokens += len(rows[0].prompt) + sum(one.tokens for one in found)
                return found

            engine.submit = submit
            addresses[name] = f"{stack.enter_context(running(made))}/v1"
        yield addresses, bills


class TinyEnd(NamedTuple):
    """What no kill may change: the policy file but for places and the bill, the table of arms, all draws."""

    policy: dict[str, Any]
    arms: bytes
    draws: list[Any]


class TinyRun:
    """A tuning run in a folder on two tiny servers.

    Attributes:
        killed: kills so far.
        billed: what each server computed for this run, by name, requests that were cut off included.
    """

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        addresses: Mapping[str, str],
        bills: Mapping[str, Bill],
        memory: Path,
        chance: int = 0,
    ):
        folder.mkdir()
        self.killed, self.folder, self.journal = 0, folder, folder / "out" / "journal.sqlite"
        self._nursery, self._addresses, self._bills = nursery, addresses, bills
        self._memory, self._rng, self._kept, self._before = memory, random.Random(chance), set[Any](), {}
        numbers = [(a, b, c) for a in range(7) for b in (1, 5) for c in (3,)]
        rows = [{"query": task.question(np.array(one)), "gold": sum(one) % task.MODULUS} for one in numbers]
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
        self._before = {name: (bill.completions, bill.tokens) for name, bill in bills.items()}

    def go(self, kills: int = 0, caps: Amount = CAPS, seconds: float = 0.0) -> "TinyRun":
        """Kill it so many times, if it lasts so long, then let it end; where it meets a cap it goes on under `CAPS`.

        A kill comes when a random server has a random request, before or after a random commit of the journal, or after
        a random part of these seconds.
        """
        while (said := self._once(self.killed < kills, caps, seconds)) is not None:
            caps = CAPS if said else caps
        return self

    def _once(self, kill: bool, caps: Amount, seconds: float) -> str | None:
        """One process: what it says where it meets a cap, "" where it is killed, None where it comes to its end."""
        money = (
            f"[caps]\ncompletions = {caps.completions}\ntokens = {caps.tokens}\nmoney = {caps.money / 10**12:.12f}\n"
        )
        text, errors = TINY_TWO + money, self.folder / "errors.txt"
        for name, address in self._addresses.items():
            text = text.replace(f'"{name.upper()}"', f'"{address}"')
        (self.folder / "run.toml").write_text(text)
        at = self._rng.choice(["request", "before", "after", "time"]) if kill else ""
        bill = self._bills[self._rng.choice([*UNITS])]
        if at == "request":
            number = bill.requests + self._rng.randrange(1, 12)
            bill.arrived = lambda now: self._nursery.kill() if now == number else None
        commit = self._rng.randrange(1, 40)
        after = self._rng.uniform(0.0, seconds) if at == "time" else None
        try:
            self._nursery.begin(errors, str(self.folder / "run.toml"), at, commit, str(self._memory), seconds=after)
            code, said = self._nursery.end(), errors.read_text()
        finally:
            bill.arrived = lambda number: None
        self._check(caps)
        if code == -signal.SIGKILL:
            assert at
            self.killed += 1
            return ""
        if code == 0:
            return None
        assert "raise the cap" in said or "stopped by a cap" in said, said
        return said

    def _check(self, caps: Amount) -> None:
        """No draw that was there is gone; no cap is exceeded; each server is charged for all that it computed.

        The journal is read in a copy, so that it is the next process that has to mend it.
        """
        copy = self.folder / "copy.sqlite"
        for end in ("", "-wal"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy(f"{self.journal}{end}", f"{copy}{end}")
        try:
            rows, whole = set(query(copy, DRAWS)), Amount()
            for name, address in self._addresses.items():
                charged = charged_at(copy, address)
                assert self.billed(name).completions <= charged.completions
                assert self.billed(name).tokens <= charged.tokens
                whole = whole.plus(charged)
            under_way = len(query(copy, SENT.format("open")))
        except sqlite3.OperationalError:  # killed before there were tables
            rows, whole, under_way = set(), Amount(), 0
        assert self._kept <= rows
        assert all(mine <= cap for mine, cap in zip(whole, caps, strict=True))
        assert under_way <= UNDER_WAY
        self._kept = rows

    def billed(self, name: str) -> Amount:
        """Completions and tokens that a server computed for this run."""
        completions, tokens = self._before[name]
        return Amount(self._bills[name].completions - completions, self._bills[name].tokens - tokens)

    def charged(self, name: str) -> Amount:
        """What the journal holds in charges for an endpoint."""
        return charged_at(self.journal, self._addresses[name])

    def lost(self, name: str) -> Amount:
        """What was under way there at some kill, at its worst."""
        rows = [row[2:] for row in query(self.journal, SENT.format("lost")) if row[1] == self._addresses[name]]
        return Amount(*map(sum, zip(*rows, strict=True))) if rows else Amount()

    def end(self) -> TinyEnd:
        """What it left."""
        out = self.folder / "out"
        policy = json.loads((out / "policy.json").read_text())
        for key in ("spent", "config"):
            policy.pop(key)
        for one in policy["source"]["endpoints"].values():
            one.pop("base_url")
        assert query(self.journal, "PRAGMA integrity_check") == [("ok",)]
        return TinyEnd(policy, (out / "arms.csv").read_bytes(), query(self.journal, DRAWS))
