"""Best (prompt, N) of the tiny model of notes, by weighting of coverage and brevity and by cost, with intervals.

The bundled model answers the 200 queries of its example with each of its four prompts 64 times, through the command and
its server as `iapo record` does it with any model. Values are unbiased (means over all subsets of N completions), and
intervals 95 % over queries, each by itself; those of the lead over another prompt are paired by query.

    python benchmarks/tiny_notes.py --out results/notes

What is recorded is kept in the folder; `best.csv` has a row per context.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from tiny_replays import recorded

from sim.adapters.tiny import tasks
from sim.envs import files
from sim.envs.dataset import Dataset
from sim.writing import write_whole
from theory import samples

COMPLETIONS = 64
"""Of each prompt on each query."""
COLUMNS = ["weight", "cost", "prompt", "scale", "value", "low", "high"]
COLUMNS += ["next", "next_scale", "lead", "lead_low", "lead_high"]


def best(data: Dataset) -> pd.DataFrame:
    """The best arm of every context, and its lead over the best arm of the prompt that comes next.

    Columns: weight (of the first objective), cost (weight of a unit), prompt, scale, value, low, high, next,
    next_scale, lead, lead_low, lead_high.
    """
    rewards, names = samples.sample_task_values(data), data.prompt_names or ()
    found, rows = samples.sample_values(data, rewards), []
    for context, values in enumerate(found.value):
        prompts, scales = np.argsort(-np.nanmax(values, axis=1), kind="stable"), np.nanargmax(values, axis=1)
        arm, other = ((prompt, scales[prompt]) for prompt in prompts[:2])
        own = (names[arm[0]], arm[1] + 1, *(part[context][arm] for part in found))
        lead = (part[other] for part in samples.behind_best(data, rewards, context))
        weight, cost = data.objective_weights[context][0], data.cost_weights[context]
        rows.append((weight, cost, *own, names[other[0]], other[1] + 1, *lead))
    return pd.DataFrame(rows, columns=COLUMNS)


def grid(table: pd.DataFrame) -> str:
    """Best arms as a table in Markdown, a row per weighting: an arm, and its lead over the prompt named beside it."""
    costs = sorted(table["cost"].unique())
    lines = ["| weight of coverage | " + " | ".join(f"{cost:g} a token" for cost in costs) + " |"]
    lines.append("| --- |" + " --- |" * len(costs))
    for weight, rows in table.groupby("weight"):
        cells = (
            f"**{row.prompt} {row.scale}** {row.value:.3f} ({row.low:.3f}, {row.high:.3f}); "
            f"+{row.lead:.3f} ({row.lead_low:.3f}, {row.lead_high:.3f}) over {row.next} {row.next_scale}"
            for row in rows.sort_values("cost").itertuples()
        )
        lines.append(f"| {weight:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the record and the table.")],
) -> None:
    """Record the tiny model of notes, and show the best arm of every context."""
    out.mkdir(parents=True, exist_ok=True)
    table = best(files.load(recorded(out, tasks.NOTES, COMPLETIONS)))
    write_whole(out / "best.csv", lambda file: file.write(table.to_csv(index=False).encode()))
    typer.echo(grid(table))


if __name__ == "__main__":
    typer.run(main)
