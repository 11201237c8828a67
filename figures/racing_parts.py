"""Parts of mixture racing: each removed from it, each alone, none, and prompt halving for comparison.

Parts that its fields switch: the law of the answers (else each pull's frequencies, "plug-in"), the matrix of queries
and completions that phases add to (else each makes its own), one set of survivors for all contexts (else each context
halves its own), and budgets in proportion to 1 / k (else phases cost the same). Two numbers are varied besides: seats
for every context (three, or one), and how many prompts enter where there is too little for all: as many as have a
completion each (else four). Without the four, halving on common queries by the plug-in of small pulls is left; prompt
halving pulls as many completions in every round, and values them by all their subsets, or by the plug-in.
"""

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from figures import panels
from figures.inputs import Lab, summary

if TYPE_CHECKING:
    import pandas as pd

SWEEP: dict[str, Any] = {
    "envs": ("MATH", "synth-bernoulli", "synth-categorical", "query-noise", "deceptive", "heavy-tails"),
    "reference": "mixture-racing",
    "variants": {
        "without the law of the answers": "mixture-racing:fitted=false",
        "without the nested matrix": "mixture-racing:nested=false",
        "without one set of survivors": "mixture-racing:together=false",
        "without 1 / k budgets": "mixture-racing:equal_rounds=true",
        "one seat per context": "mixture-racing:seats=1",
        "four completions to enter": "mixture-racing:least=4",
        "law of the answers alone": "mixture-racing:nested=false,together=false,equal_rounds=true",
        "nested matrix alone": "mixture-racing:fitted=false,together=false,equal_rounds=true",
        "one set of survivors alone": "mixture-racing:fitted=false,nested=false,equal_rounds=true",
        "1 / k budgets alone": "mixture-racing:fitted=false,nested=false,together=false",
        "none of the four": "mixture-racing:fitted=false,nested=false,together=false,equal_rounds=true",
        "all subsets instead": "prompt-halving",
        "plug-in of 8 instead": "prompt-halving-n8",
        "all subsets, independent queries": "prompt-halving:queries=independent",
        "plug-in of 8, independent queries": "prompt-halving-n8:queries=independent",
    },
    "budgets": (60, 250, 1000, 5000, 20000),
    "trials": 100,
}
SMOKE: dict[str, Any] = {
    "envs": ("crossover",),
    "reference": "prompt-halving",
    "variants": {"independent queries": "prompt-halving:queries=independent"},
    "budgets": (50, 200),
    "trials": 16,
}


def compute(sweep: dict[str, Any], lab: Lab) -> "pd.DataFrame":
    """`figures.inputs.summary` with the column variant ("" for mixture racing itself), differences taken to it."""
    names = {text: said for said, text in sweep["variants"].items()}
    reference = sweep["reference"]
    table = summary(lab.compare(sweep | {"algorithms": (reference, *names)}, reference), reference)
    return table.assign(variant=[names.get(text, "") for text in table["algorithm"]])


def draw(table: "pd.DataFrame") -> Figure:
    """Difference to mixture racing in ACR with 95 % intervals: a row per variant, a colour per budget.

    A difference in ACR is one in mean regret with the other sign.
    """
    rows = table[table["variant"].fillna("") != ""]
    labels = {said: said for said in dict.fromkeys(rows["variant"])}
    return panels.differences(rows, labels, "ACR less that of mixture racing", lambda said, env: "not run here")
