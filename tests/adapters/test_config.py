"""Configurations of live runs: the example is complete, and what is wrong is refused by file, key and reason."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from live_runs import MINIMAL, iapo

from sim.adapters import config, tune
from sim.adapters.run_file.settings import Caps, Config
from sim.adapters.run_file.toml_table import Closed, TomlTable
from sim.adapters.schema import json_schema
from sim.adapters.scorers.registry import SCORERS
from sim.adapters.wire import redact


def write(folder: Path, text: str) -> Path:
    (folder / "q.jsonl").write_text('{"query": "1+1", "gold": 2}\n{"query": "2+2", "gold": 4}\n')
    file = folder / "run.toml"
    file.write_text(text)
    return file


def load(folder: Path, text: str) -> Config:
    return config.load(write(folder, text))


@pytest.mark.parametrize(("text", "budget"), [('"5k"', 5000), ("1e4", 10_000), ('"1,000"', 1000), ("1_000", 1000)])
def test_a_budget_is_read_as_people_write_it(tmp_path: Path, text: str, budget: int):
    assert load(tmp_path, MINIMAL.replace("budget = 100", f"budget = {text}")).budget == budget


def test_the_defaults_are_filled_in(tmp_path: Path):
    run = load(tmp_path, MINIMAL)
    assert [prompt.model for prompt in run.prompts] == ["m", "m"]
    assert run.prompts[0].messages("1+1") == (("user", "1+1?"),)
    assert [(context.weights, context.cost_weight) for context in run.contexts] == [((1.0,), 0.0), ((1.0,), 0.1)]
    assert run.caps == Caps(100 + 10 + 256 + 2 * 4 * 4, None, None)
    assert run.out == tmp_path / "results" / "run"
    assert run.objectives[0].unreadable == run.objectives[0].low == 0.0


def test_a_query_is_put_in_as_it_stands(tmp_path: Path):
    run = load(tmp_path, MINIMAL.replace('"{query}?"', "'{\"json\": {query}} {0} %s'"))
    assert run.prompts[0].messages("{query} {x}")[0][1] == '{"json": {query} {x}} {0} %s'


def test_money_is_exact(tmp_path: Path):
    priced = (
        MINIMAL + "[prices]\nprompt = 0.15\ncompletion = 0.6\nmodels.m = { completion = 1.000001 }\n[caps]\nmoney = 2\n"
    )
    run = load(tmp_path, priced)
    assert (run.prices[""]["m"].prompt, run.prices[""]["m"].completion) == (150_000, 1_000_001)
    assert run.caps.money == 2 * 10**12


def test_the_example_can_be_loaded_and_names_every_key(tmp_path: Path):
    """A key that is read but not in the example would be undocumented."""
    text = (resources.files("sim.adapters") / "example.toml").read_text()
    (tmp_path / "queries.jsonl").write_text('{"question": "of France?", "answer": "Paris"}\n')
    file = tmp_path / "example.toml"
    file.write_text(text)
    run = config.load(file)
    assert run.name == "capitals"
    assert run.objectives[0].scorer.answer("It is so. Answer: Paris.") == "Paris"
    assert set(keys(json_schema())) <= set(re.findall(r"\w+", text))
    assert {*tomllib.loads(text), "endpoints"} == set(json_schema()["properties"])


def keys(schema: Any) -> Iterator[str]:
    """All keys of tables in a JSON schema."""
    if isinstance(schema, list):
        schema = dict(enumerate(schema))
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from keys(inner)


def test_the_schema_says_limits_words_meanings_and_options():
    """Seen to fail without the comments of the example, and with options of one scorer allowed to another."""
    schema = json_schema()
    assert len(set(keys(schema))) > 60
    assert schema["required"] == ["strategy", "objectives", "prompts", "queries", "contexts", "tune"]
    assert schema["oneOf"] == [{"required": ["endpoint"]}, {"required": ["endpoints"]}]
    tables = schema["$defs"]
    endpoint = tables["EndpointTable"]
    assert not endpoint["additionalProperties"]
    assert endpoint["properties"]["max_n"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 256,
        "default": 16,
        "description": "most completions asked for in one request; 1 gives exact usage; default: 16",
    }
    assert endpoint["properties"]["timeout"]["exclusiveMinimum"] == 0
    assert tables["Tune"]["properties"]["budget"]["description"] == "completions that the algorithm spends"
    assert tables["Cost"]["properties"]["measure"]["enum"] == ["tokens", "money"]
    assert "default" not in tables["PromptTable"]["properties"]["temperature"]
    scorers = {
        one["properties"]["scorer"].get("const"): one for one in schema["properties"]["objectives"]["items"]["oneOf"]
    }
    assert scorers.keys() == {*SCORERS, None}
    common = {"scorer", "name", "aggregate", "low", "high", "unreadable"}
    assert scorers["number"]["properties"].keys() == common | {"digits"}
    assert scorers["regex"]["properties"].keys() == common | {"pattern", "group", "ignore_case", "timeout"}
    assert scorers["regex"]["required"] == ["scorer", "pattern"]
    assert scorers["callable"]["properties"].keys() == common | {"function", "timeout"}
    assert not any(key[0] == "_" for key in keys(schema))


def test_the_command_writes_the_schema(tmp_path: Path):
    file = tmp_path / "run.schema.json"
    printed, written = iapo("tune", "--schema"), iapo("tune", "--schema", "--out", file)
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert json.loads(printed.stdout) == json.loads(file.read_text()) == json_schema()
    run = write(tmp_path, MINIMAL)
    refused, missing = iapo("tune", "--schema", "--out", run), iapo("tune")
    assert (refused.exit_code, missing.exit_code) == (2, 2)
    assert "run.toml exists; name a new file for the schema" in refused.stderr
    assert run.read_text() == MINIMAL
    assert missing.stderr == (
        "error: no run is named; give its TOML file, which `iapo tune --example --out run.toml` begins\n"
    )


def test_pydantic_is_imported_to_read_a_run_file_only(tmp_path: Path):
    """Seen to fail with pydantic imported by `toml_table` itself."""
    code = "import sys, sim.cli.logs, sim.cli.answers, sim.adapters.scorers.text, sim.adapters.paid.journal_tables\n"
    code += "import sim.adapters.tune, sim.adapters.config; assert 'pydantic' not in sys.modules\n"
    code += f"sim.adapters.config.load({str(write(tmp_path, MINIMAL))!r}); assert 'pydantic' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


BAD = {
    "no TOML": ("strategy =", "strategy = =", "is no TOML file"),
    "unknown key": ("[endpoint]", "[endpoint]\ntimout = 3", "endpoint.timout is not known; did you mean 'timeout'"),
    "needed key": ("budget", "budgt", "tune.budget is missing; it is needed; did you mean it by 'budgt'?"),
    "needed table": ("[tune]", "[tunee]", "tune is missing; it is needed; did you mean it by 'tunee'?"),
    "needed option": (
        '"number"',
        '"regex"\npatern = "a"',
        r"objectives\[0\].pattern is missing; it is needed; did you mean it by 'patern'",
    ),
    "needed scorer": (
        "scorer",
        "scorr",
        r"objectives\[0\].scorer is missing; it is needed; did you mean it by 'scorr'",
    ),
    "needed function": (
        '"number"',
        '"callable"\nfuncton = "a:b"',
        r"objectives\[0\].function is missing; it is needed; did you mean it by 'functon'",
    ),
    "nothing like it": ("budget", "trials", r"tune.budget is missing; it is needed\Z"),
    "unknown table": ("[tune]", "[tuning]\nx = 1\n[tune]", "tuning is not known"),
    "strategy": ('"mv"', '"vote"', "strategy is 'vote'; allowed are mv, bon, mean, mixed"),
    "strategy missing": ('strategy = "mv"', "", "strategy is missing"),
    "no endpoint": ("[endpoint]", "[endpoints]", "endpoint is missing"),
    "URL": ('"http://localhost:1/v1"', '"localhost:1"', "endpoint.base_url is 'localhost:1'; expected http"),
    "URL port": ("localhost:1/", "localhost:x/", "endpoint.base_url .* no URL"),
    "URL secret": ("http://localhost", "http://me:pw@localhost", "endpoint.base_url holds a user, a password"),
    "URL path": ("/v1", "/v1/chat/completions", "endpoint.base_url .*leave out /chat/completions"),
    "key in file": ('key_variable = ""', 'key_variable = "sk-123"', "endpoint.key_variable is no name"),
    "timeout": ('model = "m"', 'model = "m"\ntimeout = 0', "endpoint.timeout is 0; expected a finite number above 0"),
    "timeout NaN": ('model = "m"', 'model = "m"\ntimeout = nan', "endpoint.timeout is nan"),
    "deadline": ('model = "m"', 'model = "m"\ndeadline = 5', "endpoint.deadline is 5 s, below the timeout"),
    "max_n": ('model = "m"', 'model = "m"\nmax_n = 0', "endpoint.max_n is 0; expected a whole number from 1 to 256"),
    "max_n kind": ('model = "m"', 'model = "m"\nmax_n = true', "endpoint.max_n is True"),
    "flag": ('model = "m"', 'model = "m"\nsend_seed = 1', "endpoint.send_seed is 1; expected true or false"),
    "extra": ('model = "m"', 'model = "m"\nextra = { n = 3 }', "endpoint.extra.n is set by other keys"),
    "extra value": ('model = "m"', 'model = "m"\nextra = { a = nan }', "endpoint.extra holds what no JSON request"),
    "extra date": ('model = "m"', 'model = "m"\nextra = { a = 2026-01-01 }', "endpoint.extra holds what no JSON"),
    "pace": ('model = "m"', 'model = "m"\nconcurrency = { start = 9, most = 4 }', "endpoint.concurrency.start is 9"),
    "no model": ('model = "m"', "", r"prompts\[0\].model is missing here and in \[endpoint\]"),
    "no prompts": (MINIMAL[MINIMAL.index("[[prompts]]") : MINIMAL.index("[queries]")], "", "prompts is missing"),
    "one table": ("[[objectives]]", "[objectives]", "objectives must be one or more tables"),
    "no slot": ("{query}!", "query!", r"prompts\[1\].text has no {query} slot"),
    "same prompt": ("{query}!", "{query}?", r"prompts\[1\].text and decoding are those of 'a'"),
    "same name": ('name = "b"', 'name = "a"', r"prompts\[1\].name is 'a', the name of an earlier"),
    "blank": ('name = "b"', 'name = " "', r"prompts\[1\].name is empty"),
    "temperature": ('name = "b"', 'name = "b"\ntemperature = -1', r"prompts\[1\].temperature is -1"),
    "top_p": ('name = "b"', 'name = "b"\ntop_p = 1.5', r"prompts\[1\].top_p is 1.5; .* at most 1"),
    "some costs": ('name = "b"', 'name = "b"\ncost = 1', "prompts give a cost to some prompts only"),
    "no file": ('"q.jsonl"', '"r.jsonl"', "queries.file names .*r.jsonl, which does not exist"),
    "file kind": ('"q.jsonl"', '"q.txt"', "queries.file is 'q.txt'; expected a .jsonl"),
    "no gold": ('gold = "gold"', "", "queries.gold is missing; votes"),
    "scorer": ('"number"', '"nmber"', r"objectives\[0\].scorer is 'nmber'; allowed are exact"),
    "scorer option": ('"number"', '"number"\ndigit = 3', r"objectives\[0\].digit is not known; did you mean 'digits'"),
    "pattern": ('"number"', '"regex"\npattern = "("', r"objectives\[0\].pattern .* no regular expression"),
    "group": ('"number"', '"regex"\npattern = "(a)"\ngroup = 2', r"objectives\[0\].group is 2; the pattern has 1"),
    "module": ('"number"', '"callable"\nfunction = "no_such:f"', r"function .* no_such cannot be imported"),
    "function": ('"number"', '"callable"\nfunction = "json:nothing"', r"function .* json has no function nothing"),
    "arguments": ('"number"', '"callable"\nfunction = "json:dumps"', r"function .* must take \(query, gold"),
    "bounds": ('"number"', '"number"\nlow = 1.0', r"objectives\[0\].high is 1; it must be above low"),
    "unreadable": ('"number"', '"number"\nunreadable = 2', r"objectives\[0\].unreadable is 2"),
    "aggregate": ('"number"', '"number"\naggregate = "bon"', r"objectives\[0\].aggregate is 'bon', but the strategy"),
    "two votes": (
        "[contexts]",
        '[[objectives]]\nname = "n"\nscorer = "exact"\n[contexts]',
        "objectives hold 'mv' more",
    ),
    "weights": ("[contexts]", "[contexts]\nweights = [[1, 2]]", r"contexts.weights\[0\] holds 2 numbers; expected 1"),
    "no weight": ("[contexts]", "[contexts]\nweights = [[0]]", "contexts weigh nothing"),
    "cost weight": ("[0.0, 0.1]", "[0.0, -0.1]", r"contexts.cost_weights is \[0.0, -0.1\]"),
    "same context": ("[0.0, 0.1]", "[0.1, 0.1]", "contexts hold 'cost 0.1' twice"),
    "algorithm": ("[tune]", '[tune]\nalgorithm = "pst"', "tune.algorithm cannot be used: unknown algorithm 'pst'"),
    "oracle": ("[tune]", '[tune]\nalgorithm = "oracle"', "tune.algorithm is 'oracle', which needs the truth"),
    "overspends": ("[tune]", '[tune]\nalgorithm = "psst:budget_rule=reference"', "tune.algorithm .* may spend more"),
    "many answers": ("[tune]", "[tune]\nanswers = 99", "tune.answers is 99; expected a whole number from 2 to"),
    "budget": ("budget = 100", "budget = 5.5", "tune.budget is 5.5; expected a whole number"),
    "worded budget": ("budget = 100", 'budget = "5.5k5"', "tune.budget is '5.5k5'; expected a whole number"),
    "scale": ("max_scale = 4", "max_scale = 512", "tune.max_scale is 512; expected a whole number from 1 to 256"),
    "cap": ("[tune]", "[caps]\ncompletions = 99\n[tune]", "caps.completions is 99, below what the rounds need"),
    "cap of money": ("[tune]", "[caps]\nmoney = 0\n[tune]", "caps.money is 0; expected a finite number at least 1e-12"),
    "price": ("[tune]", "[prices]\nprompt = 0.0000001\n[tune]", "prices.prompt is 1e-07; .* at most 6 decimals"),
    "price of whom": ("[tune]", "[prices]\nmodels.x = { prompt = 1 }\n[tune]", "prices.models.x is no model"),
    "name of a prompt": (
        'name = "a"',
        'name = "a\\rb"',
        r"prompts\[0\].name is 'a\\rb'; .* without control characters",
    ),
    "name of a context": (
        "[contexts]\ncost_weights = [0.0, 0.1]",
        '[[contexts]]\nname = "low\\u2028"',
        r"contexts\[0\].name is 'low\\u2028'",
    ),
    "name of an objective": ("[[objectives]]", '[[objectives]]\nname = "\\u001b[31m"', r"objectives\[0\].name is"),
    "name of the run": ('strategy = "mv"', 'strategy = "mv"\nname = "a\\nb"', r"name is 'a\\nb'"),
    "out in a file": ('strategy = "mv"', 'strategy = "mv"\nout = "q.jsonl/out"', "out is '.*'; .*q.jsonl is a file"),
    "out is a file": ('strategy = "mv"', 'strategy = "mv"\nout = "q.jsonl"', "out is '.*'; .*q.jsonl is a file"),
    "cap without prices": (
        "[tune]",
        "[caps]\nmoney = 2\n[tune]",
        r"caps.money is set, but \[prices\] names no price of a prompt token of 'm', so that nothing would count",
    ),
    "cap with half a price": (
        "[tune]",
        "[caps]\nmoney = 2\n[prices]\nprompt = 1\n[tune]",
        "caps.money is set, .* no price of a completion token of 'm', .*; give prices.completion",
    ),
    "cap with a price for others": (
        "[[prompts]]",
        "[caps]\nmoney = 2\n[prices.models.z]\n"
        "prompt = 1\ncompletion = 1\n[[prompts]]\nname = 'c'\nmodel = 'z'\n[[prompts]]",
        "caps.money is set, .* no price of a prompt token of 'm'",
    ),
    "cap with prices of nothing": (
        "[tune]",
        "[caps]\nmoney = 2\n[prices]\nprompt = 0\ncompletion = 0\n[tune]",
        r"caps.money is set, but all \[prices\] are 0",
    ),
    "measure": (
        "[tune]",
        '[cost]\nmeasure = "money"\n[tune]',
        r"cost.measure is 'money', but \[prices\] names no price",
    ),
}


@dataclass(frozen=True)
class Pair(Closed):
    low: int
    lower: int


@dataclass(frozen=True)
class Other:
    lowe: int


def test_a_key_that_is_known_is_not_what_a_missing_one_was_meant_by() -> None:
    """Seen to fail with all keys of the table, with those that nobody read, and with those of the dataclass alone."""
    with pytest.raises(ValueError, match=r"^f: t.low is missing; it is needed$"):
        TomlTable(Path("f"), "t", {"lower": 1}).fill(Pair)
    both = TomlTable(Path("f"), "t", {"lower": 1, "lowe": 1, "alow": 1})
    both.options(Other)
    with pytest.raises(ValueError, match=r"^f: t.low is missing; it is needed; did you mean it by 'alow'\?$"):
        both.options(Pair)


def test_all_missing_keys_are_named_at_once(tmp_path: Path):
    """Seen to fail with the first one alone, so that who began a file met them one by one."""
    text = MINIMAL.replace("max_scale = 4\n", "").replace('strategy = "mv"\n', "")
    with pytest.raises(ValueError, match=r"strategy is missing; it is needed; so is tune\.max_scale$"):
        load(tmp_path, text)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_refused_in_one_sentence(case: str, tmp_path: Path):
    old, new, said = BAD[case]
    assert old in MINIMAL
    with pytest.raises(ValueError, match=said) as refused:
        load(tmp_path, MINIMAL.replace(old, new, 1))
    assert str(refused.value).startswith(f"{tmp_path / 'run.toml'}: ")
    assert "\n" not in str(refused.value)


def test_probabilities_of_contexts_sum_to_one(tmp_path: Path):
    listed = MINIMAL.replace("[contexts]\ncost_weights = [0.0, 0.1]", "[[contexts]]\nprobability = 0.5\n")
    with pytest.raises(ValueError, match=r"contexts have probabilities that sum to 0\.5"):
        load(tmp_path, listed)
    assert load(tmp_path, listed.replace("0.5", "1")).contexts[0].weights == (1.0,)


def test_bad_configurations_are_many():
    assert len(BAD) >= 30
    tomllib.loads(MINIMAL)


def test_a_judge_is_refused_whose_slots_no_column_fills(tmp_path: Path):
    judged = MINIMAL.replace('strategy = "mv"', 'strategy = "bon"').replace(
        'scorer = "number"', 'scorer = "judge"\nmodel = "j"\ntemplate = "{query} {completion} {reference}"'
    )
    with pytest.raises(ValueError, match=r"queries.reference is missing; the template of 'reward' has a {reference}"):
        load(tmp_path, judged)
    rows = judged.replace('gold = "gold"', 'reference = "notes"')
    file = write(tmp_path, rows)
    (tmp_path / "q.jsonl").write_text('{"query": "1", "notes": "n"}\n{"query": "2", "notes": null}\n')
    with pytest.raises(ValueError, match=r"q.jsonl: row 2: the judge's template has a {reference} slot"):
        tune.load_items(config.load(file))


def test_the_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = load(tmp_path, MINIMAL.replace('key_variable = ""', 'key_variable = "MY_KEY"'))
    monkeypatch.setenv("MY_KEY", "secret-key")
    assert redact.Secrets().key(run.endpoints[""].key_variable, "endpoint.key_variable") == "secret-key"
    assert "secret-key" not in repr(run)
    for bad in ("", "secret key", "secretkey\n", "ä" * 9, "none", "7" * 7):
        monkeypatch.setenv("MY_KEY", bad)
        with pytest.raises(ValueError, match="MY_KEY") as refused:
            redact.Secrets().key(run.endpoints[""].key_variable, "endpoint.key_variable")
        assert not bad or bad not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "m"', 'model = "m"\ntimeout = 1' + "0" * 400, "endpoint.timeout is 10+; expected a finite number"),
        ("[0.0, 0.1]", "[0.0, 1" + "0" * 400 + "]", "contexts.cost_weights is .*; expected a list of finite numbers"),
        ("budget = 100", "budget = 1" + "0" * 5000, "is no TOML file"),
        ("[tune]", "[caps]\nmoney = 1e-20\n[tune]", "caps.money is 1e-20; expected a finite number at least 1e-12"),
        ('"{query}?"', '"{query}?\\u0000"', r"prompts\[0\].text holds a NUL"),
    ],
    ids=["number", "list", "digits", "money", "nul"],
)
def test_what_numbers_and_texts_cannot_hold_is_refused(old: str, new: str, said: str, tmp_path: Path):
    """Seen to end in tracebacks, or to be accepted as no cap at all."""
    with pytest.raises(ValueError, match=rf"run.toml: {said}"):
        load(tmp_path, MINIMAL.replace(old, new))


@pytest.mark.parametrize("key", ["gsk_abc123", "sk-abc123", "7f", "Abc", "A B"])
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(key: str, tmp_path: Path):
    asked = MINIMAL.replace('key_variable = ""', f'key_variable = "{key}"')
    rewards = f'"get_reward"\nurl = "http://x/y"\ntemplate = "{{query}}{{completion}}"\nkey_variable = "{key}"'
    scored = MINIMAL.replace('"mv"', '"bon"').replace('"number"', rewards)
    for text in (asked, scored):
        with pytest.raises(
            ValueError, match=r"run.toml: .*key_variable is no name of an environment variable"
        ) as refused:
            load(tmp_path, text)
        assert key not in str(refused.value)


def test_a_configuration_that_moved_is_asked_of_who_named_it(tmp_path: Path):
    """Seen to suggest a new example."""
    (tmp_path / "q.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"^kept.sqlite: came from .*gone.toml, which is not there any more; put the"):
        config.load(tmp_path / "gone.toml", "kept.sqlite")


def test_a_value_that_python_cannot_show_is_refused_by_its_name(folder: Path):
    """TOML has whole numbers of any size; Python shows none of more than 4,300 digits."""
    text = MINIMAL.replace("budget = 100", f"budget = 0x{'f' * 5000}")
    said = r"run\.toml: tune\.budget is a value too long to show; expected a whole number"
    with pytest.raises(ValueError, match=said):
        load(folder, text)
    with pytest.raises(ValueError, match=r"tune\.budget is 'x{499}\.\.\.; expected a whole number"):
        load(folder, MINIMAL.replace("budget = 100", f'budget = "{"x" * 5000}"'))
