"""`iapo quickstart`: a first result in a minute of one core."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim import defaults
from sim.cli import common, compare, ranking

if TYPE_CHECKING:
    import numpy as np

ENV = "long-scales"
"""Fixed and without a split: one table of exact values is the truth of every trial."""
ALGORITHMS = (defaults.RECOMMENDED, defaults.REFERENCE, "uniform", "psst+k1", "triple-n1", "oracle")
BUDGETS = (2000, 5000, 20000, 50000)
TRIALS = 100
NEXT = (
    ("iapo compare --env FILE", "your own environment, made of your logs by iapo env import (docs/format.md)"),
    ("make compare", "every algorithm on both synthetic worlds, which takes minutes (iapo compare --algorithm all)"),
    ("docs/index.md", "words, results, guarantees, live models"),
)
"""Commands to run next, and their use."""


@common.command
def quickstart(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the results.")] = Path("results/quickstart"),
) -> None:
    """Show a first result in a minute: who finds the best arm.

    Five algorithms on the world long-scales, in a minute of one core: a picture (prompts cross over N, the best pair at
    every cost, who finds it), a sentence that says who won, and what to run next. Writes trials.parquet, summary.csv,
    contexts.csv, quickstart.png, quickstart.pdf and provenance.json. What is finished is kept: the same command goes on
    where it was stopped.

    Example: iapo quickstart --out first
    """
    from sim import envs
    from sim.comparison import compare as driver
    from theory import exact

    plan = driver.Plan((ENV,), ALGORITHMS, BUDGETS, TRIALS, seed=0, reference=ALGORITHMS[0])
    result = compare.carry_out(plan, out, processes=1)  # others would import and compile the same once more
    world = envs.get(ENV).data
    assert world is not None
    values, costs = exact.values(world), world.cost_weights * world.costs.mean()
    from figures import style
    from figures.results import quickstart as figure

    pictures = compare.save_pictures(
        figure.draw(values, costs, result.summary), out, "quickstart", rc=style.PAPER, dpi=style.PRINT_DPI
    )
    typer.echo(f"\n{crossing(values[int(costs.argmin())])}\n")
    compare.show_table(common.console(), ENV, result.summary, plan, result, seconds=False)
    typer.echo(f"\n{ranking.verdict(result.trials)}")
    typer.echo(f"\nIn {out}: {', '.join((*driver.FILES, *pictures))}\n\nNext:")
    for command, gives in NEXT:
        typer.echo(f"  {command:25}{gives}")


def crossing(values: "np.ndarray") -> str:
    """The sentence on two prompts that change places.

    Args:
        values: exact, shape (prompt, scale), of the context in which completions cost least; the best prompt is another
            than by single answers.
    """
    from sim.cli.digits import shown

    prompt, scale = divmod(int(values.argmax()), values.shape[1])
    alone = int(values[:, 0].argmax())
    number = shown(values)
    return (
        f"Prompt {alone} is best alone, with {number(values[alone, 0])}, and reaches {number(values[alone].max())} at "
        f"its best N. Prompt {prompt} has {number(values[prompt, 0])} alone, and {number(values[prompt, scale])} with "
        f"N = {scale + 1}."
    )
