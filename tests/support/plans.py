"""A small comparison."""

from sim.comparison.compare import Plan

PLAN = Plan(("two-arm",), ("uniform", "random", "oracle"), (20, 50), trials=12, seed=3, reference="uniform")
