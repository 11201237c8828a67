"""Core-time of one trial: ours, plain vectorised NumPy, and the released code where its folder is given.

All sides run in turn in one process, so that ratios survive a machine whose speed drifts. Core-time is
the processor time of the process, summed over cores. Run it as

    python benchmarks/table.py --world MATH_final.pkl --reference FOLDER
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import authors
import jax
import numpy as np
import typer
import worlds
from rich.console import Console
from rich.table import Table

from sim import algorithms
from sim.engine import runner
from sim.envs.sources import NamedSource
from sim.kernels import counter

BYTES = 8
"""Memory traffic of a completion at least: its outcome, four bytes, written by the draw and read by the scoring."""
NAMES = ("psst", "psst+k4", "uniform", "triple-n1", "ucb", "epsilon-greedy", "softmax")


def ours(named: NamedSource, name: str, budget: int, trials: int, seed: int) -> tuple[float, float]:
    """Core-seconds and completions of one trial, from `trials` of them."""
    start = time.process_time()
    found = runner.run_trials(named.source, algorithms.get(name), budget, seed=seed, trials=trials, fused=True)
    return (time.process_time() - start) / trials, float(found.spent.mean())


def numpy_psst(named: NamedSource, budget: int, trials: int, seed: int) -> float:
    """Core-seconds of one trial of PSST in `tests/support/reference.py`, on a voting world with one objective."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    import reference

    data: Any = named.data
    probs, _ = data.gold_first()
    source: Any = named.source
    probs, cost = probs[:, : source.num_train], data.cost_weights[:, None] * data.costs
    rng = np.random.default_rng(seed)
    start = time.process_time()
    for _ in range(trials):
        reference.psst_numpy(probs, cost, data.objective_weights[:, 0], data.max_scale, budget, rng)
    return (time.process_time() - start) / trials


def word_cost() -> float:
    """Core-seconds per random word of the generator in a loop that does nothing else: the floor of any trial."""
    size, repeats = 2**14, 200

    @jax.jit
    def loop(key: jax.Array) -> jax.Array:
        def body(i: jax.Array, carry: jax.Array) -> jax.Array:
            return carry ^ counter.bits(counter.fold(key, i), (size,))

        return jax.lax.fori_loop(0, repeats, body, jax.numpy.zeros(size, jax.numpy.uint32))

    key = counter.from_seed(0)
    jax.block_until_ready(loop(key))
    start = time.process_time()
    jax.block_until_ready(loop(key))
    return (time.process_time() - start) / (size * repeats)


def byte_cost() -> float:
    """Core-seconds per byte moved between memory and one core: a copy of an array that no cache holds."""
    size, repeats = 2**26, 10
    copy = jax.jit(lambda array: array + jax.numpy.uint32(1))
    array = jax.block_until_ready(copy(jax.numpy.zeros(size // 4, jax.numpy.uint32)))
    start = time.process_time()
    for _ in range(repeats):
        array = copy(array)
    jax.block_until_ready(array)
    return (time.process_time() - start) / (2 * size * repeats)


def spread(ratios: list[float]) -> str:
    """Median and range."""
    return f"{np.median(ratios):,.0f}x ({min(ratios):,.0f}-{max(ratios):,.0f})" if ratios else "-"


def main(
    world: Annotated[Path | None, typer.Option(help="A voting world's file; a MATH-shaped world by default.")] = None,
    reference_code: Annotated[Path | None, typer.Option("--reference", help="Root of the released code.")] = None,
    budget: Annotated[int, typer.Option(min=1, help="Completions T.")] = 5000,
    trials: Annotated[int, typer.Option(min=1, help="Our trials per measurement.")] = 512,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each side, in turn.")] = 5,
    algorithm: Annotated[list[str], typer.Option(help="Only this one; may be repeated.")] = list(NAMES),  # noqa: B006
) -> None:
    """Print the table of core-time per trial, as ratios with their spread."""
    heads = ("world", "algorithm", "core-us a trial", "of it words", "of it bytes", "NumPy / ours", "released / ours")
    table = Table(*heads)
    word, byte = word_cost(), byte_cost()
    for named in (worlds.voting(world), worlds.best_of_n()):
        for name in algorithm:
            runner.warm_up(named.source, algorithms.get(name), trials, fused=True)
            theirs = None
            if reference_code is not None:
                try:
                    theirs = authors.trainer(reference_code, named, name, budget)
                except ValueError as problem:
                    print(problem, file=sys.stderr)
            mine, plain, released, spent = [], [], [], 0.0
            for repeat in range(repeats):
                cost, spent = ours(named, name, budget, trials, repeat)
                mine.append(cost)
                if name == "psst" and named.data is not None:
                    plain.append(numpy_psst(named, budget, 20, repeat) / cost)
                if theirs is not None:
                    released.append(theirs(repeat) / cost)
            shares = [cost * spent / np.median(mine) for cost in (word, BYTES * byte)]
            cells = (f"{np.median(mine) * 1e6:,.0f}", *(f"{share:.0%}" for share in shares), spread(plain))
            cells += (spread(released),)
            table.add_row(named.name, name, *cells)
    console = Console(width=max(100, Console().width))
    console.print(table)
    console.print(f"T = {budget:,}; {trials} trials a measurement, {repeats} measurements: median (range).")
    console.print(f"of it words: share that drawing one word a completion would take ({word * 1e9:.2f} ns a word).")
    console.print(
        f"of it bytes: share that writing and reading every outcome once, {BYTES} bytes a completion, would take from "
        f"memory ({1e-9 / byte:.1f} GB/s)."
    )


if __name__ == "__main__":
    typer.run(main)
