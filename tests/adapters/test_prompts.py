"""Prompts as people keep them: files, folders, messages, fields of queries, grids; and what is wrong with them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from live_runs import MINIMAL, iapo, quick
from live_server import KEY, Model, serving

from sim.adapters import config, policy, tune
from sim.adapters.paid.sampler import cell_of
from sim.adapters.run_file.prompts import Prompt, Shot
from sim.adapters.run_file.queries import unfilled
from sim.adapters.run_file.settings import Config
from sim.adapters.scoring import Item
from sim.adapters.tune import load_items

INLINE = '[[prompts]]\nname = "a"\ntext = "{query}?"\n[[prompts]]\nname = "b"\ntext = "{query}!"'
ROWS = [
    {"query": "1+1", "gold": 2, "context": "sum {query} {gold}", "note": "n"},
    {"query": "2+2 {context}", "gold": 4, "context": "four", "note": "m"},
]
FOLDER = '[[prompts]]\npath = "prompts"'


def write(folder: Path, prompts: str, texts: dict[str, str] | None = None, queries: str = "", rows: Any = ROWS) -> Path:
    (folder / "prompts").mkdir(exist_ok=True)
    for name, text in (texts or {}).items():
        (folder / "prompts" / name).write_text(text)
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert INLINE in MINIMAL
    file = folder / "run.toml"
    file.write_text(MINIMAL.replace(INLINE, prompts).replace('gold = "gold"', f'gold = "gold"\n{queries}'))
    return file


def load(*arguments: Any, **more: Any) -> Config:
    return config.load(write(*arguments, **more))


def sent(run: Config) -> list[list[str]]:
    """Contents of the messages of every prompt on every query."""
    items = load_items(run)
    return [[text for _, text in prompt.messages(one.text, one.fields)] for prompt in run.prompts for one in items]


def test_a_folder_is_a_candidate_each_named_by_its_file(tmp_path: Path):
    texts = {"b.md": "\n# Ask\n{query}\n\n", "a.txt": "\ufeff{query}?\r\n", ".c.txt": "{query}", "d.json": "{}"}
    run = load(tmp_path, f'{FOLDER}\nsystem = "Be short."\nmax_tokens = 9', texts)
    assert [(one.name, one.text, one.system, one.max_tokens, one.model) for one in run.prompts] == [
        ("a", "{query}?", "Be short.", 9, "m"),
        ("b", "# Ask\n{query}", "Be short.", 9, "m"),
    ]
    one = '[[prompts]]\npath = "prompts/a.txt"\n[[prompts]]\nname = "mine"\npath = "prompts/b.md"'
    assert [prompt.name for prompt in load(tmp_path, one).prompts] == ["a", "mine"]


def test_texts_may_be_system_messages(tmp_path: Path):
    run = load(tmp_path, f'{FOLDER}\nrole = "system"', {"a.txt": "Think.", "b.txt": "Answer at once."})
    assert [prompt.messages("1+1") for prompt in run.prompts] == [
        (("system", "Think."), ("user", "1+1")),
        (("system", "Answer at once."), ("user", "1+1")),
    ]
    asked = load(tmp_path, f'{FOLDER}\nrole = "system"\ntext = "Q: {{query}}"', {})
    assert asked.prompts[0].messages("1+1")[1] == ("user", "Q: 1+1")


MESSAGES = """[[prompts]]
name = "shown"
messages = [
    { role = "system", content = "Add." },
    { role = "user", content = "3+4" },
    { role = "assistant", content = "7 {braces}" },
    { role = "user", content = "{query}" },
]"""


def test_messages_are_sent_as_they_stand(tmp_path: Path):
    (prompt,) = load(tmp_path, MESSAGES).prompts
    assert prompt.shots == (Shot("user", "3+4"), Shot("assistant", "7 {braces}"))
    assert prompt.messages("{braces}") == (
        ("system", "Add."),
        ("user", "3+4"),
        ("assistant", "7 {braces}"),
        ("user", "{braces}"),
    )


def test_fields_of_a_query_fill_slots_and_braces_in_data_are_data(tmp_path: Path):
    """One pass. Seen to fill slots inside what filled others, with one replacement after the other."""
    texts = {"a.txt": "{context}: {question} as {0} {{x y}}"}
    rows = [{"question": "1+1", "gold": 2, "context": "sum {question} {gold}"}]
    run = load(tmp_path, FOLDER, texts, 'text = "question"', rows)
    assert run.queries.fields == ("context", "question")
    assert sent(run) == [["sum {question} {gold}: 1+1 as {0} {{x y}}"]]


def test_without_a_list_a_prompt_with_query_has_no_other_slots(tmp_path: Path):
    """As it always was: such run files ask what they asked before. With one, the columns that it names."""
    texts = {"a.txt": "{query} {context} {gold}"}
    plain = load(tmp_path, FOLDER, texts)
    assert sent(plain)[0] == ["1+1 {context} {gold}"]
    said = (
        "the prompt 'a' holds {%s}, a column of q.jsonl, and sends it as it stands; \"%s\" in queries.fields fills it"
    )
    assert unfilled(plain.queries, plain.prompts) == [said % ("gold", "gold"), said % ("context", "context")]
    listed = load(tmp_path, FOLDER, texts, 'fields = ["context"]')
    assert sent(listed) == [["1+1 sum {query} {gold} {gold}"], ["2+2 {context} four {gold}"]]
    all_shown = load(tmp_path, FOLDER, texts, 'fields = ["context", "gold"]')
    assert sent(all_shown)[1] == ["2+2 {context} four 4"]
    assert unfilled(all_shown.queries, all_shown.prompts) == []


def test_fields_are_part_of_the_journals_identity_and_nothing_else_is():
    """What a run without new keys asks, and the names of its seeds, are those of before.

    Seen to fail with the plain dataclass's text, by which the seeds of kept journals would change.
    """
    plain = Prompt("p", "{query}?", "s", "m", 30, 1.0, None, None)
    told = "name='p', text='{query}?', system='s', model='m', max_tokens=30, temperature=1.0, top_p=None, cost=None"
    assert repr(plain) == f"Prompt({told})"
    assert repr(Item("x", "y", [1])) == "Item(text='x', gold='y', reference=[1])"
    shown = Prompt("p", "{query}?", fields=("context",), shots=(Shot("user", "x"),))
    assert "fields=('context',)" in repr(shown)
    assert "shots=(Shot" in repr(shown)
    assert "fields" in repr(Item("x", fields=(("context", "c"),)))


def test_two_contexts_of_a_question_are_two_cells(tmp_path: Path):
    run = load(tmp_path, FOLDER, {"a.txt": "{query} {context}"}, 'fields = ["context"]')
    cells = {cell_of("tune", run.endpoints[""], run.prompts[0], "q", (("context", c),)).digest for c in ("x", "y", "x")}
    assert len(cells) == 2


def test_settings_are_grids(tmp_path: Path):
    grid = f"{FOLDER}\ntemperature = [0.5, 1]\nmax_tokens = [16, 64]\ntop_p = 0.9\ncost = 1"
    run = load(tmp_path, grid, {"a.txt": "{query}"})
    assert [(one.name, one.max_tokens, one.temperature, one.top_p, one.cost) for one in run.prompts] == [
        ("a (max_tokens 16, temperature 0.5)", 16, 0.5, 0.9, 1.0),
        ("a (max_tokens 16, temperature 1)", 16, 1.0, 0.9, 1.0),
        ("a (max_tokens 64, temperature 0.5)", 64, 0.5, 0.9, 1.0),
        ("a (max_tokens 64, temperature 1)", 64, 1.0, 0.9, 1.0),
    ]


def inline(rest: str) -> str:
    return f'[[prompts]]\nname = "a"\n{rest}'


USER, ASSISTANT = '{ role = "user", content = "{query}" }', '{ role = "assistant", content = "x" }'
SYSTEM = '{ role = "system", content = "x" }'
BAD: dict[str, tuple[str, dict[str, str], str, str]] = {
    "no such path": ('[[prompts]]\npath = "gone"', {}, "", r"prompts\[0\].path names .*gone, which does not exist"),
    "empty folder": (FOLDER, {"a.json": "{}"}, "", r"prompts\[0\].path names .*, a folder without a .txt or .md file"),
    "other file": ('[[prompts]]\npath = "q.jsonl.gz"', {}, "", "path names .*does not exist"),
    "folder named": (f'{FOLDER}\nname = "x"', {"a.txt": "{query}"}, "", r"prompts\[0\].name is for one prompt"),
    "no slot": (FOLDER, {"a.txt": "hello"}, "", r"path names .*a.txt, whose text has no {query} slot"),
    "empty file": (FOLDER, {"a.txt": " \n"}, "", "a.txt: is empty"),
    "two stems": (FOLDER, {"a.txt": "{query}", "a.md": "{query}!"}, "", "a.txt, whose name is 'a', the name of an"),
    "two texts": (FOLDER, {"a.txt": "{query}", "b.txt": "{query}"}, "", "b.txt, whose text and decoding are those of"),
    "NUL": (FOLDER, {"a.txt": "{query}\0"}, "", "a.txt, whose text holds a NUL"),
    "role alone": (inline('role = "user"'), {}, "", r"prompts\[0\].role goes with path, which is missing"),
    "top alone": (inline("top = 3"), {}, "", r"prompts\[0\].top goes with path"),
    "top of texts": (f"{FOLDER}\ntop = 3", {"a.txt": "{query}"}, "", r"prompts\[0\].top is for lists"),
    "role": (f'{FOLDER}\nrole = "me"', {"a.txt": "x"}, "", r"prompts\[0\].role is 'me'; allowed are user, system"),
    "no name": ('[[prompts]]\ntext = "{query}"', {}, "", r"prompts\[0\].name is missing; it is needed"),
    "text and messages": (
        inline(f'text = "{{query}}"\nmessages = [{USER}]'),
        {},
        "",
        r"prompts\[0\].text stands beside",
    ),
    "path and messages": (inline(f'path = "prompts"\nmessages = [{USER}]'), {}, "", r"prompts\[0\].path stands beside"),
    "ends otherwise": (inline(f"messages = [{USER}, {ASSISTANT}]"), {}, "", r"prompts\[0\].messages do not end with"),
    "system alone": (
        inline(f"messages = [{SYSTEM}]"),
        {},
        "",
        r"prompts\[0\].messages do not end with one of the user",
    ),
    "late system": (inline(f"messages = [{USER}, {SYSTEM}, {USER}]"), {}, "", r"messages\[1\].role is 'system'; only"),
    "unknown role": (
        inline('messages = [{ role = "tool", content = "x" }]'),
        {},
        "",
        r"prompts\[0\].messages\[0\].role is 'tool'; allowed are system, user, assistant",
    ),
    "no content": (inline('messages = [{ role = "user" }]'), {}, "", r"prompts\[0\].messages\[0\].content is missing"),
    "no slot said": (
        inline('messages = [{ role = "user", content = "x" }, { role = "user", content = "y" }]'),
        {},
        "",
        r"prompts\[0\].messages has no {query} slot",
    ),
    "right answer": (
        FOLDER,
        {"a.txt": "{note} {gold}"},
        "",
        "a.txt, whose text has a {gold} slot, the column of right",
    ),
    "reference": (FOLDER, {"a.txt": "{note}"}, 'reference = "note"', "has a {note} slot, the column of references"),
    "field of no prompt": (
        FOLDER,
        {"a.txt": "{query} {contxt}"},
        'fields = ["context"]',
        "queries.fields names 'context', and no prompt has a {context} slot",
    ),
    "fields": (FOLDER, {"a.txt": "{query}"}, "fields = [3]", r"queries.fields\[0\] is 3; expected text"),
    "empty grid": (
        inline("temperature = []"),
        {},
        "",
        r"prompts\[0\].temperature is \[\]; expected one value, or a list",
    ),
    "twice": (
        inline("max_tokens = [8, 8]"),
        {},
        "",
        r"prompts\[0\].max_tokens is \[8, 8\]; expected one value, or a list",
    ),
    "hot": (inline("temperature = [1, 11]"), {}, "", r"prompts\[0\].temperature is 11; expected a finite number"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_prompts_is_refused_by_file_key_and_reason(case: str, tmp_path: Path):
    prompts, texts, queries, said = BAD[case]
    with pytest.raises(ValueError, match=said) as refused:
        load(tmp_path, prompts, texts, queries)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [ROWS[0], {"query": "2", "gold": 4}],
            r"q.jsonl: row 2 has no 'context' \(for which prompts have a {context} slot",
        ),
        ([{"query": "1", "gold": 2, "context": None}], "row 1 holds None as 'context'; expected text or a number"),
        ([{"query": "1", "gold": 2, "context": ["x"]}], r"row 1 holds \['x'\] as 'context'; expected text"),
        ([{"query": "1", "gold": 2, "context": " "}], "row 1 holds ' ' as 'context'; expected text"),
    ],
)
def test_a_query_that_lacks_a_field_is_refused_before_anything_is_asked(rows: list, said: str, tmp_path: Path):
    run = load(tmp_path, FOLDER, {"a.txt": "{query} {context}"}, 'fields = ["context"]', rows)
    with pytest.raises(ValueError, match=said):
        tune.load_items(run)


def test_a_run_with_fields_and_shots_goes_from_folder_to_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tune, policy, evaluate and ask send the same messages. Seen to fail where the evaluation drops the fields."""
    pytest.importorskip("openai", reason="the extra [llm] is not installed")
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    monkeypatch.setattr("sim.adapters.session.real_clock", quick)
    shown = MESSAGES.replace('"{query}"', '"{context} {query}"')
    file = write(tmp_path, f"{shown}\n{FOLDER}", {"a.txt": "{context}: {query}"}, 'fields = ["context"]')
    (tmp_path / "held.jsonl").write_text('{"query": "3+3", "gold": 6, "context": "six"}\n')
    model = Model(answer=lambda prompt, number: "It is 2." if "Add." in prompt else "no")
    with serving(model) as url:
        file.write_text(
            file.read_text()
            .replace("http://localhost:1/v1", url)
            .replace('key_variable = ""', 'key_variable = "LIVE_TEST_KEY"')
        )
        assert iapo("tune", file, "--yes", "--accept-unreadable").exit_code == 0
        kept = tmp_path / "results" / "run" / "policy.json"
        chosen = policy.load(kept)
        assert chosen.prompts["shown"] == next(one for one in config.load(file).prompts if one.name == "shown")
        asked = len(model.requests)
        done = iapo("evaluate", kept, "--queries", tmp_path / "held.jsonl", "--yes")
        assert done.exit_code == 0, done.output
        assert {one["messages"][-1]["content"] for one in model.requests[asked:]} <= {"six 3+3", "six: 3+3"}
        assert len(model.requests) > asked
        missing = iapo("ask", kept, "5+5", "--context", "cost 0")
        assert missing.exit_code == 2
        assert "--field is needed: the prompt 'shown' has a slot for 'context'" in missing.stderr
        assert iapo("ask", kept, "5+5", "--context", "cost 0", "--field", "context=ten {query}").exit_code == 0
        assert [one["content"] for one in model.requests[-1]["messages"]] == [
            "Add.",
            "3+4",
            "7 {braces}",
            "ten {query} 5+5",
        ]


def test_the_run_file_of_the_documentation_can_be_loaded(tmp_path: Path):
    """Four texts, a table and a preset, in the lines that docs/prompts.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
    (tmp_path / "run.toml").write_text(re.findall(r"(?s)```toml\n(.*?)```", page)[0])
    (tmp_path / "questions.csv").write_text("question,gold,answer\n1+1,2,2\n")
    (tmp_path / "prompts").mkdir()
    for name in "abcd":
        (tmp_path / "prompts" / f"{name}.txt").write_text(f"{name} {{question}}")
    run = config.load(tmp_path / "run.toml")
    assert [prompt.name for prompt in run.prompts] == ["a", "b", "c", "d"]
    assert sent(run) == [["a 1+1"], ["b 1+1"], ["c 1+1"], ["d 1+1"]]
