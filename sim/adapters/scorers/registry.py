"""Scorers by name, and anybody's by file or module.

To try one of your own, write scorer = "mine.py:Mine" in a run file beside it. To add one to the project: a file with a
`Scorer` that has `read`, and a line in `SCORERS`.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_origin

from sim import plugins
from sim.adapters import trust
from sim.adapters.run_file.kinds import ANY_TEXT, FLAG, ValueKind, later, number, whole, word
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers.code import Code
from sim.adapters.scorers.judge import Judge
from sim.adapters.scorers.maths import Math
from sim.adapters.scorers.rewards import Classify, GetReward
from sim.adapters.scorers.text import Exact, JsonField, Letter, Number, Regex
from sim.adapters.scoring import Scorer

SCORERS: dict[str, Callable[[TomlTable], Scorer]] = {
    "exact": Exact.read,
    "choice": Letter.read,
    "number": Number.read,
    "regex": Regex.read,
    "json": JsonField.read,
    "callable": Code.read,
    "math": Math.read,
    "classify": Classify.read,
    "get_reward": GetReward.read,
    "judge": Judge.read,
}
"""Name in the configuration -> what reads its options."""


def names() -> list[str]:
    """Registered names, and those that installed packages give."""
    return list(dict.fromkeys([*SCORERS, *plugins.names("scorer")]))


def read(table: TomlTable) -> Scorer:
    """The scorer that a table names, with its options; code must have been allowed (`sim.adapters.trust`)."""
    text = table.value("scorer", later({}))
    if isinstance(text, str) and _is_own(text):
        try:
            return _made(table, text)
        except ValueError as error:
            raise table.wrong("scorer", f"is {text!r}, which cannot be used: {error}") from error
    return SCORERS[table.value("scorer", word(*names()))](table)


def get(text: str) -> Scorer:
    """The scorer that a text names, with options after a colon: as a run file in the working folder would."""
    table = TomlTable(Path("options"), "", {"scorer": text})
    return _made(table, text) if _is_own(text) else read(table)


def fits(thing: object) -> bool:
    """Whether an object is a scorer, or a class of them."""
    return isinstance(thing, Scorer) or (isinstance(thing, type) and issubclass(thing, Scorer))


def scores(thing: object) -> bool:
    """Whether an object is a function that can score: it takes (query, gold, completion)."""
    return inspect.isfunction(thing) and {"gold", "completion"} <= set(plugins.parameters(thing))


def _is_own(text: str) -> bool:
    """Whether a text names somebody's code."""
    return text not in SCORERS and (plugins.is_code(text) or text in plugins.names("scorer"))


def _made(table: TomlTable, text: str) -> Scorer:
    """The scorer that somebody's code makes; its options are keys of the table, or follow a colon."""
    address, folder = plugins.split(text), trust.folder_of(table)
    with trust.search_path(folder):
        thing = plugins.load("scorer", plugins.everywhere(text, folder), lambda one: fits(one) or scores(one))
    if inspect.isabstract(thing) and fits(thing):
        missing = ", ".join(sorted(thing.__abstractmethods__))
        raise ValueError(f"{address.base} has not all that a scorer needs: {missing}; see sim.adapters.scoring")
    if isinstance(thing, type) and issubclass(thing, Scorer):
        own_read = getattr(thing, "read", None)
        if own_read is not None:
            return own_read(table)
        known = plugins.parameters(thing)
        given = plugins.read_options(address.base, address.options, known)
        given |= {key: _option(table, key, known[key]) for key in known if key in table.content}
        return plugins.make(address.base, thing, given)
    if isinstance(thing, Scorer):
        return thing
    if callable(thing) and not isinstance(thing, type):
        return Code.of(table, "scorer", address.base, thing)
    what = "a class" if isinstance(thing, type) else f"an object of class {type(thing).__name__}"
    raise ValueError(f"{address.base} is {what}; expected a class derived from sim.AnswerScorer, or a function")


def _option(table: TomlTable, key: str, default: Any) -> Any:
    """A key of a table, read as what the option is by default."""
    if get_origin(default) is Annotated:
        return table.value(key, default.__metadata__[0])
    kinds: dict[type, ValueKind] = {bool: FLAG, int: whole(-(2**53)), float: number(), str: ANY_TEXT}
    return table.value(key, kinds.get(default if isinstance(default, type) else type(default), later({})))
