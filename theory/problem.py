"""Problem as bounds see it: values, gaps and ranges of a world, and the schedule of its algorithm."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim.envs.dataset import Dataset
from theory import exact, hardness
from theory.reward_laws import reward_range
from theory.rounding import SHARP, Blur, rounding


class Problem(NamedTuple):
    """World as bounds see it.

    Attributes:
        values: exact value of every arm.
        width: range B of the random part of the utility in each context.
        largest_objective: largest absolute value of an objective, before weights.
        blur: how far the difference of two estimates may be off in each context; of estimates in exact arithmetic None.
    """

    values: Float64[np.ndarray, "context prompt scale"]
    width: Float64[np.ndarray, " context"]
    largest_objective: float
    blur: tuple[Blur, ...] | None = None

    @property
    def num_contexts(self) -> int:
        """|C|."""
        return self.values.shape[0]

    @property
    def num_prompts(self) -> int:
        """|P|."""
        return self.values.shape[1]

    @property
    def max_scale(self) -> int:
        """Nmax."""
        return self.values.shape[2]

    @property
    def num_arms(self) -> int:
        """|A|."""
        return self.num_prompts * self.max_scale

    @property
    def blurs(self) -> tuple[Blur, ...]:
        """`blur`, where estimates are exact too."""
        return self.blur or (SHARP,) * self.num_contexts

    @property
    def slack(self) -> Float64[np.ndarray, " context"]:
        """Rounding error, at most, of the difference of two estimates in each context."""
        return np.array([blur.width for blur in self.blurs])

    @property
    def gaps(self) -> Float64[np.ndarray, "context prompt scale"]:
        """Gaps that a rival's estimates must make up for to win, less the slack; 0 where that resolves none."""
        return np.maximum(hardness.clear_gaps(self.values) - self.slack[:, None, None], 0.0)

    @property
    def profile(self) -> Float64[np.ndarray, "context competitor"]:
        """`gaps` of each context's competitors, smallest first."""
        return np.sort(self.gaps.reshape(self.num_contexts, -1), axis=1)[:, 1:]

    @property
    def unresolved(self) -> str:
        """A sentence on the first context whose best arms differ by less than estimates resolve; empty if none."""
        exact_profile = hardness.gap_profile(self.values)
        for c, (gap, slack) in enumerate(zip(exact_profile[:, :1], self.slack, strict=True)):
            if (gap > 0).all() and (gap <= slack).any():
                return (
                    f"in context {c} the runner-up falls short by {gap[0]:.3g}, which simulated estimates do not "
                    f"resolve (their differences are rounded by up to {slack:.3g})"
                )
        return ""

    @property
    def competitors(self) -> np.ndarray:
        """Mask (context, prompt, scale) of all arms but each context's best, the first where several are."""
        prompt, scale = exact.best_arms(self.values)
        mask = np.ones(self.values.shape, bool)
        mask[np.arange(self.num_contexts), prompt, scale - 1] = False
        return mask


def problem_of(data: Dataset, ids: Int[np.ndarray, " id"] | None = None, *, simulated: bool = False) -> Problem:
    """The problem that a data set poses on one split (all queries when None).

    Args:
        data: a finite environment.
        ids: the queries of the split.
        simulated: whether estimates are the simulator's, which are rounded: bounds then allow for that
            (proofs.md, section 1).

    Example:
        >>> from sim import envs
        >>> from theory import problem_of
        >>> problem = problem_of(envs.get("two-arm").data)
        >>> problem.num_arms, problem.width.tolist()
        (2, [2.0])
    """
    low, high = reward_range(data, ids)
    scored = [k for k, how in enumerate(data.aggregate) if how != "mv"]
    largest = 1.0 if "mv" in data.aggregate else 0.0
    if scored and data.values is not None:
        largest = max(largest, float(np.abs(data.values[..., scored]).max()))
    blur = rounding(data) if simulated else None
    return Problem(exact.values(data, ids), high - low, largest, blur)


def bandit(means: Sequence[float | int], low: float | int = 0.0, high: float | int = 1.0) -> Problem:
    """A classical bandit: one context, one completion a pull, rewards in [low, high]."""
    values = np.asarray(means, np.float64)
    if not values.size or not ((values >= low) & (values <= high)).all():
        raise ValueError(f"means must be numbers in [{low:g}, {high:g}], at least one; got {list(means)!r}")
    return Problem(values[None, :, None], np.array([float(high - low)]), float(max(abs(low), abs(high))))


def num_rounds(num_items: int) -> int:
    """R = ceil(log2 n), at least 1: rounds in which keeping ceil(n / 2) leaves one."""
    return max(1, (num_items - 1).bit_length())


def halving_sizes(num_items: int) -> list[int]:
    """Items active in each round when ceil(n / 2) are kept: n_1, n_2, ..."""
    sizes = [num_items]
    for _ in range(num_rounds(num_items) - 1):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def allowances(budget: int, rounds: int) -> list[int]:
    """Completions that each round may spend: T shared evenly in whole numbers, as `sim.schedules.allowance` does."""
    checked(budget)
    return [budget * (r + 1) // rounds - budget * r // rounds for r in range(rounds)]


def pulls_at_least(problem: Problem, budget: int, sizes: Sequence[int]) -> list[int]:
    """lam_r^min = floor(floor(T / R) / (Nmax min(|P|, |C| n_r))): pulls that PSST gives every active prompt in round r.

    Args:
        problem: gives |P|, |C| and Nmax.
        budget: T, in completions.
        sizes: n_r, active arms (or prompts) per context, one entry a round.
    """
    share = checked(budget) // len(sizes)
    prompts = [min(problem.num_prompts, problem.num_contexts * size) for size in sizes]
    return [share // (problem.max_scale * count) for count in prompts]


def racing_sizes(problem: Problem) -> list[int]:
    """k_1, k_2, ...: prompts left in each phase of `sim.algorithms.ProvenRacing`."""
    least, sizes = min(problem.num_prompts, max(problem.num_contexts, 2)), [problem.num_prompts]
    while sizes[-1] > least:
        sizes.append(max((sizes[-1] + 1) // 2, least))
    return sizes


def racing_pulls(problem: Problem, budget: int) -> list[int]:
    """L_1, L_2, ...: pulls that a prompt left has had at the end of each phase of `sim.algorithms.ProvenRacing`.

    Phases up to r may spend 1 + (1 - k_2 / k_1) + ... + (1 - k_r / k_(r-1)) parts of S together, all phases T, and buy
    whole numbers of pulls of all prompts left at once. 0 where not even the first affords one.

    Args:
        problem: gives |P|, |C| and Nmax.
        budget: T, in completions.
    """
    sizes = racing_sizes(problem)
    together = np.cumsum([1.0, *(1 - after / before for before, after in pairwise(sizes))])
    # The simulator's arithmetic, parts of 2**32, so that the numbers are its own.
    most = [checked(budget) * math.ceil(2**32 * part / together[-1]) >> 32 for part in together]
    found, had, spent = [], 0, 0
    for may, size in zip(most, sizes, strict=True):
        more = (may - spent) // (size * problem.max_scale)
        had, spent = had + more, spent + more * size * problem.max_scale
        found.append(had)
    return found if found[0] > 0 else [0] * len(sizes)


def checked(budget: int) -> int:
    """The budget, where it is one."""
    if budget < 1:
        raise ValueError(f"budget is {budget}; at least 1 completion is needed")
    return budget


def over(numerator: float | int, denominator: float | int) -> float:
    """Quotient for an exponent: inf over a hardness of 0, and 0 over an infinite one."""
    return math.inf if denominator == 0 else numerator / denominator
