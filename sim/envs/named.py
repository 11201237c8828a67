"""Environments by name, by file, or by somebody's code."""

from dataclasses import fields, replace
from inspect import isroutine
from pathlib import Path
from typing import Any

from sim import plugins
from sim.core import Source
from sim.envs import ENVS, check_name, files, is_file, split
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed, holds_out

_WORLDS = (Dataset, Source, NamedSource)


def get(name_or_path: str | Path) -> NamedSource:
    """The environment with this name, or the one in this file, whose queries every trial splits 80/20.

    Either may be followed by options, as in `synth-bernoulli:num_prompts=8,cost_weights=0+1` (fields of the source that
    hold a number, or numbers joined by +) or `MATH_final.pkl:tie=half` (`tie` of a data set); they join the name. What
    Python code makes is named as `path/file.py:Name` or `module:Name` (see `sim.plugins`); options of a function are
    its parameters.

    Raises:
        ValueError: nothing has this name, the file cannot be used, or an option does not exist.
    """
    text = str(name_or_path)
    if text in ENVS or (Path(text).exists() and not text.endswith(".py")):
        return _plain(text)
    if plugins.split(text, ENVS).place:
        return _own(text)
    name, options = split(text)
    return _with_options(_plain(name), options) if options else _plain(name)


def _plain(name: str) -> NamedSource:
    if name in ENVS:
        return _named(name, ENVS[name].build())
    if is_file(name):
        return fixed(files.read(name))
    check_name(name)
    return _own(name)


def fits(thing: object) -> bool:
    """Whether an object is an environment, or may make one."""
    return isinstance(thing, _WORLDS) or (isinstance(thing, type) and issubclass(thing, Source)) or isroutine(thing)


def is_world(thing: object) -> bool:
    """Whether an object is an environment as it is."""
    return isinstance(thing, _WORLDS)


def _own(text: str) -> NamedSource:
    """The environment that somebody's code makes."""
    address = plugins.split(text, ENVS)
    thing = plugins.load("environment", text, fits, ENVS)
    title, options = plugins.label(address.base), address.options
    made = thing
    if isinstance(thing, type) and issubclass(thing, Source):
        _refuse_abstract(address.base, thing)
    if callable(thing) and not isinstance(thing, _WORLDS):
        has_options = bool(plugins.parameters(thing))
        made = plugins.call(address.base, thing, options if has_options else "")
        if has_options and options:
            title, options = f"{title}:{options}", ""
            made = replace(made, name=title) if isinstance(made, Dataset | NamedSource) else made
    if not isinstance(made, _WORLDS):
        is_ = "is" if made is thing else "makes"
        kinds = "expected a Dataset, a Source or a NamedSource, or a function that makes one"
        raise ValueError(f"{address.base} {is_} an object of class {type(made).__name__}; {kinds}")
    world = _named(title, made)
    return _with_options(world, options) if options else world


def _refuse_abstract(title: str, kind: type[Source]) -> None:
    own = {name for base in kind.__mro__ if base is not Source for name in (*vars(base), *_annotations(base))}
    missing = [name for name in ("world", "split", "context_probs") if name not in own]
    if missing:
        raise ValueError(f"{title} has not all that a Source needs: {', '.join(missing)}; see sim.envs.sources")


def _annotations(base: type) -> dict[str, Any]:
    return vars(base).get("__annotations__", {})


def _with_options(world: NamedSource, text: str) -> NamedSource:
    """The environment with fields changed."""
    thing = world.source if world.data is None else world.data
    known = {"tie": world.data.tie} if world.data is not None else _numbers(thing)
    changes = plugins.read_options(world.name, text, known)
    name = f"{world.name}:{text}"
    if world.data is not None:
        return fixed(replace(world.data, name=name, **changes), 0.8 if holds_out(world.source) else 1.0)
    changed: Any = replace(world.source, **changes)
    return NamedSource(name, changed)


def _numbers(source: Any) -> dict[str, Any]:
    """Fields of a fresh source that hold a number or a row of numbers."""
    if not source.fresh:
        return {}
    found = {field.name: getattr(source, field.name) for field in fields(source)}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) or (isinstance(value, tuple) and isinstance(value[0], float))
    }


def _named(name: str, built: Dataset | Source | NamedSource) -> NamedSource:
    if isinstance(built, NamedSource):
        return built
    if isinstance(built, Dataset):
        return fixed(built, train_fraction=1.0)
    return NamedSource(name, built)
