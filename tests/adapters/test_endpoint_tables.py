"""Run files with several endpoints: candidates at each of them, prices that compare, refusals with key and reason."""

import json
import re
from pathlib import Path

import pytest
from live_runs import MINIMAL
from two_endpoints import TWO, write_two

from sim.adapters import config as reading
from sim.adapters import policy as files
from sim.adapters.policy import Arm, Chosen
from sim.adapters.run_file.settings import Config, Prices, Prompt

PRICES = 'prices = { prompt = 10.0, completion = 20.0, currency = "USD" }'


def load(folder: Path, text: str = TWO) -> Config:
    """The run of a text, on addresses that nobody asks."""
    (folder / "q.jsonl").write_text('{"query": "a", "gold": 1}\n')
    return reading.load(write_two(folder, "http://localhost:1/v1", "http://localhost:2/v1", text))


def test_prompts_at_endpoints_are_candidates(tmp_path: Path):
    """A list of endpoints is a grid like that of a temperature; each takes its endpoint's model and prices."""
    text = TWO.replace('endpoint = "far"\nmax', 'endpoint = "far"\nmodel = "n"\ntemperature = [0.5, 1.0]\nmax')
    text = text.replace("max_tokens = 10", "max_tokens = 10\ntemperature = [0.5, 1.0]", 1)
    run = load(tmp_path, text.replace(PRICES, PRICES.replace(" }", ", models.n = { prompt = 30 } }")))
    assert [(one.name, one.endpoint, one.model, one.temperature) for one in run.prompts] == [
        ("weak (endpoint near, temperature 0.5)", "near", "m", 0.5),
        ("weak (endpoint near, temperature 1)", "near", "m", 1.0),
        ("weak (endpoint far, temperature 0.5)", "far", "m", 0.5),
        ("weak (endpoint far, temperature 1)", "far", "m", 1.0),
        ("strong (temperature 0.5)", "far", "n", 0.5),
        ("strong (temperature 1)", "far", "n", 1.0),
    ]
    assert run.prices["near"] == {"m": Prices(10**6, 2 * 10**6)}
    assert run.prices["far"] == {"m": Prices(10**7, 2 * 10**7), "n": Prices(3 * 10**7, 2 * 10**7)}
    assert run.endpoint_of(run.prompts[0]).concurrency.most == 8
    assert run.endpoint_of(run.prompts[2]).base_url == "http://localhost:2/v1"


def test_presets_go_by_endpoint(tmp_path: Path):
    near = 'base_url = "NEAR"\nmodel = "m"\nkey_variable = "LIVE_TEST_KEY"'
    run = load(tmp_path, TWO.replace(near, 'preset = "mistral"\nmodel = "m"'))
    assert run.endpoints["near"].seed_field == "random_seed"
    assert run.endpoints["far"].seed_field == "seed"
    assert "preset" not in run.source["endpoints"]["near"]
    assert run.source["endpoints"]["near"]["base_url"] == run.endpoints["near"].base_url


def test_an_endpoint_that_stands_alone_leaves_everything_as_it_was(tmp_path: Path):
    """Texts that seeds of journals go by, and policy files, name no endpoint."""
    run = load(tmp_path, MINIMAL)
    assert "endpoint" not in repr(run.prompts)
    assert list(run.endpoints) == [""]
    choices = [Chosen(one.name, Arm("a", 1), None, None) for one in run.contexts]
    files.save(tmp_path / "policy.json", run, choices, {}, {})
    made = json.loads((tmp_path / "policy.json").read_text())
    assert made["prices"] == {"m": [0, 0]}
    assert "endpoint" not in made["prompts"]["a"]
    assert "endpoints" not in made["source"]


def test_a_policy_file_holds_endpoints_and_prices(tmp_path: Path):
    """Of its own: the run file's may differ by now."""
    run = load(tmp_path)
    choices = [Chosen(one.name, Arm("strong", 2), None, Arm("weak (endpoint near)", 1)) for one in run.contexts]
    place = tmp_path / "policy.json"
    files.save(place, run, choices, {}, {})
    made = files.load(place)
    assert made.prompts["strong"].endpoint == "far"
    assert made.address("strong") == "http://localhost:2/v1"
    assert made.prices == {"near": {"m": (10**6, 2 * 10**6)}, "far": {"m": (10**7, 2 * 10**7)}}
    asking = reading.of_policy(made)
    assert (asking.endpoints, asking.prices) == (run.endpoints, run.prices)
    tuned, changed = reading.of_tuning(made)
    assert (changed, tuned.currency) == ([], "USD")
    assert set(tuned.prompts) == {prompt for prompt in run.prompts if prompt.name != "weak (endpoint far)"}
    for wrong, said in (
        ({"prices": {"near": {"m": [1, 2]}}}, "prices lack the model 'm' of the endpoint 'far'"),
        ({"prices": {"near": {"m": [1, 2]}, "far": [1, 2]}}, "prices are those of models and of endpoints"),
        ({"prices": {"near": {"m": [1]}}}, "expected two whole numbers"),
        ({"source": run.source | {"endpoints": {"near": run.source["endpoints"]["near"]}}}, "known are 'near'"),
    ):
        place.write_text(json.dumps(json.loads(place.read_text()) | wrong))
        with pytest.raises(ValueError, match=said):
            reading.of_policy(files.load(place))
        files.save(place, run, choices, {}, {})


def test_tokens_of_different_endpoints_are_said_to_count_alike(tmp_path: Path):
    from sim.adapters import tune

    assert "a token of one endpoint" in tune.assumed(load(tmp_path, TWO.replace('measure = "money"', "")))
    assert "a token of one endpoint" not in tune.assumed(load(tmp_path))


REFUSALS = {
    "both ways": ("[cost]", '[endpoint]\nbase_url = "http://x"\n[cost]', "endpoints stand beside endpoint; give that"),
    "no such endpoint": ('endpoint = "far"', 'endpoint = "fat"', "prompts[1].endpoint is 'fat'; known are near, far"),
    "no endpoint": ('endpoint = "far"\n', "", "prompts[1].endpoint is missing; with several it names one of near, far"),
    "twice the same": ('["near", "far"]', '["near", "near"]', "prompts[0].endpoint is ['near', 'near']; expected one"),
    "one address": ('"FAR"', '"NEAR"', "endpoints.far.base_url is that of endpoints.near; addresses must differ"),
    "one address, a slash": ('"FAR"', '"NEAR/"', "endpoints.far.base_url is that of endpoints.near"),
    "nobody asks": ('["near", "far"]', '"far"', "endpoints.near is named by no prompt and no judge"),
    "no address": ('base_url = "FAR"\n', "", "endpoints.far.base_url is missing"),
    "no model": ('"FAR"\nmodel = "m"', '"FAR"', "prompts[0].model is missing here and in [endpoints.far]"),
    "key": ('"OTHER_TEST_KEY"', '"sk-3"', "endpoints.far.key_variable is no name of an environment variable"),
    "unknown key": ('"FAR"', '"FAR"\ntemprature = 1', "endpoints.far.temprature is not known; did you mean"),
    "preset": ('"FAR"', '"FAR"\npreset = "opnai"', "endpoints.far.preset is 'opnai'; allowed are"),
    "deadline": (
        "deadline = 1800\nprices = { prompt = 10",
        "deadline = 8\nprices = { prompt = 10",
        "endpoints.far.dead",
    ),
    "pace": ("start = 4, most = 4", "start = 4, most = 2", "endpoints.far.concurrency.start is 4; it must lie between"),
    "extra": ('"FAR"', '"FAR"\nextra = { n = 2 }', "endpoints.far.extra.n is set by other keys"),
    "batch": (
        '"FAR"',
        '"FAR"\nbatch = { poll = 1 }',
        "endpoints.far.batch is for mode 'batch', but the mode is 'sync'",
    ),
    "prices on top": ("[cost]", "[prices]\nprompt = 1\n[cost]", "prices are those of [endpoint]; each of several has"),
    "no prices": (PRICES, "", "cost.measure is 'money', but [endpoints.far.prices] names no price of a prompt token"),
    "half of the prices": ("completion = 20.0, ", "", "cost.measure is 'money', .* no price of a completion token of"),
    "prices of whom": (PRICES[:-2], PRICES[:-2] + ", models.q = { prompt = 1 }", "endpoints.far.prices.models.q is no"),
    "cap without prices": (
        ('measure = "money"', PRICES),
        ("", ""),
        "caps.money is set, but [endpoints.far.prices] names no price of a prompt token of 'm', so that nothing would",
    ),
    "other currency": ('20.0, currency = "USD"', '20.0, currency = "EUR"', "endpoints.far.prices.currency is 'EUR'"),
    "no currency": (
        '20.0, currency = "USD"',
        "20.0",
        "endpoints.far.prices.currency is missing, and endpoints.near",
    ),
    "currency of costs": (
        'measure = "money"',
        'measure = "money"\ncurrency = "$"',
        "endpoints.near.prices.currency is 'USD', and cost.currency is '$'; money is counted in one currency",
    ),
    "a name": ("[endpoints.far]", '[endpoints."f\\nar"]', "endpoints hold a name that is 'f\\nar'; expected a name"),
    "no table": ("[endpoints.far]", "[[endpoints.far]]", "expected a table"),
    "judge": (
        'scorer = "number"',
        'scorer = "judge"\nmodel = "j"\ntemplate = "{query} {completion}"',
        "objectives[0].endpoint is missing; its model is asked at one of them, known are near, far",
    ),
    "racing in batches": (
        ('"FAR"', 'algorithm = "psst"'),
        ('"FAR"\nmode = "batch"', 'algorithm = "ucb"'),
        "or endpoints.far.mode 'sync'",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_endpoint_and_key(name: str, tmp_path: Path):
    """Before anything is asked."""
    old, new, said = REFUSALS[name]
    text = TWO if name != "judge" else TWO.replace('strategy = "mv"', 'strategy = "bon"')
    pairs = zip(old, new, strict=True) if isinstance(old, tuple) else [(old, new)]
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    with pytest.raises(ValueError, match=re.escape(said).replace(re.escape(" .* "), " .* ")) as refused:
        load(tmp_path, text + ("[caps]\nmoney = 1\n" if name.startswith("cap ") else ""))
    assert "\n" not in str(refused.value)


def test_a_prompt_names_no_endpoint_where_there_is_one(tmp_path: Path):
    text = MINIMAL.replace('name = "a"', 'name = "a"\nendpoint = "near"')
    with pytest.raises(ValueError, match=r"prompts\[0\].endpoint is 'near', but there is one \[endpoint\]"):
        load(tmp_path, text)


def test_an_endpoint_may_be_free(tmp_path: Path):
    """Prices of 0 need no currency: nothing is nothing in all of them."""
    run = load(tmp_path, TWO.replace(PRICES, "prices = { prompt = 0, completion = 0 }"))
    assert run.prices["far"] == {"m": Prices(0, 0)}
    assert run.currency == "USD"
    assert Prompt("p").endpoint == ""
