"""Environments from logs for `iapo env import`: what was not said is guessed, and shown."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from sim.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from sim.cli import guesses, logs
    from sim.envs.dataset import Dataset
    from sim.envs.logs import Columns, Contexts


class Told(NamedTuple):
    """Options of the command about a log, None where they were not given."""

    sources: list[str]
    out: Path
    objective: list[str] | None
    context: list[str] | None
    max_scale: int | None
    gold: str | None
    cost: str | None
    prompt: str
    query: str
    reading: "logs.Options"
    tie: str | None
    name: str | None

    @property
    def whole(self) -> bool:
        """Whether it was told all that it needs."""
        return bool(self.objective) and bool(self.context) and self.max_scale is not None

    @property
    def command(self) -> str:
        """The command that says all of this."""
        from sim.cli import guesses

        read = self.reading
        parts: list[tuple[str, str | None]] = [("objective", one) for one in self.objective or ()]
        parts += [("context", one) for one in self.context or ()]
        named = {"gold": self.gold, "cost": self.cost, "prompt": self.prompt, "query": self.query, "text": read.text}
        usual = {"prompt": "prompt", "query": "query", "text": "completion"}
        named |= {"answers": read.answers, "letters": read.letters, "ids": read.ids, "filter": read.wanted}
        named |= {"golds": read.golds, "asked": read.asked, "max-scale": self.max_scale}
        named |= {"tie": self.tie, "name": self.name}
        parts += [(key, str(one)) for key, one in named.items() if one is not None and one != usual.get(key)]
        parts += [("same-ids", None)] if read.same else []
        return guesses.command(self.sources, str(self.out), parts)


def environment(given: Told) -> "tuple[Dataset, pd.DataFrame, Told]":
    """The environment of some logs, their completions, and all options, guessed ones too, which are shown first."""
    from sim.cli import guesses, logs

    found: list[guesses.Guess] = []
    name, whole = " ".join(given.sources), given.whole
    if not whole:
        found = guesses.columns(logs.as_read(given.sources, given.reading), _known(given), name)
        given = _with(given, found)
    assert given.objective is not None
    columns = _columns(given.objective)
    columns = columns._replace(gold=given.gold, cost=given.cost, prompt=given.prompt, query=given.query)
    frame, notes = _completions(given.sources, columns, given.reading)
    if not whole:
        more = _rest(given, columns, frame)
        given = _with(given, more)
        _show_guess([*found, *more], frame, columns, given)
    assert given.context is not None
    contexts = _contexts(given.context, len(columns.objectives))
    data = _from_log(frame, columns, contexts, given, notes)
    return data, frame, given


def _known(given: Told) -> "guesses.SaidColumns":
    from sim.cli import guesses

    read = given.reading

    def changed(value: str, usual: str) -> str | None:
        return None if value == usual else value

    prompt, query, text = (
        changed(given.prompt, "prompt"),
        changed(given.query, "query"),
        changed(read.text, "completion"),
    )
    golds = read.golds is not None
    return guesses.SaidColumns(
        given.objective, given.gold, golds, given.cost, prompt, query, text, read.answers, read.letters
    )


def _with(given: Told, found: "Sequence[guesses.Guess]") -> Told:
    """What was told, with guesses in its gaps."""
    options = {one.option: one.value for one in found}
    several = {kind: [one.value for one in found if one.option == kind] for kind in ("objective", "context")}
    changed = {kind: options[kind] for kind in ("gold", "cost", "prompt", "query") if kind in options}
    read = {kind: options[kind] for kind in ("text", "answers", "letters") if kind in options}
    return given._replace(
        objective=given.objective or several["objective"],
        context=given.context or several["context"],
        max_scale=int(options["max-scale"]) if "max-scale" in options else given.max_scale,
        reading=given.reading._replace(**read),
        **changed,
    )


def _rest(given: Told, columns: "Columns", frame: "pd.DataFrame") -> "list[guesses.Guess]":
    """Guesses at N and contexts, where they were not told."""
    import pandas as pd

    from sim.cli import guesses

    found: list[guesses.Guess] = []
    scale = given.max_scale
    if scale is None:
        keys = [column for column in (columns.prompt, columns.query) if column in frame.columns]
        pairs = Counter(zip(*(map(str, frame[column]) for column in keys), strict=True))
        found.append(guesses.scale(list(pairs.values())))
        scale = int(found[0].value)
    if given.context:
        return found
    first, cost = columns.objectives[0], None
    spread = 1.0
    if columns.aggregate[0] != "mv" and first in frame.columns:
        numbers = pd.to_numeric(frame[first], errors="coerce")
        spread = float(numbers.max() - numbers.min())
    if columns.cost is not None and columns.cost in frame.columns:
        cost = float(pd.to_numeric(frame[columns.cost], errors="coerce").mean())
    return [*found, *guesses.contexts(len(columns.objectives), spread, cost, scale)]


def _show_guess(found: "Sequence[guesses.Guess]", frame: "pd.DataFrame", columns: "Columns", given: Told) -> None:
    """Show what was guessed, the first rows of the log, and the command that says all of it."""
    from sim.cli import guesses

    console = common.console()
    rows = [(f"--{one.option} {one.value}", one.reason) for one in found]
    common.show(console, "guessed, as it was not said", ("option", "~because"), rows)
    read = given.reading
    used = [columns.prompt, columns.query, *([read.text] if read.answers else []), *columns.objectives]
    used += [column for column in (columns.gold, columns.cost) if column is not None]
    used = [column for column in dict.fromkeys(used) if column in frame.columns]
    console.print()
    common.show(console, "the first rows", tuple(used), guesses.rows(frame, used))
    console.print()
    typer.echo(f"the same, with all of it said:\n{given.command}\n")


def _columns(objectives: list[str]) -> "Columns":
    from sim.envs.logs import Columns

    names, aggregates = zip(*(_split_last(text, ":", "objective") for text in objectives), strict=True)
    return Columns(names, aggregates)


def _contexts(texts: list[str], num_objectives: int) -> "Contexts":
    import numpy as np

    from sim.envs.logs import Contexts

    labels, weights = zip(*(_context(text, num_objectives) for text in texts), strict=True)
    table = np.array(weights)
    return Contexts(table[:, :-1], table[:, -1], labels if all(labels) else ())


def _completions(sources: list[str], columns: "Columns", options: "logs.Options") -> "tuple[pd.DataFrame, list[str]]":
    """The completions of some logs, and notes about what was taken for what."""
    from sim.cli import logs

    notes: list[str] = []
    return logs.table(sources, columns, options, notes.append), notes


def _from_log(
    frame: "pd.DataFrame", columns: "Columns", contexts: "Contexts", given: Told, notes: list[str]
) -> "Dataset":
    """The environment of completions; notes are told on stderr once it is made."""
    from sim.envs.logs import from_log

    if "mv" not in columns.aggregate and (given.reading.answers or given.reading.golds):
        columns = columns._replace(gold=None)  # named for the column `right`, which is a score
    assert given.max_scale is not None
    data = from_log(frame, columns, contexts, max_scale=given.max_scale, name=" ".join(given.sources))
    for said in dict.fromkeys(notes):
        typer.echo(f"note: {common.plain(said)}", err=True)
    return data


def _split_last(text: str, mark: str, option: str) -> tuple[str, str]:
    before, found, after = text.rpartition(mark)
    if not found or not before:
        raise ValueError(f"--{option} is {text!r}; expected COLUMN{mark}mv, COLUMN{mark}bon or COLUMN{mark}mean")
    return before, after


def _context(text: str, num_objectives: int) -> tuple[str, list[float]]:
    label, _, numbers = text.rpartition("=")
    try:
        weights = [float(number) for number in numbers.split(",")]
    except ValueError:
        weights = []
    if len(weights) != num_objectives + 1:
        raise ValueError(
            f"--context is {text!r}; expected {num_objectives + 1} numbers, weights of objectives then cost"
        )
    return label, weights
