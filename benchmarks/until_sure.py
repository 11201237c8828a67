"""Completions until sure: the algorithm against equal pulls of all prompts, and against rules of a fixed budget.

The first two see the same statement (`sim.algorithms.until_sure`) on the same queries and stop at the same eps; one
pulls the pairs that keep eps up, the other all prompts. Printed: mean completions of each, how many were sure, and how
many of these chose an arm that loses more than eps.

Rules of a fixed budget (`--fixed`, on worlds of one vote) run with each of `--budgets`, their pulls on common queries
valued by all subsets. Of what they pulled the statement of `certify` is made as `iapo tune` makes it: all contexts at
once, of the asymptotic grade after one round, else at any time. A budget is enough where most runs reach eps.

    python benchmarks/until_sure.py two-clusters --target these --eps 0.1 --trials 50
    python benchmarks/until_sure.py record.npz --target these --fixed psst --budgets 25k 100k --fixed-trials 20
"""

import argparse
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sim import algorithms, envs, fixed, instances
from sim.algorithms.until_sure import State, UntilSure
from sim.algorithms.until_sure import eps as bound
from sim.certify import Confidence, ContextTerms, QueryEvidence, certify_all
from sim.certify.completions import left_out_rows, subset_rewards
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats
from sim.engine import runner
from sim.envs.dataset import Dataset
from sim.kernels import counter, rounds
from sim.whole import whole
from theory import exact


class EqualPulls(Algorithm):
    """Pull all prompts equally often until sure.

    Attributes:
        rule: makes the statement.
    """

    queries: ClassVar[str] = UntilSure.queries
    estimator: ClassVar[str] = UntilSure.estimator
    rule: UntilSure = eqx.field(default_factory=UntilSure)

    def num_rounds(self, spec: Spec) -> int:
        """As the rule."""
        return self.rule.num_rounds(spec)

    def num_rows(self, spec: Spec) -> int:
        """As the rule."""
        return self.rule.num_rows(spec)

    def init(self, spec: Spec, budget: Int[Array, ""]) -> State:
        """As the rule."""
        return self.rule.init(spec, budget)

    def finished(self, spec: Spec, state: State) -> Bool[Array, ""]:
        """As the rule."""
        return self.rule.finished(spec, state)

    def allocate(self, key: Key, spec: Spec, state: State) -> Allocation:
        """The pulls that the rule asks for where nothing can be said of any prompt."""
        unknown = self.rule.init(spec, state.left).reach
        return self.rule.allocate(key, spec, state._replace(reach=unknown))

    def update(self, key: Key, spec: Spec, state: State, allocation: Allocation, stats: Stats) -> State:
        """As the rule."""
        return self.rule.update(key, spec, state, allocation, stats)

    def recommend(self, key: Key, spec: Spec, state: State) -> Policy:
        """As the rule."""
        return self.rule.recommend(key, spec, state)


def watch(spec: Spec, before: Any, after: State) -> tuple[Array, Array]:
    """Eps of every context after a round, and 1 for the round."""
    return bound(spec, after), jnp.int32(1)


class Replayed:
    """Answers the rounds of one run with completions of a world, its queries in one order, and keeps them."""

    def __init__(self, data: Dataset, rule: Algorithm, seed: int):
        self.data, self.world, self.rng = data, data.environment(), np.random.default_rng(seed)
        self.probs, values = data.gold_first()
        if values is not None:
            raise SystemExit(
                f"{data.name}: rules of a fixed budget run on worlds of one vote, whose outcomes are answers"
            )
        self.how = rounds.Pulling.of(rule, self.world.spec)
        self.order, self.next = self.rng.permutation(data.num_queries), 0
        self.pairs: dict[tuple[int, int], list[np.ndarray]] = {}
        self.rounds = 0

    def answer(self, key: Key, asked: Allocation) -> Stats:
        """Completions of a round's pulls: pull i of every row is on the same query."""
        del key
        labels, at = [], []
        for row, (prompt, scale, pulls) in enumerate(zip(*map(np.asarray, asked[:3]), strict=True)):
            for query in self.order[(self.next + np.arange(pulls)) % len(self.order)].tolist():
                found = self.rng.choice(self.probs.shape[2], scale, p=self.probs[prompt, query])[:, None]
                self.pairs.setdefault((int(prompt), query), []).append(found)
                labels.append(found)
                at.append(row)
        self.next += int(np.max(asked.pulls))
        self.rounds += bool(labels)
        blocks = np.asarray(rounds.block_counts(asked, self.how))
        total = np.zeros((len(blocks), self.world.spec.num_tasks, blocks.shape[1]))
        if labels:
            outcomes, sizes = _filled(labels)
            mean = np.nan_to_num(subset_rewards(self.world.strategy, outcomes, sizes))
            np.add.at(total[:, :, : mean.shape[2]], at, mean)
        pulls = np.maximum(np.asarray(asked.pulls), 1)[:, None, None]
        return Stats(jnp.asarray(total / pulls * blocks[:, None], jnp.float32), jnp.asarray(blocks, jnp.float32))

    def eps(self, policy: Policy, terms: Confidence) -> float:
        """The largest eps of the statement about a policy."""
        data = self.data
        pairs = [[self.pairs.get((prompt, query), []) for query in self.order] for prompt in range(data.num_prompts)]
        pulls, sizes = _filled([pull for row in pairs for pair in row for pull in pair])
        values, noise = (make(self.world.strategy, pulls, sizes)[:, 0] for make in (subset_rewards, left_out_rows))
        ends = np.cumsum([[len(pair) for pair in row] for row in pairs]).reshape(len(pairs), -1)
        most = max(max(len(pair) for row in pairs for pair in row), noise.shape[1])
        rewards = np.full((1, *ends.shape, data.max_scale), np.nan)
        rows = np.full((1, *ends.shape, most, data.max_scale), np.nan)
        for place in np.ndindex(ends.shape):
            own = slice(ends[place] - len(pairs[place[0]][place[1]]), ends[place])
            rewards[0][place], rows[0][place] = _pair(values[own], noise[own], most)
        evidence = QueryEvidence(
            rewards,
            np.isfinite(rewards[0]).sum(axis=2),
            tuple(ContextTerms(str(c), 0, 1.0, float(weight)) for c, weight in enumerate(data.cost_weights)),
            np.asarray(data.costs, np.float64),
            residuals=rows,
            population=data.num_queries,
        )
        return max(one.eps for one in certify_all(evidence, *map(np.asarray, policy), terms))


def _pair(values: np.ndarray, noise: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward of a pair's pulls by scale, and `most` rows whose squares sum to the variance of its noise.

    The rows are the pulls' differences to their mean where two or more have the scale, else the jackknife's of one.
    """
    there = np.isfinite(values).sum(axis=0)
    mean = np.where(there > 0, np.nansum(values, axis=0) / np.maximum(there, 1), np.nan)
    apart, alone = np.zeros((2, most, values.shape[1]))
    apart[: len(values)] = np.nan_to_num(values - mean) / np.sqrt(np.maximum(there * (there - 1), 1))
    alone[: noise.shape[1]] = np.nansum(noise, axis=0)
    known = np.isfinite(noise).all(axis=1).any(axis=0)
    return mean, np.where(there > 1, apart, np.where(known, alone, np.nan))


def _filled(pulls: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Completions of pulls side by side, their width a power of two, and how many each has."""
    sizes = np.array([len(pull) for pull in pulls])
    filled = np.zeros((len(pulls), 1 << (int(sizes.max()) - 1).bit_length(), pulls[0].shape[1]), np.float32)
    for row, pull in enumerate(pulls):
        filled[row, : len(pull)] = pull
    return filled, sizes


class Ended(NamedTuple):
    """A run of a rule of a fixed budget: completions, eps of its statement, the largest loss of its arms."""

    spent: int
    eps: float
    loss: float


def run_fixed(data: Dataset, values: np.ndarray, name: str, budget: int, target: str, seed: int) -> Ended:
    """One run of a rule with a budget, its pulls on common queries valued by all subsets."""
    rule = algorithms.get(name)
    options = {"queries": "common-wor", "estimator": "subsets"}
    rule = replace(rule, **{key: new for key, new in options.items() if hasattr(rule, key)})
    kept, key = Replayed(data, rule, seed), counter.fold(instances.trial_key(seed, 0), instances.RUN)
    found = runner.run_rounds(kept.world.spec, rule, budget, key, kept.answer)
    planned = max(min(data.num_queries, budget // data.num_prompts), 1)
    terms = Confidence(target=target)
    if kept.rounds > 1:
        terms = terms._replace(grade="anytime", planned=planned)
    prompts, scales = map(np.asarray, found.policy)
    losses = values.max(axis=(1, 2)) - values[np.arange(len(values)), prompts, scales - 1]
    return Ended(int(found.spent), kept.eps(found.policy, terms), float(losses.max()))


def main() -> None:
    """Run both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("environment")
    parser.add_argument("--target", choices=["new", "these"], default="new")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1])
    parser.add_argument("--budget", type=whole, default=10**7)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--fixed", nargs="+", default=[], help="rules of a fixed budget")
    parser.add_argument("--budgets", type=whole, nargs="+", default=[25_000], help="of these rules")
    parser.add_argument("--fixed-trials", type=int, default=20, help="of these rules, with each budget")
    given = parser.parse_args()
    data = envs.get(given.environment).data
    source = fixed(data, 1.0).source
    values = np.asarray(exact.values(data))
    print("| eps | rule | completions | sure | sure and wrong | mean eps at the end |")
    print("| --- | --- | --- | --- | --- | --- |")
    for eps in given.eps:
        rule = UntilSure(target=given.target, eps=eps, visits=1024)
        for name, one in (("until-sure", rule), ("equal pulls", EqualPulls(rule))):
            found = runner.run_trials(source, one, given.budget, seed=0, trials=given.trials, observe=watch)
            seen, there = map(np.asarray, found.seen)
            ends = seen[np.arange(given.trials), there.sum(axis=1) - 1]
            sure = (ends <= eps).all(axis=1)
            arms = values[np.arange(len(values)), found.prompt, found.scale - 1]
            wrong = (values.max(axis=(1, 2)) - arms > eps).any(axis=1) & sure
            mean = ends[np.isfinite(ends).all(axis=1)].max(axis=1).mean()
            part = f"{sure.sum()} of {given.trials} | {wrong.sum()} | {mean:.3f}"
            print(f"| {eps:g} | {name} | {found.spent.mean():,.0f} | {part} |")

    for name in given.fixed:
        for budget in given.budgets:
            ends = [run_fixed(data, values, name, budget, given.target, seed) for seed in range(given.fixed_trials)]
            spent, eps, loss = map(np.array, zip(*ends, strict=True))
            sure = f"{(eps <= given.eps[0]).sum()} of {len(ends)} | {(loss > eps).sum()}"
            print(f"| {given.eps[0]:g} | {name} | {spent.mean():,.0f} | {sure} | {np.median(eps):.3f} (median) |")


if __name__ == "__main__":
    main()
