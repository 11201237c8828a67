"""Logs as people have them: no draw counted twice, no question taken for another, no right answer overlooked."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from log_runs import first_values, imported
from tool_logs import RAN, iapo, lines, messages

from sim.cli import common
from sim.envs import files
from theory import exact

VOTE = ("--gold", "gold", "--objective", "answer:mv", "--context", "1,0")
DOCUMENTS = [("2+2?", "4", "The answer is 4."), ("3+4?", "7", "Adding 3 and 4 gives 7")]


def refused(said: str, *arguments: object) -> None:
    done = iapo("env", "import", *arguments)
    assert done.exit_code == common.USER_ERROR, done.output
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def document(place: int, score: float, **more: Any) -> dict[str, Any]:
    question, target, said = DOCUMENTS[place]
    row = {"doc_id": place, "doc": {"question": question}, "target": target, "resps": [[said]]}
    return row | {"filtered_resps": [target if score else "[invalid]"], "exact_match": score} | more


def test_rows_of_filters_without_names_are_no_draws(tmp_path: Path):
    """Seen to count four completions of value .5 (N = 1) and .75 (N = 2)."""
    log = lines(tmp_path / "samples.jsonl", [document(place, score) for score in (0.0, 1.0) for place in (0, 1)])
    score = ("--objective", "score exact_match:mean", "--context", "1,0", "--max-scale", 2)
    data, done = imported(log, *score)
    assert (data.provenance["completions"], first_values(data)) == (2, [0.0, 0.0])
    assert "note: samples.jsonl: of the filters 1, 2, 1 is taken (--filter chooses)" in done.stderr
    assert first_values(imported(log, *score, "--filter", "2")[0]) == [1.0, 1.0]
    refused("has no filter '3'; it has 1, 2", log, "--out", tmp_path / "x.npz", *score, "--filter", "3")


def test_a_filter_is_chosen_by_its_name(tmp_path: Path):
    rows = [document(k, s, filter=f) for f, s in (("strict-match", 0.0), ("flexible-extract", 1.0)) for k in (0, 1)]
    log = lines(tmp_path / "samples.jsonl", rows)
    score = ("--objective", "score exact_match:mean", "--context", "1,0", "--max-scale", 1)
    data, done = imported(log, *score, "--filter", "flexible-extract")
    assert (data.provenance["completions"], first_values(data)) == (2, [1.0])
    assert "of the filters strict-match, flexible-extract, flexible-extract is taken" in done.stderr


@pytest.mark.parametrize("other", [{"resps": [["4"]]}, {"doc": {"question": "5+5?"}}])
def test_a_document_that_is_there_twice_without_a_filter_is_refused(other: dict[str, Any], tmp_path: Path):
    log = lines(tmp_path / "a.jsonl", [document(0, 1.0), document(0, 1.0) | other])
    said = "a.jsonl: line 2 names no filter and repeats the doc_id '0' of line 1 with another document or other"
    refused(
        said, log, "--out", tmp_path / "x.npz", "--objective", "score exact_match:mean", *VOTE[4:], "--max-scale", 1
    )


def evaluated(path: Path, asks: list[str], target: Any = "A", said: str = "A") -> Path:
    """An Inspect log of samples 1, 2, .. that ask these."""
    samples = [
        {"id": k, "epoch": 1, "input": ask, "target": target, "scores": {"choice": {"value": "C", "answer": said}}}
        | {"output": {"choices": [{"message": {"content": said}, "stop_reason": "stop"}], "usage": {}}}
        for k, ask in enumerate(asks, start=1)
    ]
    path.write_text(json.dumps(RAN | {"samples": samples}))
    return path


def test_one_id_of_two_questions_is_refused_or_told_apart(tmp_path: Path):
    """A data set shuffled anew for every log: seen to take the answers to another question for those to this one."""
    logs = (
        evaluated(tmp_path / "plain.json", ["Easy?", "Hard?"]),
        evaluated(tmp_path / "steps.json", ["Hard?", "Easy?"]),
    )
    options = ("--out", tmp_path / "x.npz", *VOTE, "--answers", "choice", "--max-scale", 1)
    said = (
        "query '1' is 'Easy?' with prompt 'plain' and 'Hard?' with prompt 'steps'; tell queries apart by what they ask"
    )
    refused(said, *logs, *options)
    done = iapo("env", "import", *logs, *options, "--query", "question")
    assert done.exit_code == 0, done.output
    assert files.load(tmp_path / "x.npz").provenance["queries"] == ["Easy?", "Hard?"]
    assert iapo("env", "import", *logs, *options, "--same-ids").exit_code == 0


def test_subtasks_and_rows_of_one_id_are_refused_alike(tmp_path: Path):
    subtasks = [lines(tmp_path / f"{k}.jsonl", [document(k, 1.0) | {"doc_id": 0}]) for k in (0, 1)]
    options = ("--out", tmp_path / "x.npz", *VOTE, "--answers", "number", "--max-scale", 1)
    refused("query '0' is '2+2?' with prompt '0' and '3+4?' with prompt '1'", *subtasks, *options)
    rows = [{"prompt": "p", "query": 1, "problem": ask, "completion": "4", "gold": 4} for ask in ("2+2?", "1+3?")]
    refused("query '1' is '2+2?' with prompt 'p'", lines(tmp_path / "r.jsonl", rows), *options)


def test_several_accepted_answers_count_each(tmp_path: Path):
    """Seen to be joined into one text that nothing equals: value 0."""
    exactly = (*VOTE, "--answers", "exact", "--max-scale", 1)
    row = {"prompt": "a", "query": "q", "completion": "Lima", "gold": ["Lima", "City of Lima"]}
    assert first_values(imported(lines(tmp_path / "rows.jsonl", [row]), *exactly)[0]) == [1.0]
    log = evaluated(tmp_path / "inspect.json", ["Capital of Peru?"], ["Lima", "City of Lima"], "City of Lima")
    assert first_values(imported(log, *exactly)[0]) == [1.0]
    targets = ["['Lima', 'City of Lima', \"L'ima\"]", ["Jane Austen", "Austen"]]
    rows = [
        {
            "doc_id": k,
            "target": target,
            "resps": [[said]],
            "filter": "none",
            "metrics": ["exact_match"],
            "exact_match": 1.0,
        }
        for k, (target, said) in enumerate(zip(targets, ("Lima", "Austen"), strict=True))
    ]
    data, done = imported(lines(tmp_path / "samples.jsonl", rows), *exactly)
    assert first_values(data) == [1.0]
    line = "2 completions: 2 read, 0 unreadable; what is read here disagrees with the log's own 'exact_match' on 0 of 2"
    assert done.stdout.splitlines()[-1].startswith(line)


def test_accepted_answers_vote_together(tmp_path: Path):
    """Two of three completions are right, in two forms, and one is wrong: a vote of three is right by two or three."""
    said = ["17", "seventeen", "18"]
    rows = [{"prompt": "p", "query": "q", "completion": one, "gold": ["17", "seventeen"]} for one in said]
    data, _ = imported(lines(tmp_path / "a.jsonl", rows), *VOTE, "--answers", "exact", "--max-scale", 3)
    right = 2 / 3
    assert first_values(data)[::2] == pytest.approx([right, right**3 + 3 * right**2 * (1 - right)])
    by_number, _ = imported(tmp_path / "a.jsonl", *VOTE, "--answers", "number", "--max-scale", 1)
    assert first_values(by_number) == pytest.approx([1 / 3])  # "seventeen" is no number here
    raw = [{"prompt": "p", "query": "q", "answer": one, "gold": ["17", "seventeen"]} for one in said]
    data, _ = imported(lines(tmp_path / "b.jsonl", raw), *VOTE, "--max-scale", 1)
    assert first_values(data) == pytest.approx([right])
    raw[1]["gold"] = ["seventeen", "17"]
    assert first_values(imported(lines(tmp_path / "b.jsonl", raw), *VOTE, "--max-scale", 1)[0]) == pytest.approx(
        [right]
    )
    raw[1]["gold"] = ["seventeen"]
    options = ("--out", tmp_path / "x.npz", *VOTE, "--max-scale", 1)
    refused("query 'q' has several right answers", lines(tmp_path / "b.jsonl", raw), *options)


def test_a_list_written_as_text_holds_accepted_answers(tmp_path: Path):
    (tmp_path / "a.csv").write_text("prompt,query,completion,gold\np,q,Lima,\"['Lima', 'City of Lima']\"\n")
    data, done = imported(tmp_path / "a.csv", *VOTE, "--answers", "exact", "--max-scale", 1)
    assert first_values(data) == [1.0]
    assert "note: column 'gold' holds lists written as text" in done.stderr


VOTES = ["so #### 18", "so #### 18", "so #### 12", "so #### 18", "so #### 18"]
OTHERS = ["#### 3", "#### 3", "#### 3", "#### 4", "#### 3"]


@pytest.mark.parametrize("name", ["sc_results.json", "sc_results.jsonl", "sc_results.json.gz", "sc_results.jsonl.gz"])
def test_a_list_of_completions_is_several(name: str, tmp_path: Path):
    """Four of five right: .8 alone, .8^3 + 3 * .8^2 * .2 = .896 by three votes. Seen to read the last number only."""
    rows = [
        {"id": k, "question": f"q {k}", "ground_truth": right, "raw_outputs": said}
        for k, (right, said) in enumerate((("18", VOTES), ("3", OTHERS)))
    ]
    text = json.dumps(rows) if ".json." in name + "." else "\n".join(map(json.dumps, rows))
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    options = ("--gold", "ground_truth", "--query", "id", "--text", "raw_outputs", "--answers", "number", *VOTE[2:])
    data, done = imported(tmp_path / name, *options, "--max-scale", 3)
    assert first_values(data)[::2] == pytest.approx([0.8, 0.896])
    assert data.completions is not None
    assert data.completions.tolist() == [[5, 5]]
    assert (data.name, data.prompt_names) == ("sc_results", ("sc_results",))
    assert "note: column 'raw_outputs' holds lists: each of their entries is a completion, 10 in 2 rows" in done.stderr
    assert "warning" not in done.stderr


def test_what_is_of_a_completion_is_listed_with_it(tmp_path: Path):
    row = {"prompt": "p", "query": "q", "completion": ["4", "5"], "gold": "4", "completion_tokens": [10, 30]}
    options = (*VOTE[:-1], "1,1", "--answers", "number", "--cost", "completion_tokens", "--max-scale", 1)
    assert imported(lines(tmp_path / "a.jsonl", [row]), *options)[0].costs.tolist() == [20.0]
    for cost, said in (
        (40, "holds one value in row 1, where 'completion' lists 2 completions"),
        ([1], "lists 1 values"),
    ):
        log = lines(tmp_path / "a.jsonl", [row | {"completion_tokens": cost}])
        refused(f"column 'completion_tokens' {said}", log, "--out", tmp_path / "x.npz", *options)
    log = lines(tmp_path / "a.jsonl", [row | {"completion": [["4"], "5"]}])
    refused("column 'completion' holds a list", log, "--out", tmp_path / "x.npz", *options)
    log = lines(tmp_path / "a.jsonl", [row | {"completion": [], "completion_tokens": []}])
    refused("column 'completion' holds an empty list in row 1", log, "--out", tmp_path / "x.npz", *options)
    scores = [{"prompt": "p", "query": "q", "good": [0.5, 1.0]}]
    mean = ("--objective", "good:mean", "--context", "1,0", "--max-scale", 1)
    assert first_values(imported(lines(tmp_path / "b.jsonl", scores), *mean)[0]) == [0.75]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "column 'completion' holds nothing in row 2"),
        (float("nan"), "column 'completion' holds nothing in row 2"),
        ({"role": "assistant", "content": "4"}, "column 'completion' holds a dict"),
        (True, "column 'completion' holds a bool ('True') in row 2"),
    ],
)
def test_a_completion_that_is_no_text_is_refused(cell: Any, said: str, tmp_path: Path):
    """Seen to be read as Python writes it."""
    rows = [{"prompt": "p", "query": "q", "completion": one, "gold": "4"} for one in ("4", cell)]
    options = ("--out", tmp_path / "x.npz", *VOTE, "--answers", "exact", "--max-scale", 1)
    refused(said, lines(tmp_path / "a.jsonl", rows), *options)


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        (None, "column 'gold' holds nothing in row 1"),
        (True, "column 'gold' holds a bool"),
        ({"a": 1}, "column 'gold' holds a dict"),
        (["4", None], "column 'gold' holds nothing in row 1"),
        ([], "column 'gold' holds an empty list in row 1"),
    ],
)
def test_a_right_answer_that_is_no_text_is_refused(gold: Any, said: str, tmp_path: Path):
    rows = [{"prompt": "p", "query": "q", "completion": "4", "gold": gold}]
    options = ("--objective", "right:bon", "--gold", "gold", "--context", "1,0", "--answers", "exact", "--max-scale", 1)
    refused(said, lines(tmp_path / "a.jsonl", rows), "--out", tmp_path / "x.npz", *options)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"a": 1}], "holds a dict (\"{'a': 1}\") in row 1; answers are text or numbers"),
        ([["4"], {"a": 1}], "holds a dict (\"{'a': 1}\") in row 2"),
        ([[["4"]]], "holds a list"),
        ([True, "true"], "hold truth values beside text as 'true'; write all as text"),
    ],
)
def test_an_answer_that_is_no_text_is_refused(answers: list[Any], said: str, tmp_path: Path):
    rows = [{"prompt": "p", "query": "q", "answer": one, "gold": "4"} for one in answers]
    options = ("--out", tmp_path / "x.npz", *VOTE, "--max-scale", 1)
    done = iapo("env", "import", lines(tmp_path / "a.jsonl", rows), *options)
    assert done.exit_code == common.USER_ERROR
    assert said in done.stderr


def test_numbers_as_completions_are_said(tmp_path: Path):
    rows = [{"prompt": "p", "query": "q", "completion": one, "gold": 4} for one in ("4", 4)]
    data, done = imported(lines(tmp_path / "a.jsonl", rows), *VOTE, "--answers", "number", "--max-scale", 1)
    assert first_values(data) == [1.0]
    assert "note: column 'completion' holds numbers (1, first in row 2): they are read as their text" in done.stderr


def foo(path: Path, **changes: Any) -> Path:
    """What promptfoo writes: two prompts, two tests, a result each."""
    results = [
        {
            "promptIdx": p,
            "testIdx": x,
            "prompt": {"raw": f"{label} {ask}", "label": f"{label} {{{{q}}}}"},
            "provider": {"id": "openai:m", "label": ""},
            "vars": {"q": ask},
            "testCase": {"vars": {"q": ask}, "assert": [{"type": "equals", "value": right}]},
            "response": {"output": said, "tokenUsage": {"total": 30, "prompt": 10, "completion": 20}},
            "success": said == right,
            "score": float(said == right),
            "failureReason": 0 if said == right else 1,
        }
        for x, (ask, right) in enumerate((("2+2?", "4"), ("3+4?", "7")))
        for p, (label, said) in enumerate((("Say", right), ("Think", "It is 7.")))
    ]
    results[-1] |= changes
    path.write_text(
        json.dumps({"evalId": "e", "results": {"version": 3, "results": results, "stats": {}}, "config": {}})
    )
    return path


def test_promptfoo_results_are_read(tmp_path: Path):
    options = (*VOTE[:-1], "1,0.01", "--cost", "completion_tokens", "--answers", "number", "--max-scale", 1)
    data, done = imported(foo(tmp_path / "out.json"), *options)
    assert data.prompt_names == ("Say {{q}}", "Think {{q}}")
    assert data.provenance["queries"] == ["2+2?", "3+4?"]
    assert exact.values(data)[0, :, 0].tolist() == pytest.approx([1 - 0.2, 0.5 - 0.2])
    # "It is 7." is read as the right answer 7, where promptfoo wanted the text itself.
    line = (
        "4 completions: 4 read, 0 unreadable; what is read here disagrees with the log's own 'success' on 1 of 4 (25.0%"
    )
    assert done.stdout.splitlines()[-1].startswith(line)
    spent = {"output": "7", "tokenUsage": {"total": 330, "prompt": 10, "completion": 20}}
    thought, _ = imported(foo(tmp_path / "more.json", response=spent), *options)
    assert thought.costs.tolist() == [20.0, (20 + 320) / 2], "what was thought is billed beside the completion"
    foo(tmp_path / "out.json")
    old = json.loads((tmp_path / "out.json").read_text())["results"]
    (tmp_path / "flat.json").write_text(json.dumps(old))
    assert exact.values(imported(tmp_path / "flat.json", *options)[0]).tolist() == exact.values(data).tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failureReason": 2, "error": "API error: 429"}, "results[3] has no completion (API error: 429)"),
        ({"response": {"error": "timeout"}}, "results[3] has no completion (timeout)"),
        ({"response": {"output": {"a": 1}}}, "results[3] has no completion (its output is no text)"),
        ({"vars": {}, "testCase": {}}, "results[3] has no prompt or no vars"),
        ({"response": 3}, "results[3]: response is no JSON object"),
    ],
)
def test_promptfoo_results_without_a_completion_are_refused(changes: dict[str, Any], said: str, tmp_path: Path):
    log = foo(tmp_path / "out.json", **changes)
    refused(said, log, "--out", tmp_path / "x.npz", *VOTE, "--answers", "number", "--max-scale", 1)


def test_a_batch_of_responses_is_read(tmp_path: Path):
    """Seen to be called failed, to be asked for, and paid for, again."""
    asked, out = [], []
    for x, said, spent in (("2+2?", "The answer is 4.", 90), ("3+4?", "The answer is 7.", 70)):
        body = {"model": "m", "instructions": "Answer.", "input": x}
        asked.append({"custom_id": x, "method": "POST", "url": "/v1/responses", "body": body})
        output = [{"type": "reasoning", "summary": []}]
        output.append({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]})
        usage = {"input_tokens": 12, "output_tokens": spent, "total_tokens": 12 + spent}
        body = {"object": "response", "status": "completed", "output": output, "usage": usage}
        out.append({"custom_id": x, "response": {"status_code": 200, "body": body}, "error": None})
    golds = lines(tmp_path / "g.jsonl", [{"query": "2+2?", "gold": 4}, {"query": "3+4?", "gold": 7}])
    options = ("--asked", lines(tmp_path / "in.jsonl", asked), "--golds", golds, "--answers", "number", *VOTE)
    data, _ = imported(lines(tmp_path / "out.jsonl", out), *options, "--cost", "completion_tokens", "--max-scale", 1)
    assert (first_values(data), data.costs.tolist()) == ([1.0], [80.0])


def test_replies_of_other_interfaces_are_named(tmp_path: Path):
    """They did not fail, and need not be paid for again."""
    options = ("--out", tmp_path / "x.npz", *VOTE, "--ids", "(?P<prompt>.)(?P<query>.)", "--max-scale", 1)
    body = {"object": "list", "data": [{"object": "embedding", "embedding": [0.5]}]}
    line = {"custom_id": "ab", "response": {"status_code": 200, "body": body}, "error": None}
    said = "line 1 holds 'list', which is not read; chat completions and responses are"
    refused(said, lines(tmp_path / "a.jsonl", [line]), *options)
    body = {"object": "text_completion", "choices": [{"index": 0, "text": "4", "finish_reason": "stop"}]}
    line = {"custom_id": "ab", "response": {"status_code": 200, "body": body}, "error": None}
    refused("line 1 is output of /v1/completions", lines(tmp_path / "c.jsonl", [line]), *options)
    other = {"custom_id": "ab", "result": {"type": "succeeded", "message": {"content": messages("p", "q")}}}
    refused("line 1 is of a batch of Anthropic's (result)", lines(tmp_path / "b.jsonl", [other]), *options)


def test_packed_logs_are_read_and_damaged_ones_refused(tmp_path: Path):
    table = b"prompt,query,completion,gold\np,q,4,4\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table))
    options = (*VOTE, "--answers", "number", "--max-scale", 1)
    data, _ = imported(tmp_path / "a.csv.gz", *options)
    assert (data.name, first_values(data)) == ("a", [1.0])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p"}' * 50)[:-9])
    refused("b.jsonl.gz: cannot be read (", tmp_path / "b.jsonl.gz", "--out", tmp_path / "x.npz", *options)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "a.json: is empty"),
        ("[3]", "row 1 is no JSON object"),
        ('{"results": []}', "promptfoo output without results"),
    ],
)
def test_json_files_that_hold_no_log_are_refused(content: str, said: str, tmp_path: Path):
    (tmp_path / "a.json").write_text(content)
    refused(said, tmp_path / "a.json", "--out", tmp_path / "x.npz", *VOTE, "--max-scale", 1)


@pytest.mark.parametrize(
    ("completion", "gold", "answers"),
    [
        (r"So \boxed{\$9{,}500}.", "9500", "number"),
        ("Das sind 12 500 Euro.", "12500", "number"),
        (r"\boxed{10\,000}", "10000", "number"),
        ("答案是-5。", "-5", "number"),
        ("The answer is $C$. A quick check confirms it.", "C", "choice"),
        ("Answer: `D`\n\nA note: the others fail.", "D", "choice"),
    ],
)
def test_answers_are_read_as_they_are_written(completion: str, gold: str, answers: str, tmp_path: Path):
    row = {"prompt": "a", "query": "q", "completion": completion, "gold": gold}
    assert first_values(
        imported(lines(tmp_path / "a.jsonl", [row]), *VOTE, "--answers", answers, "--max-scale", 1)[0]
    ) == [1.0]


def test_letters_beyond_d(tmp_path: Path):
    rows = [{"prompt": "a", "query": q, "completion": f"The answer is {q}", "gold": q} for q in ("F", "B")]
    log = lines(tmp_path / "a.jsonl", rows)
    options = (*VOTE, "--answers", "choice", "--max-scale", 1)
    assert first_values(imported(log, *options, "--letters", "abcdefghij")[0]) == [1.0]
    to = ("--out", tmp_path / "x.npz")
    refused("'F' cannot be read as one letter of ABCD; --letters names other letters", log, *to, *options)
    for letters in ("A", "AA", "A1"):
        refused(
            f"--letters is {letters!r}; expected two or more different letters",
            log,
            *to,
            *options,
            "--letters",
            letters,
        )
    refused("--letters is for --answers choice", log, *to, *VOTE, "--max-scale", 1, "--letters", "ABC")


def test_a_name_for_a_file_that_names_its_prompts_is_refused(tmp_path: Path):
    """Seen to be passed over."""
    log = lines(tmp_path / "a.jsonl", [{"prompt": "p", "query": "q", "answer": "4", "gold": "4"}])
    refused(
        "names its prompts itself (column 'prompt'); leave b= out",
        f"b={log}",
        "--out",
        tmp_path / "x.npz",
        *VOTE,
        "--max-scale",
        1,
    )


def test_the_last_line_counts_what_could_not_be_read(tmp_path: Path):
    rows = [
        {"prompt": "p", "query": "q", "completion": said, "gold": 4, "is_correct": right}
        for said, right in (("4", True), ("none", False), ("It is 5", True), ("4.0", 0), ("So 4", 1))
    ]
    _, done = imported(lines(tmp_path / "a.jsonl", rows), *VOTE, "--answers", "number", "--max-scale", 1)
    line = "5 completions: 4 read, 1 unreadable; what is read here disagrees with the log's own 'is_correct' on 2 of 5"
    assert done.stdout.splitlines()[-1] == f"{line} (40.0%)"
