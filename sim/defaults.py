"""The recommended algorithm, and those that a comparison shows where nobody names any: the one place that says so.

Mixture racing takes completions as they are, which data sets, laws of scores and live models give. On worlds of
somebody's own that do not (`Environment.raw`) use PSST, the algorithm of the paper, which is one name away everywhere.
"""

RECOMMENDED = "mixture-racing"
WHY = "on most worlds it has the regret of psst for a fraction of its budget"
"""Why it is recommended; figures are in docs/results.md."""
REFERENCE = "psst"
"""The one that others are tested against, and to use where the recommended one cannot run."""
COMPARISON = (RECOMMENDED, REFERENCE, "psst+k4", "prompt-halving-n8", "uniform", "triple-n1", "oracle")
"""Contenders that a newcomer will ask about: these two, the next best at small budgets, an even split, a rule that
knows of no votes, and the ceiling."""
EVERY = "all"
"""Stands for everything that can run."""
