"""Live completions become environments, and journals can be listed, exported and compacted."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from draw_runs import HOSTILE
from live_runs import RACING, RUN, TUNE, digit, iapo, queries, write
from live_server import Model, serving

from sim.adapters.paid import journal_tables
from sim.adapters.paid.journal import Journal
from sim.cli import common
from sim.envs import files

pytest.importorskip("openai", reason="the extra [llm] is not installed")


IMPORT = ("--context", "1,0", "--max-scale", 2)


@pytest.fixture
def folder(folder: Path) -> Path:
    queries(folder, 6)
    return folder


def test_a_recorded_environment_holds_what_the_model_answered(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url)
        result = iapo("record", file, "--out", folder / "w.npz", "-n", 20, "--yes")
        assert result.exit_code == 0, result.output
        assert model.completions == 3 * 6 * 20
        asked = len(model.requests)
        kept = iapo("record", file, "--out", folder / "again.npz", "-n", 8, said="")
        assert kept.exit_code == 0, "what is kept needs no consent"
        assert "digits: 144 completions of 6 queries, 144 kept already" in kept.stdout
        planned = iapo("record", file, "--out", folder / "again.npz", "-n", 30, "--plan")
        assert re.search(r"\n at most +180 +[\d,]+ +0\.", planned.stdout), planned.output
        other = write(folder, url, RUN.replace("max_tokens = 10", "max_tokens = 11"))
        more = iapo("record", other, "--out", folder / "again.npz", "-n", 22, "--yes")
        assert more.exit_code == common.USER_ERROR, "seen to stop half way"
        assert (
            "caps.completions is 744; 360 are spent and up to 396 are missing: it must be at least 756" in more.stderr
        )
        write(folder, url)
        assert len(model.requests) == asked
        assert iapo("record", file, "--out", folder / "again.npz", "-n", 20, "--yes").exit_code == 0
        assert iapo("replay", folder / "out", "--out", folder / "replay.npz", "--stream", "record").exit_code == 0
        assert len(model.requests) == asked
        dear = iapo("record", file, "--out", folder / "w.npz", "-n", 1000, "--yes")
        assert dear.exit_code == common.USER_ERROR
        assert "3 prompts x 6 queries x 1000 completions are 18,000" in dear.stderr
    data, again, replay = (files.load(folder / name) for name in ("w.npz", "again.npz", "replay.npz"))
    assert data.prompt_names == ("weak", "strong", "wrong")
    assert data.context_names == ("cost 0", "cost 1")
    iapo("journal", "export", folder / "out", "--out", folder / "all.jsonl")
    log = pd.read_json(folder / "all.jsonl", lines=True)
    assert len(log) == 360
    gold = np.take_along_axis(data.probs, np.broadcast_to(data.answers[None, :, None], (3, 6, 1)), axis=2)[..., 0]
    for p, prompt in enumerate(data.prompt_names):
        for x in range(6):
            own = log[(log["prompt"] == prompt) & (log["query"] == f"query {x} has the digit {x}")]
            assert gold[p, x] == pytest.approx((own["text"] == f"It is {x}.").mean())
    assert np.array_equal(data.probs, again.probs)
    assert np.array_equal(data.probs, replay.probs)
    tokens = log["text"].str.len() // 4
    prompts = [len(f"[0.45] query {x} has the digit {x}") // 4 for x in range(6)]
    assert data.costs == pytest.approx(
        [np.mean(prompts) + tokens[log["prompt"] == name].mean() for name in data.prompt_names]
    )
    assert iapo("values", folder / "w.npz").exit_code == 0


def test_what_tuning_saw_is_an_environment_where_it_has_no_gaps(folder: Path):
    model = Model(answer=digit)
    with serving(model) as url:
        file = write(folder, url, RUN.replace('"psst"', '"uniform"'))
        empty = iapo("replay", folder / "out", "--out", folder / "seen.npz")
        assert "no such journal" in empty.stderr
        assert iapo("tune", file, "--yes").exit_code == 0
    result = iapo("replay", folder / "out" / "journal.sqlite", "--out", folder / "seen.npz")
    assert result.exit_code == 0, result.output
    data = files.load(folder / "seen.npz")
    kept = [name for name in ("weak", "strong", "wrong") if name in data.prompt_names]
    assert tuple(kept) == data.prompt_names
    queries = data.provenance["queries"]
    assert f"left out: {6 - len(queries)} of 6 queries" in result.stdout
    assert data.provenance["source"] == "live completions (replay of tune)"
    nothing = iapo("replay", folder / "out", "--out", folder / "seen.npz", "--stream", "ask")
    assert nothing.exit_code == common.USER_ERROR
    assert "record instead" in nothing.stderr


def test_scores_that_are_kept_are_those_of_their_draws_where_numbers_have_gaps(folder: Path):
    """Six queries are met again before their pulls are as large as there is room for. Other answers, other scores.

    Seen to fail with draws counted on from the first whatever their numbers.
    """
    text = RUN.replace('scorer = "number"', "scorer = \"regex\"\npattern = '(\\d)\\.'")
    text = text.replace(TUNE, RACING.replace("1000", "164"))
    with serving(Model(answer=digit)) as url:
        file = write(folder, url, text)
        assert iapo("tune", file, "--yes").exit_code == 0
        result = iapo("replay", folder / "out", "--out", folder / "seen.npz")
        assert result.exit_code == 0, result.output
    data = files.load(folder / "seen.npz")
    assert iapo("journal", "export", folder / "out", "--out", folder / "all.jsonl").exit_code == 0
    log = pd.DataFrame(map(json.loads, (folder / "all.jsonl").read_text().splitlines()))
    log = log[log["stream"] == "tune"].copy()
    assert (log.groupby(["prompt", "query"])["draw"].max() >= log.groupby(["prompt", "query"]).size()).any(), "gaps"
    log["right"] = [f"It is {query[-1]}." == said for query, said in zip(log["query"], log["text"], strict=True)]
    share = log.groupby(["prompt", "query"])["right"].mean()
    assert data.answers is not None
    for p, prompt in enumerate(data.prompt_names or ()):
        for x, query in enumerate(data.provenance["queries"]):
            assert data.probs[p, x, data.answers[x]] == pytest.approx(share[prompt, query])


def test_hostile_answers_are_recorded_replayed_exported_and_imported(folder: Path):
    """Seen to end in a traceback at each of the steps, with all paid for: pandas' own text holds no lone surrogates."""
    texts = [*HOSTILE, "\ud83d2"]
    share = {
        f"query {x} has the digit {x}": texts.index(gold) for x, gold in enumerate(("'; DROP TABLE draws; --", "=1+1"))
    }
    golds = [{"query": query, "gold": texts[place]} for query, place in share.items()]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, golds)))
    with serving(Model(answer=lambda prompt, number: texts[number % len(texts)])) as url:
        file = write(folder, url, RUN.replace('scorer = "number"', 'scorer = "exact"'))
        said = iapo("record", file, "--out", folder / "w.npz", "-n", len(texts), "--yes")
        assert said.exit_code == 0, said.output
    assert iapo("replay", folder / "out", "--out", folder / "r.npz", "--stream", "record").exit_code == 0
    data, again = files.load(folder / "w.npz"), files.load(folder / "r.npz")
    assert np.array_equal(data.probs, again.probs)
    assert data.probs.shape == (3, 2, len(texts))
    for name in ("all.jsonl", "all.parquet"):
        said = iapo("journal", "export", folder / "out", "--out", folder / name)
        assert said.exit_code == 0, said.output
    log = [json.loads(line) for line in (folder / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["text"] for row in log) == sorted(texts * 6)
    frame = pd.read_parquet(folder / "all.parquet")
    assert list(frame.columns) == list(log[0])
    assert list(frame["text"]) == [row["text"].encode("utf-8", "backslashreplace").decode() for row in log]
    assert list(frame["draw"]) == [row["draw"] for row in log]
    (folder / "golds.jsonl").write_text("\n".join(map(json.dumps, golds)))
    own = ("--text", "text", "--answers", "exact", "--golds", folder / "golds.jsonl", "--objective", "answer:mv")
    said = iapo("env", "import", folder / "all.jsonl", "--out", folder / "i.npz", *own, *IMPORT)
    assert said.exit_code == 0, said.output
    right = [
        np.take_along_axis(one.probs, one.answers[None, :, None], axis=2)[..., 0]
        for one in (data, files.load(folder / "i.npz"))
    ]
    assert np.allclose(right[0], right[1])
    assert right[0].min() > 0
    rows = [{"prompt": text, "query": text, "answer": text, "gold": text} for text in texts]
    rows = [row | {"query": other["query"]} for row in rows for other in rows]
    (folder / "names.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = iapo(
        "env",
        "import",
        folder / "names.jsonl",
        "--out",
        folder / "n.npz",
        "--gold",
        "query",
        "--objective",
        "answer:mv",
        *IMPORT,
    )
    assert said.exit_code == 0, said.output
    made = files.load(folder / "n.npz")
    expected = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    assert list(made.prompt_names) == made.provenance["queries"] == expected
    shown = iapo("env", "show", folder / "n.npz")
    assert shown.exit_code == 0, shown.output


def test_a_folder_that_is_not_there_is_refused_before_anything_is_asked(folder: Path):
    """Seen after all of it was paid for."""
    model = Model(answer=digit)
    with serving(model) as url:
        refused = iapo("record", write(folder, url), "--out", folder / "none" / "w.npz", "-n", 2, "--yes")
    assert refused.exit_code == common.USER_ERROR
    assert f"the folder {folder / 'none'} does not exist" in refused.stderr
    assert model.requests == []


def test_a_journal_is_listed_exported_and_compacted(folder: Path):
    model = Model(answer=digit, fault=lambda number, body: "429" if number % 2 else None)
    with serving(model) as url:
        text = RUN.replace("[tune]", "[caps]\ntokens = 100_000_000\n[tune]")
        assert iapo("record", write(folder, url, text), "--out", folder / "w.npz", "-n", 2, "--yes").exit_code == 0
    listed = iapo("journal", "list", folder / "out")
    assert listed.exit_code == 0, listed.output
    assert "In all: 36 completions" in listed.stdout
    assert iapo("journal", "export", folder / "out", "--out", folder / "all.parquet").exit_code == 0
    assert len(pd.read_parquet(folder / "all.parquet")) == 36
    assert "ends in .jsonl or .parquet" in iapo("journal", "export", folder / "out", "--out", folder / "x.txt").stderr
    journal = Journal(folder / "out" / "journal.sqlite")
    before, charged = journal_tables.completions(journal), journal.charged()
    refused = sum(one.void for one in journal_tables.spending(journal))
    assert refused == len(model.faults) > 0
    journal.close()
    assert iapo("journal", "compact", folder / "out").exit_code == 0
    journal = Journal(folder / "out" / "journal.sqlite")
    assert sum(one.void for one in journal_tables.spending(journal)) == 0
    pd.testing.assert_frame_equal(journal_tables.completions(journal), before)
    assert journal.charged() == charged
    journal.close()
