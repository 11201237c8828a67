"""Logs of other tools become environments, and each kind of malformed file is refused in one sentence."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sim.adapters.scorers import patterns
from sim.cli import app, common
from sim.envs import files
from sim.envs.imports import read

TEXTS = {("q1", "plain"): ["It is 4.", "5", "so 4", "no idea"], ("q1", "steps"): ["4", "4", "4", "4"]}
TEXTS |= {("q2", "plain"): ["7", "7", "8", "1"], ("q2", "steps"): ["8", "8", "7", "9"]}
GOLD = {"q1": "4", "q2": "8"}
TOKENS = {"plain": 12, "steps": 40}
RIGHT = np.array([[2 / 4, 1 / 4], [4 / 4, 2 / 4]])
"""Shares of right completions, shape (prompt, query)."""
COMMON = ("--gold", "gold", "--answers", "number", "--objective", "answer:mv", "--cost", "completion_tokens")
COMMON += ("--context", "free=1,0", "--context", "dear=1,0.01", "--max-scale", 4)


def iapo(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def messages(prompt: str, query: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": f"Answer {prompt}."}, {"role": "user", "content": query}]


def batch_in(path: Path) -> Path:
    rows = [
        {"custom_id": f"{p}/{x}", "method": "POST", "url": "/v1/chat/completions"}
        | {"body": {"model": "m", "n": 4, "seed": k, "messages": messages(p, x)}}
        for k, (x, p) in enumerate(TEXTS)
    ]
    return lines(path, rows)


def batch_line(x: str, p: str, status: int = 200, texts: list[str] | None = None) -> dict[str, Any]:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in texts or TEXTS[x, p]]
    body = {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 4 * TOKENS[p]}}
    return {"custom_id": f"{p}/{x}", "response": {"status_code": status, "body": body}, "error": None}


def batch_out(path: Path) -> Path:
    return lines(path, [batch_line(x, p) for x, p in reversed(TEXTS)])


def inspect_samples(prompt: str) -> list[dict[str, Any]]:
    found = []
    for (x, p), texts in TEXTS.items():
        for epoch, text in enumerate(texts, start=1):
            if p == prompt:
                parts: Any = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": text}]
                usage = {"input_tokens": 9, "output_tokens": TOKENS[p]}
                choice = {
                    "message": {"role": "assistant", "content": parts if epoch % 2 else text},
                    "stop_reason": "stop",
                }
                score = {"value": "C" if GOLD[x] in text else "I", "answer": text}
                sample = {"id": x, "epoch": epoch, "input": x, "target": GOLD[x], "scores": {"match": score}}
                found.append(sample | {"output": {"model": "m", "choices": [choice], "usage": usage}})
    return found


RAN = {"eval": {}, "status": "success"}
"""An Inspect log without its samples."""


def inspect_json(path: Path, prompt: str) -> Path:
    log = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": inspect_samples(prompt)}
    path.write_text(json.dumps(log))
    return path


def inspect_eval(path: Path, prompt: str, status: str = "success") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "status": status}))
        for sample in inspect_samples(prompt):
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return path


def harness(path: Path, prompt: str) -> Path:
    """Every document once per filter, as the harness writes them."""
    rows = [
        {"doc_id": k, "doc": {"question": x}, "target": GOLD[x], "arguments": {"gen_args_0": {"arg_0": x}}}
        | {"resps": [texts], "filtered_resps": [texts[0]], "filter": kind, "metrics": ["exact_match"]}
        | {"exact_match": 1.0}
        for kind in ("strict", "flexible")
        for k, ((x, p), texts) in enumerate(TEXTS.items())
        if p == prompt
    ]
    for row in rows:
        row["doc_id"] = 1 + int(row["doc"]["question"] == "q2")
    return lines(path, rows)


def check(data: Any, tokens: bool = True) -> None:
    """The law of every pair: the right answer's share, and the mean cost."""
    assert data.num_prompts == data.num_queries == 2
    gold = np.take_along_axis(data.probs, np.broadcast_to(data.answers[None, :, None], (2, 2, 1)), axis=2)[..., 0]
    assert np.allclose(gold, RIGHT)
    assert np.allclose(data.costs, [12, 40] if tokens else 0)


@pytest.mark.parametrize("kind", ["json", "eval"])
def test_inspect_logs_a_prompt_each(kind: str, tmp_path: Path):
    made = [{"json": inspect_json, "eval": inspect_eval}[kind](tmp_path / f"{p}.{kind}", p) for p in ("plain", "steps")]
    result = iapo("env", "import", f"short={made[0]}", made[1], "--to", tmp_path / "x.npz", *COMMON)
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
        result = iapo("env", "import", target, "--to", tmp_path / "x.npz", *options, *rest)
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
            "--to",
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
    result = iapo("env", "import", *made, "--to", tmp_path / "x.npz", *options)
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


def plain_log(folder: Path, column: str) -> Path:
    """A row for every completion, whose text is in this column."""
    rows = [
        {"prompt": p, "query": x, column: text, "gold": GOLD[x], "completion_tokens": TOKENS[p]}
        for (x, p), texts in TEXTS.items()
        for text in texts
    ]
    return lines(folder / "log.jsonl", rows)


def test_plain_jsonl_is_a_row_a_line(tmp_path: Path):
    log = plain_log(tmp_path, "said")
    result = iapo("env", "import", log, "--to", tmp_path / "x.npz", "--text", "said", *COMMON)
    assert result.exit_code == 0, result.output
    check(files.load(tmp_path / "x.npz"))


def test_content_in_parts_and_attachments_is_put_together(tmp_path: Path):
    sample = {"id": 1, "target": ["a", "b"], "attachments": {"abc": "the long text"}}
    choice = {"message": {"content": [{"type": "text", "text": "attachment://abc"}, {"type": "text", "text": "!"}]}}
    log = RAN | {"samples": [sample | {"output": {"choices": [choice]}}]}
    (tmp_path / "a.json").write_text(json.dumps(log))
    (row,) = read(tmp_path / "a.json", "p").to_dict("records")
    assert (row["completion"], row["gold"], row["query"]) == ("the long text!", "a; b", "1")


GOOD = batch_line("q1", "plain")
FAILED = {"custom_id": "plain/q1", "response": None, "error": {"code": "batch_expired", "message": "too late"}}
BROKEN = batch_line("q1", "plain")
BROKEN["response"]["body"]["choices"][-1] |= {"finish_reason": "error"}
SAMPLE = {"id": 1, "epoch": 1, "target": "4", "output": {"choices": [{"message": {"content": "4"}}]}}
ROW = {"prompt": "p", "query": "q", "completion": "4", "gold": 4, "completion_tokens": 1}
HUGE = 10**400


def used(usage: object) -> dict[str, Any]:
    """A line of a batch output with this usage."""
    body = GOOD["response"]["body"] | {"usage": usage}
    return GOOD | {"response": GOOD["response"] | {"body": body}}


IDS = ("--ids", r"(?P<prompt>\w+)/(?P<query>\w+)")
MALFORMED = [
    ("a.jsonl", [], (), "a.jsonl: is empty"),
    ("a.jsonl", ["{"], (), "a.jsonl: line 1 is no JSON"),
    ("a.jsonl", ["[1]"], (), "a.jsonl: line 1 is no JSON object"),
    ("a.jsonl", [GOOD], (), "is a batch output; name its input file, or a pattern of its ids, too"),
    ("a.jsonl", [GOOD, GOOD], IDS, "a.jsonl: line 2 repeats the custom_id 'plain/q1'"),
    ("a.jsonl", [FAILED], IDS, "line 1: the request 'plain/q1' failed"),
    ("a.jsonl", [batch_line("q1", "plain", 500)], IDS, "the request 'plain/q1' failed"),
    ("a.jsonl", [BROKEN], IDS, "line 1: a choice of 'plain/q1' broke off on the server"),
    ("a.jsonl", [GOOD], ("--ids", "x(?P<prompt>.)(?P<query>.)"), "does not match the pattern"),
    ("a.jsonl", [GOOD], ("--ids", "(?P<prompt>.)"), "--ids is '(?P<prompt>.)'; it needs the groups"),
    (
        "a.jsonl",
        [GOOD],
        ("--ids", "(?P<prompt>.*)(?P<query>.)?"),
        "the custom_id 'plain/q1' does not match the pattern",
    ),
    ("a.jsonl", [GOOD], ("--ids", "("), "which is no regular expression"),
    ("a.jsonl", [GOOD], ("--asked", "IN"), "lacks 3 of 4 requests of"),
    ("a.jsonl", [GOOD | {"custom_id": "else"}], ("--asked", "IN"), "line 1: 'else' is no request of"),
    ("a.jsonl", [GOOD], ("--asked", "SELF"), "line 1 is no chat request of a batch"),
    ("a.jsonl", [GOOD], (*IDS, "--golds", "SELF"), "has no 'query' or no 'gold'"),
    ("a.jsonl", [{"doc_id": 1}], (), "no doc_id or no resps"),
    ("a.jsonl", [{"doc_id": 1, "resps": [[[-1.5, True]], [[-2.0, False]]]}], (), "holds log-likelihoods of choices"),
    ("a.jsonl", [{"doc_id": 1, "resps": [["4"]]}], ("--answers", "x"), "expected number, choice, exact or a pattern"),
    (
        "a.jsonl",
        [{"doc_id": 1, "resps": [["4"]]}],
        ("--text", "said"),
        "--text is 'said', but the log has no such column",
    ),
    ("a.json", ["{}"], (), "a.json: is no Inspect log with samples"),
    ("a.json", ["{"], (), "a.json is no JSON"),
    ("a.json", [RAN | {"samples": [3]}], (), "samples[0] is no JSON object"),
    ("a.json", [RAN | {"samples": []}], (), "a.json: holds no completions"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"error": {"message": "m"}}]}], (), "samples[0] ended with an error"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"output": {}}]}], (), "samples[0] has no id or no output"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"output": {"choices": [{}]}}]}], (), "a choice without a message"),
    (
        "a.json",
        [RAN | {"status": "cancelled", "samples": [SAMPLE]}],
        (),
        "status is 'cancelled', not 'success'; let it end",
    ),
    (
        "a.json",
        [RAN | {"status": "error", "samples": [SAMPLE]}],
        (),
        "a.json: the run's status is 'error', not 'success'",
    ),
    ("a.json", [{"eval": {}, "samples": [SAMPLE]}], (), "a.json: the run's status is 'started', not 'success'"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"scores": [1]}]}], (), "samples[0]: scores is no JSON object"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"attachments": [1]}]}], (), "samples[0]: attachments is no JSON object"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"target": 4}]}], (), "samples[0] has a target that is neither text nor"),
    ("a.json", [RAN | {"samples": [SAMPLE | {"output": {"choices": 5}}]}], (), "samples[0] has no id or no output"),
    (
        "a.json",
        [RAN | {"samples": [SAMPLE | {"output": SAMPLE["output"] | {"usage": [1]}}]}],
        (),
        "samples[0]: usage is no JSON object",
    ),
    (
        "a.json",
        [RAN | {"samples": [SAMPLE | {"scores": {"s": {"value": HUGE}}}]}],
        (),
        "samples[0]: score 's' is larger than any number of 64 bits",
    ),
    ("a.jsonl", [used([1])], IDS, "line 1: usage is no JSON object"),
    ("a.jsonl", [used("9")], IDS, "line 1: usage is no JSON object"),
    ("a.jsonl", [used({"completion_tokens": HUGE})], (*IDS, "--golds", "GOLDS"), "no column 'completion_tokens'"),
    ("a.jsonl", [GOOD], ("--asked", "FIVE"), "line 1 is no chat request of a batch"),
    ("a.jsonl", [ROW | {"prompt": ["p"]}], (), "column 'prompt' holds \"['p']\" in row 1; a name is text or a number"),
    (
        "a.jsonl",
        [ROW | {"query": {"q": 1}}],
        (),
        "column 'query' holds \"{'q': 1}\" in row 1; a name is text or a number",
    ),
    ("a.jsonl", [ROW, ROW | {"completion_tokens": HUGE}], (), "in row 2; finite numbers are needed"),
    (
        "a.jsonl",
        [ROW | {"gold": "1/2"}],
        (),
        "column 'gold', row 1: the right answer '1/2' cannot be read as one number",
    ),
    (
        "a.jsonl",
        [{"doc_id": 1, "resps": [["4"]], "target": "4", "metrics": ["m"], "m": HUGE}],
        (),
        "line 1: score 'm' is larger than any number of 64 bits",
    ),
    ("a.eval", ["no zip"], (), "a.eval: is no whole .eval file"),
    ("a.jsonl", [{"doc_id": 1, "resps": [["4"]], "target": "four"}], (), "the right answer 'four' cannot be read"),
]


@pytest.mark.parametrize(("name", "content", "options", "said"), MALFORMED, ids=[row[3][:40] for row in MALFORMED])
def test_a_malformed_log_is_refused_in_one_sentence(
    name: str, content: list, options: tuple, said: str, tmp_path: Path
):
    log = lines(tmp_path / name, content)
    golds = lines(tmp_path / "golds.jsonl", [{"query": query, "gold": gold} for query, gold in GOLD.items()])
    five = lines(tmp_path / "five.jsonl", [{"custom_id": "plain/q1", "body": {"messages": 5}}])
    places = {"IN": batch_in(tmp_path / "in.jsonl"), "SELF": log, "FIVE": five, "GOLDS": golds}
    own = [places.get(one, one) for one in options]
    refused = iapo("env", "import", log, "--to", tmp_path / "x.npz", *COMMON, *own)
    assert refused.exit_code == common.USER_ERROR, refused.output
    assert said in refused.stderr
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("option", "pattern", "row"),
    [
        ("--ids", "(?P<prompt>(a+)+)(?P<query>b)", GOOD | {"custom_id": "a" * 60}),
        ("--answers", "^(a+)+b", {"doc_id": 1, "resps": [["a" * 60]], "target": "4"}),
    ],
)
def test_a_pattern_that_takes_too_long_is_refused(
    option: str, pattern: str, row: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen to block for ever."""
    monkeypatch.setattr(patterns, "TIMEOUT", 0.2)
    log = lines(tmp_path / "a.jsonl", [row])
    refused = iapo("env", "import", log, "--to", tmp_path / "x.npz", *COMMON, option, pattern)
    assert refused.exit_code == common.USER_ERROR, refused.output
    said = f"error: {option} is {pattern!r}, which takes more than 0.2 s on '{'a' * 60}'; use a simpler pattern\n"
    assert refused.stderr == said


def test_answers_are_read_by_a_pattern(tmp_path: Path):
    """Its last match that is not empty."""
    log = plain_log(tmp_path, "completion")
    result = iapo("env", "import", log, "--to", tmp_path / "x.npz", *COMMON, "--answers", r"(\d*)\.?$")
    assert result.exit_code == 0, result.output
    check(files.load(tmp_path / "x.npz"))


def test_an_archive_without_samples_or_cut_short_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("header.json", json.dumps(RAN))
    with pytest.raises(ValueError, match=r"a.eval: holds no samples"):
        read(tmp_path / "a.eval", "p")
    whole = inspect_eval(tmp_path / "b.eval", "plain").read_bytes()
    for size in (len(whole) // 2, len(whole) - 5):
        (tmp_path / "c.eval").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"c.eval: is no whole .eval file"):
            read(tmp_path / "c.eval", "p")
    place = whole.index(b"samples/") + 40  # in the packed content of the first sample
    (tmp_path / "d.eval").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"d.eval: is no whole .eval file"):
        read(tmp_path / "d.eval", "p")


def test_only_logs_are_put_together(tmp_path: Path):
    log = lines(tmp_path / "a.jsonl", [{"prompt": 1}])
    refused = iapo("env", "import", log, tmp_path / "b.npz", "--to", tmp_path / "x.npz", *COMMON)
    assert "b.npz is no log of completions" in refused.stderr


def test_an_archive_of_a_run_that_did_not_end_is_refused(tmp_path: Path):
    """Its header says so; without one the run was killed."""
    for status in ("cancelled", "error", "started"):
        log = inspect_eval(tmp_path / "a.eval", "plain", status)
        with pytest.raises(ValueError, match=rf"a.eval: the run's status is '{status}', not 'success'"):
            read(log, "p")
    with zipfile.ZipFile(tmp_path / "b.eval", "w") as archive:
        archive.writestr("samples/q1_epoch_1.json", json.dumps(SAMPLE))
    with pytest.raises(ValueError, match=r"b.eval: the run's status is 'started'"):
        read(tmp_path / "b.eval", "p")


@pytest.mark.parametrize(
    ("make", "name"), [(harness, "samples_x.jsonl"), (inspect_json, "x.json"), (inspect_eval, "x.eval")]
)
def test_logs_of_the_same_name_are_not_pooled(make: Callable, name: str, tmp_path: Path):
    """Seen to become one prompt."""
    made = []
    for prompt in ("plain", "steps"):
        (tmp_path / prompt).mkdir()
        made.append(make(tmp_path / prompt / name, prompt))
    options = [one for one in COMMON if one not in ("--cost", "completion_tokens")]
    options[options.index("dear=1,0.01")] = "again=1,0"
    refused = iapo("env", "import", *made, "--to", tmp_path / "x.npz", *options)
    assert refused.exit_code == common.USER_ERROR
    stem = name.partition(".")[0]
    said = f"both be the prompt {stem!r}; name them apart, as in a={made[0]} b={made[1]}\n"
    assert refused.stderr == f"error: {made[0]} and {made[1]} would {said}"
    assert not (tmp_path / "x.npz").exists()
    (tmp_path / f"{stem}.csv").write_text("prompt,query,completion\n")
    for others in ([made[0]], [tmp_path / f"{stem}.csv", made[1]]):
        again = iapo("env", "import", made[0], *others, "--to", tmp_path / "x.npz", *options)
        assert "would both be the prompt" in again.stderr
    named = iapo("env", "import", f"a={made[0]}", f"b={made[1]}", "--to", tmp_path / "x.npz", *options)
    assert named.exit_code == 0, named.output
    assert files.load(tmp_path / "x.npz").prompt_names == ("a", "b")


def test_rows_that_name_their_prompts_may_come_in_files_of_one_name(tmp_path: Path):
    made = []
    for prompt in ("plain", "steps"):
        (tmp_path / prompt).mkdir()
        made.append(lines(tmp_path / prompt / "log.jsonl", [ROW | {"prompt": prompt}]))
    result = iapo("env", "import", *made, "--to", tmp_path / "x.npz", *COMMON)
    assert result.exit_code == 0, result.output
    assert files.load(tmp_path / "x.npz").prompt_names == ("plain", "steps")


def test_two_right_answers_of_a_query_are_refused(tmp_path: Path):
    """Seen to take the last one."""
    golds = lines(tmp_path / "gold.jsonl", [{"query": "q", "gold": gold} for gold in (4, "4", 5)])
    log = lines(tmp_path / "a.jsonl", [ROW])
    refused = iapo("env", "import", log, "--to", tmp_path / "x.npz", *COMMON, "--golds", golds)
    assert refused.exit_code == common.USER_ERROR
    assert "gold.jsonl: row 3 gives the query 'q' another right answer than before" in refused.stderr


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
    result = iapo("env", "import", lines(tmp_path / "a.jsonl", rows), "--to", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert share_right(tmp_path / "x.npz") == right
    answers = ("--answers", "exact", "--text", "answer")
    result = iapo("env", "import", tmp_path / "a.jsonl", "--to", tmp_path / "y.npz", *VOTE, *answers)
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
    result = iapo("env", "import", tmp_path / "a.csv", "--to", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert share_right(tmp_path / "x.npz") == right
    scores = ("--objective", "score:mean", "--context", "1,0", "--max-scale", 2)
    assert iapo("env", "import", tmp_path / "a.csv", "--to", tmp_path / "y.npz", *scores).exit_code == 0
    assert (files.load(tmp_path / "y.npz").values == 0.1).all()
    by_number = ("--answers", "exact", "--text", "answer")
    assert iapo("env", "import", tmp_path / "a.csv", "--to", tmp_path / "z.npz", *VOTE, *by_number).exit_code == 0
    assert share_right(tmp_path / "z.npz") == [a == g for a, g in pairs]


def share_right(path: Path) -> list[float]:
    """Of the first prompt, by query."""
    data = files.load(path)
    assert data.answers is not None
    return data.probs[0, np.arange(data.num_queries), data.answers].tolist()


def test_names_are_text(tmp_path: Path):
    """Seen to count 1 and "1" as two queries of one name."""
    rows = [{"prompt": prompt, "query": query, "answer": "a", "gold": "a"} for prompt, query in (("p", 1), ("q", "1"))]
    result = iapo("env", "import", lines(tmp_path / "a.jsonl", rows), "--to", tmp_path / "x.npz", *VOTE)
    assert result.exit_code == 0, result.output
    assert files.load(tmp_path / "x.npz").provenance["queries"] == ["1"]
