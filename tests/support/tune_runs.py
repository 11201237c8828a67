"""Tuning runs in processes that are killed, begun again and compared with a calm run."""

import json
import random
import shutil
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import tiny_judge
from batch_server import BatchModel, batching
from journal_files import query
from live_runs import RACING, RUN, TUNE, batch_run, digit, queries
from nursery import Nursery
from tiny_judge import TinyModel

from sim.adapters.paid.ledger import Amount

CAPS = Amount(2000, 30_000, 60_000_000_000)
"""What may be charged in all, more than any run here needs."""


PRICED = RUN.replace("max_tokens", "cost = 5\nmax_tokens")


BATCHES = "poll = 0.001\nmax_requests = 20"


DRAWS = "SELECT prompt, query, draw, seed, finish, text FROM draws JOIN cells USING (cell) ORDER BY seed, query, draw"


CHARGED = "SELECT total(completions), total(tokens), total(money) FROM attempts"


class End(NamedTuple):
    """What no kill may change: the policy file but for its place, day and bill, the table of arms, all draws."""

    policy: dict[str, Any]
    arms: bytes
    draws: list[Any]


class Run:
    """A tuning run in a folder, and the server that it asks.

    Attributes:
        killed: kills so far.
        cut: requests that were under way at some kill.
    """

    def __init__(self, nursery: Nursery, mode: str, folder: Path, memory: Path | str = "", chance: int = 0):
        folder.mkdir()
        self._judged = mode.startswith("judged")
        self.model, self.killed, self.cut = TinyModel() if self._judged else BatchModel(answer=digit), 0, set[int]()
        self._nursery, self._folder, self._rng = nursery, folder, random.Random(chance)
        self._kill_at, self._kept, self._base = -1, set[Any](), folder / "out" / "journal.sqlite"
        self._memory, self._batches = str(memory), "batch" in mode
        self._begun = self.model.log if self._batches else self.model.requests
        self.model.fault, self.model.moment, self.model.broken = self._fault, self._moment, nursery.kill
        self._races = mode.startswith("racing")
        if self._judged:
            tiny_judge.queries(folder)
        else:
            queries(folder, 6 if self._races else 30)

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
                    met = f"caps.completions is {caps.completions}", f"caps.tokens is {caps.tokens:,}"
                    assert any(one in said for one in met), "met, or known to be too small"
                    caps = CAPS
        return self

    def _once(self, url: str, kill: bool, caps: Amount, seconds: float) -> str | None:
        """One process; what it says where it meets a cap, "" where it is killed, None where it comes to the end."""
        text = tiny_judge.RUN if self._judged else PRICED
        text += f"[caps]\ncompletions = {caps.completions}\ntokens = {caps.tokens}\nmoney = {caps.money / 1e12}\n"
        file, errors, rng = self._folder / "run.toml", self._folder / "errors.txt", self._rng
        if self._races:  # by hand: three prompts' pulls of 5 at 18 places; two have 6 in each of these, and at 6 more
            text = text.replace(TUNE, RACING.replace("1000", "400"))
        file.write_text((batch_run(url, BATCHES, text) if self._batches else text).replace("URL", url))
        most = 5 if self._batches else 16
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
        assert len(cut) <= (0 if self._batches else 8)
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
        assert policy["run"].pop("date")
        assert policy["source"]["endpoint"].pop("base_url").startswith("http://127.0.0.1:")
        assert query(self._base, "PRAGMA integrity_check") == [("ok",)]
        assert query(self._base, "SELECT 1 FROM batches WHERE state != 'done'") == []
        return End(policy, (out / "arms.csv").read_bytes(), query(self._base, DRAWS))
