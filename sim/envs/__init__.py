"""Worlds and where trials get them.

* `dataset`: a finite world at rest, float64 tables with names; what files hold and exact values need.
* `tabular`, `continuous`: the pytrees that answer pulls inside jit.
* `contexts`: weights and costs to a learner's `Spec` and a `Strategy`.
* `sources`: one world with reshuffled queries, or a fresh world per trial.
* `synthetic`: families drawn afresh for every trial. `families`: small worlds with known answers. `hard`: worlds built
  to break one thing each.
* `files`, `released`, `unpickle`: our open format, and the files of the paper's authors.

To try one of your own, name it as `mine.py:world` wherever an environment is named: a `Dataset`, a `Source`, a
`NamedSource`, or a function or class that makes one. To add one to the project: write such a function without arguments
in a file of its own, and add one line to `ENVS`. A data set from here is a small world that is its own query law.

    >>> from sim import envs
    >>> world = envs.get("crossover")
    >>> world.data.num_prompts, world.data.max_scale
    (2, 10)
"""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from difflib import get_close_matches
from inspect import isroutine
from pathlib import Path
from typing import Any, NamedTuple

from sim import plugins
from sim.core import Source
from sim.envs import continuous, families, hard, synthetic
from sim.envs.dataset import Dataset
from sim.envs.sources import NamedSource, fixed, holds_out


class Entry(NamedTuple):
    """A registered environment: one line for people, and what builds it."""

    description: str
    build: Callable[..., Dataset | Source | NamedSource]


ENVS: dict[str, Entry] = {
    "synth-bernoulli": Entry("MV, fresh per trial: 32 prompts, N <= 32, 520 queries", synthetic.SynthBernoulli),
    "synth-categorical": Entry("BoN, fresh per trial: 32 prompts, N <= 32, 27 contexts", synthetic.SynthCategorical),
    "two-arm": Entry("two prompts with rewards +1/-1, N = 1", families.two_arm),
    "graded-halving": Entry("eight Bernoulli prompts in steps, N = 1", families.graded_halving),
    "bon-two-scales": Entry("BoN of one or two, four prompts, two contexts", families.bon_two_scales),
    "bon-query-effects": Entry("the same with an easy and a hard query", families.bon_query_effects),
    "mv-three-scales": Entry("MV, eight prompts, N <= 15, two contexts", families.mv_three_scales),
    "crossover": Entry("MV: better alone (.65 > .62), worse at N = 10 (.63 < .77)", families.crossover),
    "beta-bon": Entry("BoN over Beta scores: 8 prompts, N <= 16, 20 queries", continuous.beta_bon),
    "gaussian-bon": Entry("BoN over Gaussian mixtures: 8 prompts, N <= 16, 20 queries", continuous.gaussian_bon),
    "deceptive": Entry("MV, hard: the best arm's prompt is the worst of 16 by single answers", hard.deceptive),
    "query-noise": Entry("MV, hard: completions of a query all say the same", hard.query_noise),
    "heavy-tails": Entry("BoN, hard: rare jackpots decide", hard.heavy_tails),
    "near-ties": Entry("MV, hard: 32 prompts within a hundredth of each other", hard.near_ties),
    "many-prompts": Entry("MV, hard: 256 prompts, four of them good", hard.many_prompts),
    "many-contexts": Entry("BoN, hard: 132 contexts, every prompt best in some", hard.many_contexts),
    "long-scales": Entry("MV, hard: N <= 128, best N from 1 to 127", hard.long_scales),
    "uneven-costs": Entry("BoN, hard: costs differ a hundredfold, the better the dearer", hard.uneven_costs),
    "random-lengths": Entry("BoN and mean, hard: completions cost by their random length", hard.random_lengths),
}
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
    found = re.fullmatch(r"(.+?):([a-z_]+=[^:]*)", text)
    return _plain(text) if found is None else _with_options(_plain(found[1]), found[2])


def names() -> dict[str, str]:
    """Registered names, and those that installed packages give, with a line about each."""
    theirs = plugins.names("environment")
    return {name: entry.description for name, entry in ENVS.items()} | {
        name: f"from the package {entry.dist.name}" if entry.dist else entry.value
        for name, entry in theirs.items()
        if name not in ENVS
    }


def _plain(name: str) -> NamedSource:
    if name in ENVS:
        return _named(name, ENVS[name].build())
    if Path(name).suffix in (".npz", ".pkl") or Path(name).exists():
        from sim.envs import files

        return fixed(files.read(name))
    if plugins.find("environment", name, fits) is not None:
        return _own(name)
    near = get_close_matches(name, names(), n=1, cutoff=0.0)[0]
    raise ValueError(
        f"no environment is called {name!r}; did you mean {near!r}? "
        f"Known are {', '.join(names())}, and a path to a .npz or .pkl file works too"
    )


def fits(thing: object) -> bool:
    """Whether an object is an environment, or may make one."""
    return isinstance(thing, _WORLDS) or (isinstance(thing, type) and issubclass(thing, Source)) or isroutine(thing)


def _own(text: str) -> NamedSource:
    """The environment that somebody's code makes."""
    reference = plugins.split(text, ENVS)
    thing = plugins.load("environment", text, fits, ENVS)
    title, options = plugins.label(reference.base), reference.options
    made = thing
    if isinstance(thing, type) and issubclass(thing, Source):
        _refuse_abstract(reference.base, thing)
    if callable(thing) and not isinstance(thing, _WORLDS):
        has_options = bool(plugins.parameters(thing))
        made = plugins.call(reference.base, thing, options if has_options else "")
        if has_options and options:
            title, options = f"{title}:{options}", ""
            made = replace(made, name=title) if isinstance(made, Dataset | NamedSource) else made
    if not isinstance(made, _WORLDS):
        is_ = "is" if made is thing else "makes"
        kinds = "expected a Dataset, a Source or a NamedSource, or a function that makes one"
        raise ValueError(f"{reference.base} {is_} an object of class {type(made).__name__}; {kinds}")
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
