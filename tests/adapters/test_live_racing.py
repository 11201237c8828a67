"""Mixture racing against a local server: its rounds, its draws, and the number of answers that it needs."""

import json
import re
from pathlib import Path

import pytest
from live_runs import MINIMAL, RACING, RUN, TUNE, digit, iapo, write
from live_server import Model, serving

from sim.adapters import config as reading
from sim.adapters.paid.journal import Journal

pytest.importorskip("openai", reason="the extra [llm] is not installed")


def test_mixture_racing_runs_live_and_says_what_it_knows(folder: Path):
    """The plan has its rounds; every draw of the journal was asked for once, with a seed of its own.

    By hand: 125 completions of 3 prompts are pulls of 5 on 25 queries; two go on with 187 each: of pulls of 6 on all 30
    queries and pulls of 7 on 26 these spend more.
    """
    model = Model(answer=digit)
    racing = RACING.replace("1000", "500").replace("-racing", "-racing:seats=1")
    text = RUN.replace(TUNE, racing).replace("max_tokens", "cost = 5\nmax_tokens")
    with serving(model) as url:
        file = write(folder, url, text)
        planned = iapo("tune", file, "--plan")
        assert planned.exit_code == 0, planned.output
        found = re.findall(r"^ *([1-4]) +(\d+) +([1-3]) +(\d+) +(\d+) +(\d+) *$", planned.stdout, flags=re.M)
        assert found == [("1", "24", "3", "5", "75", "375"), ("2", "16", "2", "7", "52", "114")], planned.stdout
        result = iapo("tune", file, "--yes")
        assert result.exit_code == 0, result.output
        again = iapo("tune", file, "--yes")
        assert again.exit_code == 0, again.output
    content = json.loads((folder / "out" / "policy.json").read_text())
    assert content["spent"]["completions"] == model.completions == 489, "nothing is asked twice"
    assert content["policy"]["cost 0"]["chosen"]["prompt"] == "strong"
    assert content["policy"]["cost 1"]["chosen"]["scale"] == 1
    assert content["policy"]["cost 1"]["chosen"]["low"] < content["policy"]["cost 1"]["chosen"]["high"]
    journal = Journal(folder / "out" / "journal.sqlite")
    numbers = journal.rows("SELECT count(*), count(DISTINCT draw), count(DISTINCT seed) FROM draws GROUP BY cell")
    journal.close()
    assert all(all_ == draws == seeds for all_, draws, seeds in numbers)


def test_a_number_of_answers_belongs_to_a_vote(folder: Path):
    text = MINIMAL.replace("budget = 100", "budget = 100\nanswers = 3")
    assert reading.load(write(folder, "", text)).answers == 3
    with pytest.raises(ValueError, match=r"tune\.answers is 3; no objective is voted on, so that there are no answers"):
        reading.load(write(folder, "", text.replace('strategy = "mv"', 'strategy = "bon"')))
