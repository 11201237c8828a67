"""Page of `iapo tune`: the arm of every context, values against N, what was spent, and what was asked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.cli import spending
from sim.cli.pages import parts
from sim.reports import page

if TYPE_CHECKING:
    from sim.adapters.paid.ledger import Amount
    from sim.adapters.policy import Arm, Chosen
    from sim.adapters.run_file.settings import Config
    from sim.adapters.tune import RunResult

_Z = 1.959964


def report(
    run: "Config", result: "RunResult", spent: "Amount", facts: Mapping[str, Any], said: Sequence[str] = ()
) -> page.Report:
    """The page of a run against a live model.

    Args:
        run: what was asked for.
        result: what came out.
        spent: in all.
        facts: of the run, as the policy file has them.
        said: how sure the choices are, in words.
    """
    from figures.results import values as figure
    from sim.comparison import tables

    found, contexts = result.estimate, [one.name for one in run.contexts]
    prompts = [one.name for one in run.prompts]
    half = _Z * found.se
    kept = tables.provenance({}, {})
    drawn = figure.draw(found.value, found.value - half, found.value + half, contexts, prompts)
    return page.Report(
        f"{run.name}: what to use",
        (*map(sentence, result.choices), *said, *_ended(result, spent)),
        (
            parts.picture(
                "Value against N",
                drawn,
                "Of all pulls. Bands: 95 % intervals of each arm by itself, which do not allow for the choice among "
                "all; the table's intervals do.",
            ),
        ),
        (_policy(result), _arms(result, contexts, prompts), _spent(run, spent)),
        (f"{facts['queries']:,} queries; {facts['rounds']:,} rounds of {facts['algorithm']}.",),
        _settings(run),
        parts.dated({key: value for key, value in kept.items() if value} | {"read": dict(facts["seen"])}),
    )


def sentence(choice: "Chosen") -> str:
    """The sentence on what to use in a context.

    Args:
        choice: its arms.
    """
    arm, second = choice.chosen, choice.runner_up
    worth = "no pull says what it is worth" if arm.value is None else f"value {_worth(arm)}"
    rival = "" if second is None else f"; next comes {second.prompt}, N = {second.scale}"
    rival += "" if second is None or second.value is None else f" ({_text(second.value, second)})"
    return f"For {choice.context}: use {arm.prompt} with N = {arm.scale}, {worth}{rival}."


def _ended(result: "RunResult", spent: "Amount") -> list[str]:
    cost = f"All this took {spending.amount_text(spent)}."
    stopped = result.stopped
    return [cost] if stopped is None else [f"A cap stopped the run ({stopped}): these are the best arms so far.", cost]


def _text(value: float, arm: "Arm") -> str:
    from sim.cli.digits import shown

    known = [one for one in (arm.value, arm.low, arm.high) if one is not None]
    return shown(known)(value)


def _worth(arm: "Arm") -> str:
    assert arm.value is not None
    if arm.low is None or arm.high is None:
        return _text(arm.value, arm)
    return f"{_text(arm.value, arm)} ({_text(arm.low, arm)} to {_text(arm.high, arm)})"


def _number(value: float | None, arm: "Arm") -> page.Shown:
    return page.number(value, "-" if value is None else _text(value, arm))


def _policy(result: "RunResult") -> page.ReportTable:
    rows = []
    for choice in result.choices:
        for role, arm in (("chosen", choice.chosen), ("runner-up", choice.runner_up), ("best at N = 1", choice.single)):
            if arm is not None:
                ends = (_number(end, arm) for end in (arm.value, arm.low, arm.high))
                names = (choice.context, role, arm.prompt, arm.scale)
                rows.append((*map(page.entry, names), *ends, page.entry(arm.pulls)))
    return page.ReportTable(
        "The policy",
        ("context", "arm", "prompt", "N", "value", "lower end", "upper end", "pulls"),
        tuple(rows),
        "Intervals of 95 % allow for having chosen among all arms, and for the error of measured costs.",
    )


def _arms(result: "RunResult", contexts: list[str], prompts: list[str]) -> page.ReportTable:
    from sim.cli.digits import shown

    found, rows = result.estimate, []
    value, error = shown(found.value), shown(found.se)
    for context, prompt, scale in np.ndindex(found.value.shape):
        if found.pulls[prompt, scale] > 0:
            own, se = (float(part[context, prompt, scale]) for part in (found.value, found.se))
            numbers = (page.number(own, value(own)), page.number(se, "-" if se != se else error(se)))
            names = (page.entry(contexts[context]), page.entry(prompts[prompt]), page.entry(scale + 1))
            rows.append((*names, *numbers, page.entry(int(found.pulls[prompt, scale]))))
    columns = ("context", "prompt", "N", "value", "standard error", "pulls")
    return page.ReportTable("Every arm that was pulled", columns, tuple(rows))


def _spent(run: "Config", spent: "Amount") -> page.ReportTable:
    rows = (("spent", *spending.amount_columns(spent)), ("caps", *spending.caps_columns(run)))
    entries = tuple(tuple(map(page.entry, row)) for row in rows)
    return page.ReportTable("Cost", ("account", "completions", "tokens", "money"), entries)


def _settings(run: "Config") -> dict[str, Any]:
    """Settings of a run, without what is empty; a key is named by its variable, and is not there."""
    prompts = {
        one.name: {key: value for key, value in asdict(one).items() if value not in ((), None, "")}
        for one in run.prompts
    }
    return {
        "file": run.file.name,
        "algorithm": run.algorithm_text,
        "budget": run.budget,
        "largest N": run.max_scale,
        "seed": run.seed,
        "contexts": {one.name: {"weights": one.weights, "cost weight": one.cost_weight} for one in run.contexts},
        "prompts": prompts,
        **run.source,
    }
