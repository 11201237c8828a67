"""Ablations of PSST: one decision changed at a time, and its worth in ACR.

"half credit" trains with the released code's credit for tied votes (1/2 instead of 1/t) and is scored, as all others
are, with 1/t. Where votes are between two answers both credits are the same.
"""

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from figures import panels, style
from figures.inputs import Lab, summary
from sim.comparison import tables
from theory import truth

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("synth-bernoulli", "MATH", "CQA", "synth-categorical", "HH", "Summarization"),
    "variants": {
        "data of the last round only": "psst:fresh=true",
        "ties by index": "psst:ties=index",
        "reference budget (overspends)": "psst:budget_rule=reference",
        "all subsets for blocks": "psst:estimator=subsets",
        "plug-in for blocks": "psst:estimator=plug-in",
        "common queries": "psst:queries=common",
        "common, without replacement": "psst:queries=common-wor",
        "the same, all subsets": "psst:queries=common-wor,estimator=subsets",
        "prompt halving": "prompt-halving",
        "prompt halving, plug-in, n = 8": "prompt-halving-n8",
        "screening, K = 4": "psst+k4",
    },
    "credit": {"MATH": "MATH:tie=half", "CQA": "CQA:tie=half"},
    "half_credit": {
        "half credit for ties": "psst",
        "reference budget, index, half credit": "psst:budget_rule=reference,ties=index",
    },
    "budgets": (1000, 5000, 20000),
    "trials": 1000,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "variants": {
        "data of the last round only": "psst:fresh=true",
        "common, without replacement": "psst:queries=common-wor",
        "all subsets for blocks": "psst:estimator=subsets",
    },
    "credit": {"crossover": "crossover:tie=half"},
    "half_credit": {"half credit for ties": "psst"},
    "budgets": (50, 200),
    "trials": 16,
}
_TWO_ANSWERS, _BEST_OF_N = "of two answers,\ncredits for a tie agree", "no votes"
_NO_CREDIT = {"synth-bernoulli": _TWO_ANSWERS} | dict.fromkeys(("synth-categorical", "HH", "Summarization"), _BEST_OF_N)
"""Environment -> why nothing is trained with half credit there."""


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with the column variant: what was changed ("" for PSST itself).

    What trains with half credit is called, e.g., "psst on MATH:tie=half"; its trials have the splits of MATH's.
    """
    import pandas as pd

    names = {text: said for said, text in sweep["variants"].items()}
    result = lab.compare(sweep | {"algorithms": ("psst", *names)})
    parts = [result.trials]
    for env in lab.at_hand(sweep["credit"]):
        half = sweep["credit"][env]
        algorithms = tuple(sweep["half_credit"].values())
        plan = sweep | {"envs": (half,), "algorithms": algorithms}
        found = lab.compare(plan, algorithms[0], truth.uniform_credit).trials
        parts.append(found.assign(env=env, algorithm=found["algorithm"] + f" on {half}"))
        names |= {f"{text} on {half}": said for said, text in sweep["half_credit"].items()}
    trials = pd.concat(parts, ignore_index=True)
    table = summary(result._replace(trials=trials, summary=tables.summarise(trials, "psst")))
    table["variant"] = [names.get(text, "") for text in table["algorithm"]]
    return table


def draw(table: "pd.DataFrame") -> Figure:
    """Difference to PSST in ACR with 95 % intervals: a row per variant, a colour per budget.

    Differences far below all others are named at the edge. What an environment was not run with has a note why.
    """
    rows = table[table["variant"].fillna("") != ""]
    names = dict(zip(rows["variant"], rows["algorithm"], strict=True))
    labels = {said: _label(said, algorithm) for said, algorithm in names.items()}
    return panels.differences(rows, labels, "ACR less that of PSST", lambda said, env: _note(names[said], env))


def _label(variant: str, algorithm: str) -> str:
    """Label of a row: another algorithm as in every figure, a change of PSST by what is changed."""
    changed = algorithm.partition(":")[0].partition(" on ")[0] == "psst"
    return variant if changed else style.look(algorithm).label


def _note(algorithm: str, env: str) -> str:
    """What is said where an algorithm was not run on an environment."""
    why = _NO_CREDIT.get(env, "") if " on " in algorithm else ""
    return f"not run here: {why}" if why else "not run here"
