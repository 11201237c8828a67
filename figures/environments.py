"""The environments: sizes (the paper's Table 1) and what exact values say of their structure.

Where worlds are drawn afresh for every trial, that of trial 0 is described.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from figures import style
from figures.inputs import SEED, Lab, records
from sim.envs.blobs import RELEASED
from theory import truth
from theory.agnostic import losses

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "near": 0.01,
}
SMOKE: dict[str, Any] = {"envs": ("crossover", "bon-two-scales")}

PAPER: dict[str, tuple[str, int, int, int, int | None, float | None]] = {
    "synth-bernoulli": ("mv", 32, 32, 3, 520, 1.0),
    "MATH": ("mv", 25, 32, 3, 316, 1.0),
    "CQA": ("mv", 48, 32, 3, 1500, 1.0),
    "synth-categorical": ("bon", 32, 32, 27, 512, 4.0),
    "HH": ("bon", 20, 32, 27, None, None),
    "Summarization": ("bon", 20, 32, 27, None, None),
}
"""Name -> strategy, prompts, Nmax, contexts, queries and largest objective in the paper's Table 1.

None: not given there, or, of scores of a reward model, a limit that no completion need attain.
"""
COLUMNS = (
    *("env", "strategy", "prompts", "max_scale", "contexts", "queries", "largest", "train", "as_paper"),
    *("best_arms", "best_prompts", "near_best", "agnostic_single", "agnostic_tuned", "value_best"),
)


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """A row per environment, columns `COLUMNS`; all but the sizes are averages over contexts, or counts.

    `largest`: the largest score of an objective that a completion can have. `as_paper`: whether the sizes are those of
    Table 1 (empty where it has none). `best_arms` and `best_prompts`: how many differ over contexts. `near_best`: share
    of arms within `near` of the best. `agnostic_single`: what the prompt with the best single answers loses against the
    best arm, deployed with N = 1; `agnostic_tuned`: with its best N.
    """
    import pandas as pd

    rows = []
    for env in lab.at_hand(sweep["envs"]):
        world, values = lab.get(env), lab.values(env)
        drawn = truth.draw_first(world, SEED)
        known: Any = drawn.world  # every world of `sim.envs` has a strategy
        strategy = "+".join(dict.fromkeys(known.strategy.aggregate))
        largest = 1.0 if known.atoms is None else float(known.atoms.max())
        sizes = (strategy, *values.shape[1:], values.shape[0], known.num_queries, largest)
        expected = PAPER.get(env)
        same = "" if expected is None else all(a in (b, None) for a, b in zip(expected, sizes, strict=True))
        best = values.reshape(len(values), -1).argmax(axis=1)
        near = (values.max(axis=(1, 2), keepdims=True) - values <= sweep["near"]).mean()
        lost = losses(values)
        facts = (len(set(best)), len(set(best // values.shape[2])), near, lost.single.mean(), lost.tuned.mean())
        rows.append((env, *sizes, len(drawn.train.ids), same, *facts, lost.best.mean()))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw(table: "pd.DataFrame") -> Figure:
    """The table, as text; released environments that are not in it have the sizes that the paper gives."""
    head = (
        "environment",
        "strategy",
        "|P|",
        "Nmax",
        "|C|",
        "queries",
        "largest\nscore",
        "as in\nTable 1",
        "best\narms",
        "near\nbest",
    )
    head += ("loss of the best\nprompt at N = 1", "the same,\nN tuned")
    said = {True: "yes", False: "no"}
    known = {
        row.env: (
            *(row.env, row.strategy.upper(), row.prompts, row.max_scale, row.contexts, row.queries, f"{row.largest:g}"),
            said.get(row.as_paper, "-"),
            *(row.best_arms, f"{row.near_best:.1%}", f"{row.agnostic_single:.3f}", f"{row.agnostic_tuned:.3f}"),
        )
        for row in records(table)
    }
    listed = [env for env in PAPER if env in known or env in RELEASED] if PAPER.keys() & known.keys() else []
    rows = [known[env] if env in known else _printed(env) for env in dict.fromkeys([*listed, *known])]
    figure, panels = style.paper(style.PAGE, 0.45 + 0.2 * len(rows), nrows=1, ncols=1)
    axes = panels[0, 0]
    axes.set_axis_off()
    at = np.array([0.0, 0.21, 0.27, 0.33, 0.38, 0.455, 0.53, 0.6, 0.655, 0.715, 0.865, 1.0])
    lines = len(rows) + 1.6
    for line, row in enumerate([head, *rows]):
        y = 1 - (0.8 + line + 0.3 * (line > 0)) / lines
        for x, entry in zip(at, row, strict=True):
            first = x == 0
            weight = "bold" if line == 0 or first else "normal"
            axes.text(x, y, str(entry), ha="left" if first else "right", va="center", fontweight=weight, clip_on=False)
    axes.axhline(1 - 1.5 / lines, color=style.INK, lw=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return figure


def _printed(env: str) -> tuple[str, ...]:
    """The line of an environment that is not at hand: the sizes in the paper's Table 1."""
    strategy, *counts, largest = PAPER[env]
    sizes = ["-" if count is None else str(count) for count in counts]
    top = "-" if largest is None else f"{largest:g}"
    return (env, strategy.upper(), *sizes, top, *[""] * 4, "file not at hand; sizes as in Table 1")
