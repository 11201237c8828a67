"""Exact values without sampling and, from them, guarantees.

* `theory.exact`: value and variance of every arm of a finite world, best arms, gaps; best of N of continuous scores.
* `theory.moments`: mean and variance of the estimates that a pull's disjoint blocks give.
* `theory.hardness`: gap profiles, H1 and H2; `theory.problem`: what bounds need to know of a world.
* `theory.bounds`: guarantees, one function a result; `theory.classical`: those for unrelated arms;
  `theory.chernoff`: exponents of single comparisons; proofs in proofs.md.
* `theory.lcpb.lcpb`: a computed bound, close to the truth; `theory.lower_bounds`: what no algorithm can beat.
* `theory.runs.enumerate`: exact error probabilities; `theory.runs.rare`: tiny ones, by multilevel splitting.
* `theory.checks.verify`: every guarantee against exact truth, simulation and splitting, with verdicts;
  `theory.checks.plan`: the budget that each asks for, and the one that simulation says suffices.
* `theory.agnostic`: whether prompts may be chosen without regard to the inference strategy, and the loss.
"""
