"""Presets of providers, each against a server that answers in that provider's shapes."""

import asyncio
import random
import re
from dataclasses import fields
from pathlib import Path

import pytest
from live_runs import MINIMAL
from provider_server import KEY, PROVIDERS, SAID, Said, provider

from sim.adapters import config
from sim.adapters.paid.entries import Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.paid.sampler import REFUSED, Sampler, Want, cell_of
from sim.adapters.run_file.presets import presets
from sim.adapters.run_file.settings import Config, EndpointTable
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.redact import Secrets
from sim.adapters.wire.retry import Clock, Stopped

pytest.importorskip("openai", reason="the extra [llm] is not installed")

OWN = 'base_url = "http://localhost:1/v1"\nmodel = "m"\nkey_variable = ""'
NAMES = ["openai", "azure", "openrouter", "anthropic", "gemini", "mistral", "deepseek", "xai"]
LOCAL = ["vllm", "ollama", "lmstudio", "llama.cpp"]
ROOT = Path(__file__).parents[3]


def load(folder: Path, endpoint: str, text: str = MINIMAL) -> Config:
    (folder / "q.jsonl").write_text('{"query": "1+1", "gold": 2}\n')
    file = folder / "run.toml"
    file.write_text(text.replace(OWN, f'model = "m"\n{endpoint}'))
    return config.load(file)


def asked(run: Config, count: int) -> tuple[list[Draw], Amount, list[float]]:
    """Draws of the first prompt, what they cost, and the waits between requests."""
    waits: list[float] = []

    async def everything() -> tuple[list[Draw], Amount]:
        async def wait(seconds: float) -> None:
            waits.append(seconds)

        secrets = Secrets(run.dot_env)
        key = secrets.key(run.endpoints[""].key_variable, "endpoint.key_variable")
        journal, client = Journal(":memory:"), OpenAIClient(run.endpoints[""], key, secrets.values)
        ledger = Ledger(None, Amount())
        clock = Clock(lambda: 0.0, wait, random.Random(0))
        sampler = Sampler(client, run.endpoints[""], run.prices[""], journal, ledger, clock)
        try:
            cell = cell_of("tune", run.endpoints[""], run.prompts[0], "1+1")
            return await sampler.draws(Want(run.prompts[0], cell, 0, count, 100)), ledger.spent
        finally:
            await client.close()
            journal.close()

    draws, spent = asyncio.run(everything())
    return draws, spent, waits


def preset(name: str, url: str) -> str:
    return f'preset = "{name}"\nbase_url = "{url}"'


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_preset_asks_as_its_provider_takes_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Five draws after a throttled request: none is refused, each is billed as it reports, seeds are in their field.

    Seen to fail with `seed_field` left out (mistral), `send_seed` (gemini), `max_n` 16 (gemini, anthropic, llama.cpp),
    and `max_tokens` (openai, azure).
    """
    its, variable = PROVIDERS[name], presets()[name].settings["key_variable"]
    if variable:
        monkeypatch.setenv(variable, KEY)
    with provider(name, its.limit) as (url, seen):
        run = load(tmp_path, preset(name, url))
        draws, spent, waits = asked(run, 5)
    assert not seen.refused
    assert len(waits) == (its.limit is not None)
    assert set(seen.keys) == {KEY if variable else "none"}
    seeded = run.endpoints[""].send_seed
    drawn = 1 if its.many else 5
    assert len(seen.requests) == drawn + len(waits)
    assert spent == Amount(5, 20 * drawn + 5 * its.each, 0)
    numbers = sorted(int(re.findall(r"\d+", draw.text)[0]) for draw in draws)
    assert numbers == ([*range(100, 105)] if seeded else [0] * 5)
    assert all(its.seed_field in body for body in seen.requests) is seeded


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_error_that_is_final_ends_the_run_in_the_providers_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail for xai, whose used-up credits come as a rate limit, by repeating to the deadline."""
    monkeypatch.setenv(presets()[name].settings["key_variable"] or "NONE", KEY)
    with provider(name, PROVIDERS[name].final, always=True) as (url, seen):
        run = load(tmp_path, preset(name, url))
        with pytest.raises(Stopped, match=SAID):
            asked(run, 2 if PROVIDERS[name].many else 1)
    assert len(seen.requests) == 1


def test_a_prompt_that_azure_filters_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    error = {"message": "filtered", "param": "prompt", "code": "content_filter", "status": 400}
    with provider("azure", Said(400, {"error": error})) as (url, _):
        draws, _, _ = asked(load(tmp_path, preset("azure", url)), 2)
    assert [draw.finish for draw in draws] == [REFUSED] * 2


def test_every_preset_says_all_that_it_should():
    """Settings are keys of an endpoint that can be read; what is known has a word on every subject, sources, a day."""
    assert list(presets()) == [*NAMES, *LOCAL]
    subjects = {"n", "seeds", "temperature", "usage", "errors", "limits"}
    for name, one in presets().items():
        assert set(one.settings) <= {field.name for field in fields(EndpointTable)} - {"preset", "model"}
        assert {"key_variable", "max_tokens_field", "max_n", "send_seed"} <= set(one.settings)
        assert subjects | ({"address"} if name == "azure" else set()) == set(one.known)
        assert one.sources
        assert str(one.read) >= "2026-11-30"


def test_the_table_of_presets_in_the_documentation_is_that_of_the_data():
    """Seen to fail with another max_n in the data."""
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    for name, one in presets().items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        most = one.settings.get("max_temperature")
        seeds = f"`{one.settings.get('seed_field', 'seed')}`" if one.settings["send_seed"] else "not sent"
        assert cells == [
            f"`{one.settings.get('base_url', one.known['address'] if name == 'azure' else '')}`",
            f"`{one.settings['key_variable']}`" if one.settings["key_variable"] else "none",
            f"`{one.settings['max_tokens_field']}`",
            str(one.settings["max_n"]),
            seeds,
            "unknown" if most is None else f"{most:g}",
        ]


def test_a_preset_gives_way_to_every_key_of_the_file(tmp_path: Path):
    own = 'preset = "gemini"\nbase_url = "http://localhost:2/v1"\nkey_variable = "MINE"\nmax_n = 3\nsend_seed = true'
    endpoint = load(tmp_path, f"{own}\nmax_tokens_field = 'max_completion_tokens'").endpoints[""]
    assert (endpoint.base_url, endpoint.key_variable) == ("http://localhost:2/v1", "MINE")
    assert (endpoint.max_n, endpoint.send_seed, endpoint.max_tokens_field) == (3, True, "max_completion_tokens")
    assert load(tmp_path, 'preset = "gemini"').endpoints[""].max_n == 1


def test_a_preset_is_the_same_run_as_its_keys_spelt_out(tmp_path: Path):
    """What a policy carries along does not depend on the table of a later version. Seen to hold the preset's name."""
    named = load(tmp_path, 'preset = "mistral"')
    settings = presets()["mistral"].settings
    keys = "\n".join(
        f"{key} = {str(value).lower() if value is True else repr(value)}" for key, value in settings.items()
    )
    spelt = load(tmp_path, keys)
    assert (named.endpoints, named.source) == (spelt.endpoints, spelt.source)
    assert named.source["endpoint"] == {"model": "m", **settings}


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ('preset = "opena"', r"endpoint.preset is 'opena'; allowed are openai, azure, openrouter"),
        ("preset = 3", "endpoint.preset is 3; allowed are"),
        ('preset = "azure"', "endpoint.base_url is missing; the preset 'azure' needs it: https://RESOURCE"),
        (
            'preset = "openai"\nmax_temprature = 1',
            "endpoint.max_temprature is not known; did you mean 'max_temperature'",
        ),
        ('preset = "vllm"\nmax_temperature = -1', "endpoint.max_temperature is -1; expected a finite number"),
        ('preset = "vllm"\nseed_field = "seeds"', "endpoint.seed_field is 'seeds'; allowed are seed, random_seed"),
        ('preset = "mistral"\nextra = { random_seed = 1 }', "endpoint.extra.random_seed is set by other keys"),
    ],
)
def test_what_a_preset_cannot_be_is_refused(endpoint: str, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"run.toml: {said}"):
        load(tmp_path, endpoint)


def test_a_temperature_beyond_the_providers_is_refused_before_anything_is_asked(tmp_path: Path):
    """Anthropic takes 1.5 for 1 without a word, so that two prompts would be one. Seen to be let through."""
    hot = MINIMAL.replace('name = "b"', 'name = "b"\ntemperature = 1.5')
    said = r"prompts\[1\].temperature is 1.5; the preset 'anthropic' takes at most 1 \(endpoint.max_temperature\)"
    with pytest.raises(ValueError, match=said):
        load(tmp_path, 'preset = "anthropic"', hot)
    assert load(tmp_path, 'preset = "anthropic"\nmax_temperature = 2', hot).prompts[1].temperature == 1.5
    assert load(tmp_path, 'preset = "openai"', hot).prompts[1].temperature == 1.5
