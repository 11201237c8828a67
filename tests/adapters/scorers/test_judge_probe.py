"""The probe of judges: the same completions judged in two orders, planned, priced, capped and shown."""

import json
import re
from pathlib import Path

import pytest
from batch_server import BatchModel, batching
from journal_files import query
from live_runs import SCORED, iapo
from live_server import KEY

from sim.adapters import config
from sim.adapters.judge_probe import ProbedJudge
from sim.adapters.scorers.judge import Judge
from sim.adapters.scoring import Item

pytest.importorskip("openai", reason="the extra [llm] is not installed")

TEMPLATE = "{completion}\\n\\nHow good an answer to {query} is this?"
JUDGE = f'scorer = "judge"\nmodel = "j"\nmax_tokens = 40\ntemplate = "{TEMPLATE}"'
RUN = (
    SCORED.replace("cost = 1\n", "").replace("SCORER", JUDGE)
    + """
[cost]
probe_queries = 2
probe_completions = 3
[prices]
prompt = 1
completion = 2
[prices.models.j]
prompt = 30
completion = 60
"""
)


def leaning(prompt: str, number: int) -> str:
    """Answers of one to four signs; a judge that gives .1 a sign, and .25 more to a long answer that stands first."""
    judged = re.search(r"<completion (\w+)>\n(x+)", prompt)
    if judged is None:
        return "x" * (1 + number % 2 + 2 * prompt.startswith("long"))
    first = prompt.startswith("<completion") and len(judged[2]) > 2
    return f"verdict {judged[1]}: {len(judged[2]) / 10 + first / 4:g}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    (tmp_path / "q.jsonl").write_text('{"query": "a"}\n{"query": "b"}\n')
    return tmp_path


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_what_order_does_to_scores_is_measured_and_shown(folder: Path, mode: str):
    """To the last figure: half of eight answers move by .25; so does the bill of the plan. Nothing is asked twice.

    Seen to fail with the same order asked twice.
    """
    model, file = BatchModel(answer=leaning), folder / "run.toml"
    batch = "[endpoint.batch]\npoll = 0.001\n" if mode == "batch" else ""
    text = RUN.replace("timeout = 900", f'mode = "{mode}"\ntimeout = 900') + batch
    with batching(model) as url:
        file.write_text(text.replace("URL", url))
        planned = iapo("tune", file, "--plan", "--yes")
        assert planned.exit_code == 0, planned.output
        asked = model.completions
        again = iapo("tune", file, "--plan", "--yes")
        assert (model.completions, again.exit_code) == (asked, 0)
        done = iapo("tune", file, "--yes", "--json")
        assert done.exit_code == 0, done.output
    said = " ".join(planned.stdout.split())
    shift = "scores change by -0.125 in mean, standard error 0.047 (8 completions of the probe, of which 4 are scored"
    assert f"judge 'j' of 'reward': in the other order of its template {shift} differently)" in said
    assert mode == "sync" or model.requests == []
    journal = folder / "out" / "journal.sqlite"
    rows = query(
        journal, "SELECT stream, sum(completions), sum(tokens) FROM attempts JOIN cells USING (cell) GROUP BY 1"
    )
    assert sum(row[1] for row in rows) == model.completions
    assert sum(row[2] for row in rows) == model.tokens
    assert asked == 2 * 2 * 3 + 2 * 8, "the probe, and eight of its answers in two orders"
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (plan,) = [one for one in events if one["event"] == "plan"]
    (judge,) = [ProbedJudge(**one) for one in plan["judges"]]
    assert judge[2:5] == (8, 8, 4)
    assert judge.shift == pytest.approx(-0.125)
    assert judge.se == pytest.approx(0.125 * (8 / 7) ** 0.5 / 8**0.5)
    assert plan["judgements"]["completions"] == 60


def test_the_estimate_of_a_plan_has_the_judgements_at_their_price(folder: Path):
    """Its money is that of the tokens that the probe measured. Seen to be left out: the dearest part of the bill."""
    model, file = BatchModel(answer=leaning), folder / "run.toml"
    with batching(model) as url:
        file.write_text(RUN.replace("URL", url))
        shown = iapo("tune", file, "--plan", "--yes")
    found = re.search(r"their judgements, estimated \(equal ones share\) +(\S+) +(\S+) +(\S+)", shown.stdout)
    assert found is not None, shown.stdout
    number, tokens, money = found.groups()
    rows = query(
        folder / "out" / "journal.sqlite",
        "SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM attempts JOIN cells USING (cell) "
        "WHERE stream = 'judge'",
    )
    ((size, before, after),) = rows
    scale = int(number) / size
    assert int(tokens.replace(",", "")) == pytest.approx(scale * (before + after), abs=1)
    assert float(money) == pytest.approx(scale * (30 * before + 60 * after) / 1e6, abs=1e-4)


def test_its_judgements_count_against_the_caps(folder: Path):
    """A cap that holds the probe and the rounds, but not the sixteen judgements of the probe, is refused at once.

    Seen to fail where the need of the probe left them out.
    """
    model, file = BatchModel(answer=leaning), folder / "run.toml"
    with batching(model) as url:
        file.write_text(f"{RUN}[caps]\ncompletions = 48\n".replace("budget = 60", "budget = 24").replace("URL", url))
        refused = iapo("tune", file, "--yes")
    assert refused.exit_code == 2
    assert "caps.completions is 48; 0 are spent, the probe needs 28 more" in " ".join(refused.stderr.split())
    assert model.completions == 0
    file.write_text(RUN.replace("URL", "http://127.0.0.1:9/v1"))
    none = RUN.replace("max_tokens = 40", "max_tokens = 40\nprobe = 0")
    most = config.load(file).caps.completions
    file.write_text(none.replace("URL", "http://127.0.0.1:9/v1"))
    assert most - config.load(file).caps.completions == 16


@pytest.mark.parametrize(
    ("template", "other"),
    [
        ("Rate it.\n\nQ: {query}\n\nA: {completion}", "A: {completion}\n\nRate it.\n\nQ: {query}"),
        ("A: {completion}\nQ: {query}", "Q: {query}\nA: {completion}"),
        ("Rate.\n{query}: {completion}\nNow.", "{query}: {completion}\nRate.\nNow."),
        ("Q: {query} A: {completion}", None),
    ],
)
def test_the_other_order_moves_the_completion(template: str, other: str | None):
    found = Judge("j", template).other_order
    assert (None if found is None else found.template) == other
    given = Judge("j", template, swapped="{completion}{query}").other_order
    assert given is not None
    assert given.question(Item("q"), "c").startswith("<completion ")


def test_a_judge_without_another_order_says_so():
    one = ProbedJudge("reward", "j", 8, 0, 0, None, None, None, ordered=False)
    assert "its template is one line, without another order" in one.sentence
    assert "no completion of the probe has a score in both orders" in one._replace(ordered=True).sentence
    assert "standard error" not in one._replace(ordered=True, pairs=1, shift=0.5).sentence
