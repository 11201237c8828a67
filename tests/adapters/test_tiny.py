"""The tiny language model: a causal transformer whose completions follow its law, one per seed, and its server."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIGMAS

from sim.adapters.tiny import demo, flip, server, task, train, weights
from sim.adapters.tiny.generate import CONTEXT, MAX_PROMPT, NEVER, ROWS, Draft, Generated, complete
from sim.adapters.tiny.model import HEAD_SIZE, Params, empty_cache, forward, rotate
from sim.adapters.tiny.tokenizer import BOS, EOS, PAD, REPLY, SUMS, UNKNOWN, USER

VOCABULARY = SUMS.tokens

PARAMS, NOTES = weights.load()
PROMPTS = [tuple(SUMS.chat(mode, query)) for mode, query in zip(task.MODES, ("2+6+4+5", "3+5", "1+1+5"), strict=True)]


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    made = server.serve(PARAMS)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made.server_address[:2]  # type: ignore[misc]
    made.shutdown()
    made.server_close()


def post(address: tuple[str, int], body: Any, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    return ask(address, "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())


def ask(address: tuple[str, int], method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(*address)
    connection.request(method, path, body)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def request(mode: str = task.STEPS, query: str = "2+6+4+5", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": mode}, {"role": "user", "content": query}]
    return {"model": "tiny", "messages": messages, **fields}


def some_tokens() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, len(VOCABULARY), (2, CONTEXT)), jnp.int32)


@jax.jit
def plain(tokens: jax.Array) -> jax.Array:
    """Logits without a cache; one shape in all tests, two rows of `CONTEXT` tokens, so that it compiles once."""
    return forward(PARAMS, tokens, positions(tokens))[0]


def positions(tokens: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)


def after(tokens: Sequence[int]) -> jax.Array:
    """Logits of the token after a text; those that no completion holds are left out."""
    padded = [*tokens, *[PAD] * (CONTEXT - len(tokens))]
    return plain(jnp.asarray([padded, padded]))[0, len(tokens) - 1].at[np.flatnonzero(NEVER)].set(-jnp.inf)


def test_text_becomes_tokens_and_back():
    tokens = SUMS.chat("Check  twice", "2+9é")
    assert [VOCABULARY[token] for token in tokens] == [
        "<bos>", "check", "twice", "<user>", "2", "+", "9", "<unknown>", "<reply>",
    ]  # fmt: skip
    assert SUMS.decode(SUMS.encode("1 5 2; ok 2")) == "1 5 2 ; ok 2"
    assert SUMS.decode([BOS, USER, REPLY, UNKNOWN, PAD, EOS]) == ""
    assert [VOCABULARY[token] for token in SUMS.encode("checked")] == list("checked")
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_the_weights_are_of_the_size_and_format_that_they_claim(tmp_path: Path):
    """The header is read here by hand, as the format's specification says."""
    content = weights.SUMS.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert header.pop("__metadata__") == NOTES
    assert set(NOTES) == {"recipe", "loss", "core_seconds"}
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == len(content) - 8 - size == 4 * sum(array.size for array in PARAMS)
    assert sum(array.size for array in PARAMS) == 270_432
    weights.save(tmp_path / "w.safetensors", PARAMS, NOTES)
    assert (tmp_path / "w.safetensors").read_bytes() == content


def test_what_holds_no_weights_is_refused(tmp_path: Path):
    file = tmp_path / "w.safetensors"
    good = weights.SUMS.read_bytes()
    for bad in (b"", b"no weights", good[:-4], good.replace(b'"F32"', b'"F64"'), good.replace(b'"mix"', b'"mux"')):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match="does not hold the weights of the tiny model"):
            weights.load(file)


def test_no_token_sees_a_later_one():
    tokens = some_tokens()
    before, changed = plain(tokens), plain(tokens.at[:, 7].set((tokens[:, 7] + 1) % len(VOCABULARY)))
    assert np.array_equal(before[:, :7], changed[:, :7])
    assert not np.any(np.all(np.isclose(before[:, 7:9], changed[:, 7:9], atol=1e-3), axis=-1))


def test_a_cache_changes_nothing():
    """A prompt at once, then token by token, in rows of different lengths over stale entries; against no cache."""
    tokens, apply = some_tokens(), jax.jit(forward)
    expected = plain(tokens)
    lengths = jnp.array([5, 3])
    first = jnp.where(jnp.arange(6)[None] < lengths[:, None], tokens[:, :6], 9)
    _, cache = apply(PARAMS, first, positions(first), empty_cache(PARAMS, 2, 12))
    for step in range(7):
        places = (lengths + step)[:, None]
        logits, cache = apply(PARAMS, jnp.take_along_axis(tokens, places, 1), places, cache)
        np.testing.assert_allclose(logits, jnp.take_along_axis(expected, places[..., None], 1), atol=2e-4)


def test_positions_matter_by_distance_alone():
    rng = np.random.default_rng(1)
    query, key = (jnp.asarray(rng.normal(size=(1, 4, 1, HEAD_SIZE)), jnp.float32) for _ in range(2))

    def products(of_query: int, of_key: int) -> jax.Array:
        places = jnp.arange(4)[None]
        return jnp.einsum("rthd,rphd->rtp", rotate(query, places + of_query), rotate(key, places + of_key))

    np.testing.assert_allclose(products(9, 9), products(0, 0), atol=1e-4)
    assert not np.allclose(products(1, 0), products(0, 0), atol=1e-2)


def rows(prompt: tuple[int, ...], seed: int, n: int, **settings: Any) -> list[Draft]:
    return [Draft(prompt, seed + choice, **settings) for choice in range(n)]


def test_a_completion_depends_on_its_request_and_seed_alone():
    """Choice i of a request is the completion with seed s + i, whatever is computed beside it; seeds use 64 bits."""
    many = complete(PARAMS, rows(PROMPTS[2], 5, 32, temperature=3.0))
    assert many == complete(PARAMS, rows(PROMPTS[2], 5, 32, temperature=3.0))
    assert complete(PARAMS, rows(PROMPTS[2], 5, 8, temperature=3.0)) == many[:8]
    beside = rows(PROMPTS[0], 0, 17, temperature=0.5) + rows(PROMPTS[1], 40, 5, max_tokens=2)
    assert complete(PARAMS, beside + rows(PROMPTS[2], 9, 28, temperature=3.0))[len(beside) :] == many[4:]
    high = complete(PARAMS, rows(PROMPTS[2], 5 + 2**40, 32, temperature=3.0))
    assert len({text for text, _, _ in many}) > 16
    assert sum(one == other for one, other in zip(many, high, strict=True)) < 16
    with pytest.raises(ValueError, match=f"at most {ROWS} rows"):
        complete(PARAMS, rows(PROMPTS[0], 0, ROWS + 1))


def greedy(prompt: tuple[int, ...], length: int) -> list[int]:
    """The likeliest token after another, without a cache."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + length and tokens[-1] != EOS:
        tokens.append(int(jnp.argmax(after(tokens))))
    return tokens[len(prompt) :]


def test_temperature_zero_takes_the_likeliest_token():
    for prompt, found in zip(PROMPTS, complete(PARAMS, [Draft(prompt, 1, 0.0) for prompt in PROMPTS]), strict=True):
        expected = greedy(prompt, CONTEXT - len(prompt))
        assert found == Generated(SUMS.decode(expected), len(expected), "stop")


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (4.0, 1.0), (4.0, 0.5)])
def test_first_tokens_follow_the_law_of_the_model(temperature: float, top_p: float):
    """Counts of 1,024 draws of one token against its exact probabilities, at 5 standard errors each.

    Seen to fail with logits multiplied by the temperature, and with seeds that differ in the upper half ignored.
    """
    prompt, draws = PROMPTS[0], 1024
    law = np.array(jax.nn.softmax(after(prompt) / temperature), np.float64)
    order = np.argsort(-law)
    law[order[1:][np.cumsum(law[order])[:-1] >= top_p]] = 0
    law /= law.sum()
    found = [
        one
        for seed in range(0, draws, ROWS)
        for one in complete(PARAMS, rows(prompt, seed, ROWS, temperature=temperature, top_p=top_p, max_tokens=1))
    ]
    counts = Counter(one.text for one in found)
    assert sum(counts.values()) == draws
    for token, probability in enumerate(law):
        if token in (PAD, BOS, USER, REPLY, UNKNOWN):
            continue
        se = np.sqrt(draws * probability * (1 - probability))
        text = "" if token == EOS else VOCABULARY[token]
        assert abs(counts[text] - draws * probability) <= SIGMAS * se + (probability > 0), VOCABULARY[token]


def test_the_longest_completion_is_honoured():
    for limit in (1, 3):
        assert complete(PARAMS, [Draft(PROMPTS[1], 0, 0.0, 1.0, limit)])[0].tokens <= limit
    whole = complete(PARAMS, [Draft(tuple(SUMS.chat(task.STEPS, "2+6+4+5")), 0, 0.0)])[0]
    assert whole.finish == "stop"
    exact = complete(PARAMS, [Draft(tuple(SUMS.chat(task.STEPS, "2+6+4+5")), 0, 0.0, 1.0, whole.tokens)])[0]
    assert exact == whole
    short = complete(PARAMS, [Draft(tuple(SUMS.chat(task.STEPS, "2+6+4+5")), 0, 0.0, 1.0, whole.tokens - 1)])[0]
    assert short == Generated(whole.text, whole.tokens - 1, "length")
    hot = complete(PARAMS, rows(tuple(SUMS.chat("z" * 44, "")), 0, ROWS, temperature=10.0))
    assert {(one.tokens, one.finish) for one in hot if one.finish == "length"} == {(CONTEXT - 47, "length")}


def test_training_texts_are_right_and_planted_slips_are_not_learnt():
    rng = np.random.default_rng(0)
    seen: Counter[str] = Counter()
    for _ in range(400):
        mode, numbers = task.MODES[rng.integers(3)], task.draw(rng, int(rng.choice(task.COUNTS)))
        tokens, counts = task.example(rng, mode, numbers)
        prompt = SUMS.chat(mode, task.question(numbers))
        assert tokens[: len(prompt)] == prompt
        assert not any(counts[: len(prompt)])
        assert tokens[-1] == EOS
        assert len(tokens) - 1 <= task.LENGTHS[mode]
        assert len(tokens) == len(counts)
        text = SUMS.decode(tokens[len(prompt) :])
        total = numbers.sum() % 7
        sums = np.cumsum(numbers)[1:] % 7
        right = " ".join(f"{number} {one}" for number, one in zip(numbers[1:], sums, strict=True))
        if mode != task.TWICE:
            assert text == (right if mode == task.STEPS else str(total))
            assert all(counts[len(prompt) :])
            continue
        first, second, *rest = re.split(r" ; | ok | no ", text)
        assert rest == ([str(total)] if " ok " in text else [right, str(total)])
        assert (first[-1] == second[-1]) == (" ok " in text)
        slips = [_slips(part, numbers) for part in (first, second)]
        assert max(slips) <= 1
        assert sum(slips) == counts[len(prompt) :].count(0.0)
        seen[f"{' ok ' in text} {slips}"] += 1
    assert set(seen) >= {"True [0, 0]", "False [1, 0]", "False [0, 1]", "False [1, 1]"}


def _slips(text: str, numbers: np.ndarray) -> int:
    """Wrong steps of a pass; its numbers must be those of the question."""
    words = np.array(text.split(), int)
    assert np.array_equal(words[::2], numbers[1:])
    return int(((np.diff([numbers[0], *words[1::2]]) - numbers[1:]) % 7 != 0).sum())


def test_a_batch_is_texts_and_what_comes_next():
    groups = task.batches(np.random.default_rng(0), train.FIRST)
    assert [len(part.tokens) for part in groups] == [32, 16, 16]
    for part in groups:
        assert np.array_equal(part.tokens[:, 1:], part.targets[:, :-1])
        assert not part.weights[part.targets == PAD].any()
        assert np.array_equal((part.targets == EOS).sum(axis=1), np.ones(len(part.targets)))
        assert part.weights[part.targets == EOS].all()


def test_choices_follow_the_seed_and_usage_is_true(address: tuple[str, int]):
    status, whole = post(address, request(n=8, seed=40, temperature=2.0))
    assert status == 200
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert [choice["index"] for choice in whole["choices"]] == list(range(8))
    assert {choice["message"]["role"] for choice in whole["choices"]} == {"assistant"}
    singles = [post(address, request(seed=40 + i, temperature=2.0))[1] for i in range(8)]
    assert [one["choices"][0]["message"]["content"] for one in singles] == texts
    assert whole["usage"]["prompt_tokens"] == len(SUMS.chat(task.STEPS, "2+6+4+5"))
    ends = [choice["finish_reason"] == "stop" for choice in whole["choices"]]
    spent = sum(len(SUMS.encode(text)) + end for text, end in zip(texts, ends, strict=True))
    assert whole["usage"]["completion_tokens"] == spent == sum(one["usage"]["completion_tokens"] for one in singles)
    assert whole["usage"]["total_tokens"] == spent + whole["usage"]["prompt_tokens"]
    cut = post(address, request(n=2, seed=0, max_completion_tokens=1))[1]
    assert [choice["finish_reason"] for choice in cut["choices"]] == ["length"] * 2
    assert cut["usage"]["completion_tokens"] == 2
    free = [post(address, request(n=32, temperature=10.0))[1]["choices"] for _ in range(2)]
    assert free[0] != free[1]


def test_requests_at_once_are_answered_as_one_by_one(address: tuple[str, int]):
    """More prompts and rows than one batch holds."""
    bodies = [request(task.MODES[k % 3], f"{k % 7}+{k // 7}", n=1 + 7 * (k % 4), seed=100 * k) for k in range(40)]
    bodies.append(request(n=150, seed=7))
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: post(address, body)[1]["choices"], bodies))
    assert [len(choices) for choices in together] == [body["n"] for body in bodies]
    for k in (0, 7, 39, 40):
        assert post(address, bodies[k])[1]["choices"] == together[k]


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"n": 0}, 400, "n is 0; expected a whole number, 1 to 1024"),
        ({"n": True}, 400, "n is True"),
        ({"n": 1.5}, 400, "n is 1.5"),
        ({"seed": -1}, 400, "seed is -1"),
        ({"temperature": -0.1}, 400, "temperature is -0.1"),
        ({"temperature": float("nan")}, 400, "temperature is nan"),
        ({"top_p": 0}, 400, "top_p is 0"),
        ({"max_tokens": 0}, 400, "max_tokens is 0"),
        ({"stream": True}, 400, "stream must be false"),
        ({"logprobs": True}, 400, "logprobs is not supported"),
        ({"model": "other"}, 404, "the only model is 'tiny'"),
        ({"messages": []}, 400, "messages must be texts"),
        ({"messages": "hello"}, 400, "messages must be a list"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages must be texts"),
        ({"messages": [{"role": "user", "content": "1+" * 40}]}, 400, f"the model reads up to {MAX_PROMPT}"),
    ],
)
def test_wrong_requests_are_refused(address: tuple[str, int], changes: dict[str, Any], status: int, said: str):
    found, body = post(address, request() | changes)
    assert found == status
    assert said in body["error"]["message"]


def test_other_paths_and_bodies_are_refused(address: tuple[str, int]):
    assert ask(address, "GET", "/v1/models")[1]["data"][0]["id"] == "tiny"
    assert ask(address, "GET", "/")[0] == 404
    assert post(address, request(), "/v1/completions")[0] == 404
    assert post(address, b"{")[1]["error"]["message"] == "the body is no JSON"
    assert post(address, [1])[1]["error"]["message"] == "the body must be a JSON object"
    assert post(address, request())[0] == 200


def test_a_failure_of_the_model_is_an_error_of_the_server(monkeypatch: pytest.MonkeyPatch):
    """The thread that makes completions outlives what goes wrong in it."""
    engine = server.Engine(PARAMS)
    good = complete
    monkeypatch.setattr(server, "complete", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.submit([Draft(PROMPTS[0], 0)])
    monkeypatch.setattr(server, "complete", good)
    assert engine.submit([Draft(PROMPTS[0], 0)]) == complete(PARAMS, [Draft(PROMPTS[0], 0)])


def test_the_example_is_a_run_that_is_accepted(tmp_path: Path):
    from sim.adapters import config
    from sim.adapters.run_file import queries

    demo.write(tmp_path / "run", "http://127.0.0.1:1/v1")
    run = config.load(tmp_path / "run" / "tiny.toml")
    assert run.endpoints[""].base_url == "http://127.0.0.1:1/v1"
    assert [prompt.system for prompt in run.prompts[:3]] == list(task.MODES)
    items = queries.read(run.queries)
    others = queries.read(replace(run.queries, file=tmp_path / "run" / "held-out.jsonl"))
    assert (len(items), len(others)) == (200, 141)
    assert not {item.text for item in items} & {item.text for item in others}
    for item in items:
        numbers = np.array(item.text.split("+"), int)
        assert item.gold == str(numbers.sum() % 7)
    with pytest.raises(ValueError, match="exists"):
        demo.write(tmp_path / "run")


def test_nothing_else_imports_the_tiny_model():
    root = Path(server.__file__).parents[3]
    others = [path for room in ("sim", "theory", "figures") for path in (root / room).rglob("*.py")]
    own = Path(server.__file__).parent
    others = [path for path in others if path.parent != own]
    assert [path for path in others if re.search(r"adapters\.tiny|import tiny", path.read_text())] == []


def test_the_model_has_learnt_its_task():
    """Sums of four numbers, in steps and at temperature 0.5: at least 9 of 10 right."""
    rng = np.random.default_rng(3)
    numbers = [task.draw(rng, 4) for _ in range(64)]
    found: list[Generated] = []
    for start in range(0, 64, 16):
        asked = [Draft(tuple(SUMS.chat(task.STEPS, task.question(one))), 7, 0.5) for one in numbers[start : start + 16]]
        found += complete(PARAMS, asked)
    right = [one.text.split()[-1:] == [str(own.sum() % 7)] for one, own in zip(found, numbers, strict=True)]
    assert np.mean(right) >= 0.9


def test_parameters_have_the_names_of_the_model():
    assert set(PARAMS._asdict()) == set(Params._fields)
    assert all(array.dtype == jnp.float32 for array in PARAMS)


def test_labels_stand_where_their_prompt_and_query_are():
    """Without noise all draws of a query agree, and in steps nearly all are right; 432 completions, seven batches."""
    answers = flip.ask(PARAMS, 0.0, queries=9, seed=0)
    assert (answers.labels == answers.labels[..., :1]).all()
    assert flip.credit(answers, 16)[1].sum() >= 8
    assert (answers.tokens[0] == 2).all()
    assert (answers.tokens[2] > answers.tokens[1]).all()


def test_votes_are_counted_as_the_testbed_counts_them():
    """Ties earn 1/t; what cannot be read is one wrong answer; blocks do not overlap; intervals are paired."""
    labels = np.array([[[1, 1, 2, 2], [3, 10, 10, 3]], [[1, 2, 3, 4], [10, 10, 10, 3]], [[1] * 4, [3] * 4]])
    answers = flip.Graded(labels, np.ones_like(labels), np.array([1, 3]))
    assert flip.credit(answers, 1).tolist() == [[0.5, 0.5], [0.25, 0.25], [1.0, 1.0]]
    assert flip.credit(answers, 2).tolist() == [[0.5, 0.5], [0.25, 0.25], [1.0, 1.0]]
    assert flip.credit(answers, 4).tolist() == [[0.5, 0.5], [0.25, 0.0], [1.0, 1.0]]
    found = flip.difference(answers, 0, 1, 4)
    half = 12.7062 * 0.125
    assert found == pytest.approx((0.375, 0.375 - half, 0.375 + half), abs=1e-4)
    assert [flip._label(text) for text in ("1 5 2", "", "ok", "2 . 5", "2.5", "1 ; 7 ;")] == [2, 10, 10, 5, 10, 7]
