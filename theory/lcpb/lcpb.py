"""LCPB, the leader-conditional Poisson-binomial bound: a tight, computed upper bound on the failure probability.

Given the best arm's ("leader's") estimate v and its tie-break u, the other prompts' data are independent. The leader
falls in round r only if at least m_r = ceil(n_r / 2) rivals beat it, and the number that do is Poisson-binomial:

    P(falls in round r) <= E_(v, u) P(PoissonBinomial(p_1(v, u), ..., p_n(v, u)) >= m_r),

p_j(v, u) = P(X_j > v) + (1 - u) P(X_j = v), with the n_r - 1 largest p_j on fresh data (the survivors are random, but
independent of the round's data) and all |A| - 1 of them on accumulated data. Bounds add over rounds and contexts.

Where scales share a prompt's completions (Nmax > 1) arms are dependent within a prompt. Rivals on other prompts count
by prompt: m of them need ceil(m / Nmax) prompts, each with probability at most the sum over its scales; or Markov's
inequality, whichever is smaller at v. The leader's own prompt is handled by Chernoff bounds. What the schedule may be
(pulls, pull sizes) is bounded by the worst that can occur on fresh data, and by the sum over all that can on
accumulated data, where it depends on the same draws.

Where few arms leave few sets of survivors, their exact law is carried along and the bound is the probability itself,
but for `ROUNDING`. Tables list it apart, as "LCPB, exact survivor law"; "LCPB" is the bound over the worst survivors.

For queries independent between prompts and random ties. Proofs: theory/proofs.md, section 7.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim.envs.dataset import Dataset
from sim.utilities import tasks_of
from theory.bounds import markov
from theory.chernoff import exponents, hoeffding
from theory.exact import best_arms
from theory.lcpb.estimates import ContextArms, Rivals, Schedule, TaskLaws, num_histories, pull_sizes
from theory.lcpb.lattice import Lattice
from theory.lcpb.leader import expectation
from theory.problem import Problem, allowances, halving_sizes, problem_of
from theory.reward_laws import parts_of
from theory.runs.halving import top_set_law

SURVIVORS = ("auto", "law", "worst")
ROUNDING = 1e-8
"""Results are raised by this share: sums are accurate to about 1e-10, and a bound must not fall below its own truth."""
MAX_LAWS = 5000
"""Laws of rivals' estimates that one round may ask for: schedules, times prompts, times their own histories."""
MAX_SETS = 1000
"""Sets of survivors whose law is carried along."""


class Known(NamedTuple):
    """Properties of a world that LCPB uses at every budget.

    Attributes:
        problem: values, ranges, and what rounding may change.
        exponents: Chernoff exponents, by how much of a pull estimates use (`theory.chernoff.BLOCKS`).
    """

    problem: Problem
    exponents: Callable[[str], Float64[np.ndarray, "context prompt scale"]]


def lcpb(
    data: Dataset,
    budget: int,
    ids: Int[np.ndarray, " id"] | None = None,
    *,
    fresh: bool = True,
    survivors: str = "auto",
    simulated: bool = False,
    enough: float = math.inf,
    known: Known | None = None,
) -> float:
    """Bound on the probability that PSST misses the best arm in some context: the sum of `lcpb_terms`."""
    asked: dict[str, Any] = {"fresh": fresh, "survivors": survivors, "simulated": simulated, "enough": enough}
    return float(lcpb_terms(data, budget, ids, known=known, **asked).sum())


def lcpb_terms(
    data: Dataset,
    budget: int,
    ids: Int[np.ndarray, " id"] | None = None,
    *,
    fresh: bool = True,
    survivors: str = "auto",
    simulated: bool = False,
    enough: float = math.inf,
    known: Known | None = None,
) -> Float64[np.ndarray, "context round"]:
    """Bound on the probability that a context's best arm falls in each round of PSST.

    For `sim.algorithms.psst.PSST` with its default budget rule and random ties: rounds share T exactly, every active
    prompt gets floor(share / M) pulls at its largest active scale, every block weighs the same. With Nmax = 1 that is
    Sequential Halving. A round that may leave a prompt without a pull counts as 1.

    With one scale, 1,024 arms take seconds. With several, schedules and the sizes of pulls multiply: four prompts, two
    scales and two contexts take a second, eight prompts with fifteen scales are refused.

    Args:
        data: a finite environment whose strategy has one aggregate.
        budget: T, in completions.
        ids: the queries of the split; all queries when None.
        fresh: whether each round forgets the data before it, as PSST(fresh=True) does.
        survivors: the "worst" that a round may face, or their "law", which is known for few arms with Nmax = 1, one
            context and fresh data: the bound is then the probability itself. "auto" takes the law where it is known.
        simulated: whether a rival counts as winning where its estimate, as the simulator rounds, may. Otherwise
            estimates are exact, and so are ties but where costs differ: there equal within float64 counts as won.
        enough: a sum above which no further terms are computed, and are left at 0: nobody asks how large it is then.
        known: what holds at every budget, where it was computed before for this world, these queries and `simulated`.

    Raises:
        ValueError: for a strategy that mixes aggregates, where more schedules may occur than can be added up, or where
            the law of the survivors is asked for and not known.
    """
    if survivors not in SURVIVORS:
        raise ValueError(f"survivors is {survivors!r}; allowed are {', '.join(SURVIVORS)}")
    if known is None:
        known = Known(
            problem_of(data, ids, simulated=simulated),
            lambda blocks: exponents(data, ids, blocks=blocks, simulated=simulated).chernoff,
        )
    problem = known.problem
    sizes = halving_sizes(problem.num_arms)
    shares = allowances(budget, len(sizes))
    possible = [
        possible_pulls(problem, share, r, size) for r, (share, size) in enumerate(zip(shares, sizes, strict=True))
    ]
    contexts = _contexts(data, ids, problem)
    ranked = _laws_in_order(problem, contexts[0], sizes, possible, fresh)
    if survivors == "law" and ranked is None:
        raise ValueError(
            f"{data.name}: the law of the survivors is known for fresh data, one context, Nmax = 1, rewards on a "
            f"lattice, values that rounding does not confuse and at most {MAX_SETS} sets of survivors"
        )
    if ranked is not None and survivors != "worst":
        return (1 + ROUNDING) * _known_survivors(problem, contexts[0], sizes, possible, ranked)
    terms = np.ones((problem.num_contexts, len(sizes)))
    schedules = {
        (c, r): _schedules(data.name, problem, possible, r, arms.best[1], fresh)
        for (c, arms), r in itertools.product(enumerate(contexts), range(len(sizes)))
        if min(possible[r]) > 0 and (fresh or min(possible[0]) > 0)
    }
    own = _OwnPrompt(known, shares, sizes, fresh)
    for place in schedules:
        terms[place] = 0
    for (c, r), found in schedules.items():
        if terms.sum() > enough:
            break
        cases = ((schedule, contexts[c].leader(schedule, own_sizes)) for schedule, own_sizes in found)
        bound = (1 + ROUNDING) * _round(contexts[c], own, (c, r), cases, sizes[r], problem.num_arms, fresh)
        terms[c, r] = min(1.0, bound)
    return terms


def possible_pulls(problem: Problem, share: int, r: int, size: int) -> list[int]:
    """Pulls per prompt that a round may give, ascending: floor(share / M) for every sum of pull sizes M that may occur.

    n_r <= M <= Nmax min(|P|, |C| n_r): a prompt's pull is at least as large as the number of its active scales. In the
    first round M = |P| Nmax.

    Args:
        problem: gives |P|, |C| and Nmax.
        share: completions of the round.
        r: the round, from 0.
        size: n_r, active arms per context.
    """
    largest = problem.max_scale * min(problem.num_prompts, problem.num_contexts * size)
    smallest = largest if r == 0 else min(size, largest)
    return sorted({share // total for total in range(smallest, largest + 1)})


def _schedules(
    name: str, problem: Problem, possible: list[list[int]], r: int, best_scale: int, fresh: bool
) -> list[tuple[Schedule, tuple[int, ...]]]:
    """All that may lead to a round: pulls per prompt, and sizes of the leader's pulls, in every round that counts."""
    rounds = [r] if fresh else range(r + 1)
    every = (
        (tuple(zip(rounds, pulls, strict=True)), own_sizes)
        for pulls in itertools.product(*(possible[s] for s in rounds))
        for own_sizes in pull_sizes(rounds, problem.max_scale, best_scale)
    )
    each = max(1, problem.num_prompts - 1) * num_histories(rounds, problem.max_scale)
    schedules = list(itertools.islice(every, MAX_LAWS // each + 1))
    if len(schedules) * each > max(MAX_LAWS, each):
        raise ValueError(
            f"{name}: at least {len(schedules)} schedules may lead to round {r + 1}, too many to add up; "
            "this bound is for schedules that depend little on the data - use theorem_a or theorem_b_blocks"
        )
    return schedules


def _contexts(data: Dataset, ids: np.ndarray | None, problem: Problem) -> list[ContextArms]:
    tasks = tasks_of(data.objective_weights)
    laws = {task: TaskLaws(parts_of(data, task, ids)) for task in set(tasks.index)}
    cost = data.cost_weights[:, None, None] * data.costs[:, None] * np.arange(1, data.max_scale + 1)
    best = zip(*best_arms(problem.values), strict=True)
    return [
        ContextArms(laws[task], factor, own_cost, (int(prompt), int(scale)), blur)
        for task, factor, own_cost, (prompt, scale), blur in zip(
            tasks.index, tasks.factor, cost, best, problem.blurs, strict=True
        )
    ]


def _round(
    arms: ContextArms,
    own: "_OwnPrompt",
    where: tuple[int, int],
    cases: Iterator[tuple[Schedule, Lattice]],
    size: int,
    num_arms: int,
    fresh: bool,
) -> float:
    """Bound for one context and round: `split` own rivals beat the leader, or m_r - split + 1 others do; best split."""
    c, r = where
    needed, most = (size + 1) // 2, (size if fresh else num_arms) - 1
    splits = range(1, min(needed, own.most(r) + 1) + 1)
    least = [needed - split + 1 for split in splits]

    def others(schedule: Schedule, leader: Lattice) -> np.ndarray:
        rivals = Rivals(arms, schedule, fresh)
        return expectation(leader, rivals, min(most, len(rivals.prompts) * arms.num_scales), least)

    if fresh:
        beaten = (
            np.array([own.beaten(c, r, split, schedule[0][1]) for split in splits]) + others(schedule, leader)
            for schedule, leader in cases
        )
        return float(max(bound.min() for bound in beaten))
    together = sum(others(schedule, leader) for schedule, leader in cases)
    return float((np.array([own.beaten(c, r, split) for split in splits]) + together).min())


class _OwnPrompt:
    """Chernoff bounds on the leader's rivals that share its prompt, in every context."""

    def __init__(self, known: Known, shares: list[int], sizes: list[int], fresh: bool) -> None:
        problem = known.problem
        self.problem, self.shares, self.sizes, self.fresh = problem, shares, sizes, fresh
        self.best_prompt, self.best_scale = best_arms(problem.values)
        if problem.max_scale > 1:
            self.first, self.later = known.exponents("all"), known.exponents("one")

    def most(self, r: int) -> int:
        """Own rivals that may be active in a round."""
        return min(self.problem.max_scale, self.sizes[r]) - 1

    def beaten(self, c: int, r: int, split: int, pulls: int = 0) -> float:
        """Bound on the probability that at least `split` own rivals beat the leader.

        They are active then, which leaves at most n_r - split prompts in this context, and hence a smaller M.

        Args:
            c: the context.
            r: the round.
            split: at least 1; more than can be active is impossible.
            pulls: in this round, with fresh data.
        """
        if split > self.most(r):
            return 0.0
        least = np.array([self._least(s, split) for s in range(r + 1)])
        if self.fresh and pulls < least[r]:
            return 0.0
        rate = pulls * self._rivals(c, self.first if r == 0 else self.later) if self.fresh else self._together(c, least)
        rivals = self.most(r) if self.fresh else self.problem.max_scale - 1  # who is active depends on the data
        return float(markov(-np.sort(-np.exp(-rate))[None, :rivals], split)[0])

    def _least(self, s: int, split: int) -> int:
        prompts = self.sizes[s] - split + (self.problem.num_contexts - 1) * self.sizes[s]
        return self.shares[s] // (self.problem.max_scale * min(self.problem.num_prompts, prompts))

    def _rivals(self, c: int, table: np.ndarray) -> np.ndarray:
        return np.delete(table[c, self.best_prompt[c]], self.best_scale[c] - 1)

    def _together(self, c: int, pulls: np.ndarray) -> np.ndarray:
        """Exponents on all data so far: Theorem B where pull sizes cannot change, else with blocks as weights."""
        top, best = self.problem.max_scale, self.best_scale[c]
        scales = np.delete(np.arange(1, top + 1), best - 1)
        gap = self._rivals(c, self.problem.gaps)
        weight = pulls[0] + pulls[1:].sum() / (top // np.minimum(scales, best))
        halves = weight * hoeffding(gap, self.problem.width[c], dependent=True) - math.log(2)
        steady = np.maximum(scales, best) == top
        return np.where(steady, pulls.sum() * self._rivals(c, self.later), np.maximum(halves, 0.0))


def _laws_in_order(
    problem: Problem, arms: ContextArms, sizes: list[int], possible: list[list[int]], fresh: bool
) -> list[np.ndarray] | None:
    """`_ranked` in every round that has pulls, where rounds are independent given few sets of survivors; else None."""
    sets = max(math.comb(problem.num_arms - 1, size - 1) for size in sizes)
    simple = fresh and problem.num_contexts == 1 and problem.max_scale == 1 and sets <= MAX_SETS
    if not simple or not all(arms.laws.exact(1, 1, pulls[0]) for pulls in possible):
        return None
    found = []
    for (pulls,) in itertools.takewhile(lambda pulls: pulls[0] > 0, possible):
        law = _ranked(arms, ((pulls, 1),))
        if law is None:
            return None
        found.append(law)
    return found


def _known_survivors(
    problem: Problem, arms: ContextArms, sizes: list[int], possible: list[list[int]], ranked: list[np.ndarray]
) -> Float64[np.ndarray, "context round"]:
    """The bound averaged over the law of the survivors, which is carried from round to round."""
    terms, alive = np.ones((1, len(sizes))), {tuple(p for p in range(problem.num_prompts) if p != arms.best[0]): 1.0}
    for r, (size, (pulls,)) in enumerate(zip(sizes, possible, strict=True)):
        if pulls == 0:
            return terms
        schedule, kept = ((r, pulls),), (size + 1) // 2
        leader, law = arms.leader(schedule, (1,)), ranked[r]
        following: dict[tuple[int, ...], float] = {}
        terms[0, r] = 0.0
        for rivals, chance in alive.items():
            beaten = expectation(leader, Rivals(arms, schedule, True, rivals), len(rivals), [kept])
            terms[0, r] += chance * float(beaten[0])
            members = (arms.best[0], *rivals)
            chosen = itertools.combinations(members, kept)
            for subset, share in zip(chosen, top_set_law(law[list(members)], kept), strict=True):
                if subset[0] == arms.best[0]:
                    following[subset[1:]] = following.get(subset[1:], 0.0) + chance * float(share)
        alive = following
    return terms


def _ranked(arms: ContextArms, history: tuple[tuple[int, int], ...]) -> Float64[np.ndarray, "arm value"] | None:
    """Laws of all arms' estimates over their common values, in order; None where rounding confuses two values.

    Values are equal where whole numbers say so: at equal costs. Those of different costs must lie apart.
    """
    laws = [arms.estimate(p, 1, history) for p in range(arms.num_prompts)]
    costs, group = np.unique([law.cost for law in laws], return_inverse=True)
    longest = max(len(law.pmf) for law in laws)
    points = [
        law._replace(pmf=np.ones(longest), cost=float(cost)).values for law, cost in zip(laws, costs, strict=False)
    ]
    values = np.concatenate(points)
    order = np.argsort(values, kind="stable")
    width = arms.blur.width + (0.0 if len(costs) == 1 else 2 * max(law.rounding for law in laws))
    if (np.diff(values[order]) <= width).any() or not arms.blur.keeps_ties:
        return None
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    table = np.zeros((len(laws), len(values)))
    for i, law in enumerate(laws):
        table[i, place[group[i] * longest : group[i] * longest + len(law.pmf)]] = law.pmf
    return table
