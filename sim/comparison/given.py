"""Algorithms and environments that a comparison is given as objects, and their names in its tables.

A name is a class's, followed by the options that differ from their defaults: `TwoStages:parts=4`. Options that are no
numbers, text or rows of them do not show. A data set has its own name, what a function returns has the name of the
function. Who wants another name gives a mapping, name -> object.
"""

import dataclasses
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sim import algorithms, envs, plugins
from sim.comparison import contenders
from sim.core import Algorithm, Source
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed


@dataclass(frozen=True)
class Held:
    """An object that travels with plain data: what identifies the data is its digest, so that all are equal here.

    Attributes:
        thing: an `Algorithm`, a `NamedSource`, or the text by which other processes find it.
    """

    thing: Any = field(compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """With the files of somebody's code behind the object, which another process runs first."""
        pickled = pickle.dumps(self.thing)
        return _opened, (plugins.files_named(pickled), pickled)


@dataclass(frozen=True)
class Given:
    """An object under its name in a comparison; equal where names are.

    Attributes:
        name: what tables call it.
        thing: an `Algorithm`, a `NamedSource`, or the text by which other processes find it.
    """

    name: str
    thing: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        """The name."""
        return self.name


def held(given: str | Given) -> Held | None:
    """Object that has to travel with a name; None where every process finds it by the name."""
    return Held(given.thing) if isinstance(given, Given) else None


def contender(name: str, of: Held | None) -> contenders.Contender:
    """The contender behind a name."""
    found = name if of is None else of.thing
    return contenders.get(found) if isinstance(found, str) else contenders.Learner(found)


def world(name: str, of: Held | None) -> NamedSource:
    """The environment behind a name."""
    found = name if of is None else of.thing
    return envs.get(found) if isinstance(found, str) else found


def algorithms_of(items: Any) -> tuple[str | Given, ...]:
    """Algorithms as a caller may give them: names, instances, classes, functions that return one; or name -> any.

    Raises:
        ValueError: something is none of these.
    """
    return _each(items, "algorithm", _algorithm)


def environments_of(items: Any) -> tuple[str | Given, ...]:
    """Environments as a caller may give them: names, files, data sets, sources, functions; or name -> any.

    Raises:
        ValueError: something is none of these.
    """
    return _each(items, "environment", _environment)


def check_travels(items: Iterable[str | Given]) -> None:
    """Refuse objects that other processes cannot be handed.

    Raises:
        ValueError: naming the object.
    """
    for item in items:
        if not isinstance(item, Given):
            continue
        of = getattr(item.thing, "source", item.thing)
        home = sys.modules.get(type(of).__module__)
        lost = f"{item.name}: {type(of).__qualname__} is defined where other processes cannot find it"
        if type(of).__module__ == "__main__" and not hasattr(home, "__file__"):
            raise ValueError(f"{lost} (a notebook or a prompt); move it to a file of its own, or leave workers at 1")
        try:
            pickle.dumps(item.thing)
        except Exception as error:  # whatever an object raises that cannot be written down
            raise ValueError(f"{lost} ({error}); define it at the top of a file, or leave workers at 1") from None


def placed(name: str, text: str) -> str | Given:
    """A name as the user gave it, which other processes look up by another text, such as one with the whole path."""
    return name if text == name else Given(name, text)


def _opened(files: dict[str, str], pickled: bytes) -> Held:
    for module, file in files.items():
        if plugins.load_file(file).__name__ != module:
            raise ValueError(f"{file} is not what it was where its object was made (edited since); start again")
    return Held(pickle.loads(pickled))


def _each(items: Any, kind: str, read: Callable[[Any], str | Given]) -> tuple[str | Given, ...]:
    if isinstance(items, Mapping):
        return tuple(_renamed(name, read(item), kind) for name, item in items.items())
    if isinstance(items, str | type) or not isinstance(items, Iterable):
        items = [items]
    found = tuple(read(item) for item in items)
    for item in found:
        same = [other for other in found if str(other) == str(item)]
        if len(same) > 1 and any(isinstance(other, Given) for other in same):
            raise ValueError(
                f"{len(same)} {kind}s are called {item}; name them yourself: {kind}s={{'a name': ..., 'another': ...}}"
            )
    return found


def _renamed(name: Any, item: str | Given, kind: str) -> Given:
    """An item under the name that a mapping gives it."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of an {kind} is {name!r}; it must be text, and not empty")
    if isinstance(item, str):
        item = Given(item, algorithms.get(item) if kind == "algorithm" else envs.get(item))
    thing = item.thing
    return Given(name, dataclasses.replace(thing, name=name) if isinstance(thing, NamedSource) else thing)


def _algorithm(item: Any) -> str | Given:
    if isinstance(item, str):
        return item
    made = item
    if not isinstance(item, Algorithm) and callable(item):
        made = _called(item, "an algorithm")
    if not isinstance(made, Algorithm):
        raise ValueError(
            f"an algorithm is {_short(item)}; give a name, an instance or a subclass of sim.Algorithm, or a function "
            "that returns one"
        )
    missing = [name for name in algorithms.NEEDED if getattr(type(made), name) is getattr(Algorithm, name)]
    if missing:
        raise ValueError(f"{type(made).__name__} has not all that an algorithm needs: {', '.join(missing)}")
    return Given(_label(made), made)


def _environment(item: Any) -> str | Given:
    if isinstance(item, str | Path):
        return str(item)
    made, name = item, None
    if not isinstance(item, Dataset | NamedSource | Source) and callable(item):
        made, name = _called(item, "an environment"), getattr(item, "__name__", type(item).__name__)
    if isinstance(made, NamedSource):
        return Given(made.name, made)
    if isinstance(made, Dataset):  # one that a function returns is its own query law, as where it is registered
        return Given(made.name, fixed(made) if name is None else fixed(made, train_fraction=1.0))
    if not isinstance(made, Source):
        raise ValueError(
            f"an environment is {_short(item)}; give a name, a path, a sim.Dataset, a sim.Source, or a function "
            "that returns one"
        )
    name = _label(made) if name is None or isinstance(item, type) else name
    return Given(name, NamedSource(name, made))


def _called(item: Any, kind: str) -> Any:
    """What a class or a function makes, called without arguments."""
    try:
        needed = [one.name for one in inspect.signature(item).parameters.values() if _must_be_given(one)]
    except (TypeError, ValueError):  # a callable without a signature
        needed = []
    if needed:
        name = getattr(item, "__name__", type(item).__name__)
        raise ValueError(f"{name} needs {', '.join(needed)} to make {kind}; give {kind} that is made, as {name}(...)")
    return item()


def _must_be_given(parameter: inspect.Parameter) -> bool:
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not several


def _label(thing: Any) -> str:
    """The name of a class, with the options that differ from their defaults."""
    options = []
    for one in dataclasses.fields(thing):
        value = _plain(getattr(thing, one.name))
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if value is not None and value != _plain(default):
            options.append(f"{one.name}={value}")
    name = type(thing).__name__
    return f"{name}:{','.join(options)}" if options else name


def _plain(value: Any) -> str | None:
    """An option as text, None where it has no short one."""
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str):
        return str(value)
    if isinstance(value, tuple) and value and all(isinstance(part, int | float) for part in value):
        return "+".join(map(str, value))
    return None


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}..."
