"""Scored trials to tidy tables: a row per trial, a summary, a row per context, and where they come from.

Tables are written whole or not at all, and byte for byte equal for equal trials.

    >>> import numpy as np
    >>> from sim import tables
    >>> tables.paired_p(np.array([0.1, 0.2, 0.3, 0.4]))  # all four trials say the same: 2 of 16 choices of signs
    0.125
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Float, Float64, Int64

from sim.envs.rows import each_text, to_csv, unquoted
from sim.evaluate import Scores
from sim.writing import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from sim.engine.runner import Trials

TRIALS = ("env", "algorithm", "budget", "trial", "acr", "regret", "error", "spent")
SUMMARY = (
    *("env", "algorithm", "budget", "trials", "acr_mean", "acr_sem", "regret_mean", "regret_sem"),
    *("error_rate", "spent_mean", "spent_max", "p_holm"),
)
CONTEXTS = ("env", "algorithm", "budget", "context", "regret_mean", "regret_sem", "error_rate")
ANSWERS = ("trial", "context", "prompt", "scale", "spent")
CELL = ["env", "algorithm", "budget"]

_NOISE_DIGITS = 12
"""Decimals, of the size of what is compared, to which differences are rounded: equal values differ by rounding only."""
_EXACT_WORK = 1 << 26
"""Additions that the exact null distribution of one comparison may take, less than .05 seconds."""
_LEFT = 3600
"""Seconds after which a file that is still being written is one that nobody writes any more."""
_PACKAGES = ("iapo-testbed", "jax", "equinox", "numpy", "scipy", "pandas")


def of_trials(found: "Trials", first: int = 0, contexts: Sequence[str] = ()) -> "pd.DataFrame":
    """Answers of `sim.run_trials` as a tidy table: a row per trial and context, columns `ANSWERS`.

    Args:
        found: the trials.
        first: number of the first.
        contexts: labels of the contexts; their numbers, from 0, where there are none.

    Raises:
        ValueError: there are labels, but not one for each context.

    Example:
        >>> from sim import algorithms, envs, run_trials, tables
        >>> trials = run_trials(envs.get("two-arm").source, algorithms.get("uniform"), 40, seed=0, trials=3)
        >>> tables.of_trials(trials)[["trial", "context", "scale", "spent"]].values.tolist()
        [[0, 0, 1, 40], [1, 0, 1, 40], [2, 0, 1, 40]]
    """
    import pandas as pd

    size, width = found.prompt.shape
    if contexts and len(contexts) != width:
        raise ValueError(f"{len(contexts)} labels for {width} contexts; one each is needed")
    trial, context = (axis.ravel() for axis in np.indices((size, width)))
    labels = np.array(contexts, object)[context] if contexts else context
    columns = (trial + first, labels, found.prompt.ravel(), found.scale.ravel(), found.spent[trial])
    return pd.DataFrame(dict(zip(ANSWERS, columns, strict=True)))


def trial_rows(env: str, algorithm: str, budget: int, scores: Scores, spent: np.ndarray) -> "pd.DataFrame":
    """A row per trial of one cell, columns `TRIALS`; trials are numbered from 0.

    Args:
        env: name of the environment.
        algorithm: its name in tables.
        budget: completions T.
        scores: of its trials.
        spent: completions that each trial spent, shape (trial,).
    """
    import pandas as pd

    columns = (env, algorithm, budget, np.arange(len(spent)), scores.acr, scores.regret, scores.error, spent)
    frame = pd.DataFrame(dict(zip(TRIALS, columns, strict=True)))
    return frame.astype({"env": str, "algorithm": str, "budget": np.int64, "trial": np.int64, "spent": np.int64})


def context_rows(env: str, algorithm: str, budget: int, contexts: tuple[str, ...], scores: Scores) -> "pd.DataFrame":
    """A row per context of one cell, columns `CONTEXTS`.

    Args:
        env: name of the environment.
        algorithm: its name in tables.
        budget: completions T.
        contexts: labels of the contexts.
        scores: of its trials.
    """
    import pandas as pd

    regret, error = scores.context_regret, scores.context_error
    columns = (env, algorithm, budget, list(contexts), regret.mean(axis=0), sem(regret), error.mean(axis=0))
    return pd.DataFrame(dict(zip(CONTEXTS, columns, strict=True)))


def summarise(frame: "pd.DataFrame", reference: str) -> "pd.DataFrame":
    """Means with standard errors per (env, algorithm, budget), and how each compares with a reference algorithm.

    `p_holm` is the two-sided Wilcoxon signed-rank p-value of the trials' ACR, paired with the reference's on the same
    environment, budget and trials, after Holm's correction. The family of one correction is all comparisons of one
    environment: every other algorithm at every budget. Without any difference p = 1; for the reference itself NaN.

    Args:
        frame: rows of `trial_rows`.
        reference: the algorithm that the others are compared with.

    Raises:
        ValueError: it has no trials where another has.
    """
    import pandas as pd

    cells: dict[Any, pd.DataFrame] = dict(iter(frame.groupby(CELL, sort=False)))
    rows = []
    for (env, algorithm, budget), cell in cells.items():
        columns = [cell[name].to_numpy() for name in ("acr", "regret")]
        means = [float(f(column)) for column in columns for f in (np.mean, sem)]
        spent = (cell["spent"].mean(), cell["spent"].max())
        p = np.nan
        if algorithm != reference:
            if (env, reference, budget) not in cells:
                raise ValueError(f"the reference {reference!r} has no trials on {env} at budget {budget}")
            paired = cell.merge(cells[env, reference, budget], on="trial", validate="one_to_one")
            own, other = (paired[name].to_numpy() for name in ("acr_x", "acr_y"))
            p = paired_p(own - other, _unit(own, other))
        rows.append((env, algorithm, budget, len(cell), *means, cell["error"].mean(), *spent, p))
    summary = pd.DataFrame(rows, columns=list(SUMMARY))
    summary["p_holm"] = summary.groupby("env", sort=False)["p_holm"].transform(lambda p: holm(p.to_numpy()))
    return summary


def _unit(*values: Float[np.ndarray, " trial"]) -> float:
    """The power of two above the largest size of some values; 1 where all are 0."""
    largest = max(float(np.abs(of).max()) for of in values)
    return float(2.0 ** np.frexp(largest)[1]) if largest else 1.0


def paired_p(difference: Float[np.ndarray, " trial"], unit: float = 1.0) -> float:
    """Two-sided Wilcoxon signed-rank p-value of paired differences; 1 where there is none.

    Zero differences are left out, equal sizes share their mean rank, and the p-value is exact given the sizes: every
    choice of signs is as likely as every other. That is so for up to 406 differences other than zero, and for more
    where ties make it cheap (8,191 of one size: the sign test). Beyond, the normal approximation with correction for
    ties. Measured where the two meet, at p from .001 to .05: off by at most 3 % of p where all sizes differ, 4 % where
    all are equal and 9 % where there are two. (`scipy.stats.wilcoxon` is exact with ties up to 13 differences only.)

    Args:
        difference: of each trial.
        unit: size of the values that were subtracted; differences below 5e-13 of it are rounding, and count as zero.
    """
    from scipy import stats

    rounded = np.round(np.asarray(difference, np.float64) / unit, _NOISE_DIGITS)
    rounded = rounded[rounded != 0]
    if len(rounded) == 0:
        return 1.0
    ranks = np.rint(2 * stats.rankdata(np.abs(rounded))).astype(np.int64)  # twice the ranks are whole numbers
    steps = ranks // np.gcd.reduce(ranks)
    if len(steps) * steps.sum() <= _EXACT_WORK:
        positive = steps[rounded > 0].sum()
        return min(1.0, 2 * _at_most(int(min(positive, steps.sum() - positive)), steps))
    result: Any = stats.wilcoxon(rounded, method="asymptotic")
    return float(result.pvalue)


def _at_most(limit: int, steps: Int64[np.ndarray, " trial"]) -> float:
    """P(sum of some of these numbers <= limit), each in the sum with probability 1/2.

    Adds up probabilities only, so that tiny ones are as accurate as others.
    """
    law = np.zeros(limit + 1)
    law[0] = 1.0
    for step in np.sort(steps)[::-1]:
        law *= 0.5
        law[step:] += law[:-step].copy()
    return float(law.sum())


def holm(p: Float[np.ndarray, " comparison"]) -> Float64[np.ndarray, " comparison"]:
    """Holm's step-down adjustment of the p-values of one family; NaN entries are not part of it.

    Adjusted p_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)) for the m ordered p-values.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(factors * p[order], 1.0))
    return adjusted


def sem(values: Float[np.ndarray, "trial *rest"]) -> Float64[np.ndarray, "*rest"]:
    """Standard error of the mean over trials; NaN for a single trial."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def provenance(settings: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, device, settings and timing: what it takes to get the same tables again.

    Args:
        settings: of the comparison.
        timing: seconds, by what took them.
    """
    import jax

    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "number": jax.device_count()},
        "machine": {"system": platform.system(), "architecture": platform.machine()},
        "settings": dict(settings),
        "timing": dict(timing),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"


def cell_folder(out: Path) -> Path:
    """The folder of kept cells inside a folder for results, made if need be.

    Args:
        out: the folder for results.

    Raises:
        ValueError: `out` cannot be made or written to; better now than after the work.
    """
    folder = out / "cells"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out}: cannot be made a folder for results ({error.strerror})") from error
    save({}, folder / ".writable.json").unlink(missing_ok=True)  # another run may be at it
    for part in folder.glob(".*.part"):  # left by a process that was killed in the middle of a write
        with suppress(OSError):
            if time() - part.stat().st_mtime > _LEFT:
                part.unlink()
    return folder


@contextmanager
def kept_cells(out: Path) -> Iterator[Path]:
    """`cell_folder` around work that may be refused: then what was made and holds nothing goes again."""
    made = [path for path in (out / "cells", out, *out.parents) if not path.exists()]
    folder = cell_folder(out)
    try:
        yield folder
    except (ValueError, SystemExit):
        with suppress(OSError):  # the first that holds something ends it
            for path in made:
                path.rmdir()
        raise


def save(table: "pd.DataFrame | Mapping[str, Any]", path: Path) -> Path:
    """Write a table as .parquet or .csv, or provenance as .json; it appears whole or not at all.

    In CSV, text that a spreadsheet would compute gets an apostrophe in front (`sim.envs.rows`); `load` takes it off.

    Args:
        table: what is written.
        path: the file; its ending says how. Any but .parquet is CSV for a table.

    Returns:
        The path.

    Raises:
        ValueError: the file cannot be written.
    """

    def write(file: BinaryIO) -> None:
        if isinstance(table, Mapping):
            file.write((json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode())
        elif path.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            file.write(to_csv(table))

    write_whole(path, write)
    return path


def load(path: Path) -> "pd.DataFrame":
    """Read a table that `save` wrote."""
    import pandas as pd

    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return each_text(pd.read_csv(path), unquoted)
