"""A thousand faults: the end is that of a run which met none, and no more is paid for again than the faults took."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from draw_runs import BILLED, UNBILLED
from journal_files import query
from live_runs import RUN, batch_run, digit, iapo, quick, write
from live_server import Model, serving, words
from tune_runs import DRAWS

from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

MOST_IN_A_ROW = 6
"""Faults that one request meets at most, below the number at which a run gives up."""
TEXT = RUN.replace("budget = 400", "budget = 1600")
CAPS = (1800, 20_000)
"""Completions that may be charged: less than the faults leave room for, and more than any run here needs."""
LINES = ("429", "503", "500", "undone", "gone", "half", "garbled", "null", "text", "empty", "nomessage", "error200")
CALLS = ("429", "500", "503", "before", "after", "half", "html", "null")
QUIRKS = ("expire", "late", "repeat", "strange", "missing", "errors", "one", "nothing", "failed", "cancelled")
DAY = 86401.0


def end_of(out: Path) -> tuple[dict, bytes, list]:
    """What no fault may change: the policy file but for its place and its bill, the table of arms, all draws."""
    policy = json.loads((out / "policy.json").read_text())
    del policy["spent"], policy["source"]["endpoint"]["base_url"]
    return policy, (out / "arms.csv").read_bytes(), query(out / "journal.sqlite", DRAWS)


def spent(out: Path) -> int:
    return query(out / "journal.sqlite", "SELECT sum(completions) FROM attempts")[0][0]


@pytest.mark.slow
def test_a_thousand_faults_change_no_policy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Every kind of fault, at chance; the run meets a cap on the way and goes on under another."""
    monkeypatch.setattr("sim.adapters.session.real_clock", quick)
    kinds, met = (*UNBILLED, *BILLED, "error200", "billed-nomessage"), Counter[int]()

    def fault(number: int, body: dict) -> str | None:
        chance = random.Random(words(body["seed"], met[body["seed"]]))
        if met[body["seed"]] >= MOST_IN_A_ROW or chance.random() > 0.7:
            return None
        met[body["seed"]] += 1
        return chance.choice(kinds)

    out, found = folder / "out", []
    for model in (calm := Model(answer=digit)), (stormy := Model(answer=digit, fault=fault)):
        with serving(model) as url:
            for cap in CAPS:
                result = iapo("tune", write(folder, url, f"{TEXT}[caps]\ncompletions = {cap}\n"), "--yes")
                assert model.completions <= spent(out) <= cap
                if model is stormy and cap == CAPS[0]:
                    assert result.exit_code == common.CAPPED
                    assert "caps.completions is 1,800, and the next request could exceed it" in result.stderr
                else:
                    assert result.exit_code == 0, result.output
        found.append(end_of(out))
        out.rename(folder / str(len(found)))
    assert len(stormy.faults) >= 1000
    assert set(stormy.faults) == set(kinds)
    assert found[0] == found[1]
    assert stormy.completions == calm.completions + stormy.wasted


class Storm:
    """Faults of a server of batches, at chance, each of them counted."""

    def __init__(self, model: BatchModel):
        self.model, self.kinds = model, Counter[str]()
        self._met, self._row = Counter[object](), Counter[str]()
        model.line, model.moment, model.quirks = self._line, self._moment, self._quirk

    def _fault(self, what: str, key: object, share: float, kinds: tuple[str, ...]) -> str | None:
        self._met[what, key] += 1
        chance = random.Random(words(what, key, self._met[what, key]))
        if chance.random() > share:
            return None
        kind = chance.choice(kinds)
        self.kinds[f"{what} {kind}"] += 1
        return kind

    def _line(self, body: dict) -> str | None:
        return self._fault("line", body["seed"], 0.6, LINES) if self._met["line", body["seed"]] < 3 else None

    def _quirk(self, number: int) -> set[str]:
        kind = self._fault("quirk", number, 0.3, QUIRKS)
        return set() if kind is None else {kind}

    def _moment(self, number: int, said: str) -> str | None:
        """No more than three times in a row for one thing that is asked."""
        kind = self._fault("call", said, 0.4, CALLS) if self._row[said] < 3 else None
        self._row[said] = 0 if kind is None else self._row[said] + 1
        return kind


@pytest.mark.slow
def test_a_thousand_faults_of_batches_change_no_policy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Every kind of fault of lines, batches and calls; the run is begun anew, a day later, whenever one ends it."""
    now = [0.0]
    monkeypatch.setattr("sim.adapters.session.real_clock", quick)
    monkeypatch.setattr("sim.adapters.paid.batches.time", lambda: now[0])
    out, found, cap, said = folder / "out", [], CAPS[0], []
    calm, stormy = BatchModel(answer=digit), BatchModel(answer=digit)
    storm = Storm(stormy)
    for model in calm, stormy:
        with batching(model) as url:
            for _ in range(100):
                text = batch_run(url, "poll = 0.001\nmax_requests = 20", f"{TEXT}[caps]\ncompletions = {cap}\n")
                result = iapo("tune", write(folder, url, text), "--yes")
                assert model.completions <= spent(out) <= cap
                if result.exit_code == 0:
                    break
                said.append(result.stderr.splitlines()[-1])
                assert result.exit_code == (common.CAPPED if "raise the cap" in said[-1] else common.USER_ERROR)
                assert re.search("the same command|raise the cap|attempts in a row", said[-1])
                cap = CAPS[1] if "raise the cap" in said[-1] else cap
                now[0] += DAY
        assert result.exit_code == 0, said
        assert query(out / "journal.sqlite", "SELECT 1 FROM batches WHERE state != 'done'") == []
        found.append(end_of(out))
        out.rename(folder / str(len(found)))
    assert storm.kinds.total() >= 1000
    every = {f"{what} {kind}" for what, all_ in (("line", LINES), ("call", CALLS), ("quirk", QUIRKS)) for kind in all_}
    assert set(storm.kinds) == every
    assert cap == CAPS[1]
    assert found[0] == found[1]
    assert stormy.completions == calm.completions + stormy.wasted
