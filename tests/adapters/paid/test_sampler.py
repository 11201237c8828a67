"""Draws from servers of every personality: all there, none twice, none asked for again, no cap exceeded."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from draw_runs import BILLED, FREE, HOSTILE, PRICES, PULLS, UNBILLED, endpoint, right, sample, wants
from live_runs import iapo
from live_server import Model, serving, words

from sim.adapters.paid.entries import Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import REFUSED, Sampler
from sim.adapters.run_file.settings import Caps, Concurrency
from sim.adapters.wire.protocol import Completion, Reply, Request, Usage
from sim.adapters.wire.retry import Clock, Stopped

pytest.importorskip("openai", reason="the extra [llm] is not installed")


@pytest.mark.parametrize("choices", ["n", "one", "half"])
@pytest.mark.parametrize("max_n", [1, 3, 16])
def test_every_draw_is_there_once_however_the_server_counts(choices: str, max_n: int):
    """Sub-seeds s + i: the draws are the same however they are cut into requests."""
    model = Model(choices=choices)
    found = sample(model, PULLS, max_n=max_n)
    assert found.texts == right(model)
    assert len({text for pull in found.texts for text in pull}) == 29
    assert found.spent.completions == model.completions == 29
    assert found.spent.tokens == model.tokens
    assert found.limit == {"n": max_n, "one": 1, "half": {1: 1, 3: 1, 16: 1}[max_n]}[choices]


@pytest.mark.parametrize("choices", ["n", "one"])
def test_a_server_that_seeds_globally_gives_no_copies(choices: str):
    """The n = 1 answers to one seed are copies: topping up with the seed of the request would show here."""
    found = sample(Model(choices=choices, seeds="reseed"), PULLS)
    texts = [text for pull in found.texts for text in pull]
    assert len(set(texts)) == len(texts) == 29


def test_a_server_that_ignores_seeds_gives_all_draws():
    texts = [text for pull in sample(Model(seeds="ignored"), PULLS).texts for text in pull]
    assert len(set(texts)) == 29


def test_copies_are_counted_and_shown(tmp_path: Path):
    """A server that draws once a query, whatever the seed; and one that seeds globally, which gives none."""
    for name, model in ("same", Model(answer=lambda prompt, number: prompt)), ("other", Model(seeds="reseed")):
        sample(model, PULLS, tmp_path / name)
    shown = " ".join(iapo("journal", "list", tmp_path / "same").stdout.split())
    assert " 0 0 29 26 (90%) 29 " in shown, "29 completions of three queries"
    assert " 0 0 29 0 29 " in " ".join(iapo("journal", "list", tmp_path / "other").stdout.split())


def test_no_two_requests_share_a_seed_interval():
    model = Model(choices="half")
    sample(model, [(query, scale) for query in "abcdef" for scale in (7, 16, 1)])
    starts = sorted((body["seed"], min(body["n"], max(1, body["n"] // 2))) for body in model.requests)
    for (seed, n), (following, _) in pairwise(starts):
        assert seed + n <= following


def test_a_server_that_ignores_n_is_remembered(tmp_path: Path):
    model = Model(choices="one")
    assert sample(model, [("a", 8)], tmp_path / "j").limit == 1
    assert [body["n"] for body in model.requests] == [8, 7, *[1] * 6], "no more requests than completions"
    journal = Journal(tmp_path / "j")
    row = journal._one("SELECT value FROM meta WHERE key LIKE 'choices per request%'")
    assert row == ("1",)
    journal.close()


def test_a_reply_that_is_short_by_accident_changes_nothing():
    """Seen to ask for one choice a request from then on."""
    model = Model(fault=lambda number, body: setattr(model, "choices", "one" if number == 0 else "n"))
    found = sample(model, [("a", 8), ("b", 8), ("c", 8)], most=1)
    assert found.texts == right(model, [("a", 8), ("b", 8), ("c", 8)])
    assert sorted(body["n"] for body in model.requests) == [7, 8, 8, 8]
    assert found.limit == 16


@pytest.mark.parametrize(
    ("replies", "limit"),
    [
        ([(8, 1), (7, 1)], 1),
        ([(8, 1), (8, 8), (8, 1)], 16),
        ([(16, 8), (8, 8), (16, 8)], 8),  # a full reply that is no larger says nothing
        ([(16, 8), (8, 4)], 4),
        ([(16, 8), (16, 8), (8, 1), (8, 8)], 8),
    ],
)
def test_two_short_replies_without_a_larger_one_are_a_limit(replies: list[tuple[int, int]], limit: int):
    def learn(sampler: Sampler) -> None:
        for asked, returned in replies:
            sampler._learn("m", asked, returned)

    assert sample(Model(), [], check=learn).limit == limit


@pytest.mark.parametrize("lie", ["none", "negative", "text", "low"])
def test_usage_that_lies_is_charged_at_its_worst(lie: str):
    model = Model(usage=lie)
    found = sample(model, [("a", 4)])
    prompt, longest = len("a?") + 8 + 64, 4 * 30
    assert found.spent == Amount(4, prompt + longest, prompt * 3 + longest * 7)
    assert found.spent.tokens >= model.tokens


def test_short_replies_without_usage_cost_no_more_than_completions_one_by_one():
    """So that a plan bounds them. Seen to be charged for all that was asked, and for what tops it up again."""
    prompt, count = len("a?") + 8 + 64, 4
    found = sample(Model(usage="none", choices="one"), [("a", count)])
    assert found.spent == Amount(count, count * (prompt + 30), count * (prompt * 3 + 30 * 7))


@pytest.mark.parametrize(("usage", "choices"), [("huge", "n"), ("true", "more"), ("none", "more")])
def test_a_server_that_breaks_its_limits_ends_the_run(usage: str, choices: str):
    """Seen to fail for choices too many without usage, which were charged and accepted."""
    with pytest.raises(Stopped, match="exceeded the limits of a request"):
        sample(Model(usage=usage, choices=choices), [("a", 4)])


def test_hostile_answers_come_through_as_they_were(tmp_path: Path):
    """Query and answer over HTTP and out of the journal again."""
    model = Model(answer=lambda prompt, number: HOSTILE[number % len(HOSTILE)])
    pulls = [(text[:50] or "q", len(HOSTILE)) for text in HOSTILE if "\ud800" not in text]
    found = sample(model, pulls, tmp_path / "j")
    assert [sorted(texts) for texts in found.texts] == [sorted(HOSTILE)] * len(pulls)
    journal = Journal(tmp_path / "j")
    kept = {row[0].decode("utf-8", "surrogatepass") for row in journal.rows("SELECT text FROM draws")}
    assert kept == set(HOSTILE)
    journal.close()


def storm(seed: int, share: float, kinds: Sequence[str]) -> Callable:
    """Faults in a share of all requests, decided by the request's number."""

    def fault(number: int, body: dict) -> str | None:
        rng = random.Random(words(seed, number))
        return rng.choice(kinds) if rng.random() < share else None

    return fault


@pytest.mark.parametrize("seed", range(3))
def test_faults_lose_nothing_and_every_bill_is_covered(seed: int):
    """Half of all requests fail; the ledger covers what the server billed, and the draws are all right."""
    model = Model(fault=storm(seed, 0.5, UNBILLED + BILLED))
    pulls = [(query, scale) for query in "abcdefghij" for scale in (4, 8, 1)]
    found = sample(model, pulls)
    assert found.texts == right(model, pulls)
    assert found.spent.completions >= model.completions
    assert found.spent.tokens >= model.tokens
    lost = [fault for fault in model.faults if fault not in UNBILLED]
    assert len(lost) > 5
    whole = sum(scale for _, scale in pulls)
    assert whole < found.spent.completions <= whole + 8 * len(lost)


@pytest.mark.parametrize("how", ["error", "abort", "cancelled", "object"])
@pytest.mark.parametrize("choices", ["n", "one", "half"])
def test_choices_that_break_are_asked_for_again_under_their_numbers(how: str, choices: str):
    """Right answers break off twice: what comes in the end is as if none had. Seen to fail where a part counts."""
    model = Model(choices=choices, breaks=lambda _, text, before: how if "answer 7" in text and before < 2 else None)
    pulls = [(query, 16) for query in "abcdef"]
    found = sample(model, pulls)
    assert found.texts == right(Model(), pulls)
    broken = sum(model.broke.values())
    assert broken > 10
    assert found.spent.completions == model.completions == 6 * 16 + broken
    assert found.spent.tokens == model.tokens, "what was billed stays billed"
    assert found.limit == {"n": 16, "one": 1, "half": 1}[choices]


def test_broken_choices_are_no_limit_of_the_server():
    """Seen to ask for fewer from then on, where those that broke count as choices that did not come."""
    model = Model(breaks=lambda prompt, text, before: "error" if before == 0 and words(text) % 3 == 0 else None)
    pulls = [(query, 8) for query in "abcdef"]
    assert sample(model, pulls, most=1).limit == 16
    assert len(model.broke) > 10


def test_a_choice_that_breaks_again_and_again_stops_the_run(tmp_path: Path):
    """What else came is kept, and the way out is named: without seeds the server draws anew."""
    model = Model(breaks=lambda prompt, text, before: "error" if text.endswith("|1003>") else None)
    with pytest.raises(
        Stopped, match=r"8 attempts .* 1 of 1 choices failed on the server \(finish_reason 'error'\); wh"
    ):
        sample(model, [("a", 8)], tmp_path / "j")
    assert model.completions == 8 + 8
    journal = Journal(tmp_path / "j")
    assert journal.rows("SELECT draw, seed FROM draws ORDER BY draw") == [(k, 1000 + k) for k in range(8) if k != 3]
    assert journal.rows("SELECT count(*) FROM attempts WHERE note LIKE '1 of 8 choices failed on the server%'") == [
        (1,)
    ]
    journal.close()


def test_throttling_alone_costs_nothing():
    model = Model(fault=storm(1, 0.5, UNBILLED))
    pulls = [(query, 2) for query in "abcdefghijklmnopqrst"]
    found = sample(model, pulls)
    assert found.spent.completions == 40
    assert found.texts == right(model, pulls)


@pytest.mark.parametrize("fault", ["401", "404", "400", "quota", "wait"])
def test_a_fatal_error_ends_the_run_with_one_sentence(fault: str):
    model = Model(fault=lambda number, body: fault if number >= 3 else None)
    with pytest.raises(Stopped, match=r"\(prompt 'p', query '.'\)") as stopped:
        sample(model, [(query, 2) for query in "abcdefghijklmnopqrstuvwxyz"])
    assert "\n" not in str(stopped.value)
    assert len(model.requests) <= 3 + 16  # at most those that were under way


def test_a_wrong_key_ends_the_run_and_is_not_told():
    with pytest.raises(Stopped, match=r"HTTP 401: wrong key Bearer \*\*\*"):
        sample(Model(key="another"), [("a", 1)])


def test_a_refused_prompt_is_an_outcome_and_counts_as_billed():
    """Some providers bill it; seen to fail where it was charged nothing."""
    model = Model(fault=lambda number, body: "filter" if body["messages"][0]["content"] == "b?" else None)
    found = sample(model, PULLS)
    assert found.draws[1] == [Draw("", REFUSED)] * 20
    assert found.texts[0] == right(model)[0]
    assert found.spent.completions == 29
    assert found.spent.tokens == model.tokens + 20 * 30 + 2 * (len("b?") + 8 + 64)


def test_a_pull_has_one_deadline_for_all_its_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every request meets waits well below the deadline. Seen to go on for all sixteen with a deadline for each."""
    moments, real = iter(range(0, 10**6, 90)), Clock
    monkeypatch.setattr("draw_runs.Clock", lambda now, *rest: real(lambda: float(next(moments)), *rest))
    model = Model(choices="one")
    with serving(model) as url:
        monkeypatch.setattr("draw_runs.serving", lambda served: _same(url))
        with pytest.raises(
            Stopped, match=r"a pull is not complete after 1000 s \(endpoint.deadline\).* \(prompt 'p', qu"
        ):
            sample(model, [("a", 16)], tmp_path / "j", most=1)
        kept = len(model.requests)
        assert 1 < kept < 16
        moments = iter([0] * 1000)
        found = sample(model, [("a", 16)], tmp_path / "j", most=1)
    assert found.texts == right(model, [("a", 16)])
    assert len(model.requests) == 16


class Slow:
    """A server that ignores n and takes 20 s for every request."""

    def __init__(self):
        self.now = 0.0

    async def complete(self, request: Request, timeout: float) -> Reply:
        self.now += 20
        return Reply((Completion("x", "stop"),), Usage(5, 1))

    async def close(self) -> None:
        pass


def test_waiting_for_a_turn_does_not_count_towards_the_deadline():
    """Ten pulls of 80 s take their turns for 800 s. Seen to stop all where the deadline was 100 s."""

    async def go() -> list[list[Draw]]:
        client, where = Slow(), replace(endpoint("http://x"), deadline=100.0, concurrency=Concurrency(1, 1, 1))
        journal, clock = Journal(":memory:"), Clock(lambda: client.now, asyncio.sleep, random.Random(0))
        sampler = Sampler(client, where, PRICES, journal, Ledger(FREE), clock)
        try:
            return await asyncio.gather(*map(sampler.draws, wants(where, [(str(k), 4) for k in range(10)])))
        finally:
            journal.close()

    assert [len(draws) for draws in asyncio.run(go())] == [4] * 10


def test_a_timeout_is_charged_and_repeated():
    model = Model(fault=lambda number, body: "billed-timeout" if number == 0 else None)
    found = sample(model, [("a", 3)], timeout=0.3)
    assert found.texts == right(model, [("a", 3)])
    assert found.spent.completions == 6 == model.completions


@pytest.mark.parametrize("cap", range(20, 60, 4))
def test_no_cap_is_exceeded_whatever_fails(cap: int):
    """The server's own count is the judge. Equality is allowed: without faults the whole cap can be used."""
    model = Model(fault=storm(cap, 0.3, UNBILLED + BILLED))
    pulls = [(query, 4) for query in "abcdefghij"]
    said = ""
    try:
        found = sample(model, pulls, caps=Caps(cap, None, None)).texts
    except Stopped as stopped:
        found, said = right(model, pulls), str(stopped)
    assert found == right(model, pulls)
    assert said == "" or f"caps.completions is {cap}" in said
    assert model.completions <= cap
    exact = Model()
    assert sample(exact, pulls, caps=Caps(40, None, None)).spent.completions == 40


def test_caps_of_tokens_and_money_hold():
    pulls = [(query, 4) for query in "abcdefghijklmnopqrstuvwxyz"]
    free, one = Model(), 2 + 8 + 64 + 4 * 30
    sample(free, pulls)
    for cap in (one, one + 100):
        model = Model()
        with pytest.raises(Stopped, match=r"caps\.tokens is"):
            sample(model, pulls, caps=Caps(10**6, cap, None))
        assert 0 < model.tokens <= cap < free.tokens
    model = Model()
    with pytest.raises(Stopped, match=r"caps\.money is"):
        sample(model, pulls, caps=Caps(10**6, None, one * 7))
    assert 0 < model.tokens * 3 <= one * 7


def test_what_was_paid_for_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second run has half of one pull, and all of another, from the first."""
    model = Model()
    with serving(model) as url:
        monkeypatch.setattr("draw_runs.serving", lambda served: _same(url))
        first = sample(model, PULLS[:1], tmp_path / "j")
        assert len(model.requests) == 1
        again = sample(model, PULLS[:1], tmp_path / "j")
        assert len(model.requests) == 1
        assert again.texts == first.texts
        rest = sample(model, PULLS, tmp_path / "j")
    assert rest.texts == right(model)
    assert model.completions == rest.spent.completions == 29


class _same:
    """A context that gives an address that is served already."""

    def __init__(self, url: str):
        self.url = url

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        pass
