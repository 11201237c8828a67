"""One query answered with a policy file: whatever file, options and answer are, there is an answer or one sentence."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from live_runs import digit, iapo
from live_server import KEY, Model, serving
from policy_files import write

from sim.cli import common

pytest.importorskip("openai", reason="the extra [llm] is not installed")

ROOT = Path(__file__).resolve().parents[2]


def ask(folder: Path, model: Model, *options: object, **changes: Any) -> Result:
    with serving(model) as url:
        return iapo("ask", write(folder, url, **changes), "has the digit 7", *options)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)


@pytest.mark.parametrize("seed", [-5, 2**63 - 1, 10**20])
def test_a_seed_that_the_journal_cannot_hold_is_refused(seed: int, tmp_path: Path):
    """The second completion has the seed after it, and the journal counts to the one after that."""
    model = Model(answer=digit)
    refused = ask(tmp_path, model, "--seed", seed)
    assert refused.exit_code == common.USER_ERROR
    assert refused.stderr == f"error: --seed is {seed}; expected a whole number from 0 to {2**63 - 3}\n"
    assert model.requests == []
    assert ask(tmp_path, model, "--seed", 2**63 - 3).exit_code == 0


def test_an_answer_that_no_terminal_takes_is_shown_escaped(tmp_path: Path):
    found = ask(tmp_path, Model(answer=lambda prompt, number: "7 \ud83d"))
    assert found.exit_code == 0, found.output
    assert found.stdout == "7 \\ud83d\n"


@pytest.mark.parametrize(
    ("text", "dress", "said"),
    [
        ("", {}, "no answer: all 2 completions are empty"),
        (
            None,
            {"reasoning_content": "Hm. 7"},
            "no answer: all 2 completions are empty (the server's text is in reasoning_content)",
        ),
    ],
)
def test_an_answer_without_text_is_said(text: str | None, dress: dict[str, str], said: str, tmp_path: Path):
    """Seen to print an empty line."""

    def empty(reply: dict[str, Any]) -> dict[str, Any]:
        for choice in reply["choices"]:
            choice["message"] = {"role": "assistant", "content": text} | dress
        return reply

    found = ask(tmp_path, Model(answer=digit, dress=empty))
    assert found.exit_code == 0, found.output
    assert found.stdout == ""
    assert f"{said}\n" in found.stderr


def test_an_answer_comes_without_arrays(tmp_path: Path) -> None:
    """Imports take longer than all else. Seen to fail with numpy in the reader of run files."""
    program = """
import sys
from sim.cli import main
try:
    main()
finally:
    print(*{"jax", "numpy", "pandas", "scipy", "rich"} & set(sys.modules), sep=",")
"""
    with serving(Model(answer=digit)) as url:
        line = [sys.executable, "-c", program, "ask", str(write(tmp_path, url)), "has the digit 7"]
        done = subprocess.run(
            line, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
    assert done.stdout == "It is 7.\n\n", done.stderr


def test_where_a_policy_sends_which_key_is_said_before_it_is_sent(tmp_path: Path):
    """The file may come from anywhere; what it names is the user's."""
    model = Model(answer=digit)
    with serving(model) as url:
        policy = write(tmp_path, url)
        found = iapo("ask", policy, "has the digit 7")
    note = f"note: requests go to {url} with the key in LIVE_TEST_KEY, as {policy} says\n"
    assert found.stderr.startswith(note), found.stderr
    assert KEY not in found.output
    found = iapo("ask", write(tmp_path, "http://127.0.0.1:9/v1", timeout=1, deadline=1), "q")
    assert found.stderr.startswith("note: requests go to http://127.0.0.1:9/v1 with the key in LIVE_TEST_KEY")


def test_a_policy_of_a_run_that_a_cap_stopped_says_so(tmp_path: Path):
    with serving(Model(answer=digit)) as url:
        stopped = write(tmp_path, url, top={"run": {"complete": False, "stopped": "caps.tokens is 9"}})
        found = iapo("ask", stopped, "has the digit 7")
        assert "is of a run before its end (caps.tokens is 9); it holds the best arms so far\n" in found.stderr
        for facts in ({}, {"run": {"complete": True, "stopped": None}}):
            assert "cap" not in iapo("ask", write(tmp_path, url, top=facts), "has the digit 7").stderr
        odd = iapo("ask", write(tmp_path, url, top={"run": {"stopped": 3}}), "q")
    assert odd.exit_code == common.USER_ERROR
    assert "run.stopped is 3" in odd.stderr


def test_escapes_in_an_answer_are_shown_and_not_obeyed(tmp_path: Path):
    """A title of the window, a link, colours, a line overwritten, C1, text that runs backwards; scripts stay whole."""
    scripts = "caf\u00e9 5\u00a0km \u0645\u06cc\u200c\u0631"
    answer = f"\x1b]0;owned\x07\x1b[2J\x9b31m 7\b\r\u202e8\u2066\u2028\n\t{scripts}"
    found = ask(tmp_path, Model(answer=lambda prompt, number: answer))
    assert found.exit_code == 0, found.output
    seen = r"\x1b]0;owned\x07\x1b[2J\x9b31m 7\x08\r\u202e8\u2066\u2028"
    assert found.stdout == f"{seen}\n\t{scripts}\n"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Knows no model, and says so in colours."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps({"error": {"message": "no \x1b[2J such \u202emodel\x9b31m"}}).encode()
        self.send_response(404)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_escapes_in_a_servers_error_are_shown_and_not_obeyed(tmp_path: Path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        found = iapo("ask", write(tmp_path, url), "has the digit 7")
        server.shutdown()
    assert found.exit_code == common.USER_ERROR
    assert "no \\x1b[2J such \\u202emodel\\x9b31m" in found.stderr
    assert not {"\x1b", "\u202e", "\x9b"} & set(found.output)


def test_names_in_tables_and_sentences_are_shown_and_not_obeyed(tmp_path: Path):
    """What prompts and contexts are called comes with a file, too."""
    name = "a\u202e\u2066b"
    answer = Model(answer=lambda prompt, number: "7")
    policy = {"policy": {"c": {"chosen": {"prompt": name, "scale": 2}}}}
    with serving(answer) as url:
        file = write(tmp_path, url, top=policy)
        content = json.loads(file.read_text())
        content["prompts"] = {name: content["prompts"]["a"] | {"name": name}}
        file.write_text(json.dumps(content))
        found = iapo("ask", file, "has the digit 7")
    assert found.exit_code == 0, found.output
    assert found.stderr.splitlines()[1].startswith("a\\u202e\\u2066b, N = 2; votes: 7 (2)")


def objectives(*found: dict[str, Any]) -> dict[str, Any]:
    """Changes of a policy: its objectives, all of weight 1."""
    endpoint = {"model": "m", "key_variable": "LIVE_TEST_KEY"}
    source = {"strategy": "mixed", "endpoint": endpoint, "objectives": list(found)}
    return {"context": {"weights": [1.0] * len(found)}, "top": {"source": source}}


VOTE = {"name": "vote", "aggregate": "mv", "scorer": "number"}
MEAN = {"name": "mean", "aggregate": "mean", "scorer": "exact"}
BEST = {
    "name": "best",
    "aggregate": "bon",
    "scorer": "judge",
    "model": "m",
    "template": "{query}|{completion}",
    "marked": False,
}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([MEAN], "the first completion"),
        ([MEAN, VOTE], "votes: 7 (2)"),
        ([MEAN, VOTE, BEST], "votes: 7 (2); best score 0.5"),
        ([VOTE | {"scorer": "choice"}], "no answer to vote on could be read"),
    ],
)
def test_scorers_of_means_are_not_asked(found: list, said: str, tmp_path: Path):
    """They need right answers, and decide nothing. Seen to end the command after the completions were paid for."""
    changes, model = objectives(*found), Model(answer=lambda prompt, number: "0.5" if "|" in prompt else "It is 7.")
    with serving(model) as url:
        changes["top"]["source"]["endpoint"]["base_url"] = url
        result = iapo("ask", write(tmp_path, **changes), "has the digit 7")
    assert result.exit_code == 0, result.output
    assert result.stdout == "It is 7.\n"
    assert result.stderr.splitlines()[1].startswith(f"a, N = 2; {said}; {model.completions} completions, ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arm": {"scale": 2.5}}, "policy.c.chosen.scale is 2.5; expected a whole number from 1 to 256"),
        ({"arm": {"scale": 257}}, "policy.c.chosen.scale is 257; expected a whole number from 1 to 256"),
        ({"arm": {"prompt": "b"}}, "policy.c.chosen.prompt is 'b'; allowed are a"),
        ({"arm": {"pulls": -1}}, "policy.c.chosen.pulls is -1; expected a whole number of at least 0"),
        ({"arm": {"vlue": 1}}, "policy.c.chosen.vlue is not known; did you mean 'value'? known are "),
        (
            {"arm": {"scale": None, "scal": 2}},
            "policy.c.chosen.scale is missing; it is needed; did you mean it by 'scal'?",
        ),
        ({"top": {"polcy": {}, "policy": None}}, "policy is missing; it is needed; did you mean it by 'polcy'?"),
        (
            {"top": {"policy": {"cc": {"chosen": {"prompt": "a", "scale": 2}}}}},
            "policy.c is missing; it is needed; did you mean it by 'cc'?",
        ),
        ({"prompt": {"text": "no slot"}}, "prompts.a.text has no {query} slot; every prompt needs one"),
        ({"prompt": {"name": "b"}}, "prompts.a.name is 'b'; it stands under 'a'"),
        ({"prompt": {"max_tokens": "ten"}}, "prompts.a.max_tokens is 'ten'; expected a whole number from 1 to 1000000"),
        ({"prompt": {"temperature": "hot"}}, "prompts.a.temperature is 'hot'; expected a finite number at least 0"),
        ({"prompt": {"top_p": 0}}, "prompts.a.top_p is 0; expected a finite number above 0 and at most 1"),
        ({"context": {"weights": ["a"]}}, "contexts.c.weights is ['a']; expected a list of finite numbers"),
        ({"context": {"weights": [1, 2]}}, "contexts.c.weights holds 2 numbers; expected 1, one for each objective"),
        ({"context": {"probability": None}}, "contexts.c.probability is missing; it is needed"),
        ({"top": {"prices": {"m": [1]}}}, "prices.m is [1]; expected two whole numbers of at least 0 and at most"),
        ({"top": {"policy": {}}}, "policy.c is missing; it is needed"),
        ({"top": {"policy": {"c": {}}}}, "policy.c.chosen is missing; it is needed"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_by_its_field(changes: dict[str, Any], said: str, tmp_path: Path):
    model = Model(answer=digit)
    refused = ask(tmp_path, model, **changes)
    assert refused.exit_code == common.USER_ERROR
    assert refused.stderr.startswith(f"error: {tmp_path / 'policy.json'}: {said}")
    assert refused.stderr.count("\n") == 1
    assert model.requests == []
