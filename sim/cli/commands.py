"""What `iapo` offers, command by command. Everything heavy is imported inside them, so that help comes at once."""

import typer

from sim.cli import check, compare, data, evaluate, figures, journal, live, new, plan, theory, verify, worlds

app = typer.Typer(
    name="iapo",
    help="Choose a prompt and an inference scale together (IAPO): compare selection algorithms with exact scoring.",
    epilog="A first try: iapo compare --env crossover --algorithm psst --algorithm uniform --trials 50",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help comes in half the time
    pretty_exceptions_enable=False,
)
env_app = typer.Typer(help="List, show and import environments.", no_args_is_help=True, rich_markup_mode=None)
data_app = typer.Typer(
    help="The environments that the paper's authors released.", no_args_is_help=True, rich_markup_mode=None
)

journal_app = typer.Typer(help="What live runs paid for.", no_args_is_help=True, rich_markup_mode=None)

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
journal_app.command("export")(journal.export)
journal_app.command("compact")(journal.compact)
app.command("figures")(figures.figures)
app.command("claims")(figures.claims)
app.add_typer(env_app, name="env")
env_app.command("list")(worlds.list_)
env_app.command("show")(worlds.show)
env_app.command("import")(data.import_)
app.add_typer(data_app, name="data")
data_app.command("fetch")(data.fetch)
