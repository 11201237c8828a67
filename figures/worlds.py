"""Counts of drawn worlds in which prompts cross over and the best arm depends on the context: exact, all queries.

Environments that draw a world afresh for every trial: what `crossing` shows of the world of trial 0, counted over many.
The best of a world's own queries changes in nearly every world, whether or not it does for new queries that the world's
law would draw. So in the first worlds this is tested too (`figures.queries`, one division into halves each).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures import queries, style
from figures.crossing import cheapest, settings
from figures.inputs import SEED, Lab
from theory.checks.verdicts import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {"envs": ("synth-bernoulli", "synth-categorical"), "digits": 5, "trials": 1000, "tested": 40}
SMOKE: dict[str, Any] = {"envs": ("synth-bernoulli:num_prompts=4,max_scale=3",), "trials": 16, "tested": 16}

COUNTS = {
    "leaders": "prompts that lead at some N",
    "prompts": "best prompts, over contexts",
    "scales": "best N, over contexts",
}
"""Column -> what is counted in a world."""
CLAIMS, UNTESTED = ("C1", "C2"), "untested"


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns: env, leaders, prompts, scales, C1, C2, worlds: how many worlds have these counts and answers.

    leaders: prompts that are best at some N where completions cost least; prompts and scales: different best prompts
    and best N over contexts. Values are rounded to `digits`; of equal arms the first one counts as best. C1 and C2: the
    answers of `figures.queries` on fresh queries, "untested" after the first `tested` worlds.
    """
    import pandas as pd

    parts = []
    for env in lab.at_hand(sweep["envs"]):
        cheap = cheapest([context.cost for context in lab.contexts(env)])
        drawn = np.round(lab.on_all_queries(env, sweep["trials"]), sweep["digits"])
        tests = [_answers(env, lab, cheap, trial) for trial in range(min(sweep["tested"], len(drawn)))]
        tests += [(UNTESTED,) * 2] * (len(drawn) - len(tests))
        found = [(*counts(values, cheap), *answers) for values, answers in zip(drawn, tests, strict=True)]
        tally = pd.DataFrame(found, columns=[*COUNTS, *CLAIMS]).value_counts(sort=False).rename("worlds").reset_index()
        parts.append(tally.assign(env=env))
    return pd.concat(parts, ignore_index=True)[["env", *COUNTS, *CLAIMS, "worlds"]]


def _answers(env: str, lab: Lab, cheap: int, trial: int) -> tuple[str, ...]:
    rng = np.random.default_rng((SEED, trial))
    tested = settings(lab.per_query(env, trial), cheap)
    return tuple(queries.judge(tested[claim], rng, splits=1).answer for claim in CLAIMS)


def counts(values: np.ndarray, cheap: int) -> tuple[int, int, int]:
    """Counts of prompts that lead at some N in the context `cheap`, and of prompts and N that are best in some context.

    Args:
        values: exact, shape (context, prompt, scale).
        cheap: number of the context.
    """
    best = values.reshape(len(values), -1).argmax(axis=1)
    prompts, scales = np.divmod(best, values.shape[2])
    return len(np.unique(values[cheap].argmax(axis=0))), len(np.unique(prompts)), len(np.unique(scales))


def draw(table: "pd.DataFrame") -> Figure:
    """A panel per count: share of worlds by how many there are, a bar per environment with a 95 % interval."""
    envs = list(dict.fromkeys(table["env"]))
    figure, panels = style.paper(style.PAGE, 1.9, nrows=1, ncols=len(COUNTS), sharey=True)
    width, colors = 0.8 / len(envs), style.environments(envs)
    for axes, (column, said) in zip(panels[0], COUNTS.items(), strict=True):
        for i, (env, own) in enumerate(table.groupby("env", sort=False)):
            count, every = own.groupby(column)["worlds"].sum(), int(own["worlds"].sum())
            share = count / every
            at = share.index.to_numpy() + width * (i - (len(envs) - 1) / 2)
            ends = [clopper_pearson(int(worlds), every, 0.95) for worlds in count]
            error = np.abs(np.transpose(ends) - share.to_numpy())
            axes.errorbar(at, share, error, fmt="none", ecolor=style.INK, elinewidth=0.6)
            axes.bar(at, share, width, color=colors[str(env)], alpha=0.6, label=env)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel(said)
        axes.grid(axis="x", visible=False)
    panels[0, 0].set_ylabel("share of worlds")
    panels[0, -1].legend(loc="upper right")
    return figure
