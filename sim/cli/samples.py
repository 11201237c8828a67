"""Estimated values of a log's environment, as `iapo values` shows them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli import common

if TYPE_CHECKING:
    import numpy as np

    from sim.certify.intervals import Estimates
    from sim.cli.worlds import Labels
    from sim.envs.dataset import Dataset


_SAME = 12
"""Decimals beyond which values differ by rounding only."""


def show_values(
    data: "Dataset", names: Sequence[str], labels: "Labels", context: int | None, out: Path | None
) -> "Estimates":
    """Print unbiased values with intervals over queries, and what they stand on; write them where that is asked for.

    Args:
        data: the environment.
        names: of its contexts.
        labels: of its prompts.
        context: show every prompt of this one; the best arm of each when None.
        out: file for all values.

    Returns:
        All values.
    """
    from theory import samples

    rewards = samples.sample_task_values(data)
    found = samples.sample_values(data, rewards)
    if out is not None:
        _write(found, names, labels, out)
    console, title = common.console(), f"{data.name}: values estimated from a log"
    if context is None:
        columns = (
            *("context", labels.column("prompt"), ">N", ">value", ">95 % interval"),
            *(labels.column("best at N = 1"), ">value there", ">its N", ">value then"),
        )
        rows = [(name, *_best(_of(found, c), labels)) for c, name in enumerate(names)]
        caption = (
            "prompt, N, value: the best arm. The last columns: the prompt that is best by single answers, alone and at "
            "the scale that is best for it."
        )
        common.show(console, title, columns, rows, caption)
    else:
        own = _of(found, context)
        behind = samples.behind_best(data, rewards, context)
        columns = (
            labels.column("prompt"),
            ">value at N = 1",
            ">best N",
            ">value",
            ">95 % interval",
            ">behind best",
        )
        rows = _by_prompt(own, behind, labels)
        caption = "Best first. behind best: value of the best arm less this one's, and its interval, paired by query."
        common.show(console, f"{title}, context {names[context]}", columns, rows, caption)
    for sentence in samples.statements(data):
        console.print(common.plain(sentence), soft_wrap=True)
    return found


def _of(found: "Estimates", context: int) -> "Estimates":
    return type(found)(*(part[context] for part in found))


def _best(own: "Estimates", labels: "Labels") -> tuple[object, ...]:
    """Best arm, its value and interval; best prompt at N = 1, its value there, its own best scale and value."""
    from sim.cli.digits import shown

    text = shown(own.value)
    prompt, n = divmod(_first_best(own.value), own.value.shape[1])
    value, low, high = (float(part[prompt, n]) for part in own)
    single = _first_best(own.value[:, 0])
    alone = own.value[single]
    then = _first_best(alone)
    rest = (labels(single), text(float(alone[0])), then + 1, text(float(alone[then])))
    return labels(prompt), n + 1, text(value), _interval(text, low, high), *rest


def _by_prompt(own: "Estimates", behind: "Estimates", labels: "Labels") -> list[tuple[object, ...]]:
    """Rows of prompts at the N that is best for them, best first; the first is what the others are behind."""
    import numpy as np

    from sim.cli.digits import shown

    text, top, rows = shown(own.value), np.nanmax(own.value, axis=1).round(_SAME), []
    for prompt in np.argsort(-top, kind="stable"):
        n = _first_best(own.value[prompt])
        value, low, high = (float(part[prompt, n]) for part in own)
        less, least, most = (float(part[prompt, n]) for part in behind)
        last = f"{text(max(less, 0.0))} ({_interval(text, least, most)})" if rows else "-"
        single = text(float(own.value[prompt, 0]))
        rows.append((labels(prompt), single, n + 1, text(value), _interval(text, low, high), last))
    return rows


def _first_best(values: "np.ndarray") -> int:
    """The largest of the values that are known, by its place in row order; the first where several are equal."""
    import numpy as np

    return int(np.nanargmax(values.round(_SAME)))


def _interval(text: "Callable[[float], str]", low: float, high: float) -> str:
    return "-" if low != low else f"{text(low)} to {text(high)}"


def _write(found: "Estimates", names: Sequence[str], labels: "Labels", path: Path) -> None:
    """Write context, prompt, scale, value, low, high of every arm whose value is known."""
    import numpy as np
    import pandas as pd

    from sim.comparison import tables

    known = np.isfinite(found.value)
    context, prompt, scale = np.nonzero(known)
    columns = {"context": np.array(names)[context], "prompt": labels.cells(prompt), "scale": scale + 1}
    tables.save(pd.DataFrame(columns | {part: getattr(found, part)[known] for part in found._fields}), path)
