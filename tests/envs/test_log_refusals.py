"""Each kind of malformed log is refused in one sentence."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tool_logs import (
    COMMON,
    GOLD,
    RAN,
    ROW,
    batch_in,
    batch_line,
    harness,
    iapo,
    inspect_eval,
    inspect_json,
    lines,
)

from sim.adapters.scorers import patterns
from sim.cli import common
from sim.envs import files
from sim.envs.imports import read

GOOD = batch_line("q1", "plain")
FAILED = {"custom_id": "plain/q1", "response": None, "error": {"code": "batch_expired", "message": "too late"}}
BROKEN = batch_line("q1", "plain")
BROKEN["response"]["body"]["choices"][-1] |= {"finish_reason": "error"}
SAMPLE = {"id": 1, "epoch": 1, "target": "4", "output": {"choices": [{"message": {"content": "4"}}]}}
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
    refused = iapo("env", "import", log, "--out", tmp_path / "x.npz", *COMMON, *own)
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
    refused = iapo("env", "import", log, "--out", tmp_path / "x.npz", *COMMON, option, pattern)
    assert refused.exit_code == common.USER_ERROR, refused.output
    said = f"error: {option} is {pattern!r}, which takes more than 0.2 s on '{'a' * 60}'; use a simpler pattern\n"
    assert refused.stderr == said


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
    (tmp_path / "b.npz").touch()
    refused = iapo("env", "import", log, tmp_path / "b.npz", "--out", tmp_path / "x.npz", *COMMON)
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
    refused = iapo("env", "import", *made, "--out", tmp_path / "x.npz", *options)
    assert refused.exit_code == common.USER_ERROR
    stem = name.partition(".")[0]
    said = f"both be the prompt {stem!r}; name them apart, as in a={made[0]} b={made[1]}\n"
    assert refused.stderr == f"error: {made[0]} and {made[1]} would {said}"
    assert not (tmp_path / "x.npz").exists()
    (tmp_path / f"{stem}.csv").write_text("prompt,query,completion\n")
    for others in ([made[0]], [tmp_path / f"{stem}.csv", made[1]]):
        again = iapo("env", "import", made[0], *others, "--out", tmp_path / "x.npz", *options)
        assert "would both be the prompt" in again.stderr
    named = iapo("env", "import", f"a={made[0]}", f"b={made[1]}", "--out", tmp_path / "x.npz", *options)
    assert named.exit_code == 0, named.output
    assert files.load(tmp_path / "x.npz").prompt_names == ("a", "b")


def test_two_right_answers_of_a_query_are_refused(tmp_path: Path):
    """Seen to take the last one."""
    golds = lines(tmp_path / "gold.jsonl", [{"query": "q", "gold": gold} for gold in (4, "4", 5)])
    log = lines(tmp_path / "a.jsonl", [ROW])
    refused = iapo("env", "import", log, "--out", tmp_path / "x.npz", *COMMON, "--golds", golds)
    assert refused.exit_code == common.USER_ERROR
    assert "gold.jsonl: row 3 gives the query 'q' another right answer than before" in refused.stderr


def sample(document: int, filtered_by: str, said: str = "4") -> dict[str, Any]:
    """A line of lm-evaluation-harness."""
    return {"doc_id": document, "target": "4", "resps": [[said]], "filtered_resps": [said], "filter": filtered_by}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([sample(0, "s"), sample(1, "s"), sample(0, "s")], "line 3 repeats the doc_id '0' of line 1 with the same"),
        (
            [sample(0, "s"), sample(1, "s"), sample(0, "s", "5")],
            "line 3 repeats the doc_id '0' of line 1 with the same",
        ),
        ([sample(0, "s"), sample(1, "t")], "the doc_id '0' has no line of the filter 't', as others have"),
    ],
)
def test_harness_samples_that_are_not_whole_are_refused(found: list[dict[str, Any]], said: str, tmp_path: Path):
    """Seen to count a copy as a draw, and to leave out documents that the filter lacks."""
    log = tmp_path / "a.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in found))
    with pytest.raises(ValueError, match=re.escape(said)):
        read(log)


def test_a_sample_that_is_there_twice_is_refused(tmp_path: Path):
    """Of one epoch. Seen to count as two draws."""
    choices = [{"message": {"role": "assistant", "content": "4"}, "stop_reason": "stop"}]
    one = {"id": 1, "epoch": 1, "input": "q", "target": "4", "output": {"choices": choices}}
    log = tmp_path / "a.json"
    for epoch, times in ((2, 2), (1, None)):
        samples = [one, one | {"epoch": epoch}]
        log.write_text(json.dumps({"status": "success", "eval": {}, "samples": samples}))
        if times is not None:
            assert len(read(log)) == times
            continue
        with pytest.raises(ValueError, match="repeats the sample id '1' of epoch 1"):
            read(log)


@pytest.mark.parametrize("cells", [('["4", "5"]', '["4", "4"]'), ("['4', '5']", "['4', '4']"), ("[4, 5]", "[4, 4]")])
def test_lists_written_as_text_are_no_completions(cells: tuple[str, str], tmp_path: Path):
    """Seen to be read as their last entry."""
    log = tmp_path / "a.csv"
    rows = "".join('a,q{},"{}",4\n'.format(x, cell.replace('"', '""')) for x, cell in enumerate(cells))
    log.write_text(f"prompt,query,completion,gold\n{rows}")
    options = ("--out", tmp_path / "x.npz", "--gold", "gold", "--objective", "answer:mv", "--context", "1,0")
    done = iapo("env", "import", log, *options, "--max-scale", 1, "--answers", "number")
    assert done.exit_code == common.USER_ERROR
    assert "column 'completion' holds text that is a list in every row" in done.stderr
    done = iapo("env", "import", log, *options, "--max-scale", 1, "--answers", "exact")
    assert done.exit_code == 0, done.output
    assert "each is read as one completion" in done.stderr


@pytest.mark.parametrize("source", ["gone.jsonl", "a=gone.jsonl", "gone.pkl"])
def test_a_missing_file_is_said_before_options_are_asked_for(source: str, tmp_path: Path, monkeypatch) -> None:
    """Seen to fail with "iapo env import needs --out", and with "is a log; it needs --objective, ..."."""
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--out", "mine.npz")):
        result = iapo("env", "import", source, *options)
        assert result.exit_code == 2
        assert result.stderr == f"error: {source.removeprefix('a=')}: no such file; give the path of a file\n"
    assert list(tmp_path.iterdir()) == []
