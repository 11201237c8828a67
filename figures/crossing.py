"""Prompts crossing over as N grows, and the best (prompt, N) of every context (the paper's Figure 2). Exact values.

They are exact given the queries, which are a sample: the table says too what holds beyond them (`figures.queries`).
Where worlds are drawn afresh for every trial, that of trial 0 is shown.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures import panels, queries, style
from figures.inputs import SEED, Lab

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("MATH", "CQA", "HH", "Summarization", "synth-bernoulli", "synth-categorical"),
    "digits": 5,
    "shown": 10,
}
SMOKE: dict[str, Any] = {"envs": ("crossover", "bon-two-scales")}

CURVE, BEST, CROSSING = "curve", "best", "crossing"
TESTED = {"C1": "prompts over N", "C2": "arms over contexts"}
"""Claim -> the options and settings whose change `figures.queries` tests, the beginning of the kinds of its rows."""
CHANGES, CONSTANT, AGREE, SAME = ": p, changes", ": p, constant", ": bootstraps that change", ": bootstraps"
_COLORS = (*style.STRONG, *style.MUTED)
_LINES = ("-", "--", "-.", ":")
_GREY = "#cfcfcf"


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """Values over N where completions cost least, the best arm of every context, and how many pairs cross.

    Columns: env, kind, context, weight (share of the first objective), cost (of a completion, mean over prompts),
    prompt, scale, value. Kinds: "curve", a value of a prompt that leads at some N or is one of the `shown` best;
    "best", the best arm of a context; "crossing", the share of all pairs of prompts whose order at N = 1 is strictly
    reversed at the largest N (prompt and scale are 0). Where queries are a sample, for each of `TESTED`: the p-values
    and the share of bootstraps of `figures.queries`, and the share of bootstraps in which a prompt at its N, or an arm
    in its context, is best as in the sample.
    """
    import pandas as pd

    rows = []
    for env in lab.at_hand(sweep["envs"]):
        values, contexts = np.round(lab.values(env), sweep["digits"]), lab.contexts(env)
        cheap = cheapest([context.cost for context in contexts])
        for prompt in _shown(values[cheap], sweep["shown"]):
            of = values[cheap, prompt]
            rows += [(env, CURVE, *contexts[cheap], prompt, n, value) for n, value in enumerate(of, start=1)]
        for context, of_context in zip(contexts, values, strict=True):
            prompt, scale = divmod(int(of_context.argmax()), of_context.shape[1])
            rows.append((env, BEST, *context, prompt, scale + 1, of_context[prompt, scale]))
            rows.append((env, CROSSING, *context, 0, 0, _reversed(of_context)))
        if not lab.get(env).source.fresh and lab.queries_are_a_sample(env):
            rows += _beyond_these_queries(env, lab, cheap)
    return pd.DataFrame(rows, columns=["env", "kind", "context", "weight", "cost", "prompt", "scale", "value"])


def _beyond_these_queries(env: str, lab: Lab, cheap: int) -> list[tuple[Any, ...]]:
    """Rows of the tests and bootstraps of one environment."""
    each, contexts = lab.per_query(env), lab.contexts(env)
    scales, rows, nowhere = each.shape[2], [], ("", 0.0, 0.0, 0, 0)
    for claim, values in settings(each, cheap).items():
        rng = np.random.default_rng(SEED)
        found, (agree, same) = queries.judge(values, rng), queries.bootstrap(values, rng)
        of = TESTED[claim]
        for kind, value in ((CHANGES, found.changes), (CONSTANT, found.constant), (AGREE, agree)):
            rows.append((env, of + kind, *nowhere, value))
        for at, (best, share) in enumerate(zip(values.mean(axis=2).argmax(axis=1).tolist(), same, strict=True)):
            where = (*contexts[cheap], best, at + 1) if claim == "C1" else (*contexts[at], *divmod(best, scales))
            rows.append((env, of + SAME, *where[:4], cast(int, where[4]) + (claim == "C2"), share))
    return rows


def settings(each: np.ndarray, cheap: int) -> dict[str, np.ndarray]:
    """Claim -> values (setting, option, query): prompts over N in the context `cheap`, and arms over contexts.

    Args:
        each: exact, shape (context, prompt, scale, query).
        cheap: number of the context.
    """
    return {"C1": each[cheap].swapaxes(0, 1), "C2": each.reshape(len(each), -1, each.shape[-1])}


def _shown(values: np.ndarray, number: int) -> list[int]:
    """Prompts that lead at some N, and the best ones."""
    return sorted({*values.argmax(axis=0).tolist(), *np.argsort(-values.max(axis=1), kind="stable")[:number].tolist()})


def _reversed(values: np.ndarray) -> float:
    """Share of pairs of prompts whose order at N = 1 is reversed at the largest N."""
    first, last = (np.sign(of[:, None] - of[None, :]) for of in (values[:, 0], values[:, -1]))
    return float((first * last < 0).sum() / max(first.size - len(first), 1))


def cheapest(costs: list[float]) -> int:
    """The middle one of the contexts in which completions cost least."""
    least = np.flatnonzero(np.isclose(costs, min(costs)))
    return int(least[len(least) // 2])


def draw(table: "pd.DataFrame") -> Figure:
    """Above: value against N, prompts that lead at some N in colour, other good ones grey. Below: best arms.

    The axis is that of the leaders; other prompts are cut where they are below it.
    """
    envs = list(dict.fromkeys(table["env"]))
    figure, grid = panels.stacked(envs, 3.7, (1.7, 1.0))
    for (above, below), env in zip(grid, envs, strict=True):
        own = table[table["env"] == env]
        curves, best = own[own["kind"] == CURVE], own[own["kind"] == BEST]
        colors = _colors(curves, best)
        _curves(above, curves, colors)
        above.set_title(env, loc="left", fontweight="bold")
        _contexts(below, best, colors)
    panels.label_rows(grid[:, 0], "exact value, lowest cost")
    grey = Line2D([], [], color=_GREY, lw=0.8)
    style.legend(figure, [], columns=1, extra={"other good prompts, cut where below the leaders' range": grey})
    return figure


def leaders(curves: "pd.DataFrame") -> list[int]:
    """Prompts that are best at some N, in the order of N."""
    top = curves.loc[curves.groupby("scale")["value"].idxmax()]
    return list(dict.fromkeys(top.sort_values("scale")["prompt"].tolist()))


def _colors(curves: "pd.DataFrame", best: "pd.DataFrame") -> dict[int, tuple[str, str]]:
    """Colour and line of the prompts that lead somewhere."""
    shown = list(dict.fromkeys([*leaders(curves), *best["prompt"]]))
    return {p: (_COLORS[i % len(_COLORS)], _LINES[i // len(_COLORS) % 4]) for i, p in enumerate(shown)}


def _curves(axes: Axes, curves: "pd.DataFrame", colors: dict[int, tuple[str, str]]) -> None:
    leading = leaders(curves)
    for prompt, own in curves.groupby("prompt"):
        color, line = colors[int(str(prompt))] if prompt in leading else (_GREY, "-")
        strong = prompt in leading
        label = f"prompt {prompt}" if strong else None
        axes.plot(
            own["scale"], own["value"], line, color=color, lw=1.3 if strong else 0.5, zorder=2 + strong, label=label
        )
    last = int(curves["scale"].max())
    axes.set_xscale("log", base=2)
    ticks = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= last]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("N")
    lead = curves[curves["prompt"].isin(leading)]["value"]
    low, high = lead.min(), lead.max()
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.2, labelspacing=0.2)


def _contexts(axes: Axes, best: "pd.DataFrame", colors: dict[int, tuple[str, str]]) -> None:
    """A cell per context: columns are weights, rows are costs; in it the prompt (colour, above) and N (below)."""
    weights, costs = (sorted(best[name].unique()) for name in ("weight", "cost"))
    costs = [cost for i, cost in enumerate(costs) if i == 0 or not np.isclose(cost, costs[i - 1])]
    for _, row in best.iterrows():
        x, y = weights.index(row["weight"]), int(np.isclose(costs, row["cost"]).argmax())
        axes.add_patch(_cell(x, y, colors[row["prompt"]][0]))
        axes.text(x, y, f"{row['prompt']}\n{row['scale']}", ha="center", va="center", fontsize=6, linespacing=0.95)
    axes.set_xlim(-0.5, len(weights) - 0.5)
    axes.set_ylim(len(costs) - 0.5, -0.5)
    axes.set_yticks(range(len(costs)), [f"{cost:.2g}" for cost in costs])
    axes.set_ylabel("cost")
    names = [f"{weight:.1g}" for weight in weights]
    axes.set_xticks(range(len(weights)), names if len(weights) > 1 else [""])
    axes.set_xlabel("weight of objective 1" if len(weights) > 1 else "best prompt (above), its N (below)")
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _cell(x: int, y: int, color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=color, alpha=0.35, edgecolor="white", linewidth=0.5)
