"""Keys in a `.env` file beside the run file: read, never written, and shown nowhere, as no other value of it is."""

import asyncio
import base64
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from live_runs import RUN, digit, iapo, queries, quick, write
from live_server import KEY, Model, serving
from policy_files import write as write_policy
from reward_server import serving as rewarding

from sim.adapters import config, policy
from sim.adapters.scorers.rewards import GetReward
from sim.adapters.scoring import Item
from sim.adapters.wire import redact

pytest.importorskip("openai", reason="the extra [llm] is not installed")
pytest.importorskip("dotenv", reason="the extra [llm] is not installed")

OTHER = "other/secret+value=="
REWARD = "reward-key-$HOME-4711"
FILED = (
    f"# keys\nLIVE_TEST_KEY='{KEY}'\nexport REWARD_TEST_KEY=\"{REWARD}\"\nDATABASE={OTHER}\nMODE=dev\nEMPTY=\nBARE\n"
)
REWARDED = """scorer = "get_reward"
url = "OTHER/get_reward"
template = "{query} {completion}"
key_variable = "REWARD_TEST_KEY"
aggregate = "bon"
[[objectives]]
name = "vote"
aggregate = "mv"
scorer = "number\""""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment that knows none of the variables, before and after."""
    names = ("LIVE_TEST_KEY", "REWARD_TEST_KEY", "DATABASE", "MODE", "EMPTY", "BARE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    yield
    assert not any(name in os.environ for name in names)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path):
    """As editors on Windows write it."""
    (tmp_path / ".env").write_text(f"LIVE_TEST_KEY={KEY}\n", encoding="utf-8-sig")
    assert redact.Secrets(tmp_path / ".env").key("LIVE_TEST_KEY", "endpoint.key_variable") == KEY


def test_keys_and_values_of_the_file_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A whole run with both keys from the file; servers repeat keys and another value of it in what they answer.

    Seen to fail with the client given the key alone to take out.
    """
    for place in ("sim.adapters.session", "sim.adapters.scorers.rewards"):
        monkeypatch.setattr(f"{place}.real_clock", quick)
    queries(tmp_path)
    filed = tmp_path / ".env"
    filed.write_text(FILED)
    before = (filed.read_bytes(), filed.stat().st_mtime_ns)
    asked: list = []

    def reward(body: dict, number: int) -> object:
        return {"rewards": [len(text) / 1000 for text in body["query"]]}

    model = Model(answer=lambda prompt, number: f"{digit(prompt, number)} {KEY} {OTHER} dev")
    with serving(model) as url, rewarding(reward, asked) as other:
        text = RUN.replace('strategy = "mv"', 'strategy = "mixed"').replace("budget = 400", "budget = 60")
        text = text.replace('scorer = "number"', REWARDED.replace("OTHER", other)).replace(
            "cost_weights = [0.0, 1.0]", "weights = [[1.0, 1.0]]\ncost_weights = [0.0]"
        )
        file = write(tmp_path, url, text)
        done = iapo("tune", file, "--yes")
        assert done.exit_code == 0, done.output
        answered = iapo("ask", tmp_path / "out" / "policy.json", "what has the digit 7")
        assert answered.exit_code == 0, answered.output
    assert f"note: the key in LIVE_TEST_KEY is that of {filed}" in done.stderr
    assert {header for _, header, _ in asked} == {f"Bearer {REWARD}"}
    assert (filed.read_bytes(), filed.stat().st_mtime_ns) == before
    assert "*** *** dev" in answered.stdout, "a short value is a part of ordinary text"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != filed]
    assert {path.name for path in written} >= {"policy.json", "arms.csv"}
    kept = [path.read_bytes() for path in written] + [one.output.encode() for one in (done, answered)]
    for secret in (KEY, OTHER, REWARD):
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
            assert not any(form.encode() in content for content in kept), form
        assert not any(base64.b64encode(secret.encode())[:-4] in content for content in kept)


def test_a_reward_models_complaint_shows_no_value_of_the_file(tmp_path: Path):
    """Seen to fail with the reward model's client given the key alone to take out."""
    (tmp_path / ".env").write_text(FILED)
    template = "{query} {completion}"
    with rewarding(lambda body, number: (400, f'{{"error": {{"message": "{{key}} {OTHER}"}}}}'), []) as url:
        scorer = GetReward(f"{url}/get_reward", template, "REWARD_TEST_KEY")
        scorer._secrets[:] = [redact.Secrets(tmp_path / ".env")]
        with pytest.raises(ValueError, match=r"HTTP 400: Bearer \*\*\* \*\*\*"):
            asyncio.run(scorer.score(Item("1"), template, ["2"]))


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text("MY_KEY=from-the-file\n")
    secrets = redact.Secrets(tmp_path / ".env")
    assert (secrets.key("MY_KEY", "here"), secrets.filed("MY_KEY")) == ("from-the-file", True)
    monkeypatch.setenv("MY_KEY", "from-outside")
    assert (secrets.key("MY_KEY", "here"), secrets.filed("MY_KEY")) == ("from-outside", False)
    assert secrets.values == ("from-the-file",)
    assert (secrets.key("", "here"), secrets.filed("")) == ("", False)
    assert "from-the-file" not in repr(secrets)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secrets)


@pytest.mark.parametrize(
    ("filed", "said"),
    [
        (None, r"MY_KEY \(here\) holds no key\Z"),
        ("OTHER=xxxxxxxxxx\n", r"MY_KEY \(here\) holds no key and neither does .*\.env\Z"),
        ("MY_KEY=\nOTHER=x\n", r"MY_KEY \(here\) holds no key and neither does"),
        ("MY_KEY='a key with spaces'\n", r"the key in MY_KEY \(here\) holds a space"),
        ("MY_KEY=short\n", r"the key in MY_KEY \(here\) has fewer than 8 signs"),
    ],
)
def test_a_key_that_cannot_be_one_is_refused(filed: str | None, said: str, tmp_path: Path):
    if filed is not None:
        (tmp_path / ".env").write_text(filed)
    with pytest.raises(ValueError, match=said) as refused:
        redact.Secrets(tmp_path / ".env").key("MY_KEY", "here")
    assert "key with" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused_without_its_content(tmp_path: Path):
    (tmp_path / ".env").write_bytes(b"MY_KEY=\xff\xfesecret-secret")
    with pytest.raises(ValueError, match=r"\.env: cannot be read as UTF-8 text\Z") as refused:
        redact.Secrets(tmp_path / ".env")
    assert refused.value.__cause__ is None
    (tmp_path / "folder" / ".env").mkdir(parents=True)
    assert redact.Secrets(tmp_path / "folder" / ".env").values == ()


def test_without_the_package_the_file_is_not_read_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dotenv", None)
    (tmp_path / ".env").write_text("MY_KEY=from-the-file\n")
    with pytest.raises(ValueError, match=r"holds no key; .*\.env is not read without the package python-dotenv"):
        redact.Secrets(tmp_path / ".env").key("MY_KEY", "here")
    monkeypatch.setenv("MY_KEY", "from-outside")
    assert redact.Secrets(tmp_path / ".env").key("MY_KEY", "here") == "from-outside"


def test_a_policy_from_elsewhere_names_no_file_of_keys(tmp_path: Path):
    """Its keys go where it says. Seen to read the `.env` beside any run file that it named; in `of_tuning`, too."""
    (tmp_path / "mine" / "out").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    queries(tmp_path / "mine")
    file = write(tmp_path / "mine", "http://localhost:1/v1")
    top = {"config": str(file)}
    own = policy.load(write_policy(tmp_path / "mine" / "out", top=top))
    other = policy.load(write_policy(tmp_path / "elsewhere", top=top))
    for found, folder in ((own, "mine"), (other, "elsewhere")):
        assert config.of_policy(found).dot_env == tmp_path / folder / ".env"
        assert config.of_tuning(found)[0].dot_env == tmp_path / folder / ".env"
    above = policy.load(write_policy(tmp_path / "elsewhere", top={"config": str(tmp_path / "run.toml")}))
    assert config.of_policy(above).dot_env == tmp_path / "elsewhere" / ".env", "there is no such run file"
