"""Constants of the problem that all rooms agree on: aggregates, tie rules, the largest scale and budget.

Here and not beside what uses them, so that commands which read or check them need nothing that takes long to import.
"""

AGGREGATES = ("mv", "bon", "mean")
TIES = ("uniform", "half")
MAX_SCALE = 256
"""Largest inference scale: block sums of one pull then stay below 2**24 units, exact in float32."""
MAX_ANSWERS = 16
"""Most answers of a live vote whose law a rule estimates: more have hardly been tried, and pulls would be small."""
GOLD = 0
"""The label of the right answer inside an environment; labels are renamed query by query."""
MAX_BUDGET = 2**24
"""Beyond it float32 no longer counts completions one by one."""
