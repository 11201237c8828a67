"""Probabilities of rare failures, by fixed-level multilevel splitting on the random tape of a run.

Source: Cerou and Guyader, "Adaptive multilevel splitting for rare event analysis" (2007), and Del Moral,
Feynman-Kac formulae (2004), for the particle scheme. A run is a function of a tape of independent random cells; its
score is positive as long as it succeeds. Particles are runs. At each level those with a larger score are replaced by
copies of the others, and all are moved by drawing some of their cells afresh, accepted if the score stays within the
level. The product of the fractions that each level keeps estimates the probability of failure.

Levels and the sizes of the moves come from a pilot with randomness of its own and are then frozen. With frozen levels
the product is unbiased, however badly the moves mix; how far to trust an interval is another matter: see `doubts` in
`Splitting`. Equal scores do not bias fixed levels, they only make levels hard to place (Walter, arXiv 1507.00919).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from sim.core import Key
from sim.kernels import counter
from theory.runs.run_tape import RunTape, run_tape, survival_margin
from theory.runs.tapes import FAILED, SIZE, HalvingTape, Tape, halving_tape, words

__all__ = [
    "HalvingTape",
    "Levels",
    "RunTape",
    "Splitting",
    "Tape",
    "halving_tape",
    "matches_simulation",
    "pilot",
    "plain_scores",
    "run_tape",
    "splitting",
    "survival_margin",
]

KEEP = 0.2
ACCEPTANCE = 0.3
MAX_LEVELS = 200
LEAST_RATE = 1e-3
LEAST_ACCEPTANCE, LEAST_FRACTION, MOST_SPREAD, LEAST_ANCESTORS = 0.05, 0.02, 1.0, 5
OVERLAP, SIGMAS = 50, 4
"""Plain runs that must reach a level for it to be compared, and standard errors within which it must agree."""
PILOT, PLAIN, REPLICATE = 0, 1, 2
"""Numbers that the root key is folded with."""


class Levels(NamedTuple):
    """A frozen plan: decreasing levels of the score, all positive, and the size of the moves at each.

    Attributes:
        score: particles at stage k have a score of at most this.
        rate: how much of the tape a move draws afresh, at most; see `Tape.propose`.
        reached: whether the pilot saw a failure.
    """

    score: Float64[np.ndarray, " level"]
    rate: Float64[np.ndarray, " level"]
    reached: bool


class Splitting(NamedTuple):
    """A failure probability by splitting, with what is needed to judge it.

    Attributes:
        probability: mean over the replicates.
        low: lower end of the t-interval over the replicates.
        high: upper end.
        replicates: estimate of every replicate, independent and each unbiased.
        levels: the frozen plan.
        fractions: share of the particles within each level, the last one those that failed.
        acceptance: share of the moves accepted at each level.
        ancestors: how many of a replicate's first particles have descendants at the end.
        doubts: why the interval cannot be trusted; empty if nothing speaks against it.
    """

    probability: float
    low: float
    high: float
    replicates: Float64[np.ndarray, " replicate"]
    levels: Levels
    fractions: Float64[np.ndarray, "replicate stage"]
    acceptance: Float64[np.ndarray, "replicate level"]
    ancestors: Int[np.ndarray, " replicate"]
    doubts: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the interval."""
        return not self.doubts


def splitting(
    tape: Tape,
    *,
    seed: int,
    replicates: int = 12,
    particles: int = 1000,
    moves: int = 20,
    plain: int = 20_000,
    confidence: float = 0.95,
    log_scale: bool = False,
    levels: Levels | None = None,
) -> Splitting:
    """Estimate a failure probability by splitting, in independent replicates.

    Args:
        tape: the run and its score: `halving_tape` or `run_tape`.
        seed: root of all randomness.
        replicates: independent estimates, at least 3.
        particles: runs per replicate.
        moves: moves of every particle at each level.
        plain: plain runs that the first levels are checked against.
        confidence: of the t-interval.
        log_scale: make the interval on the log scale (delta method), where it cannot reach 0; useful when replicates
            spread by more than about a third of their mean.
        levels: a frozen plan; a pilot of its own makes one when None.
    """
    if replicates < 3 or particles < 10:
        raise ValueError(f"{replicates} replicates of {particles} particles are too few; take at least 3 of 10")
    root = counter.from_seed(seed)
    if levels is None:
        levels = pilot(tape, _fold(root, PILOT), particles, moves)
    found = [_replicate(tape, _fold(root, REPLICATE, i), levels, particles, moves) for i in range(replicates)]
    fractions, acceptance, ancestors = (np.array(part) for part in zip(*found, strict=True))
    each = fractions.prod(axis=1)
    low, high = t_interval(each, confidence, log_scale)
    doubts = _doubts(levels, fractions, acceptance, ancestors)
    if plain > 0:
        doubts += _overlap(levels, fractions, plain_scores(tape, _fold(root, PLAIN), plain, particles))
    else:
        doubts += ("the first levels were not matched with plain simulation",)
    return Splitting(float(each.mean()), low, high, each, levels, fractions, acceptance, ancestors, doubts)


def pilot(tape: Tape, key: Key, particles: int = 1000, moves: int = 20) -> Levels:
    """Levels that each keep about a fifth of the particles, and moves of which about a third are accepted.

    Args:
        tape: the run and its score.
        key: randomness of the pilot; not to be used again.
        particles: runs.
        moves: moves of every particle at each level.
    """
    state = _start(tape, _fold(key, 0), particles)
    scores, rates, rate, level = [], [], 1.0, np.inf
    while len(scores) < MAX_LEVELS:
        ranked = np.sort(_checked(state.score))
        within = ranked[int(KEEP * particles)]
        below = ranked[ranked < level]
        if within == FAILED or len(below) == 0 or below[-1] == FAILED:
            break
        level = float(min(within, below[-1]))  # a tie as large as a level must not stop the descent
        state = _select(state, _fold(key, 1, len(scores)), jnp.float32(level))
        for i in range(moves):
            own = _fold(_fold(key, 2, len(scores)), i)
            state, accepted = _stir(tape, state, own, level, rate, 1)
            rate = float(np.clip(rate * np.exp(accepted - ACCEPTANCE), LEAST_RATE, 1.0))
        scores.append(level)
        rates.append(rate)
    reached = bool((np.asarray(state.score) == FAILED).any())
    return Levels(np.array(scores, np.float64), np.array(rates, np.float64), reached)


def plain_scores(tape: Tape, key: Key, runs: int, chunk: int = 1000) -> Float64[np.ndarray, " run"]:
    """Scores of independent runs: plain simulation. A negative score is a failure.

    Args:
        tape: the run and its score.
        key: randomness of the runs.
        runs: how many.
        chunk: runs at a time.
    """
    scores = [_checked(_start(tape, _fold(key, i), chunk).score) for i in range(-(-runs // chunk))]
    return np.concatenate(scores)[:runs]


def t_interval(
    values: Float64[np.ndarray, " replicate"], confidence: float = 0.95, log_scale: bool = False
) -> tuple[float, float]:
    """Interval for the mean of independent values by Student's t, cut at 0; on the log scale by the delta method."""
    from scipy import special

    mean = values.mean()
    quantile = -special.stdtrit(len(values) - 1, (1 - confidence) / 2)
    half = quantile * values.std(ddof=1) / np.sqrt(len(values))
    if log_scale and mean > 0:
        return float(mean * np.exp(-half / mean)), float(mean * np.exp(half / mean))
    return float(max(mean - half, 0.0)), float(mean + half)


def matches_simulation(estimate: Splitting, failures: int, trials: int, confidence: float = 0.999) -> bool:
    """Whether an estimate and plain simulation of the same event agree: their intervals overlap.

    The check to make where both can see, at 1e-3 to 1e-4 (a smaller budget), before an estimate that simulation cannot
    reach is believed.

    Args:
        estimate: by splitting.
        failures: failures in plain simulation, as by `sim.engine.runner.run_trials`.
        trials: its trials.
        confidence: of both intervals.
    """
    from scipy import stats

    low, high = t_interval(estimate.replicates, confidence)
    tail = (1 - confidence) / 2
    least = stats.beta.ppf(tail, failures, trials - failures + 1) if failures else 0.0
    most = stats.beta.isf(tail, failures + 1, trials - failures) if failures < trials else 1.0
    return bool(low <= most and least <= high)


class _Particles(NamedTuple):
    """Runs, their scores, what their tapes keep, and the first particle that each descends from."""

    cells: Any
    score: Float[Array, " particle"]
    cache: Any
    ancestor: Int[Array, " particle"]


def _replicate(tape: Tape, key: Key, levels: Levels, particles: int, moves: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Fractions within every level and of failures, acceptance at every level, ancestors of the failures."""
    state = _start(tape, _fold(key, 0), particles)
    fractions, acceptance = np.zeros(len(levels.score) + 1), np.full(len(levels.score), np.nan)
    for i, (level, rate) in enumerate(zip(levels.score, levels.rate, strict=True)):
        fractions[i] = (_checked(state.score) <= level).mean()
        if fractions[i] == 0:
            return fractions, acceptance, 0
        state = _select(state, _fold(key, 1, i), jnp.float32(level))
        state, acceptance[i] = _stir(tape, state, _fold(key, 2, i), level, rate, moves)
    failed = _checked(state.score) == FAILED
    fractions[-1] = failed.mean()
    return fractions, acceptance, len(np.unique(np.asarray(state.ancestor)[failed]))


def _stir(tape: Tape, state: _Particles, key: Key, level: float, rate: float, moves: int) -> tuple[_Particles, float]:
    """Move every particle within a level; also the share of moves accepted."""
    accepted = []
    for i in range(moves):
        # Two calls, not one: fused, XLA computes every random word many times over.
        move = _propose(tape, len(state.score), _fold(key, i), jnp.float32(rate))
        state, share = _accept(tape, state, move, jnp.float32(level))
        accepted.append(share)
    return state, float(np.mean(np.stack(accepted))) if moves else 0.0


@eqx.filter_jit
def _start(tape: Tape, key: Key, particles: int) -> _Particles:
    cells = tape.draw(key, particles)
    score, cache = tape.run(cells)
    return _Particles(cells, score, cache, jnp.arange(particles, dtype=jnp.int32))


@jax.jit
def _select(state: _Particles, key: Key, level: Float[Array, ""]) -> _Particles:
    """Replace every particle outside the level by a copy of a random one within."""
    size = len(state.score)
    within = state.score <= level
    place = jnp.cumsum(within.astype(jnp.int32))
    drawn = counter.integer(counter.bits(key, (size,)), place[-1]) + 1
    other = jnp.searchsorted(place, drawn).astype(jnp.int32)
    source = jnp.where(within, jnp.arange(size, dtype=jnp.int32), other)
    return jax.tree.map(lambda leaf: leaf[source], state)


@eqx.filter_jit
def _propose(tape: Tape, particles: int, key: Key, rate: Float[Array, ""]) -> Any:
    """A move of every particle, of a size between `rate` / 2 and `rate` that is drawn first."""
    halvings, _ = words(key, SIZE, (particles,))
    return tape.propose(key, rate * jnp.exp2(-counter.to_uniform(halvings)))


@eqx.filter_jit
def _accept(tape: Tape, state: _Particles, move: Any, level: Float[Array, ""]) -> tuple[_Particles, Array]:
    """Take the moves that stay within the level."""
    cells, changed = tape.moved(state.cells, move)
    score, cache = tape.run(cells, changed, state.cache)
    taken = score <= level

    def either(new: Array, old: Array) -> Array:
        return jnp.where(taken.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    moved = jax.tree.map(either, (cells, score, cache), (state.cells, state.score, state.cache))
    cells, score, cache = moved
    return _Particles(cells, score, cache, state.ancestor), jnp.mean(taken.astype(jnp.float32))


@jax.jit
def _fold(key: Key, *data: int | Int[Array, ""]) -> Key:
    """`counter.fold`, compiled: op by op it takes longer than a move."""
    return counter.fold(key, *data)


def _checked(score: Float[Array, " particle"]) -> Float64[np.ndarray, " particle"]:
    """Scores on the host; a NaN is a run that outlasted its tape."""
    scores = np.asarray(score, np.float64)
    if np.isnan(scores).any():
        raise ValueError("a run took more rounds than its tape has room for; give the RunTape a larger num_rounds")
    return scores


def _doubts(levels: Levels, fractions: np.ndarray, acceptance: np.ndarray, ancestors: np.ndarray) -> tuple[str, ...]:
    """What the replicates themselves say against an interval."""
    each = fractions.prod(axis=1)
    said = []
    if not levels.reached:
        said.append("the pilot never saw a failure")
    if lost := int((each == 0).sum()):
        said.append(f"{lost} of {len(each)} replicates lost all particles")
    if acceptance.size and (least := float(np.nanmin(np.nanmean(acceptance, axis=0)))) < LEAST_ACCEPTANCE:
        said.append(f"only {least:.1%} of the moves are accepted at some level")
    if (least := float(fractions.mean(axis=0).min())) < LEAST_FRACTION:
        said.append(f"some level keeps only {least:.2%} of the particles")
    if each.mean() > 0 and (spread := float(each.std(ddof=1) / each.mean())) > MOST_SPREAD:
        said.append(f"replicates spread by {spread:.2f} of their mean")
    if len(levels.score) and (least := float(np.median(ancestors))) < LEAST_ANCESTORS:
        said.append(f"failures descend from {least:.0f} first particles only")
    return tuple(said)


def _overlap(levels: Levels, fractions: np.ndarray, scores: np.ndarray) -> tuple[str, ...]:
    """Match the deepest level that plain runs still see with the product of the fractions down to it."""
    ends = np.append(levels.score, 0.0)
    seen = (scores[:, None] <= ends).sum(axis=0)
    deep = int((seen >= OVERLAP).sum()) - 1
    if deep < min(1, len(levels.score)):
        return ("the first levels were not matched with plain simulation: too few plain runs reach the second",)
    share = seen[deep] / len(scores)
    down = fractions[:, : deep + 1].prod(axis=1)
    error = np.sqrt(down.var(ddof=1) / len(down) + share * (1 - share) / len(scores))
    if abs(down.mean() - share) > SIGMAS * error:
        return (f"level {deep + 1} is reached with {down.mean():.3g} by splitting, {share:.3g} by plain simulation",)
    return ()
