"""`iapo advise`: what to use, by a log of completions, how sure that is, and what to record next."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sim.cli import common, options
from sim.cli.data import LOGS
from sim.reports import page

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Console

    from sim.adapters.trust import Trust
    from sim.advice import Advice
    from sim.certify import QueryEvidence
    from sim.certify.intervals import Estimates
    from sim.envs.dataset import Dataset

_MILLION = 1e6


class Advised(NamedTuple):
    """All that is shown and written.

    Attributes:
        name: of the log.
        evidence: behind it.
        advices: one a context.
        values: of all arms, with intervals that hold each by itself.
        prompts, contexts: names.
        closing: sentences about what all of it stands on.
        unit: of costs that are no money.
        currency: sign of money, where a run says one.
        least: share of queries that arms need to be compared by their means, as in `sim.advice.best`.
    """

    name: str
    evidence: "QueryEvidence"
    advices: "tuple[Advice, ...]"
    values: "Estimates"
    prompts: list[str]
    contexts: list[str]
    closing: list[str]
    unit: str = ""
    currency: str = ""
    least: float = 1.0


@common.command
def advise(
    log: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG",
            help="Logs of completions, as `iapo env import` reads them, the .npz that it made of some, or the folder "
            "of a run of `iapo tune`.",
        ),
    ],
    worth: Annotated[
        float | None,
        typer.Option(
            parser=options.number,
            metavar="V",
            help="What a right answer is worth on a query, in money. Takes the place of contexts.",
            show_default="the contexts of the environment",
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            parser=options.number,
            metavar="P",
            help="With --worth: money for a million units of cost, such as tokens.",
            show_default="costs are money",
        ),
    ] = None,
    currency: Annotated[str, typer.Option(metavar="SIGN", help="Sign of the currency, such as $.")] = "",
    eps: Annotated[
        float, typer.Option(parser=options.number, metavar="EPS", help="Eps that further recording is planned for.")
    ] = 0.02,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the picture and the values.")] = Path(
        "results/advise"
    ),
    trust: options.Trust = False,
    module: options.Modules = None,
    report: options.Report = None,
) -> None:
    """Say what to use by a log, and how sure that is.

    A log is imported as `iapo env import` would, and what was guessed is shown. Values are unbiased, up to the
    completions of a pair. With 95 % confidence, for all contexts at once, no other arm is better by more than eps.
    --worth says in money what a right answer is worth on a query; values are then in right answers: a query that costs
    as much loses one. Of a run's folder the journal is read, nothing is asked, and the arms are those that the run
    chose, with --worth the best by their means. Writes advice.png, advice.pdf and values.csv.

    Example: iapo advise log.csv --worth 0.05 --price 0.6
    """
    if not eps > 0:
        raise ValueError(f"--eps is {eps}; it must be above 0")
    page.check_place(report, out)
    if price is not None and worth is None:
        raise ValueError("--price goes with --worth, which says in money what a right answer is worth")
    if len(log) == 1 and Path(log[0]).is_dir():
        found = _of_run(Path(log[0]), worth, price, eps, common.may_import(trust, module))
    else:
        found = _of_log(log, worth, price, eps)
    console, currency = common.console(), currency or found.currency
    for c in range(len(found.contexts)):
        _show_prompts(console, found, c)
        _show_purchases(console, found, c, currency, worth)
        console.print()
    said = _sentences(found, currency, worth)
    for sentence in (*said, *found.closing):
        console.print(common.plain(sentence), soft_wrap=True)
    arms, bought, drawn = _write(found, out, currency)
    if report is not None:
        from sim.cli.pages import advice, parts

        told = {"log": log, "worth": worth, "price": price, "currency": currency, "eps": eps}
        settings = {key: value for key, value in told.items() if value not in (None, "")}
        parts.write(
            advice.report(found.name, [*filter(None, said)], arms, bought, drawn, found.closing, settings), report
        )


def _of_log(log: Sequence[str], worth: float | None, price: float | None, target: float) -> Advised:
    from sim import advice as room
    from sim.cli.worlds import Labels
    from theory import samples

    data, cost = _environment(log)
    if worth is not None:
        data = room.at_worth(data, worth, _price(price, cost))
    evidence = room.evidence_of_sample(data)
    labels = Labels(data.prompt_names)
    return Advised(
        name=data.name,
        evidence=evidence,
        advices=room.advise(evidence, target=target),
        values=samples.sample_values(data),
        prompts=[labels(p) for p in range(data.num_prompts)],
        contexts=[context.name for context in evidence.contexts],
        closing=samples.statements(data),
    )


def _of_run(folder: Path, worth: float | None, price: float | None, target: float, trust: "Trust") -> Advised:
    """Of a run of `iapo tune`, from its journal and its policy; nothing is asked."""
    from sim import advice as room
    from sim.adapters import certified
    from sim.adapters import config as reading
    from sim.adapters import policy as files
    from sim.adapters import session as sessions
    from sim.adapters import tune as driver
    from sim.adapters.paid import journal_tables
    from sim.adapters.until import POLICY, SO_FAR
    from sim.adapters.wire.protocol import Offline
    from sim.certify import intervals

    chosen = files.load(
        next((place for place in (folder / POLICY, folder / SO_FAR) if place.is_file()), folder / POLICY)
    )
    kept = journal_tables.open_existing(folder)
    place, journal = kept.note("config"), str(kept.path)
    kept.close()
    if place is None:
        raise ValueError(f"{journal}: names no configuration; it was not made by a run")
    run = reading.load(place, journal, trust)
    with sessions.session(run, Offline, journal, capped=False) as live:
        evidence = certified.run_evidence(live, driver.load_items(run))
    rounds = None if chosen.stopped else chosen.rounds
    terms = certified.confidence_of(run, evidence.list_length, rounds)
    names, arms, unit = [prompt.name for prompt in run.prompts], None, ""
    if worth is not None:
        if (run.cost_measure == "tokens") != (price is not None):
            told = "tokens; --price P says what a million of them cost" if price is None else "money; leave --price out"
            raise ValueError(f"{folder}: costs are {told}")
        evidence = room.evidence_at_worth(evidence, worth, 1.0 if price is None else price / _MILLION)
    else:
        choices = [chosen.choices[context.name].chosen for context in run.contexts if context.name in chosen.choices]
        if len(choices) < len(run.contexts) or not {one.prompt for one in choices} <= {*names}:
            raise ValueError(f"{chosen.file}: its contexts or prompts are no longer those of {run.file}; tune again")
        arms, unit = [(names.index(one.prompt), one.scale) for one in choices], run.cost_measure
    met, low, high = evidence.num_queries, int(evidence.completions.min()), int(evidence.completions.max())
    closing = (
        f"Stands on the {int(evidence.completions.sum()):,} completions of a run's journal, {low} to {high} per "
        f"(prompt, query), {met:,} of {evidence.list_length:,} queries. Intervals of tables: those of `iapo values`, "
        "each by itself, as if the run had not decided by what it saw; the statements allow for that"
    )
    return Advised(
        name=run.name,
        evidence=evidence,
        advices=room.advise(evidence, arms, terms, target, certified.LEAST),
        values=intervals.of_evidence(evidence),
        prompts=names,
        contexts=[context.name for context in evidence.contexts],
        closing=[closing],
        unit="tokens" if unit == "tokens" else "",
        currency=run.currency or "",
        least=certified.LEAST,
    )


def _environment(log: Sequence[str]) -> "tuple[Dataset, str | None]":
    """The environment of logs or of a file, and the column of a log that costs were taken from."""
    from sim import envs
    from sim.cli import log_import, logs
    from sim.envs.log_files import kind, name

    first = Path(logs.named(log[0]).path)
    if kind(Path(log[0])) not in LOGS:
        if len(log) > 1:
            raise ValueError(f"{log[0]} is no log of completions ({', '.join(LOGS)}); only logs can be put together")
        options.check_names(log)
        if (data := envs.get(log[0]).data) is None:
            raise ValueError(f"{log[0]}: is no log: its laws are given, and `iapo values` computes exact values")
        return data, None
    told = log_import.Told(
        [*log],
        first.with_name(f"{name(first)}.npz"),
        *[None] * 5,
        prompt="prompt",
        query="query",
        reading=logs.Options(),
        tie=None,
        name=None,
    )
    try:
        data, _, told = log_import.environment(told)
    except ValueError as error:
        raise ValueError(
            f"{error}; `iapo env import` takes such options, and `iapo advise` the .npz it makes"
        ) from None
    return replace(data, name=name(first)), told.cost


def _price(price: float | None, column: str | None) -> float:
    """Money for one unit of cost."""
    from sim.cli import guesses

    if price is not None:
        return price / _MILLION
    if column is not None and column.lower() in guesses.TOKENS:
        raise ValueError(f"costs are tokens (column {column!r}); --price P says what a million of them cost")
    typer.echo("note: costs are taken for money; --price P says what a million of their units cost", err=True)
    return 1.0


def _show_prompts(console: "Console", found: Advised, context: int) -> None:
    """Print every prompt at the N that is best for it, best first, and whether it is told apart from the choice."""
    import numpy as np

    from sim.certify.wording import amount
    from sim.cli.digits import shown

    value, low, high = (part[context] for part in found.values)
    statement, cost, rows = found.advices[context].statement, _costs(found), []
    met = found.evidence.measured.sum(axis=1)
    met = np.pad(met, ((0, 0), (0, value.shape[1] - met.shape[1])))
    value = np.where(met >= found.least * met.max(axis=1, keepdims=True), value, np.nan)
    top, text = np.nanmax(value, axis=1, initial=-np.inf), shown(value)
    for prompt in np.argsort(-top, kind="stable").tolist():
        if not np.isfinite(top[prompt]):
            rows.append((found.prompts[prompt], "-", 0, "-", "-", "-", "-"))
            continue
        n = int(np.nanargmax(value[prompt].round(12)))
        own, least, most = (float(part[prompt, n]) for part in (value, low, high))
        ends = "-" if np.isnan(least) else f"{text(least)} to {text(most)}"
        apart = "-"
        if statement is not None:
            apart = "chosen" if prompt == statement.prompt else "yes"
            if apart == "yes" and (statement.most[prompt] > 0).any():
                apart = "no"
        numbers = (n + 1, int(met[prompt, n]), amount(cost[prompt, n]), text(own))
        rows.append((found.prompts[prompt], *numbers, ends, apart))
    columns = ("~prompt", ">best N", ">queries", ">cost of a query", ">value", ">95 % interval", "told apart")
    caption = "Best first. Intervals: each by itself. Told apart: from the choice, at every N."
    common.show(console, f"{found.name}: values of prompts, context {found.contexts[context]}", columns, rows, caption)


def _costs(found: Advised) -> "np.ndarray":
    """Cost of a query with every arm."""
    import numpy as np

    from sim import advice as room

    return room.mean_costs(found.evidence)[:, None] * np.arange(1, found.values.value.shape[2] + 1)


def _show_purchases(console: "Console", found: Advised, context: int, currency: str, worth: float | None) -> None:
    """Print what money buys, arm by arm; nothing where completions cost nothing."""
    from sim import advice as room
    from sim.certify.wording import amount
    from sim.cli.digits import shown

    bought = room.purchases(found.evidence, context, found.least)
    if not _costs(found)[:, 0].any() or len(bought) < 2:
        return
    text = shown([one.reward for one in bought])
    rows = [
        (
            found.prompts[one.prompt],
            one.scale,
            f"{currency}{amount(one.cost)}",
            text(one.reward),
            "-" if one.price != one.price else f"{currency}{amount(one.price)}",
            *(() if worth is None else ("" if one.price != one.price else "yes" if one.price <= worth else "no",)),
        )
        for one in bought
    ]
    columns = ["~prompt", ">N", ">cost of a query", ">reward before costs", ">one more costs"]
    columns += [] if worth is None else [f"worth {currency}{worth:g}"]
    caption = (
        "One more costs: what is paid for one more unit of reward, such as a right answer, by going on to this arm."
    )
    console.print()
    common.show(console, "what money buys", columns, rows, caption)


def _sentences(found: Advised, currency: str, worth: float | None) -> list[str]:
    """The advice in words, context by context."""
    from sim import advice as room

    said = []
    for name, one in zip(found.contexts, found.advices, strict=True):
        first, *rest = room.in_sentences(found.evidence, one, found.prompts, currency, worth, found.unit)
        said += [f"{name}: {first}" if len(found.contexts) > 1 else first, *rest, ""]
    return said


def _write(found: Advised, out: Path, currency: str) -> "tuple[pd.DataFrame, pd.DataFrame, Figure]":
    """Write the values and the picture; the values, what money buys, and the picture."""
    import numpy as np
    import pandas as pd

    from figures.results import advice as figure
    from sim import advice as room
    from sim.cli.compare import save_pictures
    from sim.comparison import tables

    context, prompt, place = np.nonzero(np.isfinite(found.values.value))
    prompts, contexts = np.array(found.prompts, object), np.array(found.contexts, object)
    cost = _costs(found)[prompt, place]
    chosen = np.array([(one.prompt, one.scale - 1) for one in found.advices])[context]
    weight = np.array([one.cost_weight for one in found.evidence.contexts])[context]
    own = {part: getattr(found.values, part)[context, prompt, place] for part in found.values._fields}
    arms = pd.DataFrame({"context": contexts[context], "prompt": prompts[prompt], "scale": place + 1} | own)
    arms = arms.assign(cost=cost, reward=arms["value"] + weight * cost)
    arms["chosen"] = (chosen[:, 0] == prompt) & (chosen[:, 1] == place)
    bought = [
        (name, found.prompts[one.prompt], *one[1:])
        for c, name in enumerate(found.contexts)
        for one in room.purchases(found.evidence, c, found.least)
    ]
    steps = pd.DataFrame(bought, columns=pd.Index(["context", "prompt", "scale", "cost", "reward", "price"]))
    out.mkdir(parents=True, exist_ok=True)
    tables.save(arms, out / "values.csv")
    money = f"cost of a query{f' ({currency})' if currency else ''}"
    drawn = figure.draw(arms, steps, money)
    pictures = save_pictures(drawn, out, "advice")
    typer.echo(f"\nIn {common.plain(out)}: values.csv, {', '.join(pictures)}")
    return arms, steps, drawn
