"""Every selection algorithm, one file each, and the registry that names them.

To add one: write a file with an `Algorithm` class and add a line to `ALGORITHMS`. It is then part of
`iapo compare`, `iapo algorithms` and the conformance tests.
"""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from sim import references
from sim.algorithms.epsilon_greedy import EpsilonGreedy
from sim.algorithms.prompt_halving import PromptHalving
from sim.algorithms.psst import PSST
from sim.algorithms.psst_topk import PSSTTopK
from sim.algorithms.random_arm import RandomArm
from sim.algorithms.sequential_halving import SequentialHalving
from sim.algorithms.softmax import Softmax
from sim.algorithms.successive_rejects import SuccessiveRejects
from sim.algorithms.triple import Triple
from sim.algorithms.ucb import UCB
from sim.algorithms.ucb_e import UCBE
from sim.algorithms.uniform import Uniform
from sim.core import Algorithm

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "psst": PSST,
    "psst+k1": lambda: PSSTTopK(num_kept=1),
    "psst+k4": lambda: PSSTTopK(num_kept=4),
    "psst+k8": lambda: PSSTTopK(num_kept=8),
    "prompt-halving": PromptHalving,
    "prompt-halving-n8": lambda: PromptHalving(8, estimator="plug-in"),
    "uniform": Uniform,
    "epsilon-greedy": EpsilonGreedy,
    "softmax": Softmax,
    "ucb": UCB,
    "ucb-e": UCBE,
    "triple-n1": Triple,
    "triple-random": lambda: Triple(deploy="random"),
    "sequential-halving": SequentialHalving,
    "successive-rejects": SuccessiveRejects,
    "random": RandomArm,
}
"""Registry name -> the algorithm with its default options."""


def get(text: str) -> Algorithm:
    """The algorithm of a name with options, e.g. `psst:budget_rule=reference,ties=index`.

    Raises:
        ValueError: unknown name or option (naming the nearest), or a value of the wrong kind.
    """
    if references.named(text) is not None:
        raise ValueError(f"{text} is told the truth: a reference in comparisons, no algorithm; name one that is not")
    name, _, options = text.partition(":")
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; {_nearest(name, list(ALGORITHMS))}")
    algorithm = ALGORITHMS[name]()
    fields = {field.name: field for field in dataclasses.fields(algorithm)}
    changes = {}
    for item in filter(None, options.split(",")):
        option, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"option {item!r} of {name} has no value; write {name}:field=value,...")
        if option not in fields:
            hint = _nearest(option, list(fields)) if fields else "it has none"
            raise ValueError(f"{name} has no option {option!r}; {hint}")
        changes[option] = _parse(f"{name}:{option}", value, getattr(algorithm, option))
    return dataclasses.replace(algorithm, **changes)


def options(name: str) -> dict[str, object]:
    """The options of a registered algorithm and their defaults."""
    algorithm = ALGORITHMS[name]()
    return {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}


def _parse(name: str, text: str, default: object) -> object:
    words = {"true": True, "false": False}
    try:
        if isinstance(default, bool):
            return words[text.lower()]
        convert: Any = type(default)
        return convert(text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise ValueError(f"{name} is {text!r}; expected {kind}") from None


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"
