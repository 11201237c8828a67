"""Prompts in other tools' files: promptfoo's YAML, DSPy's programs, lists; read, written and read again."""

import json
from pathlib import Path
from typing import Any

import pytest
from live_runs import MINIMAL, iapo
from policy_files import write as write_policy

from sim.adapters import config
from sim.adapters.run_file import prompt_formats
from sim.adapters.run_file.prompts import Prompt, Shot
from sim.adapters.run_file.settings import Config

INLINE = MINIMAL[MINIMAL.index("[[prompts]]") : MINIMAL.index("[queries]")]
SHOTS = (Shot("user", "Question: 3+4"), Shot("assistant", "Answer: 7"))

PROMPTFOO = """
description: mine
prompts:
  - 'Add: {{ question }} {braces}'
  - label: chat
    raw: '[{"role": "system", "content": "Add."}, {"role": "user", "content": "{{question}} of {{context}}"}]'
  - file://two.txt
  - id: file://chat.json
    label: shown
providers: [openai:gpt-4o-mini]
"""
CHAT = [
    {"role": "user", "content": "3+4"},
    {"role": "assistant", "content": "7"},
    {"role": "user", "content": "{{question}}"},
]
DSPY: dict[str, Any] = {
    "self.predict": {
        "traces": [],
        "train": [],
        "demos": [
            {"augmented": True, "question": "3+4", "reasoning": "three and four", "answer": "7"},
            {"question": "no answer"},
        ],
        "signature": {
            "instructions": "Add the numbers.",
            "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Reasoning: Let's think step by step in order to", "description": "${reasoning}"},
                {"prefix": "Answer:", "description": "${answer}"},
            ],
        },
        "lm": None,
    },
    "metadata": {"dependency_versions": {"python": "3.11", "dspy": "3.0.4"}},
}


def load(folder: Path, table: str, queries: str = 'text = "question"') -> Config:
    (folder / "q.jsonl").write_text('{"question": "1+1", "gold": 2, "context": "c"}\n')
    file = folder / "run.toml"
    file.write_text(
        MINIMAL.replace(INLINE, f"[[prompts]]\n{table}\n").replace('gold = "gold"', f'gold = "gold"\n{queries}')
    )
    return config.load(file)


def test_promptfoo_prompts_are_read(tmp_path: Path):
    (tmp_path / "foo.yaml").write_text(PROMPTFOO)
    (tmp_path / "two.txt").write_text("Sum {{question}}\n---\nTotal {{question}}\n")
    (tmp_path / "chat.json").write_text(json.dumps(CHAT))
    run = load(tmp_path, 'path = "foo.yaml"\nmax_tokens = 9')
    given = [("question", "1+1 {context}"), ("context", "c")]
    assert [(one.name, one.messages("", given)) for one in run.prompts] == [
        ("prompt 1", (("user", "Add: 1+1 {context} {braces}"),)),
        ("chat", (("system", "Add."), ("user", "1+1 {context} of c"))),
        ("two 1", (("user", "Sum 1+1 {context}"),)),
        ("two 2", (("user", "Total 1+1 {context}"),)),
        ("shown", (("user", "3+4"), ("assistant", "7"), ("user", "1+1 {context}"))),
    ]
    assert run.prompts[0].max_tokens == 9
    assert run.queries.fields == ("question", "context")


@pytest.mark.parametrize("text", ["[INST] {{question}} [/INST]", "[{{question}}] is asked", "[Task] - {{question}}:"])
def test_a_text_that_begins_with_a_bracket_is_no_chat(text: str, tmp_path: Path):
    """Seen to be refused as YAML that cannot be read."""
    (tmp_path / "foo.yaml").write_text(json.dumps({"prompts": [text]}))
    (prompt,) = load(tmp_path, 'path = "foo.yaml"').prompts
    assert prompt.text == text.replace("{{question}}", "{question}")


def test_a_dspy_program_is_read_with_its_demonstrations(tmp_path: Path):
    """Instructions first, whole demonstrations as turns, then the input. Seen to take the unanswered one for one."""
    (tmp_path / "program.json").write_text(json.dumps(DSPY))
    (prompt,) = load(tmp_path, 'path = "program.json"').prompts
    assert (prompt.name, prompt.messages("", [("question", "1+1")])) == (
        "program",
        (
            ("system", "Add the numbers."),
            ("user", "Question: 3+4"),
            ("assistant", "Reasoning: Let's think step by step in order to three and four\nAnswer: 7"),
            ("user", "Question: 1+1"),
        ),
    )
    bare = DSPY["self.predict"] | {"demos": []}
    (tmp_path / "program.json").write_text(json.dumps(bare))
    assert load(tmp_path, 'path = "program.json"\nname = "mine"').prompts[0].name == "mine"


def test_a_list_is_read_the_best_first_each_once(tmp_path: Path):
    """As promptolution writes it: a row per step and prompt; scores of a CSV file are text.

    Written to fail where text is no score: the list then keeps the order of its rows.
    """
    head = "step,input_tokens,output_tokens,time,score,prompt\n"
    rows = '1,9,9,0.5,0.25,Sum {query}\n1,9,9,0.5,,Guess {query}\n1,9,9,0.5,0.5,"Add {query}, please"\n'
    rows += "2,9,9,0.6,0.375,Sum {query}\n"
    (tmp_path / "step_results.csv").write_text(head + rows)
    run = load(tmp_path, 'path = "step_results.csv"', 'text = "question"')
    assert [(one.name, one.text) for one in run.prompts] == [
        ("prompt 1", "Add {query}, please"),
        ("prompt 2", "Sum {query}"),
        ("prompt 3", "Guess {query}"),
    ]
    best = load(tmp_path, 'path = "step_results.csv"\ntop = 1').prompts
    assert [one.text for one in best] == ["Add {query}, please"]
    (tmp_path / "l.jsonl").write_text(
        '{"name": "x", "instruction": "Add."}\n{"name": "y", "instruction": "Sum."}\n', "utf-8-sig"
    )
    run = load(tmp_path, 'path = "l.jsonl"\nrole = "system"\ntext = "Q: {query}"')
    assert [(one.name, one.system, one.text) for one in run.prompts] == [
        ("x", "Add.", "Q: {query}"),
        ("y", "Sum.", "Q: {query}"),
    ]


FIELD = {"prefix": "Question:", "description": "${question}"}
BAD: dict[str, tuple[str, Any, str, str]] = {
    "no YAML": ("a.yaml", "a: [", "", "a.yaml: is no YAML"),
    "no prompts": ("a.yaml", "providers: [x]", "", "a.yaml: holds no list of prompts"),
    "a number": ("a.yaml", "prompts: [3]", "", "a.yaml: prompt 1 is 3; expected a text"),
    "a program": ("a.yaml", "prompts: [file://x.py]", "", "prompt 1 is 'file://x.py'; .txt, .md, .json and .yaml"),
    "gone": ("a.yaml", "prompts: [file://x.txt]", "", "x.txt: cannot be read"),
    "a filter": ("a.yaml", "prompts: ['{{question | upper}}']", "", "holds {{question | upper}}; names alone"),
    "a statement": ("a.yaml", "prompts: ['{% if x %}{{question}}']", "", "holds a statement of a template"),
    "two braces": ("a.yaml", "prompts: ['{{question}} {question}']", "", "which would be one slot here"),
    "a tool": ("a.yaml", """prompts: ['[{"role": "tool", "content": "{{query}}"}]']""", "", "has roles other than"),
    "no user": ("a.yaml", """prompts: ['[{"role": "system", "content": "{{query}}"}]']""", "", "do not end with one"),
    "right answer": ("a.yaml", "prompts: ['{{question}} {{gold}}']", "", "a.yaml, whose text has a {gold} slot"),
    "role": ("a.yaml", "prompts: ['{{query}}']", 'role = "system"', r"prompts\[0\].role does not go with"),
    "name": ("a.yaml", "prompts: ['{{query}}']", 'name = "x"', r"prompts\[0\].name does not go with"),
    "no JSON": ("a.json", "{", "", "a.json: is no JSON"),
    "no predictor": ("a.json", {"metadata": {}}, "", "a.json: holds no predictor with a signature"),
    "two predictors": (
        "a.json",
        {"a": DSPY["self.predict"], "b": DSPY["self.predict"]},
        "",
        r"holds 2 predictors \(a, b\); a saved DSPy program with one",
    ),
    "no fields": ("a.json", {"signature": {"instructions": "x"}}, "", "a signature without instructions or fields"),
    "no prefix": ("a.json", {"signature": {"instructions": "x", "fields": [{}]}}, "", "has a field without a prefix"),
    "slot in a demo": (
        "a.json",
        {
            "signature": {"instructions": "x", "fields": [FIELD, {"prefix": "Answer:"}]},
            "demos": [{"question": "{question}", "answer": "x"}],
        },
        "",
        "a demonstration that holds {question}, which would be taken for a slot",
    ),
    "no column": ("a.csv", "promt\nx\n", "", "a.csv: has no column 'prompt', 'text', 'instruction'"),
    "no text": ("a.jsonl", '{"prompt": 3}', "", "a.jsonl: row 1 holds 3 as 'prompt'; expected the text"),
    "empty list": ("a.jsonl", "", "", "a.jsonl: has no column .* it has no row"),
    "unknown end": ("a.j2", "{{query}}", "", r"prompts\[0\].path names .*a.j2; expected a folder, or a .txt"),
    "pickle": ("a.pkl", "x", "", r"prompts\[0\].path names .*a.pkl; expected a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_counterpart_is_refused_by_file_and_reason(case: str, tmp_path: Path):
    name, content, more, said = BAD[case]
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=said):
        load(tmp_path, f'path = "{name}"\n{more}')


PLAIN = Prompt("plain", "Add {query} {braces}", "", "m", 9, 0.5)
CHATTY = Prompt("chatty", "Question: {question}", "Add.", "m", 9, None, 0.9, shots=SHOTS, fields=("question",))
ALONE = Prompt("alone", "{query}", "Add the numbers.", "m")


@pytest.mark.parametrize(
    ("prompt", "suffix", "more"),
    [
        (PLAIN, ".yaml", ""),
        (CHATTY, ".yaml", ""),
        (ALONE, ".yaml", ""),
        (CHATTY, ".json", ""),
        (PLAIN, ".jsonl", ""),
        (ALONE, ".jsonl", ""),
        (PLAIN, ".csv", ""),
        (PLAIN, ".txt", ""),
        (ALONE, ".md", 'role = "system"'),
    ],
)
def test_what_is_written_is_read_as_the_same_prompt(prompt: Prompt, suffix: str, more: str, tmp_path: Path):
    """Seen to fail for braces that are no slots, doubled too."""
    text = prompt_formats.written(prompt, 8, "http://localhost:1/v1", suffix)
    (tmp_path / f"best{suffix}").write_text(text)
    (read,) = load(tmp_path, f'path = "best{suffix}"\n{more}').prompts
    given = [("question", "1+1")]
    assert read.messages("1+1", given) == prompt.messages("1+1", given)


@pytest.mark.parametrize(
    ("prompt", "suffix", "said"),
    [
        (CHATTY, ".csv", "a .csv file has no place for the turns that 'chatty' shows"),
        (CHATTY, ".txt", "a .txt file has no place for the turns"),
        (Prompt("p", "{query}?", "Add."), ".txt", "a .txt file holds one text, and 'p' has a system message beside it"),
        (Prompt("p", "{query} {{x}}"), ".yaml", "'p' holds {{, {% or {#, which promptfoo would take"),
        (Prompt("p", "{query}", shots=SHOTS[:1]), ".json", "'p' shows turns that are no pairs of user and assistant"),
    ],
)
def test_what_a_format_has_no_place_for_is_refused(prompt: Prompt, suffix: str, said: str):
    with pytest.raises(ValueError, match=said):
        prompt_formats.written(prompt, 8, "http://localhost:1/v1", suffix)


def test_the_command_writes_the_winner(tmp_path: Path):
    policy = write_policy(tmp_path, prompt={"text": "Add {query}"})
    for end in ("yaml", "json", "jsonl", "csv", "txt"):
        done = iapo("policy", "export", policy, "--out", tmp_path / f"best.{end}")
        assert done.exit_code == 0, done.output
        assert done.stdout == f"wrote {tmp_path}/best.{end}: the prompt 'a' of context 'c'; ask it with N = 2\n"
        assert "Add" in (tmp_path / f"best.{end}").read_text()
    assert "apiBaseUrl: http://127.0.0.1:9/v1" in (tmp_path / "best.yaml").read_text()
    assert "N = 2" in (tmp_path / "best.yaml").read_text()
    for options, said in (
        (["--out", tmp_path / "best.yaml"], "best.yaml exists; name a new file"),
        (["--out", tmp_path / "best.exe"], "--out ends in '.exe'; known are .yaml, .json, .jsonl, .csv, .txt, .md"),
        (["--out", tmp_path / "new.txt", "--context", "d"], "--context is 'd'; "),
    ):
        refused = iapo("policy", "export", policy, *options)
        assert refused.exit_code == 2
        assert said in refused.stderr
