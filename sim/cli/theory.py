"""`iapo hardness` and `iapo agnostic`: how hard an environment is, and what it costs to choose prompts alone."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, options, programs
from sim.cli.worlds import Labels, prompt_labels, say_all, say_basis, world_shown

if TYPE_CHECKING:
    import numpy as np

_PLACES = (("10%", 0.1), ("median", 0.5), ("largest", 1.0))
"""Where the profile of gaps is read: shares of the arms."""


@common.command
def hardness(
    place: options.EnvPlace = None,
    env: options.Env = None,
    context: options.ContextNumber = None,
    top: Annotated[
        int, typer.Option(parser=options.whole, metavar="K", help="With --context: list so many arms below the best.")
    ] = 20,
    near: Annotated[
        float,
        typer.Option(
            parser=options.number, metavar="GAP", help="Count the arms that fall short of the best by at most this."
        ),
    ] = 0.01,
    out: options.Table = None,
    seed: options.WorldSeed = 0,
) -> None:
    """Measure how hard the best arm is to find: gaps, H1, H2.

    An arm is a prompt and a scale N; its gap is how far its exact value, averaged over all queries, falls short of the
    best arm's. Nothing is simulated. With --context the arms closest to the best are listed. --out writes every gap
    (context, place, prompt, scale, value, gap), prompts by name where they have one.

    H1 is the sum of 1/gap^2 over all arms, the best one counted with the smallest gap; H2 is the largest i/gap^2, arms
    in order of their gaps and the best arm at i = 1 (Audibert, Bubeck and Munos, COLT 2010). H1' and H2' count
    completions, as our bounds do: the largest Nmax (B/gap)^2 and i Nmax (B/gap)^2, with B the range of the task reward
    in that context and gaps of at most B. With a budget T, PSST on fresh data in every round misses the best arm of
    some context with probability at most 3 sqrt(e) |C| R exp(-T / (R min(2 |P| H1', 8 |C| H2'))), R = log2 |A| rounded
    up and the largest H1' and H2' of all contexts.

    Where several arms are best, all four are infinite: no budget tells them apart, and none needs to. Where many are
    near the best, as on real data, ask for a small regret rather than for the best arm.

    Example: iapo hardness bon-two-scales
    """
    env = options.environment(place, env)
    from sim import envs
    from sim.cli.digits import shown
    from sim.comparison import cells
    from sim.engine import runner
    from theory.hardness import gap_profile
    from theory.hardness import hardness as measure
    from theory.truth import reward_widths, unresolved, whole_values

    if not 0 <= near < float("inf"):
        raise ValueError(f"near is {near:g}; a finite number of at least 0 is needed")
    if top < 1:
        raise ValueError(f"top is {top}; it must be at least 1")
    runner.check_seed(seed)
    programs.keep()
    world = envs.get(env)
    labels = prompt_labels(world)
    values, names = whole_values(world, seed), cells.context_names(world)
    if context is not None and not 0 <= context < len(values):
        raise ValueError(f"context is {context}; {world.name} has the contexts 0 to {len(values) - 1}")
    if out is not None:
        _write_gaps(values, names, labels, out)
    console, title = common.console(), f"{world.name}: hardness{world_shown(world, seed)}"
    if context is None:
        found, profile = measure(values, reward_widths(world, seed), near), gap_profile(values)
        columns = ("context", labels.column("prompt"), ">N", ">value", ">best", f">within {near:g}", ">smallest gap")
        columns += (*(f">{name}" for name, _ in _PLACES), ">H1", ">H2", ">H1'", ">H2'")
        rows = [
            (
                name,
                *(
                    labels(found.prompt[c]),
                    found.scale[c],
                    shown(values[c])(values[c].max()),
                    found.num_best[c],
                    found.num_near[c],
                ),
                f"{found.smallest_gap[c]:.3g}",
                *(_at(profile[c], share) for _, share in _PLACES),
                *(_number(part[c]) for part in (found.h1, found.h2, found.cost_h1, found.cost_h2)),
            )
            for c, name in enumerate(names)
        ]
        caption = (
            f"{values[0].size} arms per context. prompt, N, value: the best arm; best: how many arms attain its value; "
            f"within {near:g}: how many fall short by at most that. 10%, median, largest: of the gaps. "
            "H1', H2': in completions, not known (-) for continuous scores."
        )
        common.show(console, title, columns, rows, caption)
    else:
        closest, text = list(_by_gap(values[context]))[: top + 1], shown(values[context])
        rows = [
            (rank, labels(prompt), scale, text(value), f"{gap:.3g}", _number(rank / gap**2) if gap > 0 else "-")
            for rank, prompt, scale, value, gap in closest
        ]
        columns = (">i", labels.column("prompt"), ">N", ">value", ">gap", ">i/gap^2")
        common.show(console, f"{title}, context {names[context]}", columns, rows)
    say_all(console, unresolved(world, values, names, seed))
    say_basis(console, world)
    if out is not None:
        typer.echo(f"wrote {out}")


@common.command
def agnostic(
    place: options.EnvPlace = None,
    env: options.Env = None,
    seed: options.WorldSeed = 0,
) -> None:
    """Decide whether prompts may be chosen by single answers.

    That is, without regard to the inference strategy, and what that loses exactly where they may not. The agnostic
    choice is the prompt with the best single answers. It is safe at a scale N if the strategy's utility of N
    completions is a positive affine transform of their mean utility, with the same constants for all prompts. Where
    prompts cost the same, that is always so for the mean, up to N = 2 for majority votes, at N = 1 for best of N,
    and beyond only where answers never differ. It is decided exactly, on every tape of completions that can occur.

    Losses are differences in exact value, averaged over all queries, against the best arm (prompt and N together).

    Example: iapo agnostic crossover
    """
    env = options.environment(place, env)
    from sim import envs
    from sim.cli.digits import shown
    from sim.comparison import cells
    from sim.engine import runner
    from theory.agnostic import affinities, losses
    from theory.truth import finite_world, whole_values

    runner.check_seed(seed)
    programs.keep()
    world = envs.get(env)
    labels = prompt_labels(world)
    values, names = whole_values(world, seed), cells.context_names(world)
    found, checked = losses(values), finite_world(world, seed)
    rows, reasons = [], {}
    for c, name in enumerate(names):
        prompt, scale = divmod(int(values[c].argmax()), values.shape[2])
        safe = affinities(checked, c) if checked is not None else None
        worst, text = int(found.fixed[c].argmax()), shown(values[c])
        rows.append(
            (
                *(name, labels(prompt), scale + 1, text(found.best[c]), labels(found.prompt[c])),
                *(text(max(loss, 0.0)) for loss in (found.single[c], found.tuned[c], found.fixed[c, scale])),
                f"{text(max(found.fixed[c, worst], 0.0))} at {worst + 1}",
                "not checked" if safe is None else _ranges([n for n, one in enumerate(safe, start=1) if one.affine]),
            )
        )
        for n, one in enumerate(safe or (), start=1):
            if not one.affine:
                reasons.setdefault(f"N = {n}: {one.reason}", []).append(name)
                break
    columns = ("context", labels.column("best prompt"), ">N", ">value", labels.column("agnostic prompt"))
    columns += (">loss at N = 1", ">its best N")
    columns += (">at the best N", ">at most", "safe at N")
    caption = (
        "Losses of the agnostic prompt against the best arm: used with single answers, and at the scale that is best "
        "for it. The next two are against the best prompt at the same N: the best arm's N, and that with the most loss."
    )
    console = common.console()
    common.show(console, f"{world.name}: agnostic choice{world_shown(world, seed)}", columns, rows, caption)
    for reason, where in list(reasons.items())[:3]:
        contexts = f"{'context' if len(where) == 1 else 'contexts'} {_some(where)}"
        console.print(f"not safe from {reason} ({common.plain(contexts)})")
    say_basis(console, world)


def _at(profile: "np.ndarray", share: float) -> str:
    """The gap at a share of the profile."""
    return f"{profile[max(0, round(share * len(profile)) - 1)]:.3g}" if len(profile) else "-"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:,.0f}" if 10 <= value < 1e6 else f"{value:.3g}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _ranges(safe: list[int]) -> str:
    """Ascending numbers as ranges."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(safe), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _by_gap(values: "np.ndarray"):
    """(place, prompt, N, value, gap) of one context's arms, best first."""
    order = (-values).ravel().argsort(kind="stable")
    for place, arm in enumerate(order, start=1):
        prompt, scale = divmod(int(arm), values.shape[1])
        value = float(values[prompt, scale])
        yield place, prompt, scale + 1, value, float(values.max()) - value


def _write_gaps(values: "np.ndarray", names: tuple[str, ...], labels: Labels, path: Path) -> None:
    import pandas as pd

    from sim.comparison import tables

    rows = [(name, *row) for name, own in zip(names, values, strict=True) for row in _by_gap(own)]
    table = pd.DataFrame(rows, columns=["context", "place", "prompt", "scale", "value", "gap"])
    tables.save(table.assign(prompt=labels.cells(table["prompt"].to_numpy())), path)
