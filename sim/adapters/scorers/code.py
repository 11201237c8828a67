"""A scorer that the user wrote: a Python function, named as module:function."""

import hashlib
import importlib
import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from sim import mistakes
from sim.adapters import trust
from sim.adapters.run_file.kinds import finite, number
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers.threads import apart
from sim.adapters.scoring import OK, UNREADABLE, Item, Scored, Scorer

_TURN = [threading.Lock()]
"""The user's functions are called one at a time: they need not be made for threads. Renewed when one does not end."""


@dataclass(frozen=True)
class Code(Scorer):
    """Calls `function(query, gold, completion)`, which returns a number, an answer (text), or None if unreadable.

    A function that has a parameter `reference` is told the query's reference too.

    Attributes:
        target: "module:function"; the module is also looked for beside the configuration file.
        version: digest of the module's text, so that results are not kept beyond a change.
        function: what it names.
        referring: whether it takes the reference.
        timeout: seconds for one completion. A function that takes longer ends the run: it cannot be stopped itself.
    """

    target: str
    version: str
    function: Callable[..., Any] = field(repr=False)
    referring: bool = field(default=False, repr=False)
    timeout: Annotated[float, number(0, 10**6, above=True)] = field(default=600.0, repr=False)
    needs_gold = False
    kept = True

    @classmethod
    def read(cls, table: TomlTable) -> "Code":
        """From a table of the configuration; imports the module, which `sim.adapters.trust` must have allowed."""
        module, name = trust.split(table)
        target = f"{module}:{name}"
        try:
            mistakes.bring(Path(trust.folder_of(table)))
            with trust.search_path(trust.folder_of(table)), mistakes.telling():
                function = getattr(importlib.import_module(module), name, None)
        except mistakes.RAISED as error:  # whatever the user's module does on import
            raise table.wrong("function", f"is {target!r}, but {module} cannot be imported ({error})") from None
        if not callable(function):
            raise table.wrong("function", f"is {target!r}, but {module} has no function {name}")
        return cls.of(table, "function", target, function)

    @classmethod
    def of(cls, table: TomlTable, key: str, target: str, function: Callable[..., Any]) -> "Code":
        """A function that a key of the configuration names, with the options beside it."""
        try:
            signature = inspect.signature(function)
            referring = "reference" in signature.parameters
            signature.bind("query", None, "completion", **({"reference": None} if referring else {}))
        except (TypeError, ValueError):
            problem = f"is {target!r}; it must take (query, gold, completion) and perhaps reference"
            raise table.wrong(key, problem) from None
        known = {"target": target, "version": _version(function), "function": function, "referring": referring}
        return table.options(cls, **known)

    async def score(self, item: Item, prompt: str, texts: Sequence[str]) -> list[Scored]:
        """One call per completion. However long they take, replies that come meanwhile are read in time."""
        return [await self._timed(item, text) for text in texts]

    async def _timed(self, item: Item, text: str) -> Scored:
        try:
            return await apart(lambda: self._one(item, text), self.timeout, _TURN[0])
        except TimeoutError:
            _TURN[0] = threading.Lock()
            raise ValueError(
                f"scorer {self.target} took more than {self.timeout:g} s on a completion (its timeout); what came is "
                "kept, and the same command goes on once it is faster"
            ) from None

    def _one(self, item: Item, text: str) -> Scored:
        try:
            found = self.function(
                item.text, item.gold, text, **({"reference": item.reference} if self.referring else {})
            )
        except mistakes.RAISED as error:  # the user's code; the run must say what happened in one line
            what = str(mistakes.mistake(error) or f"{type(error).__name__}: {error}"[:200])
            raise ValueError(f"scorer {self.target} failed on a completion ({what})") from error
        if found is None:
            return Scored(UNREADABLE)
        if isinstance(found, str):
            right = None if item.gold is None else float(found == item.gold)
            return Scored(OK, found, right)
        if isinstance(found, bool) or finite(found):
            return Scored(OK, None, float(found))
        raise ValueError(f"scorer {self.target} returned {found!r}; expected a finite number, text or None")


def _version(function: Callable[..., Any]) -> str:
    try:
        text = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):  # built in, or made at run time
        return ""
    return hashlib.sha256(text).hexdigest()[:16]
