"""Completions until sure: the algorithm against equal pulls of all prompts, at equal certified eps.

Both see the same statement (`sim.algorithms.until_sure`) on the same queries and stop at the same eps; one pulls the
pairs that keep eps up, the other all prompts. Printed: mean completions of each, how many were sure, and how many of
these chose an arm that loses more than eps.

    python benchmarks/until_sure.py two-clusters --target these --eps 0.1 --trials 50
"""

import argparse
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sim import envs, fixed
from sim.algorithms.until_sure import State, UntilSure
from sim.algorithms.until_sure import eps as bound
from sim.core import Algorithm, Allocation, Key, Policy, Spec, Stats
from sim.engine import runner
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


def main() -> None:
    """Run both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("environment")
    parser.add_argument("--target", choices=["new", "these"], default="new")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1])
    parser.add_argument("--budget", type=int, default=10**7)
    parser.add_argument("--trials", type=int, default=50)
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


if __name__ == "__main__":
    main()
