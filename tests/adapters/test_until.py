"""Runs until sure, runs that go on, and the policy so far: against a local server, as a user would."""

import json
from pathlib import Path

import pytest
from live_runs import RUN, TUNE, digit, iapo, write
from live_server import Model, serving

from sim.adapters import policy, until
from sim.adapters.paid.journal import Journal
from sim.cli import common
from sim.cli import until as surely

pytest.importorskip("openai", reason="the extra [llm] is not installed")

FREE = RUN.replace("max_tokens", "cost = 0\nmax_tokens").replace("cost_weights = [0.0, 1.0]", "cost_weights = [0.0]")
"""`RUN` in one context without costs, so that there is no probe."""
DRAWS = "SELECT hex(cell), draw, text FROM draws ORDER BY 1, 2"


def tuning(algorithm: str, budget: int, max_scale: int = 2) -> str:
    own = f'[tune]\nalgorithm = "{algorithm}"\nbudget = {budget}\nmax_scale = {max_scale}'
    return FREE.replace(TUNE, own)


def draws(folder: Path) -> set[tuple[object, ...]]:
    journal = Journal(folder / "out" / "journal.sqlite")
    found = set(map(tuple, journal.rows(DRAWS)))
    journal.close()
    return found


def facts(folder: Path, name: str = until.POLICY) -> dict:
    return json.loads((folder / "out" / name).read_text())


def test_a_run_stops_when_it_is_sure(folder: Path):
    """On exactly these 30 queries, eps .4; the file names another algorithm."""
    with serving(Model(answer=digit)) as url:
        result = iapo("tune", write(folder, url, tuning("psst", 4000)), "--until", ".4", "--target", "these", "--yes")
    assert result.exit_code == 0, result.output
    content = facts(folder)
    run = content["run"]
    assert run["algorithm"] == "until-sure:target=these,eps=0.4,visits=4096"
    assert 3 * 10 * 2 * 2 <= content["spent"]["completions"] < 4000
    assert run["sure"]["eps"][0] <= 0.4 == run["sure"]["wanted"]
    assert content["policy"]["cost 0"]["chosen"]["prompt"] == "strong"
    said = " ".join(result.stdout.split())
    assert "cost 0: with 95 % confidence no other arm is better by more than ." in said
    assert "on exactly these queries" in said
    assert "Not as sure" not in said
    assert not (folder / "out" / until.SO_FAR).exists()


def test_a_list_that_is_too_short_is_said_to_be_through(folder: Path):
    """30 new queries, eps .01, and 180 of 4,000 completions; then a smaller budget, which is spent first."""
    with serving(Model(answer=digit)) as url:
        result = iapo("tune", write(folder, url, tuning("psst", 4000)), "--until", "0.01", "--yes")
        assert result.exit_code == 0, result.output
        assert "Not as sure as asked for: queries exhausted, eps = ." in " ".join(result.stdout.split())
        assert facts(folder)["spent"]["completions"] <= 3 * 30 * 2
        poor = iapo("tune", write(folder, url, tuning("psst", 80)), "--until", "0.01", "--yes")
    assert "Not as sure as asked for: the budget is spent; --more goes on." in " ".join(poor.stdout.split())


@pytest.mark.parametrize("algorithm", ["until-sure:eps=0.01", "psst"])
def test_a_finished_run_goes_on_with_what_it_has(folder: Path, algorithm: str):
    """80 completions, then 60 more, which a run until sure spends all on new ones; twice the same is the same."""
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, tuning(algorithm, 80))
        early = iapo("tune", file, "--more", "60", "--yes")
        assert early.exit_code == common.USER_ERROR
        assert "--more goes on from a run that has ended, and" in early.stderr
        assert iapo("tune", file, "--yes").exit_code == 0
        before, spent = draws(folder), model.completions
        write(folder, url, tuning("uniform", 70))
        result = iapo("tune", file, "--more", "60", "--yes")
        assert result.exit_code == 0, result.output
        run = facts(folder)["run"]
        assert (run["algorithm"], run["budget"]) == (algorithm, 140)
        assert before < draws(folder)
        if algorithm != "psst":
            assert model.completions == spent + 60 == 140
            assert facts(folder)["policy"]["cost 0"]["chosen"]["pulls"] >= 20
    assert policy.load(folder / "out" / until.POLICY).budget == 140


def test_the_policy_so_far_is_at_hand_when_a_run_ends_early(folder: Path):
    """The key's quota ends in the second round; later the run comes to its end, and what was so far is gone."""
    model = Model(answer=digit, fault=lambda number, body: "quota" if number > 35 else None)
    with serving(model) as url:
        file = write(folder, url, tuning("until-sure:eps=0.01", 180))
        stopped = iapo("tune", file, "--yes")
        assert stopped.exit_code == common.USER_ERROR, stopped.output
        assert not (folder / "out" / until.POLICY).exists()
        content = facts(folder, until.SO_FAR)
        assert (content["run"]["complete"], content["run"]["stopped"]) == (False, "under way, after round 1")
        assert content["run"]["sure"]["visits"] == 10
        assert policy.load(folder / "out" / until.SO_FAR).choices.keys() == {"cost 0"}
        advice = iapo("advise", folder / "out", "--out", folder / "advice")
        assert advice.exit_code == 0, advice.output
        assert "valid at any time" in " ".join(advice.stdout.split())
        model.fault = lambda number, body: None
        assert iapo("tune", file, "--yes").exit_code == 0
    assert not (folder / "out" / until.SO_FAR).exists()
    assert facts(folder)["run"]["complete"]


def test_a_cap_leaves_the_policy_and_its_statement(folder: Path):
    with serving(Model(answer=digit, fault=lambda number, body: "billed-500" if number % 3 == 0 else None)) as url:
        text = tuning("until-sure:eps=0.01", 170) + "[caps]\ncompletions = 170\n"
        result = iapo("tune", write(folder, url, text), "--yes")
    assert result.exit_code == common.CAPPED, result.output
    assert "Not as sure as asked for: a cap stopped the run." in " ".join(result.stdout.split())
    assert facts(folder)["run"]["sure"]["visits"] >= 10


def test_says_what_cannot_be(folder: Path):
    file = write(folder, "http://localhost:1", tuning("psst", 80))
    for given, problem in (
        (("--until", "0"), "--until is 0; it must be above 0"),
        (("--target", "these"), "--target goes with --until"),
        (("--until", ".1", "--target", "all"), "--target is 'all'; it must be 'new' or 'these'"),
    ):
        result = iapo("tune", file, *given, "--yes")
        assert result.exit_code == common.USER_ERROR
        assert problem in result.stderr


def test_sentences_round_eps_up() -> None:
    """Two contexts, one of which nothing is said of."""
    sure = until.Sure((0.0213, float("inf")), 0.02, 0.95, "new", 8, 1200, False)
    first, second, grade, why = surely.sentences(sure, ["free", "dear"], False)
    assert first == "free: with 95 % confidence no other arm is better by more than .03 on new queries."
    assert second.startswith(
        "dear: with 95 % confidence nothing can be said: some prompt has met fewer than 10 queries"
    )
    assert grade.startswith("(8 arms, 1,200 queries; asymptotic, valid at any time, 2 contexts at once")
    assert why == "Not as sure as asked for: the budget is spent; --more goes on."
    assert sure.facts()["eps"] == [0.0213, None]
