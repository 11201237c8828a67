"""Trains a tiny model: `python -m sim.adapters.tiny.train --task sums`; stop it at any time, the same command goes on.

Matrices inside the layers learn by Muon (Jordan, 2024: momentum, made nearly orthogonal by five Newton-Schulz steps),
all else by Adam; the rate warms up and falls in a line. Batch b is drawn with the seed (seed, b), so that a run that
was stopped ends with the same weights, up to rounding. The committed weights of the sums came of this recipe in two
parts, up to step `TURN` and from there: 292 core-seconds at 2.5 GHz, two compilations included.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jaxtyping import Array, Float, Int

from sim.adapters.tiny import notes, task, weights
from sim.adapters.tiny.model import Params, forward, init
from sim.adapters.tiny.tokenizer import SUMS, Vocabulary
from sim.writing import write_whole

MUON_RATE, ADAM_RATE = 0.02, 0.003
MUON_DECAY, ADAM_DECAYS = 0.95, (0.9, 0.98)
WARM_UP = 50
"""Steps over which the rate rises."""
TURN = 1350
MIXED = (0.2, 0.3, 0.5)
FIRST = {task.DIRECT: task.Lessons(32, MIXED), task.STEPS: task.Lessons(16, MIXED), task.TWICE: task.Lessons(16, MIXED)}
LATER = {
    task.DIRECT: task.Lessons(112, (0.1, 0.5, 0.4), 0.35),
    task.STEPS: task.Lessons(8, MIXED),
    task.TWICE: task.Lessons(8, MIXED),
}
"""Texts of a step, up to step `TURN` and after it: first the steps, then sums of three at once, which take longer."""
NOTES: dict[str, int] = dict.fromkeys(notes.MODES, 16)
"""Texts of a step of the notes."""


class Recipe(NamedTuple):
    """Training of one task.

    Attributes:
        modes: the prompts.
        batches: training texts of a step, by its generator and number.
        vocabulary, hidden: tokens of the model, and width of its feed-forward layers.
        steps, fall: steps of the run, and after which the rate would be zero.
        weights: the file that comes with the project.
    """

    modes: tuple[str, ...]
    batches: Callable[[np.random.Generator, int], tuple[task.TrainingBatch, ...]]
    vocabulary: Vocabulary
    hidden: int
    steps: int
    fall: int
    weights: Path


RECIPES = {
    "sums": Recipe(
        task.MODES,
        lambda rng, number: task.batches(rng, FIRST if number <= TURN else LATER),
        SUMS,
        hidden=320,
        steps=2100,
        fall=3000,
        weights=weights.SUMS,
    ),
    "notes": Recipe(
        notes.MODES,
        lambda rng, number: notes.batches(rng, NOTES),
        notes.VOCABULARY,
        hidden=192,
        steps=1200,
        fall=1200,
        weights=weights.NOTES,
    ),
}
"""Sums end where answering at once knows those of two and three numbers and a part of those of four: the rest is for
the other prompts to show."""


class TrainingState(NamedTuple):
    """State of training from step to step; moments of Muon's matrices have no second part."""

    params: Params
    first: Params
    second: Params


def start(recipe: Recipe, seed: int) -> TrainingState:
    """Fresh weights and moments of zero."""
    params = init(jax.random.key(seed), len(recipe.vocabulary.tokens), hidden=recipe.hidden)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return TrainingState(params, zeros, zeros)


def losses(params: Params, batches: tuple[task.TrainingBatch, ...]) -> Float[Array, " prompt"]:
    """Mean cross-entropy over the tokens that count, of each batch, nats."""
    found = []
    for batch in batches:
        positions = jnp.broadcast_to(jnp.arange(batch.tokens.shape[1])[None], batch.tokens.shape)
        logits, _ = forward(params, jnp.asarray(batch.tokens), positions)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(batch.targets)[..., None], -1)[..., 0]
        found.append(-jnp.sum(chosen * batch.weights) / jnp.sum(batch.weights))
    return jnp.stack(found)


@jax.jit
def step(
    state: TrainingState, batches: tuple[task.TrainingBatch, ...], number: Int[Array, ""], rate: Float[Array, ""]
) -> tuple[TrainingState, Float[Array, " prompt"]]:
    """One update; `rate` is the part of the full learning rates, `number` counts from 1."""

    def mean(params: Params) -> tuple[Array, Array]:
        found = losses(params, batches)
        return found.mean(), found

    gradients, found = jax.grad(mean, has_aux=True)(state.params)
    updated = [
        (muon if parameter.ndim == 3 else adam)(parameter, gradient, first, second, number, rate)
        for parameter, gradient, first, second in zip(state.params, gradients, state.first, state.second, strict=True)
    ]
    return TrainingState(*(Params(*part) for part in zip(*updated, strict=True))), found


def adam(parameter: Array, gradient: Array, first: Array, second: Array, number: Array, rate: Array) -> tuple:
    """Adam with bias correction (Kingma and Ba, 2015)."""
    fast, slow = ADAM_DECAYS
    first = fast * first + (1 - fast) * gradient
    second = slow * second + (1 - slow) * gradient**2
    scaled = first / (1 - fast**number) / (jnp.sqrt(second / (1 - slow**number)) + 1e-8)
    return parameter - ADAM_RATE * rate * scaled, first, second


def muon(parameter: Array, gradient: Array, first: Array, second: Array, number: Array, rate: Array) -> tuple:
    """Nesterov momentum made nearly orthogonal, with a weight decay of 0.1 rates."""
    first = MUON_DECAY * first + gradient
    direction = orthogonal(gradient + MUON_DECAY * first)
    scale = max(1.0, parameter.shape[-1] / parameter.shape[-2]) ** 0.5
    shrunk = parameter * (1 - 0.1 * MUON_RATE * rate)
    return shrunk - MUON_RATE * rate * scale * direction, first, second


def orthogonal(matrices: Float[Array, "layer rows columns"]) -> Float[Array, "layer rows columns"]:
    """Matrices with nearly the same singular vectors and all singular values near 1."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    x = matrices / (jnp.linalg.norm(matrices, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x


def rate(number: int, fall: int) -> float:
    """Part of the full learning rate at a step; after step `fall` it is zero."""
    return max(0.0, min(1.0, number / WARM_UP, (fall + 1 - number) / fall))


def train(name: str, steps: int, seed: int, out: Path, report: Callable[[str], None]) -> None:
    """Train to the end, or go on from the checkpoint beside `out`, saying how far it is; write the weights to `out`."""
    recipe = RECIPES[name]
    saved = out.with_name(f"{out.stem}.seed{seed}.checkpoint.npz")
    state, number, seconds, recent = resume(saved) if saved.exists() else (start(recipe, seed), 0, 0.0, None)
    used = time.process_time()
    while number < steps:
        number += 1
        batches = recipe.batches(np.random.default_rng([seed, number]), number)
        state, found = step(state, batches, jnp.asarray(number), jnp.float32(rate(number, recipe.fall)))
        recent = np.asarray(found) if recent is None else 0.98 * recent + 0.02 * np.asarray(found)
        if number % 25 == 0 or number == steps:
            spent = seconds + time.process_time() - used
            report(f"step {number} of {steps}: loss {recent.round(4)} nats, {spent:.0f} core-seconds")
            keep(saved, state, number, spent, recent)
    command = f"python -m sim.adapters.tiny.train --task {name} --steps {steps} --seed {seed}"
    figures = dict(zip(recipe.modes, map(float, recent.round(4)), strict=True)) if recent is not None else {}
    spent = f"{seconds + time.process_time() - used:.0f}"
    weights.save(out, state.params, {"recipe": command, "loss": json.dumps(figures), "core_seconds": spent})
    saved.unlink(missing_ok=True)


def keep(saved: Path, state: TrainingState, number: int, seconds: float, recent: np.ndarray) -> None:
    """Write what a run needs to go on: state, steps done, core-seconds used, losses."""
    notes = np.array([number, seconds])
    write_whole(saved, lambda file: np.savez(file, *jax.tree.leaves(state), recent=recent, notes=notes))


def resume(saved: Path) -> tuple[TrainingState, int, float, np.ndarray]:
    """Remains of a stopped run: state, steps done, core-seconds used, losses."""
    with np.load(saved) as held:
        number, seconds = held["notes"]
        leaves = [jnp.asarray(held[f"arr_{place}"]) for place in range(len(held.files) - 2)]
        recent = held["recent"]
    each = len(Params._fields)
    state = TrainingState(*(Params(*leaves[place : place + each]) for place in range(0, 3 * each, each)))
    return state, int(number), float(seconds), recent


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=RECIPES, default="sums", help="what it learns (default: sums)")
    parser.add_argument("--steps", type=int, help="updates (default: those of the task)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights at the start and texts (default: 0)")
    parser.add_argument("--out", type=Path, help="file of the weights (default: those of the task)")
    given = parser.parse_args()
    recipe = RECIPES[given.task]
    steps = recipe.steps if given.steps is None else given.steps
    try:
        train(given.task, steps, given.seed, given.out or recipe.weights, typer.echo)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last line shown")


if __name__ == "__main__":
    main()
