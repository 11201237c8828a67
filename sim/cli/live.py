"""`iapo tune` and `iapo ask`: the algorithms against a real model."""

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli import common, interrupt, options, programs, run_files, statements
from sim.cli.policy import named
from sim.cli.spending import amount_columns, amount_text, amounts, at_most, caps_columns, show_run

if TYPE_CHECKING:
    from sim.adapters.live import RunStep
    from sim.adapters.paid.ledger import Amount
    from sim.adapters.planning import Need, RunPlan
    from sim.adapters.policy import Arm, PolicyFile
    from sim.adapters.run_file.prompts import Prompt
    from sim.adapters.run_file.settings import Asking, Config
    from sim.adapters.scoring import Item
    from sim.adapters.session import Session
    from sim.adapters.tune import RunResult

Unreadable = Annotated[
    bool,
    typer.Option(
        "--accept-unreadable", help="Go on though most of the first completions are empty, cut off or unreadable."
    ),
]
MOST_ROUNDS = 64
"""A plan with more rounds shows their number alone."""


@common.command
def tune(
    config: Annotated[Path | None, typer.Argument(help="The run, a TOML file.", metavar="CONFIG")] = None,
    example: Annotated[bool, typer.Option("--example", help="Write an example with every key to --out.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Write the JSON schema of runs, for editors.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --example and --schema: the file to write; a schema is printed without."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what the run would cost, and stop. Runs the probe, once you agree.")
    ] = False,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="With --plan: plan without it, ask nothing.")] = False,
    yes: options.Yes = False,
    accept_unreadable: Unreadable = False,
) -> None:
    """Choose a prompt and a scale for a live model, within caps.

    Checks everything first; says what a small probe costs, asks, and measures by it what completions cost; says what
    the run costs at most and about; asks; and ends with the arm of every context, an interval and the runner-up.
    Everything paid for is kept in OUT/journal.sqlite before it is used: the same command goes on where it was stopped.
    Writes OUT/policy.json and OUT/arms.csv. Exit codes: 0 done, 2 refused, 3 stopped by a cap with the best policy so
    far, 130 interrupted.

    Example: iapo tune --example --out run.toml, then iapo tune run.toml --plan
    """
    if schema:
        return run_files.write_schema(out)
    if example:
        return run_files.write_example(out, config)
    if out is not None:
        raise ValueError(
            "--out goes with --example and --schema; a run writes into the folder that its key `out` names"
        )
    if config is None:
        raise ValueError("no run is named; give its TOML file, which `iapo tune --example --out run.toml` begins")
    if no_probe and not plan:
        raise ValueError("--no-probe goes with --plan; a run does without a probe where every prompt has a cost")
    from sim.adapters import certified, doubts, planning
    from sim.adapters import config as reading
    from sim.adapters import policy as file
    from sim.adapters import tune as driver
    from sim.adapters.run_file import queries

    run = reading.load(config)
    items = driver.load_items(run)
    for sentence in queries.unfilled(run.queries, run.prompts):
        _say(f"note: {sentence}")
    programs.keep()
    driver.check(run)
    show_run(run, len(items), driver.replaced(run) or driver.assumed(run))
    with connected(run) as live:
        needed_probe = bool(driver.probe_wants(live, items))
        if no_probe:
            costs = driver.unmeasured(run)
        else:
            needed = planning.need(live, driver.probe_wants(live, items))
            planning.check_cap(run, needed, items, live.sampler)
            _confirm_probe(needed, yes)
            costs = driver.probe(live, items)
            _check_probe(live, items, accept_unreadable or plan, yes)
        if not needed_probe and not accept_unreadable:
            live.reader.look = doubts.first_look
        spec, strategy = driver.world(run, costs, items)
        planned = planning.plan(run, spec, costs, items, live.sampler)
        _show_plan(run, planned, live)
        if plan:
            return None
        if not yes and not common.agreed("Spend it?"):
            common.stop("stopped before the first round; the probe is kept", common.INTERRUPTED)
        before = live.ledger.spent
        with progress() as report:
            result = driver.rounds_of(live, items, spec, strategy, report)
        spent, charged = live.ledger.spent, live.ledger.spent.minus(before)
        seen, more = dict(live.reader.seen), planning.rest(planned, run, live.sampler)
        evidence = certified.run_evidence(live, items, costs)
    said, sure = statements.of_run(run, evidence, result.choices, None if result.stopped else result.rounds)
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "program": common.version(),
        "cost_measure": run.cost_measure,
        "currency": run.currency,
        "complete": result.stopped is None,
        "stopped": result.stopped,
        "rounds": result.rounds,
        "algorithm": run.algorithm_text,
        "budget": run.budget,
        "seed": run.seed,
        "queries": len(items),
        "seen": seen,
    }
    file.save(run.out / "policy.json", run, result.choices, amounts(spent), facts, sure)
    _save_arms(run, result)
    _show_result(run, result, spent, charged, seen)
    statements.show(said)
    if result.stopped is not None:
        common.stop(_capped(result, *more), common.CAPPED)
    return None


def _capped(result: "RunResult", about: "Amount | None", most: "Amount") -> str:
    """Why a run ended before its policy, and what the rest of it would cost."""
    likely = "" if about is None else f"about {amount_text(about)}, and "
    return (
        f"stopped by a cap: {result.stopped}. The policy is the best so far, after "
        f"{common.count(result.rounds, 'round')}; the rest of the run would take {likely}at most {amount_text(most)}"
    )


@common.command
def ask(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="A policy.json that `iapo tune` wrote.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query.")],
    context: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of a context.", show_default="the only one, if there is one"),
    ] = None,
    seed: Annotated[int, typer.Option(parser=options.whole, metavar="S", help="First seed of the request.")] = 0,
    field: options.Fields = None,
    trust: options.Trust = False,
    module: options.Modules = None,
) -> None:
    """Answer one query with the arm that a policy chose.

    The policy file is all it needs, besides the key in the environment variable that the file names. A policy whose
    scorer is a Python function imports its module: which, and of what file, is said, and you are asked.

    Example: iapo ask results/capitals/policy.json "What is the capital of Peru?" --context "cost 0"
    """
    from sim.adapters import config as reading
    from sim.adapters import policy as file
    from sim.adapters.paid import sampler
    from sim.adapters.scorers.reader import hollow
    from sim.adapters.scoring import Item

    answers = file.load(policy)
    context = named(answers, context)
    run = reading.of_policy(answers, common.may_import(trust, module))
    chosen, prompt = answers.choices[context].chosen, answers.prompts[answers.choices[context].chosen.prompt]
    most = 2**63 - chosen.scale  # what the journal holds
    if not 0 <= seed <= most:
        raise ValueError(f"--seed is {seed}; expected a whole number from 0 to {most}")
    used = [one.aggregate != "mean" for one in run.objectives]  # a mean says nothing about which completion is best
    weights = next(one for one in run.contexts if one.name == context)
    weights = replace(weights, weights=tuple(itertools.compress(weights.weights, used)))
    run = replace(run, objectives=tuple(itertools.compress(run.objectives, used)))
    if any(one.aggregate == "bon" and one.scorer.needs_gold for one in run.objectives):
        raise ValueError("best of N needs scores of completions whose right answer is not known; this scorer has none")
    item = Item(query, fields=_fields(prompt, options.pairs(field, "--field")))
    for one in run.objectives:
        one.scorer.check(item)
    say_policy(answers, run)
    with connected(run, ":memory:", capped=False) as live:
        want = sampler.Want(
            prompt, sampler.cell_of("ask", run.endpoint, prompt, query, item.fields), 0, chosen.scale, seed
        )
        draws = live.loop.run(live.sampler.draws(want))
        found = live.loop.run(live.reader.read(want.cell, 0, item, prompt.text, draws))
        answer = file.combine(run.objectives, weights, draws, found)
        spent = live.ledger.spent
    if answer.text.strip():
        typer.echo(common.shown(answer.text).encode())
    elif (wrong := hollow(draws)) is not None:
        _say(f"no answer: {'the completion is' if len(draws) == 1 else f'all {len(draws)} completions are'} {wrong}")
    else:
        _say(f"no answer: of {len(draws)} completions the one chosen is empty")
    how = [f"votes: {', '.join(f'{label} ({count})' for label, count in answer.votes.items())}"] if answer.votes else []
    if not how and any(one.aggregate == "mv" for one in run.objectives):
        how.append("no answer to vote on could be read")
    if answer.score is not None:
        how.append(f"best score {answer.score:.4g}")
    told = "; ".join((f"{chosen.prompt}, N = {chosen.scale}", *(how or ["the first completion"]), amount_text(spent)))
    typer.echo(common.plain(told), err=True)


def _fields(prompt: "Prompt", given: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What fills a prompt's slots besides the query."""
    for name in prompt.fields:
        if name not in given:
            raise ValueError(f"--field is needed: the prompt {prompt.name!r} has a slot for {name!r}; {name}=...")
    for name in given:
        if name not in prompt.fields:
            have = ", ".join(map(repr, prompt.fields)) or "the query alone"
            raise ValueError(f"--field names {name!r}, but the prompt {prompt.name!r} has slots for {have}")
    return tuple((name, given[name]) for name in prompt.fields)


@contextmanager
def connected(run: "Asking", journal: str | None = None, capped: bool = True) -> "Iterator[Session]":
    """An open session; being stopped says where everything is."""
    from sim.adapters import session as sessions
    from sim.adapters.paid.batches import Waiting
    from sim.adapters.wire.openai_client import OpenAIClient
    from sim.adapters.wire.redact import Secrets

    secrets = Secrets(run.dot_env)
    key = secrets.key(run.endpoint.key_variable, "endpoint.key_variable")
    if secrets.filed(run.endpoint.key_variable):
        _say(f"note: the key in {run.endpoint.key_variable} is that of {secrets.file}")
    kept = f"everything paid for is in {run.journal}; the same command goes on from there"
    interrupt.last_words(lambda: common.plain("stopped" if journal else f"stopped; {kept}"))
    try:
        with (
            interrupt.gently(),
            sessions.session(
                run, lambda: OpenAIClient(run.endpoint, key, secrets.values), journal, capped, _say
            ) as live,
        ):
            yield live
    except Waiting as error:
        common.stop(str(error), common.USER_ERROR)
    except KeyboardInterrupt:
        common.stop("stopped" if journal else f"stopped; {kept}", common.INTERRUPTED)


def say_policy(policy: "PolicyFile", run: "Asking") -> None:
    """Say of a policy, which may come from anywhere, where it sends which key, and whether a cap cut its run short."""
    if policy.stopped is not None:
        _say(f"note: {policy.file} is of a run that a cap stopped ({policy.stopped}); it holds the best arms so far")
    goes = {run.endpoint.base_url: run.endpoint.key_variable}
    goes |= {url: key for one in run.objectives for url, key in one.scorer.requests.servers}
    sent = [f"to {url} {f'with the key in {name}' if name else 'without a key'}" for url, name in goes.items()]
    _say(f"note: requests go {', and '.join(sent)}, as {policy.file} says")


def _say(text: str) -> None:
    typer.echo(common.plain(text), err=True)


def _confirm_probe(needed: "Need", yes: bool) -> None:
    """Say what the probe spends before anything is asked, and ask whether to."""
    missing = needed.completions - needed.kept
    if not missing:
        return
    spends = f"It spends at most {amount_text(needed.worst)}; requests that fail and are repeated come on top."
    typer.echo(f"A probe measures what completions cost. {spends}")
    if not yes and not common.agreed("Run the probe?"):
        common.stop(
            "stopped before the first request; --plan --no-probe plans without a probe, and where every prompt has a "
            "cost there is none",
            common.INTERRUPTED,
        )


def _check_probe(live: "Session[Config]", items: "Sequence[Item]", accepted: bool, yes: bool) -> None:
    """Say what is wrong with the completions of the probe; where it is so with most of them, ask or stop."""
    from sim.adapters import doubts
    from sim.adapters.scorers.reader import UNDAUNTED

    serious, notes = doubts.of_probe(live, items)
    for sentence in notes + (serious if accepted or not yes else []):
        _say(f"note: {sentence}")
    if not serious or accepted:
        return
    if yes:
        raise ValueError(f"{'; '.join(serious)}; {UNDAUNTED}")
    if not common.agreed("Go on all the same?"):
        common.stop("stopped before the first round; the probe is kept", common.INTERRUPTED)


def _show_plan(run: "Config", plan: "RunPlan", live: "Session") -> None:
    from sim.adapters.planning import within

    console = common.console()
    if len(plan.rounds) > MOST_ROUNDS or all(step.pulls == 1 for step in plan.rounds):
        pulls = sum(step.pulls for step in plan.rounds)
        single = "; each waits for the one before it" if pulls == len(plan.rounds) else ""
        console.print(f"Rounds: {len(plan.rounds):,}, {pulls:,} pulls in all (a dry run on random rewards){single}.\n")
    else:
        rows = [(place, *(f"{one:,}" for one in step)) for place, step in enumerate(plan.rounds, start=1)]
        columns = (">round", ">arms left", ">prompts left", ">largest N", ">pulls", ">completions")
        caption = "Arms left: of each context. Prompts left: in some context."
        common.show(console, "Rounds (a dry run on random rewards)", columns, rows, caption)
    most = within(plan.worst, run.caps, live.ledger.spent)
    rows = [("rounds, at most", *amount_columns(most))]
    if plan.expected is not None:
        without = ", without judgements" if plan.judged else ""
        likely = within(plan.expected, run.caps, live.ledger.spent)
        rows.insert(0, (f"rounds, estimated from the probe{without}", *amount_columns(likely)))
    rows += [("spent so far", *amount_columns(live.ledger.spent)), ("caps", *caps_columns(run))]
    caption = at_most("the budget times the dearest completion", plan.judged)
    if most != plan.worst:
        whole = amount_text(plan.worst)
        caption += f" Cut at what the caps leave: without them at most {whole}; a run that meets a cap stops."
    if plan.kept:
        caption += (
            f" {plan.kept:,} completions of rounds are kept already; those that the rounds ask for again cost nothing."
        )
    common.show(console, "Cost", ("", ">completions", ">tokens", ">money"), rows, caption)
    if any(one.aggregate == "bon" and one.scorer.needs_gold for one in run.objectives):
        console.print(
            "Note: best of N is scored by right answers here; `iapo ask`, which knows none, refuses the policy."
        )
    if plan.expected is not None and (short := plan.short(run.caps, live.ledger.spent)):
        caps = " and ".join(f"caps.{name}" for name in short)
        console.print(
            f"Warning: {caps} will probably stop the run before its policy: the rounds take about "
            f"{amount_text(plan.expected)}. Raise the cap or lower tune.budget."
        )


@contextmanager
def progress(rounds: bool = True) -> "Iterator[Callable[[RunStep], None]]":
    """Reporter of pulls: a bar on a terminal, else a line per round; `rounds` says whether there are several."""

    def place(step: "RunStep") -> str:
        return f"round {step.round + 1}: " if rounds else ""

    if not sys.stderr.isatty():

        def line(step: "RunStep") -> None:
            if step.done == step.pulls and step.pulls > 1:
                typer.echo(f"{place(step)}{step.pulls:,} pulls done", err=True)

        yield line
        return
    with common.bar("pulls") as bar:
        task = bar.add_task("asking", total=None)
        yield lambda step: bar.update(
            task, completed=step.done, total=step.pulls, description=place(step).removesuffix(": ") or "asking"
        )


def read_text(seen: dict[str, int]) -> str:
    """Counts of completions that were read, and of those among them that were read oddly."""
    odd = ", ".join(
        f"{common.plain(name)} {count:,}" for name, count in seen.items() if name != "completions" and count
    )
    return f"{seen.get('completions', 0):,} completions read{f' ({odd})' if odd else ''}."


def _show_result(run: "Config", result: "RunResult", spent: "Amount", charged: "Amount", seen: dict[str, int]) -> None:
    console = common.console()
    rows = [
        (
            choice.context,
            choice.chosen.prompt,
            choice.chosen.scale,
            _interval(choice.chosen),
            *_second(choice.runner_up),
        )
        for choice in result.choices
    ]
    columns = ("context", "prompt", ">N", ">value (95 % interval)", "runner-up", ">N", ">value")
    caption = "Intervals allow for having chosen among all arms, and for the error of measured costs. '-': no pull"
    caption += " of so many completions."
    if any(prompt.cost is None for prompt in run.prompts):
        caption += " Values are less what completions took in the probe and the rounds; the algorithm knew the probe's,"
        caption += " and an arm has no interval where its cost was reported once only."
    both = [(one.chosen.value, one.runner_up.value) for one in result.choices if one.runner_up is not None]
    if any(second > first for first, second in both if first is not None and second is not None):
        caption += " A runner-up may be above the chosen arm: values are of all pulls, the algorithm has its own rule."
    console.print()
    so_far = "" if result.stopped is None else " so far (a cap stopped the run)"
    common.show(console, f"{run.name}: the policy{so_far}", columns, rows, caption)
    console.print(f"\n{read_text(seen)}")
    console.print(f"This call: {amount_text(charged)}. In all: {amount_text(spent)}.")
    typer.echo(f"\nIn {common.plain(run.out)}: policy.json, arms.csv, journal.sqlite")


def _interval(arm: "Arm") -> str:
    from sim.cli.digits import shown

    if arm.value is None:
        return "-"
    if arm.low is None or arm.high is None:
        return shown([arm.value])(arm.value)
    text = shown([arm.value, arm.low, arm.high])
    return f"{text(arm.value)} ({text(arm.low)} to {text(arm.high)})"


def _second(arm: "Arm | None") -> tuple[object, ...]:
    from sim.cli.digits import shown

    if arm is None:
        return "-", "", ""
    return arm.prompt, arm.scale, "-" if arm.value is None else shown([arm.value])(arm.value)


def _save_arms(run: "Config", result: "RunResult") -> None:
    """Write what is known of every arm that was pulled; without pandas, which takes 60 MB."""
    import csv
    import io

    import numpy as np

    from sim.envs.rows import quoted
    from sim.writing import write_whole

    found, text = result.estimate, io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("context", "prompt", "scale", "value", "se", "pulls"))
    for context, prompt, scale in np.ndindex(found.value.shape):
        if found.pulls[prompt, scale] > 0:
            value, se = (float(part[context, prompt, scale]) for part in (found.value, found.se))
            names = (quoted(run.contexts[context].name), quoted(run.prompts[prompt].name), scale + 1)
            rows.writerow((*names, value, "" if math.isnan(se) else se, int(found.pulls[prompt, scale])))
    write_whole(run.out / "arms.csv", lambda file: file.write(text.getvalue().encode()))
