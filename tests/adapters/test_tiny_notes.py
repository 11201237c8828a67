"""The second task of the tiny models: texts of notes, and the two objectives that pull apart, coverage and brevity."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SIGMAS

from sim.adapters.tiny import demo, notes, scores, server, tasks, train, weights
from sim.adapters.tiny.generate import CONTEXT, MAX_PROMPT, Draft, complete
from sim.adapters.tiny.task import TrainingBatch
from sim.adapters.tiny.tokenizer import EOS, PAD, SUMS, UNKNOWN

PARAMS, RECIPE = weights.load(weights.NOTES)
QUERY = "3 bridge closed ; 7 market open ; 4 train late"


def drawn(seed: int, count: int = 4) -> notes.Notes:
    return notes.draw(np.random.default_rng(seed), count)


def test_every_prompt_has_a_text_of_its_own():
    made = notes.Notes(np.array([0, 2, 1]), np.array([0, 2, 1]), np.array([3, 7, 4]))
    assert notes.question(made) == QUERY
    rng = np.random.default_rng(0)
    assert notes.answer(rng, notes.HEADLINE, made) == "market open"
    assert notes.answer(rng, notes.BRIEF, made) == "market open , train late"
    report = "dear all : bridge closed , and market open , and train late . thanks"
    assert notes.answer(rng, notes.REPORT, made) == report
    told = [notes.answer(rng, notes.DRAFT, made).split(" , ") for _ in range(200)]
    for draft in told:
        assert draft == [text for text in notes.texts(made) if text in draft]
    assert len({tuple(draft) for draft in told}) == 7


def test_drafts_keep_every_choice_of_notes_equally_often():
    """1,400 choices of three notes, each of seven within 5 standard errors of 200.

    Seen to fail with a coin for each note, and the first note where none was kept.
    """
    rng, number = np.random.default_rng(0), 1400
    found = Counter(tuple(notes.some(rng, 3)) for _ in range(number))
    assert (False, False, False) not in found
    se = np.sqrt(number * (1 / 7) * (6 / 7))
    assert max(abs(found[choice] - number / 7) for choice in found) <= SIGMAS * se
    assert len(found) == 7


def test_training_texts_fit_and_only_the_answer_counts():
    rng = np.random.default_rng(0)
    for part, mode in zip(train.RECIPES["notes"].batches(rng, 1), notes.MODES, strict=True):
        assert isinstance(part, TrainingBatch)
        assert part.tokens.shape == (train.NOTES[mode], notes.LENGTHS[mode])
        assert np.array_equal(part.tokens[:, 1:], part.targets[:, :-1])
        assert not (part.tokens == UNKNOWN).any()
        assert part.weights[part.targets == EOS].all()
        assert not part.weights[part.targets == PAD].any()
    for seed in range(30):
        tokens, counts = notes.example(rng, notes.REPORT, drawn(seed, 5))
        prompt = notes.VOCABULARY.chat(notes.REPORT, notes.question(drawn(seed, 5)))
        assert tokens[: len(prompt)] == prompt
        assert counts == [0.0] * len(prompt) + [1.0] * (len(tokens) - len(prompt))
        assert len(prompt) <= MAX_PROMPT
        assert len(tokens) == notes.LENGTHS[notes.REPORT] + 1 <= CONTEXT


def test_vocabularies_have_no_word_twice():
    for vocabulary in (SUMS, notes.VOCABULARY):
        assert len(vocabulary.ids) == len(vocabulary.tokens)
    assert [notes.VOCABULARY.tokens[token] for token in notes.VOCABULARY.encode("Bridge hat")] == ["bridge", *"hat"]


def test_the_weights_are_small_and_say_their_recipe():
    assert weights.NOTES.stat().st_size <= 2**20
    assert RECIPE["recipe"].startswith("python -m sim.adapters.tiny.train --task notes ")
    assert PARAMS.embed.shape == (len(notes.VOCABULARY.tokens), 96)


def test_the_model_has_learnt_its_task():
    """Without noise, on 16 queries: what each prompt asks for, 15 times at least; drafts are some of the notes."""
    right: Counter[str] = Counter()
    for first in range(0, 16, 4):
        made = [(mode, drawn(seed, 3 + seed % 3)) for mode in notes.MODES for seed in range(first, first + 4)]
        rows = [Draft(tuple(notes.VOCABULARY.chat(mode, notes.question(one))), 0, 0.0) for mode, one in made]
        for (mode, one), said in zip(made, complete(PARAMS, rows, notes.VOCABULARY), strict=True):
            if mode == notes.DRAFT:
                right[mode] += set(said.text.split(" , ")) <= set(notes.texts(one))
            else:
                right[mode] += said.text == notes.answer(np.random.default_rng(0), mode, one)
    assert min(right[mode] for mode in notes.MODES) >= 15, right


@pytest.mark.parametrize(
    ("completion", "coverage", "brevity"),
    [
        ("market open", 0.5, 1 - 2 / 24),
        ("Market open, bridge closed.", 10 / 14, 1 - 4 / 24),
        ("dear all : bridge closed , and market open , and train late . thanks", 1.0, 1 - 11 / 24),
        ("market closed , bridge open", 0.0, 1 - 4 / 24),
        ("market opening", 0.0, 1 - 2 / 24),
        ("supermarket open", 0.0, 1 - 2 / 24),
        ("market . open market open", 0.5, 1 - 4 / 24),
        ("all " * 40, 0.0, 0.0),
        (" ; .", None, None),
        ("", None, None),
    ],
)
def test_coverage_and_brevity_by_hand(completion: str, coverage: float | None, brevity: float | None):
    """Seen to fail with notes looked for inside words, with equal importances, and with no floor."""
    assert scores.coverage(QUERY, None, completion) == pytest.approx(coverage)
    assert scores.brevity(QUERY, None, completion) == pytest.approx(brevity)


def test_a_query_without_notes_is_refused():
    with pytest.raises(ValueError, match="has no note such as"):
        scores.coverage("bridge closed", None, "bridge closed")


def test_the_example_is_a_run_that_is_accepted(tmp_path: Path):
    """Nine weightings x three costs; the functions beside the run file are those of the package; queries differ."""
    from sim.adapters import config
    from sim.adapters.run_file import queries

    demo.write(tmp_path / "run", "http://127.0.0.1:1/v1", tasks.NOTES)
    run = config.load(tmp_path / "run" / "tiny-notes.toml")
    assert run.endpoints[""].base_url == "http://127.0.0.1:1/v1"
    assert {prompt.model for prompt in run.prompts} == {"tiny-notes"}
    assert [prompt.system for prompt in run.prompts] == list(notes.MODES)
    assert [(one.name, one.aggregate) for one in run.objectives] == [("coverage", "bon"), ("brevity", "bon")]
    assert len({context.weights for context in run.contexts}) == 9
    assert len({context.cost_weight for context in run.contexts}) == 3
    assert len(run.contexts) == 27
    assert (tmp_path / "run" / "scores.py").read_text() == Path(scores.__file__).read_text()
    items = queries.read(run.queries)
    others = queries.read(replace(run.queries, file=tmp_path / "run" / "held-out.jsonl"))
    assert (len(items), len(others)) == (200, 140)
    assert not {item.text for item in items} & {item.text for item in others}
    assert all(len(scores.NOTE.findall(item.text)) in notes.COUNTS for item in items)
    with pytest.raises(ValueError, match="exists"):
        demo.write(tmp_path / "run", of=tasks.NOTES)


def test_the_server_answers_as_the_model_of_its_task():
    """By its own name and vocabulary. Seen to fail with the vocabulary of the sums."""
    engine = server.Engine(PARAMS, tasks.NOTES)
    messages = [{"role": "system", "content": notes.HEADLINE}, {"role": "user", "content": QUERY}]
    body = {"model": "tiny-notes", "messages": messages, "seed": 3, "temperature": 0}
    found = server.reply(engine, body)
    assert found["model"] == "tiny-notes"
    assert found["choices"][0]["message"]["content"] == "market open"
    assert found["usage"]["prompt_tokens"] == len(notes.VOCABULARY.chat(notes.HEADLINE, QUERY))
    with pytest.raises(server.Refusal, match="the only model is 'tiny-notes'"):
        server.reply(engine, body | {"model": "tiny"})
    assert not re.search(r"\d", found["choices"][0]["message"]["content"])
