"""Logs of other tools become environments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_runs import first_values, imported
from tool_logs import (
    COMMON,
    GOLD,
    RAN,
    RIGHT,
    ROW,
    TEXTS,
    batch_in,
    batch_out,
    harness,
    iapo,
    inspect_eval,
    inspect_json,
    lines,
    plain_log,
)

from sim.envs import files
from sim.envs.imports import read


def check(data: Any, tokens: bool = True) -> None:
    """The law of every pair: the right answer's share, and the mean cost."""
    assert data.num_prompts == data.num_queries == 2
    gold = np.take_along_axis(data.probs, np.broadcast_to(data.answers[None, :, None], (2, 2, 1)), axis=2)[..., 0]
    assert np.allclose(gold, RIGHT)
    assert np.allclose(data.costs, [12, 40] if tokens else 0)


@pytest.mark.parametrize("kind", ["json", "eval"])
def test_inspect_logs_a_prompt_each(kind: str, tmp_path: Path):
    made = [{"json": inspect_json, "eval": inspect_eval}[kind](tmp_path / f"{p}.{kind}", p) for p in ("plain", "steps")]
    result = iapo("env", "import", f"short={made[0]}", made[1], "--out", tmp_path / "x.npz", *COMMON)
    assert result.exit_code == 0, result.output
    data = files.load(tmp_path / "x.npz")
    assert data.prompt_names == ("short", "steps")
    check(data)
    frame = read(made[0], "plain")
    assert frame["score match"].sum() == 3  # as the log says, not as we read
    assert set(frame["answer match"]) == {text for (_, p), texts in TEXTS.items() if p == "plain" for text in texts}
    assert list(frame["finish"].unique()) == ["stop"]


def test_batch_output_with_its_input_or_by_its_ids(tmp_path: Path):
    source, target = batch_in(tmp_path / "in.jsonl"), batch_out(tmp_path / "out.jsonl")
    golds = lines(tmp_path / "gold.jsonl", [{"query": query, "gold": gold} for query, gold in GOLD.items()])
    rest = ("--golds", golds, *COMMON[2:])
    for options in (("--asked", source), ("--ids", r"(?P<prompt>\w+)/(?P<query>\w+)")):
        result = iapo("env", "import", target, "--out", tmp_path / "x.npz", *options, *rest)
        assert result.exit_code == 0, result.output
        data = files.load(tmp_path / "x.npz")
        assert data.provenance["completions"] == 16
        order = [0 if "plain" in name else 1 for name in data.prompt_names]
        queries = [0 if name == "q1" else 1 for name in data.provenance["queries"]]
        gold = np.take_along_axis(data.probs, np.broadcast_to(data.answers[None, :, None], (2, 2, 1)), axis=2)[..., 0]
        assert np.allclose(gold, RIGHT[order][:, queries])
        assert np.allclose(data.costs, np.array([12, 40])[order])
    best = iapo(
        *(
            "env",
            "import",
            target,
            "--out",
            tmp_path / "y.npz",
            "--asked",
            source,
            "--golds",
            golds,
            "--answers",
            "number",
        ),
        *("--objective", "right:bon", "--context", "1,0", "--max-scale", 4),
    )
    assert best.exit_code == 0, best.output
    assert files.load(tmp_path / "y.npz").aggregate == ("bon",)


def test_harness_samples_count_once_for_all_filters(tmp_path: Path):
    made = [harness(tmp_path / f"samples_{p}.jsonl", p) for p in ("plain", "steps")]
    options = [one for one in COMMON if one not in ("--cost", "completion_tokens")]
    options[options.index("dear=1,0.01")] = "again=1,0"
    result = iapo("env", "import", *made, "--out", tmp_path / "x.npz", *options)
    assert result.exit_code == 0, result.output
    data = files.load(tmp_path / "x.npz")
    assert data.provenance["completions"] == 16
    check(data, tokens=False)
    single = lines(
        tmp_path / "one.jsonl",
        [{"doc_id": 3, "resps": [["4"]], "filtered_resps": ["four"], "filter": "f", "exact_match": 1.0, "target": "4"}],
    )
    (row,) = read(single, "p").to_dict("records")
    expected = {
        "prompt": "p",
        "query": "3",
        "gold": "4",
        "score exact_match": 1.0,
        "completion": "4",
        "filtered": "four",
    }
    assert row == expected


def test_plain_jsonl_is_a_row_a_line(tmp_path: Path):
    log = plain_log(tmp_path, "said")
    result = iapo("env", "import", log, "--out", tmp_path / "x.npz", "--text", "said", *COMMON)
    assert result.exit_code == 0, result.output
    check(files.load(tmp_path / "x.npz"))


def test_content_in_parts_and_attachments_is_put_together(tmp_path: Path):
    sample = {"id": 1, "target": ["a", "b"], "attachments": {"abc": "the long text"}}
    choice = {"message": {"content": [{"type": "text", "text": "attachment://abc"}, {"type": "text", "text": "!"}]}}
    log = RAN | {"samples": [sample | {"output": {"choices": [choice]}}]}
    (tmp_path / "a.json").write_text(json.dumps(log))
    (row,) = read(tmp_path / "a.json", "p").to_dict("records")
    assert (row["completion"], row["gold"], row["query"]) == ("the long text!", ["a", "b"], "1")


def test_answers_are_read_by_a_pattern(tmp_path: Path):
    """Its last match that is not empty."""
    log = plain_log(tmp_path, "completion")
    result = iapo("env", "import", log, "--out", tmp_path / "x.npz", *COMMON, "--answers", r"(\d*)\.?$")
    assert result.exit_code == 0, result.output
    check(files.load(tmp_path / "x.npz"))


def test_rows_that_name_their_prompts_may_come_in_files_of_one_name(tmp_path: Path):
    made = []
    for prompt in ("plain", "steps"):
        (tmp_path / prompt).mkdir()
        made.append(lines(tmp_path / prompt / "log.jsonl", [ROW | {"prompt": prompt}]))
    result = iapo("env", "import", *made, "--out", tmp_path / "x.npz", *COMMON)
    assert result.exit_code == 0, result.output
    assert files.load(tmp_path / "x.npz").prompt_names == ("plain", "steps")


VOTE = ("--objective", "answer:mv", "--gold", "gold", "--context", "1,0", "--max-scale", 2)


@pytest.mark.parametrize(
    ("pairs", "right"),
    [
        ([("4", 4), ("2.5", 2.5)], [1, 1]),
        ([("4", 4.0), ("4.0", 4)], [1, 1]),
        ([(4, 4.0), (2.5, 2.5)], [1, 1]),
        ([("4", "4"), ("4.0", "4")], [1, 0]),
        ([("7", "007"), (7, "007"), ("007", "007")], [0, 0, 1]),
        ([("none", 4), ("-0.50", -0.5), ("1" * 40, int("1" * 40))], [0, 1, 1]),
        ([("4 ", 4), ("4", 5)], [0, 0]),
    ],
)
def test_numbers_in_jsonl_are_what_they_are(pairs: list[tuple[Any, Any]], right: list[int], tmp_path: Path):
    """Seen to make 4.0 of the right answer 4, where another one is 2.5, and to find no right completion."""
    rows = [{"prompt": "p", "query": k, "answer": answer, "gold": gold} for k, (answer, gold) in enumerate(pairs)]
    result = iapo("env", "import", lines(tmp_path / "a.jsonl", rows), "--out", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert share_right(tmp_path / "x.npz") == right
    answers = ("--answers", "exact", "--text", "answer")
    result = iapo("env", "import", tmp_path / "a.jsonl", "--out", tmp_path / "y.npz", *VOTE, *answers)
    assert result.exit_code == 0, result.output
    as_text = [str(answer).strip() == str(gold) for answer, gold in pairs]
    assert share_right(tmp_path / "y.npz") == as_text


@pytest.mark.parametrize(
    ("pairs", "right"),
    [
        ([("4", "4"), ("none", "8.5"), ("8.5", "8.5")], [1, 0, 1]),
        ([("4.0", "4"), ("8.50", "8.5")], [1, 1]),
        ([("7", "007"), ("007", "007")], [0, 1]),
        ([("NA", "NA"), ("None", "NA")], [1, 0]),
    ],
)
def test_a_csv_file_is_text(pairs: list[tuple[str, str]], right: list[int], tmp_path: Path):
    """Seen to make 4.0 of the right answer 4, and 7 of 007. A column of numbers only is one of numbers."""
    rows = ["prompt,query,answer,gold,score", *(f"p,{k},{a},{g},1e-1" for k, (a, g) in enumerate(pairs))]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    result = iapo("env", "import", tmp_path / "a.csv", "--out", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert share_right(tmp_path / "x.npz") == right
    scores = ("--objective", "score:mean", "--context", "1,0", "--max-scale", 2)
    assert iapo("env", "import", tmp_path / "a.csv", "--out", tmp_path / "y.npz", *scores).exit_code == 0
    assert (files.load(tmp_path / "y.npz").values == 0.1).all()
    by_number = ("--answers", "exact", "--text", "answer")
    assert iapo("env", "import", tmp_path / "a.csv", "--out", tmp_path / "z.npz", *VOTE, *by_number).exit_code == 0
    assert share_right(tmp_path / "z.npz") == [a == g for a, g in pairs]


def share_right(path: Path) -> list[float]:
    """Of the first prompt, by query."""
    data = files.load(path)
    assert data.answers is not None
    return data.probs[0, np.arange(data.num_queries), data.answers].tolist()


def test_names_are_text(tmp_path: Path):
    """Seen to count 1 and "1" as two queries of one name."""
    rows = [{"prompt": prompt, "query": query, "answer": "a", "gold": "a"} for prompt, query in (("p", 1), ("q", "1"))]
    result = iapo("env", "import", lines(tmp_path / "a.jsonl", rows), "--out", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert files.load(tmp_path / "x.npz").provenance["queries"] == ["1"]


def test_values_beyond_the_completions_are_said_to_be_so(tmp_path: Path):
    """Two completions per pair: seen to show 1.0000 at N = 54 without a word."""
    rows = [
        {"prompt": p, "query": f"q{x}", "right": right}
        for x in range(4)
        for p, both in (("a", (1, 0)), ("b", (1, 1) if x < 3 else (0, 0)))
        for right in both
    ]
    log = lines(tmp_path / "log.jsonl", rows)
    options = ("--objective", "right:bon", "--context", "1,0", "--max-scale")
    data, done = imported(log, *options, 64)
    said = "warning: N up to 64 from 2 completions per pair: a value at N > 2 is that of drawing from these again"
    assert said in done.stderr
    shown = iapo("values", tmp_path / "made.npz")
    assert "No values at N > 2: a log says nothing beyond the completions of a pair" in shown.stdout
    assert "1.0000" in shown.stdout  # of all pairs of two completions of a, one is right: the largest is 1
    assert said in iapo("hardness", tmp_path / "made.npz").stderr
    compared = iapo(
        *("compare", "--env", tmp_path / "made.npz", "--algorithm", "uniform", "--budget", 64, "--trials", 2),
        *("--out", tmp_path / "out", "--workers", 1),
    )
    assert said.replace("warning: ", "warning: log: ") in compared.stderr
    assert "log: Stands on 2 completions per (prompt, query) of a log: the plug-in law of a sample" in compared.stdout
    assert first_values(data)[1] == 0.75  # plug-in, as before
    assert "warning" not in imported(log, *options, 2)[1].stderr
    assert "warning" not in iapo("values", tmp_path / "made.npz").stderr
