"""`iapo tune` and `iapo ask`: the algorithms against a real model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sim.cli import common, events, interrupt, options, programs, run_files, statements
from sim.cli import until as surely
from sim.cli.progress import run_progress
from sim.cli.spending import amount_columns, amount_text, at_most, caps_columns, show_run
from sim.reports import page

if TYPE_CHECKING:
    from sim.adapters.judge_probe import ProbedJudge
    from sim.adapters.paid.ledger import Amount
    from sim.adapters.planning import Need, RunPlan
    from sim.adapters.policy import Arm, PolicyFile
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
    until: surely.Until = None,
    target: surely.Target = "new",
    more: surely.More = None,
    yes: options.Yes = False,
    accept_unreadable: Unreadable = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events for machines, a line of JSON each; takes --yes.")
    ] = False,
    report: options.Report = None,
) -> None:
    """Choose a prompt and a scale for a live model, within caps.

    Checks everything first; says what a small probe costs, asks, and measures by it what completions cost; says what
    the run costs at most and about; asks; and ends with the arm of every context, an interval and the runner-up.
    Everything paid for is kept in OUT/journal.sqlite before it is used: the same command goes on where it was stopped.
    Writes OUT/policy.json and OUT/arms.csv, and between rounds OUT/policy-so-far.json. Exit codes: 0 done, 2 refused, 3
    stopped by a cap with the best policy so far, 130 interrupted.

    Example: iapo tune --example --out run.toml, then iapo tune run.toml --plan
    """
    if report is not None and (plan or example or schema):
        raise ValueError("--report is of a run; --plan, --example and --schema end before one")
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
    if as_json and not yes and not no_probe:
        raise ValueError("--json asks nothing; --yes goes with it, or --plan --no-probe")
    surely.check(until, target)
    with events.ending(as_json):
        from sim.adapters import until as going_on

        run = going_on.load(config, until, target, more)
        return _tune(run, _Asked(plan, no_probe, yes, accept_unreadable, as_json, report))


class _Asked(NamedTuple):
    """Options of `iapo tune` besides those that change the run."""

    plan: bool
    no_probe: bool
    yes: bool
    accept_unreadable: bool
    as_json: bool
    report: Path | None


def _tune(run: "Config", asked: _Asked) -> None:
    """A run, as it was asked for."""
    from sim.adapters import doubts, judge_probe, planning, tuning
    from sim.adapters import tune as driver
    from sim.adapters.run_file import queries

    page.check_place(asked.report, run.out)
    items = driver.load_items(run)
    for sentence in queries.unfilled(run.queries, run.prompts):
        _say(f"note: {sentence}")
    programs.keep()
    driver.check(run)
    odd = driver.replaced(run) or driver.assumed(run)
    if asked.as_json:
        events.run(run, len(items))
        if odd:
            _say(f"note: {odd}")
    else:
        show_run(run, len(items), odd)
    with connected(run) as live:
        needed_probe = bool(driver.probe_wants(live, items))
        probed = []
        if asked.no_probe:
            costs = driver.unmeasured(run)
        else:
            needed = planning.with_judgements(live, planning.need(live, driver.probe_wants(live, items)), items)
            planning.check_cap(run, needed, items, live.sampler)
            if not asked.as_json:
                _confirm_probe(needed, asked.yes)
            costs = driver.probe(live, items)
            _check_probe(live, items, asked.accept_unreadable or asked.plan, asked.yes)
            probed = judge_probe.measure(live, items)
        if not needed_probe and not asked.accept_unreadable:
            live.reader.look = doubts.first_look
        spec, strategy = driver.world(run, costs, items)
        planned = planning.plan(run, spec, costs, items, live.sampler, probed)
        if asked.as_json:
            events.plan(planned, live.ledger.spent, probed)
        else:
            _show_plan(run, planned, live, probed)
        if asked.plan:
            return
        if not asked.yes and not common.agreed("Spend it?"):
            common.stop("stopped before the first round; the probe is kept", common.INTERRUPTED)
        before = live.ledger.spent
        with run_progress(run, planned, live.ledger, asked.as_json) as told:
            result = driver.rounds_of(live, items, spec, strategy, told, tuning.keeper(live, len(items)))
        spent, charged = live.ledger.spent, live.ledger.spent.minus(before)
        seen, rest = dict(live.reader.seen), planning.rest(planned, run, live.sampler)
        sure = tuning.finish(live, items, costs, result)
    if asked.as_json:
        events.policy(run, result, spent, charged, seen, sure.facts)
    else:
        _show_result(run, result, spent, charged, seen)
        statements.show(sure.said)
        surely.show(run, result)
    if asked.report is not None:
        from sim.cli.pages import parts
        from sim.cli.pages import tuning as tuned

        said = [*statements.lines(sure.said), *surely.lines(run, result)]
        parts.write(tuned.report(run, result, spent, tuning.facts(live, result, len(items)), said), asked.report)
    if result.stopped is not None:
        common.stop(_capped(result, *rest), common.CAPPED)


def _capped(result: "RunResult", about: "Amount | None", most: "Amount") -> str:
    """Why a run ended before its policy, and what the rest of it would cost."""
    likely = "" if about is None else f"about {amount_text(about)}, and "
    return (
        f"stopped by a cap: {result.stopped}. The policy is the best so far, after "
        f"{common.count(result.rounds, 'round')}; the rest of the run would take {likely}at most {amount_text(most)}"
    )


@common.command
def ask(
    policy: options.PolicyPath,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query.")],
    context: options.ContextName = None,
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
    from sim.adapters import answering
    from sim.adapters import policy as file

    answers = file.load(policy)
    context = file.named(answers, context, "--context")
    run = answering.settings(answers, common.may_import(trust, module))
    given = options.pairs(field, "--field")
    asked = answering.question(answers, run, query, context, given, seed, ("--field", "--seed"))
    say_policy(answers, run)
    with connected(run, ":memory:", capped=False) as live:
        want = answering.want_of(run, asked)
        answer = live.loop.run(answering.answered(live, live.sampler, asked, want))
        spent = live.ledger.spent
    if answer.problem:
        _say(f"no answer: {answer.problem}")
    else:
        typer.echo(common.shown(answer.text).encode())
    how = [f"votes: {', '.join(f'{label} ({count})' for label, count in answer.votes.items())}"] if answer.votes else []
    if not how and any(one.aggregate == "mv" for one in run.objectives):
        how.append("no answer to vote on could be read")
    if answer.score is not None:
        how.append(f"best score {answer.score:.4g}")
    arm = f"{answer.prompt}, N = {answer.scale}"
    told = "; ".join((arm, *(how or ["the first completion"]), amount_text(spent)))
    typer.echo(common.plain(told), err=True)


@contextmanager
def connected(run: "Asking", journal: str | None = None, capped: bool = True) -> "Iterator[Session]":
    """An open session; being stopped says where everything is."""
    from sim.adapters import session as sessions
    from sim.adapters.paid.batches import Waiting
    from sim.adapters.wire.redact import Secrets

    secrets = Secrets(run.dot_env)
    connect = sessions.connector(run, secrets)
    for variable in dict.fromkeys(one.key_variable for one in run.endpoints.values()):
        if secrets.filed(variable):
            _say(f"note: the key in {variable} is that of {secrets.file}")
    kept = f"everything paid for is in {run.journal}; the same command goes on from there"
    interrupt.last_words(lambda: common.plain("stopped" if journal else f"stopped; {kept}"))
    try:
        with interrupt.gently(), sessions.session(run, connect, journal, capped, _say) as live:
            yield live
    except Waiting as error:
        common.stop(str(error), common.USER_ERROR)
    except KeyboardInterrupt:
        common.stop("stopped" if journal else f"stopped; {kept}", common.INTERRUPTED)


def say_policy(policy: "PolicyFile", run: "Asking") -> None:
    """Say of a policy, which may come from anywhere, where it sends which key, and whether its run had not ended."""
    if policy.stopped is not None:
        _say(f"note: {policy.file} is of a run before its end ({policy.stopped}); it holds the best arms so far")
    goes = {one.base_url: one.key_variable for one in run.endpoints.values()}
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


def _show_plan(run: "Config", plan: "RunPlan", live: "Session", probed: "Sequence[ProbedJudge]") -> None:
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
    if plan.expected_judgements is not None:
        rows.insert(1, ("their judgements, estimated (equal ones share)", *amount_columns(plan.expected_judgements)))
    if plan.judged:
        rows.append(("of these judgements", *amount_columns(within(plan.judgements, run.caps, live.ledger.spent))))
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
    for judge in probed:
        console.print(f"Order: {common.plain(judge.sentence)}.", soft_wrap=True)
    if any(one.aggregate == "bon" and one.scorer.needs_gold for one in run.objectives):
        console.print(
            "Note: best of N is scored by right answers here; `iapo ask`, which knows none, refuses the policy."
        )
    if plan.about is not None and (short := plan.short(run.caps, live.ledger.spent)):
        caps = " and ".join(f"caps.{name}" for name in short)
        console.print(
            f"Warning: {caps} will probably stop the run before its policy: the rounds take about "
            f"{amount_text(plan.about)}. Raise the cap or lower tune.budget."
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
    if len(run.endpoints) > 1:
        at = {prompt.name: prompt.endpoint for prompt in run.prompts}
        asked = ", ".join(f"{at[one.chosen.prompt]} ({one.context})" for one in result.choices)
        caption += f" Endpoints of the chosen: {asked}."
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
