"""Scorers by name. To add one: a file with a `Scorer` that has `read`, and a line in `SCORERS`."""

from collections.abc import Callable

from sim.adapters.run_file.kinds import word
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers.code import Code
from sim.adapters.scorers.judge import Judge
from sim.adapters.scorers.maths import Math
from sim.adapters.scorers.rewards import Classify, GetReward
from sim.adapters.scorers.scoring import Scorer
from sim.adapters.scorers.text import Exact, JsonField, Letter, Number, Regex

SCORERS: dict[str, Callable[[TomlTable], Scorer]] = {
    "exact": Exact.read,
    "choice": Letter.read,
    "number": Number.read,
    "regex": Regex.read,
    "json": JsonField.read,
    "callable": Code.read,
    "math": Math.read,
    "classify": Classify.read,
    "get_reward": GetReward.read,
    "judge": Judge.read,
}
"""Name in the configuration -> what reads its options."""


def read(table: TomlTable) -> Scorer:
    """The scorer that a table names, with its options."""
    return SCORERS[table.value("scorer", word(*SCORERS))](table)
