"""What a larger Nmax is worth: the best value that any (prompt, N) with N <= n attains, against n. Exact values."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import style
from figures.lab import SEED, Lab
from sim import cells
from sim.cli import truth

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("MATH", "CQA", "HH", "Summarization", "synth-bernoulli", "synth-categorical"),
    "draws": 40,
    "caps": (1, 2, 4, 8, 16, 32),
}
SMOKE: dict[str, Any] = {"envs": ("crossover", "mv-three-scales"), "draws": 4}
ALL, FREE = "all contexts", "lowest cost"


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Columns: env, contexts ("all contexts" or "lowest cost"), cap, trials, value, sem.

    `value` is the mean over contexts and trials of the best exact value on the test queries among arms with N <= cap;
    `sem` its standard error over trials (worlds or splits), 0 where all trials have the same values.
    """
    import pandas as pd

    rows = []
    for env in lab.at_hand(sweep["envs"]):
        world, contexts = lab.get(env), lab.contexts(env)
        _, test = truth.exact_values(world, SEED, 0, sweep["draws"])
        probs, cost = cells.context_probs(world), np.array([context.cost for context in contexts])
        free = probs * np.isclose(cost, cost.min())
        for contexts_of, weights in ((ALL, probs), (FREE, free / free.sum())):
            for cap in sweep["caps"]:
                if cap <= test.shape[3]:
                    value = test[..., :cap].max(axis=(2, 3)) @ weights
                    sem = value.std(ddof=1) / np.sqrt(len(value)) if len(value) > 1 else 0.0
                    rows.append((env, contexts_of, cap, len(value), value.mean(), sem))
    return pd.DataFrame(rows, columns=["env", "contexts", "cap", "trials", "value", "sem"])


def draw(table: "pd.DataFrame") -> Figure:
    """Value against Nmax, a line per environment, for all contexts and where completions cost least."""
    figure, panels = style.paper(style.PAGE, 2.1, nrows=1, ncols=2)
    for axes, contexts in zip(panels[0], (ALL, FREE), strict=True):
        rows = table[table["contexts"] == contexts]
        for i, (env, own) in enumerate(rows.groupby("env", sort=False)):
            top = own["value"].iloc[-1]
            line = {"color": style.STRONG[i % 4] if i < 4 else style.MUTED[i - 4], "lw": 1.2, "label": env}
            axes.plot(own["cap"], own["value"] / top, marker="o", ms=2.5, **line)
        caps = sorted(rows["cap"].unique())
        axes.set_xscale("log", base=2)
        axes.set_xticks(caps, [str(cap) for cap in caps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("largest N allowed")
        axes.set_title(contexts, loc="left", fontweight="bold")
    panels[0, 0].set_ylabel("best value, share of that at Nmax")
    panels[0, 1].legend(loc="lower right")
    return figure
