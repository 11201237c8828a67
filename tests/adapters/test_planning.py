"""Plans of live runs: a bound that no allocation exceeds, consent before the probe, plans without it."""

import itertools
import random
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_spec
from live_runs import RUN, digit, iapo, write
from live_server import Model, serving

from sim import algorithms
from sim.adapters import config as reading
from sim.adapters import planning
from sim.adapters import session as sessions
from sim.adapters import tune as driver
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import cell_of
from sim.adapters.run_file.settings import Caps
from sim.adapters.wire.protocol import Offline
from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

UNIFORM = RUN.replace('"psst"\nbudget = 400', '"uniform"\nbudget = 90')


def test_no_allocation_costs_more_than_the_bound(folder: Path):
    """Whichever prompts, queries and sizes of requests a rule may choose. Seen to fail with the first prompt's cost."""
    text = RUN.replace('text = "[0.75] {query}"', 'text = "[0.75] {query} {query}"\nmodel = "dear"')
    text = text.replace("max_tokens = 10", "max_tokens = 30", 1) + "[prices.models.dear]\nprompt = 5.0\n"
    run = reading.load(write(folder, "http://127.0.0.1:9/v1", text))
    items, rng = driver.load_items(run), random.Random(0)
    with sessions.session(run, Offline, ":memory:") as live:
        bound = planning.bound(run, items, live.sampler)
        for favourite, size in itertools.product(run.prompts, (1, 4)):
            left, spent = run.budget, Amount()
            while left:
                n = min(left, size)
                prompt = favourite if rng.random() < 0.9 else rng.choice(run.prompts)
                cell = cell_of("tune", run.endpoint_of(prompt), prompt, rng.choice(items).text)
                spent, left = spent.plus(live.sampler.worst(prompt, cell, n)), left - n
            assert all(part <= most for part, most in zip(spent, bound, strict=True))


def test_an_estimate_knows_how_many_choices_the_server_returns(folder: Path):
    """Seen to count each prompt once per pull, four times too seldom."""
    run = reading.load(write(folder, "http://127.0.0.1:9/v1", RUN))
    costs, pulled, pulls = driver.Costs(*np.full((3, 3), 10.0)), np.array([40, 40, 0]), np.array([10, 10, 0])
    with sessions.session(run, Offline, ":memory:") as live:
        assert planning._likely(run, costs, pulled, pulls, live.sampler).tokens == 20 * 10 + 80 * 10
        live.sampler.at("")._remember("m", 1)
        assert planning._likely(run, costs, pulled, pulls, live.sampler).tokens == 80 * 10 + 80 * 10


def test_a_probe_is_announced_and_agreed_to_before_anything_is_asked(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, UNIFORM)
        stopped = iapo("tune", file, "--plan", said="n\n")
        assert stopped.exit_code == common.INTERRUPTED
        assert re.search(r"A probe .* spends at most 48 completions, [\d,]+ tokens, money", stopped.stdout)
        assert "stopped before the first request; --plan --no-probe plans without a probe" in stopped.stderr
        assert model.requests == []
        silent = iapo("tune", file, "--plan", said="")
        assert silent.exit_code == common.INTERRUPTED
        assert silent.stderr == "\nstopped: nobody answered; --yes goes on without asking\n", "seen to say Aborted!"
        assert model.requests == []
        agreed = iapo("tune", file, "--plan", said="y\n")
        assert agreed.exit_code == 0, agreed.output
        assert model.completions == 48
        again = iapo("tune", file, "--plan")
        assert again.exit_code == 0, "a probe that is kept needs no consent"
        assert "A probe" not in again.stdout
        assert model.completions == 48


def test_a_plan_without_a_probe_asks_nothing(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, UNIFORM + "[caps]\ntokens = 5000\n")
        planned = iapo("tune", file, "--plan", "--no-probe")
        assert planned.exit_code == 0, planned.output
        refused = iapo("tune", file, "--no-probe", "--yes")
    assert model.requests == []
    assert "estimated" not in planned.stdout
    shown = " ".join(planned.stdout.split())
    worst = 90 * (len("[0.45] query 29 has the digit 9") + 8 + 64 + 10)
    assert "rounds, at most 90 5,000 " in shown, "never above the caps"
    assert f"Cut at what the caps leave: without them at most 90 completions, {worst:,} tokens" in shown
    assert "kept already" not in shown
    assert refused.exit_code == common.USER_ERROR
    assert refused.stderr.startswith("error: --no-probe goes with --plan;")


def test_a_cap_that_the_probe_makes_too_small_is_refused_before_the_first_request(folder: Path):
    """Seen to run until the cap stopped it without a policy, after a plan whose estimate was above its bound."""
    model, text = Model(answer=digit), UNIFORM.replace("budget = 90", "budget = 96") + "[caps]\ncompletions = "
    with serving(model) as url:
        file = write(folder, url, text + "143\n")
        for options in ("--plan", "--yes"):
            refused = iapo("tune", file, options)
            assert refused.exit_code == common.USER_ERROR
            assert refused.stderr == (
                f"error: {file}: caps.completions is 143; 0 are spent, the probe needs 48 more and the rounds 96: it "
                "must be at least 144, and more where requests fail; raise the cap, lower tune.budget (96) or give "
                "every prompt a cost, which needs no probe\n"
            )
        assert iapo("tune", file, "--plan", "--no-probe").exit_code == 0
        assert model.requests == []
        assert iapo("tune", write(folder, url, text + "144\n"), "--yes").exit_code == 0
        assert iapo("tune", write(folder, url, text + "144\n"), "--yes").exit_code == 0, "what is kept needs no room"


def test_a_run_that_is_in_its_rounds_goes_on_whatever_they_might_need(folder: Path):
    """Seen to be refused though all was there: dry runs spend more of the budget than this run did."""
    model = Model(answer=digit)
    with serving(model) as url:
        assert iapo("tune", write(folder, url, RUN), "--yes").exit_code == 0
        spent = model.completions
        again = iapo("tune", write(folder, url, f"{RUN}[caps]\ncompletions = {spent}\n"), "--yes")
    assert again.exit_code == 0, again.output
    assert model.completions == spent


def test_what_an_algorithm_leaves_of_its_budget_needs_no_room(folder: Path):
    """Seven pulls of four completions for each of three prompts are 84 of 90."""
    model = Model(answer=digit)
    with serving(model) as url:
        assert iapo("tune", write(folder, url, f"{UNIFORM}[caps]\ncompletions = {48 + 84}\n"), "--yes").exit_code == 0
    assert model.completions == 48 + 84


def test_an_estimate_above_what_the_caps_leave_is_cut_and_told(folder: Path):
    """Seen to show an estimate above "at most", without a word."""
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, UNIFORM + "[caps]\ntokens = 400\n")
        planned = iapo("tune", file, "--plan", "--yes")
        assert planned.exit_code == 0, planned.output
        shown, spent = " ".join(planned.stdout.split()), model.tokens
        assert 100 < spent < 250
        assert f"rounds, estimated from the probe 84 {400 - spent} " in shown
        assert f"rounds, at most 90 {400 - spent} " in shown
        said = (
            "Warning: caps.tokens will probably stop the run before its policy: the rounds take about 84 completions, "
        )
        assert said in shown
        room = iapo("tune", write(folder, url, UNIFORM + "[caps]\ntokens = 9000\n"), "--plan")
    assert "Warning" not in room.stdout


def test_what_is_kept_of_rounds_is_no_longer_estimated():
    plan = planning.RunPlan((), Amount(100, 100, 100), Amount(100, 1000, 50), judged=False, kept=60)
    assert plan.short(Caps(100, None, None), Amount(60, 600, 30)) == []
    assert plan.short(Caps(99, 1000, 49), Amount(60, 600, 30)) == ["completions", "money"]
    assert plan._replace(expected=None).short(Caps(1, 1, 1), Amount()) == []


def test_small_sums_of_money_are_shown(folder: Path):
    """Seen to read 0.0000 in the table of costs."""
    text = UNIFORM.replace("prompt = 1.0", "prompt = 0.01").replace("completion = 2.0", "completion = 0.02")
    file = write(folder, "http://127.0.0.1:9/v1", text + "[caps]\nmoney = 0.0009\n")
    shown = " ".join(iapo("tune", file, "--plan", "--no-probe").stdout.split())
    assert re.search(r"rounds, at most 90 10,170 0\.000111 spent so far 0 0 0\.0000 caps 403 - 0\.000900", shown), shown


@pytest.mark.parametrize("strategy", ["bon", "mv"])
def test_a_plan_says_where_no_query_can_be_answered_with_the_policy(folder: Path, strategy: str):
    text = UNIFORM.replace('strategy = "mv"', f'strategy = "{strategy}"')
    planned = iapo("tune", write(folder, "http://127.0.0.1:9/v1", text), "--plan", "--no-probe")
    assert ("`iapo ask`, which knows none, refuses the policy" in planned.stdout) == (strategy == "bon")


def test_amounts_are_cut_at_what_the_caps_leave():
    nine = Amount(9, 9, 9)
    assert planning.within(nine, Caps(5, None, 20), Amount()) == Amount(5, 9, 9)
    assert planning.within(nine, Caps(9, 3, 0), Amount(0, 1, 0)) == Amount(9, 2, 0)
    assert planning.within(nine, Caps(5, 5, 5), Amount(6, 5, 4)) == Amount(0, 0, 1)


def test_a_plan_of_a_run_that_was_stopped_knows_what_is_spent(folder: Path):
    """Seen to say that it could spend the caps again."""
    model = Model(answer=digit)
    costs = UNIFORM.replace("max_tokens = 10", "max_tokens = 10\ncost = 1")
    with serving(model) as url:
        file = write(folder, url, costs + "[caps]\ncompletions = 95\n")
        model.fault = lambda number, body: "quota" if number > 7 else None
        assert iapo("tune", file, "--yes").exit_code == common.USER_ERROR
        kept = model.completions
        assert 5 < kept < 90
        shown = " ".join(iapo("tune", file, "--plan").stdout.split())
    assert f"rounds, at most {95 - kept} " in shown
    assert f"spent so far {kept} " in shown
    assert "Cut at what the caps leave: without them at most 90 completions," in shown
    assert f"{kept} completions of rounds are kept already; those that the rounds ask for again cost nothing." in shown


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("psst", 16, None),
        ("psst+k4", 16, None),
        ("random", 16, None),
        ("sequential-halving", 16, 1),
        ("successive-rejects", 16, 1),
        ("prompt-halving", 16, 4),
        ("triple-n1", 4, 1),
    ],
)
def test_arms_left_are_those_that_may_still_be_recommended(name: str, first: int, last: int | None):
    """Before the first round, and where one active entry is left of every context."""
    spec, algorithm = make_spec(4, 4), algorithms.get(name)
    state = algorithm.init(spec, jnp.int32(1000))
    assert algorithm.arms_left(spec, state) == first
    if last is not None:
        one = jnp.zeros_like(state.active).at[:, 1].set(True)
        assert algorithm.arms_left(spec, state._replace(active=one)) == last


def test_what_is_run_is_said_before_the_plan_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan compiles a dry run of the algorithm. Seen to fail with the line at the head of the plan."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan", stopped)
    with serving(Model(answer=digit)) as url:
        found = iapo("tune", write(folder, url), "--plan", "--no-probe")
    assert found.stdout == "digits: psst on 3 prompts, N <= 4, 30 queries, 2 contexts\n"
    assert found.exit_code == common.INTERRUPTED
