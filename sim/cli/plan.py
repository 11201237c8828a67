"""`iapo plan`: the budget that each guarantee asks for, and the one that simulation says suffices."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim import defaults
from sim.cli import common, options, programs

if TYPE_CHECKING:
    from theory.checks.plan import GuaranteedBudget, Probe, SimulatedBudget

Report = Callable[["Probe"], None]


@common.command
def plan(
    place: options.EnvPlace = None,
    env: options.Env = None,
    delta: Annotated[
        float | None,
        typer.Option(
            parser=options.number, metavar="P", help="Find the budgets at which an error has at most this probability."
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            parser=options.positive, metavar="T", help="The other way round: what this budget achieves, as 5000 or 5k."
        ),
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(
            parser=options.number,
            metavar="REGRET",
            help="Regret that may be ignored; also the mean regret that is aimed at.",
        ),
    ] = 0.01,
    algorithm: options.Algorithm = defaults.REFERENCE,
    most: Annotated[
        int,
        typer.Option(
            parser=options.positive,
            metavar="T",
            help="Largest budget that is simulated; what asks for more is one line.",
        ),
    ] = 300_000,
    bound: options.Bounds = None,
    seed: options.Seed = 0,
    out: options.Table = None,
) -> None:
    """Plan a budget: by guarantees, and by simulation.

    Says what each guarantee asks for, next to what simulation of an algorithm says suffices. The environment must
    be fixed and finite. An error is a miss (in some context the answer is not a best arm) or, where near ties make
    that hopeless, a near miss (in some context the regret exceeds epsilon). All queries of the environment are
    trained on and scored on. Most guarantees are PSST's, so it is what is simulated where no algorithm is named; for
    the one that `iapo tune` takes, which needs less, add --algorithm mixture-racing (slower to simulate).

    Example: iapo plan bon-two-scales --delta 0.05
    """
    env = options.environment(place, env)
    if (delta is None) == (budget is None):
        raise ValueError("give either --delta (find budgets) or --budget (what it achieves), one of them")
    from sim import algorithms, envs
    from sim.cli.worlds import say_basis
    from theory.checks import brought
    from theory.checks import plan as room
    from theory.checks.claims import Case

    brought.bring(bound or ())
    world, learner = envs.get(env), algorithms.get(algorithm)
    data = world.data
    if data is None:
        raise ValueError(f"{env}: draws its worlds or scores afresh; a plan needs a fixed finite environment")
    programs.keep()
    case, console = Case(data), common.console()
    with _progress() as report:
        simulation = room.Simulation(data, learner, epsilon, seed, report)
        if budget is not None:
            probe, promises = simulation.probe(budget), room.promised(case, budget, epsilon)
            found = []
        else:
            assert delta is not None
            promises = room.asked(case, delta, epsilon)
            targets = zip(room.AIMS, (delta, delta, epsilon), strict=True)
            found = [simulation.find(aim, target, most) for aim, target in targets if target > 0]
            probe = None
    title = f"{data.name}: {'budgets for' if delta else 'promised at T = ' + format(budget, ',')}"
    title += f" P(error) <= {delta}" if delta else ""
    beyond = [one for one in promises if budget is None and one.budget is not None and one.budget > most]
    rows = [_promise(one) for one in promises if one not in beyond]
    common.show(console, title, ("guarantee", "for", ">budget", ">bound", "~note"), rows)
    if beyond:
        asks = ", ".join(f"{label} ({size})" for label, _, size, *_ in map(_promise, beyond))
        console.print(common.plain(f"More than {most:,} completions: {asks}"), soft_wrap=True)
    console.print()
    if probe is not None:
        rows = list(zip(_aims(epsilon), *(map(_number, part) for part in probe[2:]), strict=True))
        title = f"{algorithm} simulated at T = {probe.budget:,}, {probe.trials:,} trials, 99 % intervals together"
        common.show(console, title, ("aim", ">estimate", ">low", ">high"), rows)
    else:
        rows = [_finding(one, epsilon) for one in found]
        columns = ("aim", ">target", ">still fails at", ">suffices", ">estimate there", ">99 % interval", ">trials")
        title = f"{algorithm} simulated, up to T = {most:,}; 99 % intervals cover together, at all budgets tried"
        common.show(console, title, columns, rows)
        console.print(
            "Trials at a budget end at the first look that decides: the estimate there leans towards the decision,\n"
            "and the interval allows for it."
        )
    console.print(
        "\nGuarantees are about misses; Theorem E and `uniform, near misses` are about regrets above epsilon, those\n"
        "that end in `mean regret` about the mean regret itself."
    )
    say_basis(console, world)
    if out is not None:
        _write(out, promises, found, probe)
        typer.echo(f"wrote {out}")


def _aims(epsilon: float) -> tuple[str, str, str]:
    return "miss in some context", f"regret above {epsilon:g} in some context", "mean regret"


def _promise(one: "GuaranteedBudget") -> tuple[object, ...]:
    label = f"{one.claim} (false)" if "as printed" in one.claim else one.claim
    budget = "" if one.budget is None else f"{one.budget:,}" if one.budget < 10**7 else f"{one.budget:.2e}"
    return label, one.rule, budget, _number(one.bound), one.note


def _finding(one: "SimulatedBudget", epsilon: float) -> tuple[object, ...]:
    place = ("miss", "near miss", "mean regret").index(one.aim)
    value, low, high = (part[place] for part in one.probe[2:])
    interval = f"{_number(low)} to {_number(high)}"
    reached = "not reached" if one.suffices is None else f"{one.suffices:,}"
    fails = "" if one.fails is None else f"{one.fails:,}"
    return _aims(epsilon)[place], one.target, fails, reached, _number(value), interval, f"{one.probe.trials:,}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def _write(
    path: Path, promises: "list[GuaranteedBudget]", found: "list[SimulatedBudget]", probe: "Probe | None"
) -> None:
    import pandas as pd

    from sim.comparison import tables

    rows: list[dict[str, Any]] = [{"kind": "guarantee", **one._asdict()} for one in promises]
    probes = [] if probe is None else [(name, probe) for name in ("miss", "near miss", "mean regret")]
    for name, seen in [*((one.aim, one.probe) for one in found), *probes]:
        place = ("miss", "near miss", "mean regret").index(name)
        parts = dict(zip(("value", "low", "high"), (part[place] for part in seen[2:]), strict=True))
        rows.append({"kind": "simulation", "aim": name, "budget": seen.budget, "trials": seen.trials, **parts})
    for row, one in zip(rows[len(promises) :], found, strict=False):
        row |= {"target": one.target, "fails": one.fails, "suffices": one.suffices}
    tables.save(pd.DataFrame(rows), path)


@contextmanager
def _progress() -> Iterator[Report]:
    """What reports simulated budgets: a line each, on a terminal always the same one."""
    if not sys.stderr.isatty():
        yield lambda probe: typer.echo(_said(probe), err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("exact values and exponents") as status:
        yield lambda probe: status.update(_said(probe))


def _said(probe: "Probe") -> str:
    miss, near, mean = probe.value
    return f"T = {probe.budget:,}: P(miss) {miss:.3g}, P(near miss) {near:.3g}, mean regret {mean:.3g}"
