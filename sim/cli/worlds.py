"""`iapo values`, `iapo env list` and `iapo env show`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli import common, options, programs
from sim.reports import page

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from sim.certify.intervals import Estimates
    from sim.envs.sources import NamedSource

_ORIGIN = 300
"""Characters of an environment's origin that are shown."""


class Labels:
    """Labels of prompts in tables: the name, with the number as well where a name is not the only one, else the number.

    Attributes:
        names: of the prompts; empty where they have none.
    """

    def __init__(self, names: tuple[str, ...] = ()):
        self.names = names

    def __call__(self, prompt: Any) -> str:
        """The label of a prompt, by its number."""
        name = self.names[prompt] if self.names else ""
        if not name:
            return str(prompt)
        return f"{name} ({prompt})" if self.names.count(name) > 1 else name

    def cells(self, prompts: "np.ndarray") -> "np.ndarray":
        """A column of prompts in a file: their labels; numbers stay numbers where no prompt has a name."""
        import numpy as np

        every = [self(prompt) for prompt in range(len(self.names))]
        return np.array(every, object)[prompts] if any(self.names) else prompts

    def column(self, head: str) -> str:
        """The head of a column of prompts: numbers are aligned to the right, names may be wrapped."""
        return f"{'~' if self.names else '>'}{head}"


def prompt_labels(world: "NamedSource") -> Labels:
    """Labels of the prompts of an environment in tables."""
    return Labels(world.data.prompt_names if world.data is not None else ())


@common.command
def values(
    place: options.EnvPlace = None,
    env: options.Env = None,
    context: options.ContextNumber = None,
    tie: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Credit of a tied majority vote: uniform (1/t) or half.",
            show_default="the environment's",
        ),
    ] = None,
    out: options.Table = None,
    seed: options.WorldSeed = 0,
    report: options.Report = None,
) -> None:
    """Show the values of arms: the best one of every context.

    And what choosing prompts by single answers would give. Values are averages over all queries of the environment,
    exact where its law is given. Of a log they are unbiased estimates, up to the completions of a pair, each with a
    95 % interval over queries that holds by itself.
    Contexts, and prompts without a name, count from 0. With --context every prompt is shown, best first.
    --out writes every value (context, prompt, scale, value; of a log low and high, too), prompts by name where they
    have one. The page of --report has every context.

    Example: iapo values crossover
    """
    env = options.environment(place, env)
    page.check_place(report)
    import numpy as np

    from sim import envs
    from sim.cli import samples
    from sim.cli.digits import shown
    from sim.comparison import cells
    from sim.constants import TIES
    from sim.engine import runner
    from theory.truth import unresolved, whole_values

    runner.check_seed(seed)
    programs.keep()
    world = envs.get(env)
    labels, names = prompt_labels(world), cells.context_names(world)
    if context is not None and not 0 <= context < len(names):
        raise ValueError(f"context is {context}; {world.name} has the contexts 0 to {len(names) - 1}")
    if tie not in (None, *TIES):
        raise ValueError(f"tie is {tie!r}; allowed are {', '.join(TIES)}")
    if world.data is not None and world.data.completions is not None:
        data = world.data if tie is None else replace(world.data, tie=tie)
        from theory.samples import statements

        found = samples.show_values(data, names, labels, context, out)
        if out is not None:
            typer.echo(f"wrote {out}")
        if report is not None:
            _write_report(report, world, found, labels, names, statements(data), tie, seed)
        return
    table = whole_values(world, seed, tie)
    if out is not None:
        _write_values(table, names, labels, out)
    console, title = common.console(), f"{world.name}: exact values{world_shown(world, seed)}"
    if context is None:
        columns = (
            *("context", labels.column("prompt"), ">N", ">value"),
            *(labels.column("best at N = 1"), ">value there", ">its N", ">value then"),
        )
        rows = [(name, *_best(of_context, labels)) for name, of_context in zip(names, table, strict=True)]
        caption = (
            "prompt, N, value: the best arm. The last columns: the prompt that is best by single answers, alone and at "
            "the scale that is best for it."
        )
        common.show(console, title, columns, rows, caption)
    else:
        columns = (labels.column("prompt"), ">value at N = 1", ">best N", ">value")
        rows, text, own = [], shown(table[context]), table[context]
        first, top = own[:, 0], own.max(axis=1)
        for prompt in np.argsort(-top, kind="stable"):
            alone, best = (f"{text(of[prompt])}{'^' if of[prompt] == of.max() else ' '}" for of in (first, top))
            rows.append((labels(prompt), alone, own[prompt].argmax() + 1, best))
        common.show(console, f"{title}, context {names[context]}", columns, rows, "Best first. ^ best of its column.")
    unclear = unresolved(world, table, names, seed)
    say_all(console, unclear)
    if out is not None:
        typer.echo(f"wrote {out}")
    if report is not None:
        from sim.certify.intervals import Estimates

        none = np.full(table.shape, np.nan)
        notes = [f"Exact values over all queries{world_shown(world, seed)}", *unclear]
        _write_report(report, world, Estimates(table, none, none), labels, names, notes, tie, seed)


def _write_report(
    path: Path,
    world: "NamedSource",
    found: "Estimates",
    labels: Labels,
    names: Sequence[str],
    notes: Sequence[str],
    tie: str | None,
    seed: int,
) -> None:
    from sim.cli.pages import parts
    from sim.cli.pages import values as of_values

    origin = dict(world.data.provenance) if world.data is not None else {}
    settings = {"environment": world.name, "tie": tie or "the environment's", "seed": seed, "origin": origin}
    parts.write(of_values.report(world.name, found, labels, names, notes, settings), path)


def say_all(console: "Console", sentences: Sequence[str]) -> None:
    """Print sentences, a line each."""
    for sentence in sentences:
        console.print(common.plain(sentence))


def bases(worlds: "Sequence[NamedSource]") -> dict[str, str]:
    """Sentences about what values of logs stand on, by the name of the environment."""
    from sim.envs.logs import basis

    found = {world.name: basis(world.data) for world in worlds if world.data is not None}
    return {name: said for name, said in found.items() if said is not None}


def say_basis(console: "Console", world: "NamedSource", name: str = "") -> None:
    """Say what exact computation on a log stands on, and warn where it reaches beyond the completions of a pair."""
    from sim.envs.logs import few_completions

    for said in bases([world]).values():
        console.print(common.plain(f"{name and f'{name}: '}{said}"), soft_wrap=True)
    if world.data is not None and (few := few_completions(world.data)) is not None:
        typer.echo(common.plain(f"warning: {name and f'{name}: '}{few}"), err=True)


def _best(of_context: "np.ndarray", labels: "Labels") -> tuple[object, ...]:
    """Best arm and its value; best prompt at N = 1, its value there, its own best scale and value."""
    import numpy as np

    from sim.cli.digits import shown

    prompt, scale = np.unravel_index(of_context.argmax(), of_context.shape)
    single = of_context[:, 0].argmax()
    own, text = of_context[single], shown(of_context)
    alone = (labels(single), text(own[0]), own.argmax() + 1, text(own.max()))
    return labels(prompt), scale + 1, text(of_context[prompt, scale]), *alone


def _write_values(table: "np.ndarray", names: tuple[str, ...], labels: Labels, path: Path) -> None:
    import numpy as np
    import pandas as pd

    from sim.comparison import tables

    context, prompt, scale = (axis.ravel() for axis in np.indices(table.shape))
    columns = {"context": np.array(names)[context], "prompt": labels.cells(prompt), "scale": scale + 1}
    tables.save(pd.DataFrame(columns | {"value": table.ravel()}), path)


@common.command
def list_() -> None:
    """List the environments that can be named."""
    from sim import envs

    rows = list(envs.names().items())
    caption = "A .npz or .pkl file can be named as well, and code as mine.py:world."
    common.show(common.console(), None, ("name", "~what it is"), rows, caption)


@common.command
def show(
    place: options.EnvPlace = None,
    env: options.Env = None,
    seed: options.WorldSeed = 0,
) -> None:
    """Show sizes, strategy, contexts and origin of an environment."""
    env = options.environment(place, env)
    import numpy as np

    from sim import envs
    from sim.comparison import cells
    from sim.engine import runner
    from theory.truth import draw_first

    runner.check_seed(seed)
    programs.keep()
    world = envs.get(env)
    drawn = draw_first(world, seed)
    environment: Any = drawn.world  # every world of `sim.envs` has a strategy
    spec, strategy = environment.spec, environment.strategy
    train, test = len(drawn.train.ids), len(drawn.test.ids)
    split = f"{train} to train and {test} to test in every trial" if train < drawn.world.num_queries else "no split"
    facts = [
        ("worlds", "drawn afresh for every trial" if world.source.fresh else "the same in every trial"),
        ("strategy", ", ".join(strategy.aggregate)),
        ("prompts", spec.num_prompts),
        ("largest N", spec.max_scale),
        ("arms", spec.num_arms),
        ("queries", f"{drawn.world.num_queries} ({split})"),
        ("tie credit", strategy.tie if "mv" in strategy.aggregate else "-"),
    ]
    facts += [("stands on", said.removeprefix("Stands on ")) for said in bases([world]).values()]
    if world.data is not None:
        origin = ", ".join(f"{key}: {value}" for key, value in world.data.provenance.items())
        facts.append(("from", f"{origin[:_ORIGIN]} ..." if len(origin) > _ORIGIN else origin or "-"))
    console = common.console()
    common.show(console, f"{world.name}{world_shown(world, seed)}", ("", "~"), facts)
    cost = np.asarray(spec.cost, np.float64)
    if world.data is not None:
        weights = world.data.objective_weights
    else:
        weights = np.asarray(strategy.weights)[list(spec.task)] * np.asarray(spec.task_weight)[:, None]
    rows = [
        (
            name,
            f"{probability:.4f}",
            " ".join(f"{weight:.3g}" for weight in of_context),
            f"{own.min():.4g} to {own.max():.4g}",
        )
        for name, probability, of_context, own in zip(
            cells.context_names(world), cells.context_probs(world), weights, cost, strict=True
        )
    ]
    console.print()
    common.show(console, "contexts", ("context", ">probability", ">weights", ">cost of a completion"), rows)


def world_shown(world: "NamedSource", seed: int) -> str:
    """Say which world a table shows, where every trial draws one; empty elsewhere."""
    return f" (world of trial 0, seed {seed})" if world.source.fresh else ""
