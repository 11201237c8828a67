"""Table of the commands of `iapo`. Everything heavy is imported inside them, so that help comes at once."""

from typing import Annotated

import typer

from sim.cli import (
    advise,
    check,
    compare,
    data,
    evaluate,
    figures,
    journal,
    live,
    new,
    plan,
    policy,
    quickstart,
    theory,
    verify,
    worlds,
)
from sim.cli.usage import App

SECTIONS = {
    "Simulate": ("quickstart", "compare", "values", "figures", "claims"),
    "Guarantees": ("hardness", "agnostic", "plan", "verify"),
    "Live models": ("tune", "ask", "evaluate", "record", "replay", "journal", "policy"),
    "Data": ("advise", "env", "data"),
    "Extend": ("algorithms", "check", "new"),
}
"""Heading in the help -> the commands below it."""

app = App(
    SECTIONS,
    name="iapo",
    help="Choose a prompt and an inference scale together (IAPO): compare selection algorithms with exact scoring.",
    epilog="A first try: iapo quickstart",
)
env_app = App(help="List, show and import environments.")
data_app = App(help="Fetch the environments that the paper's authors released.")
journal_app = App(help="Show, export and compact what live runs paid for.")
policy_app = App(help="Write what a policy chose for other tools.")


def _say_version(asked: bool) -> bool:
    if asked:
        from sim.origins import version

        typer.echo(f"iapo {version() or '(a checkout that is not installed)'}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version, and stop.")
    ] = False,
) -> None:
    pass


app.command("quickstart")(quickstart.quickstart)
app.command("compare")(compare.compare)
app.command("values")(worlds.values)
app.command("hardness")(theory.hardness)
app.command("agnostic")(theory.agnostic)
app.command("algorithms")(compare.algorithms)
app.command("new")(new.new)
app.command("check")(check.check)
app.command("verify")(verify.verify)
app.command("plan")(plan.plan)
app.command("tune")(live.tune)
app.command("ask")(live.ask)
app.command("evaluate")(evaluate.evaluate)
app.command("record")(journal.record)
app.command("replay")(journal.replay)
app.add_typer(journal_app, name="journal")
journal_app.command("list")(journal.list_)
journal_app.command("show")(journal.show)
journal_app.command("export")(journal.export)
journal_app.command("compact")(journal.compact)
app.add_typer(policy_app, name="policy")
policy_app.command("export")(policy.export)
app.command("advise")(advise.advise)
app.command("figures")(figures.figures)
app.command("claims")(figures.claims)
app.add_typer(env_app, name="env")
env_app.command("list")(worlds.list_)
env_app.command("show")(worlds.show)
env_app.command("import")(data.import_)
app.add_typer(data_app, name="data")
data_app.command("fetch")(data.fetch)
