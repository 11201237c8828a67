"""Exact values, bounds and hardness: what can be known of a world without sampling.

The public names are those in `__all__`; `sim` says what semantic versioning covers. They are imported when first used.

* Exact values: `exact_values` (what `sim.compare` scores by), `values`, `variance`, `best_arms`, `gaps`.
* Values estimated from a log, unbiased and with intervals: `sample_values`.
* Hardness: `hardness` (gap profiles, H1 and H2).
* Guarantees: `bounds` (one function a result, proofs in proofs.md), `problem_of` (what they need to know of a world),
  `chernoff` (exponents of single comparisons).
* Exact error probabilities: `enumerate_runs` and `failure_probability` (every run of a small world), `halving_error`.
* Checks: `verify` (every guarantee against exact truth, simulation and splitting), `plan` (the budget that each asks
  for, and the one that simulation says suffices).
* `Claim`: a bound of your own, with the rule and the event that it is about (`iapo verify --bound`).
* `agnostic`: whether prompts may be chosen without regard to the inference strategy, and the loss.

Other rooms, for those who read the code: `exact`, `moments`, `continuous`, `truth`, `blocks`; `lcpb` (a computed bound,
close to the truth); `lower_bounds`, `near_misses`, `classical`; `runs` (enumeration, splitting); `checks`.

    >>> from sim import envs
    >>> from theory import best_arms, values
    >>> prompt, scale = best_arms(values(envs.get("crossover").data))
    >>> print(f"prompt {prompt[0]} with N = {scale[0]}")
    prompt 1 with N = 9
"""

from typing import TYPE_CHECKING

from sim.public import lazily

if TYPE_CHECKING:
    from theory import agnostic as agnostic
    from theory import bounds as bounds
    from theory import chernoff as chernoff
    from theory import hardness as hardness
    from theory.checks import plan as plan
    from theory.checks import verify as verify
    from theory.checks.claims import Claim as Claim
    from theory.exact import best_arms as best_arms
    from theory.exact import gaps as gaps
    from theory.exact import values as values
    from theory.exact import variance as variance
    from theory.problem import problem_of as problem_of
    from theory.runs.enumerate import enumerate_runs as enumerate_runs
    from theory.runs.enumerate import failure_probability as failure_probability
    from theory.runs.halving import halving_error as halving_error
    from theory.samples import sample_values as sample_values
    from theory.truth import exact_values as exact_values

__all__ = [
    "Claim",
    "agnostic",
    "best_arms",
    "bounds",
    "chernoff",
    "enumerate_runs",
    "exact_values",
    "failure_probability",
    "gaps",
    "halving_error",
    "hardness",
    "plan",
    "problem_of",
    "sample_values",
    "values",
    "variance",
    "verify",
]

_HOMES = {
    "Claim": "theory.checks.claims:Claim",
    "agnostic": "theory.agnostic",
    "best_arms": "theory.exact:best_arms",
    "bounds": "theory.bounds",
    "chernoff": "theory.chernoff",
    "enumerate_runs": "theory.runs.enumerate:enumerate_runs",
    "exact_values": "theory.truth:exact_values",
    "failure_probability": "theory.runs.enumerate:failure_probability",
    "gaps": "theory.exact:gaps",
    "halving_error": "theory.runs.halving:halving_error",
    "hardness": "theory.hardness",
    "plan": "theory.checks.plan",
    "problem_of": "theory.problem:problem_of",
    "sample_values": "theory.samples:sample_values",
    "values": "theory.exact:values",
    "variance": "theory.exact:variance",
    "verify": "theory.checks.verify",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
