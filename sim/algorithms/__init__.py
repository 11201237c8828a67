"""Every selection algorithm, one file each, and the registry that names them.

To try one of your own, name it as `mine.py:Rule` wherever an algorithm is named. To add one to the project: write a
file with an `Algorithm` class and add a line to `ALGORITHMS`; it is then part of `iapo compare`, `iapo algorithms` and
the conformance tests.

    >>> from sim import algorithms
    >>> algorithms.get("psst:ties=index").ties
    'index'
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from sim import mistakes, plugins, references
from sim.algorithms.almost_tracking import AlmostTracking
from sim.algorithms.correlated_halving import CorrelatedHalving
from sim.algorithms.epsilon_greedy import EpsilonGreedy
from sim.algorithms.mixture_racing import MixtureRacing
from sim.algorithms.paired_racing import PairedRacing
from sim.algorithms.prompt_halving import PromptHalving
from sim.algorithms.psst import PSST
from sim.algorithms.psst_topk import PSSTTopK
from sim.algorithms.random_arm import RandomArm
from sim.algorithms.sequential_halving import SequentialHalving
from sim.algorithms.softmax import Softmax
from sim.algorithms.successive_rejects import SuccessiveRejects
from sim.algorithms.surrogate import Surrogate
from sim.algorithms.top_two import TopTwo
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
    "mixture-racing": MixtureRacing,
    "uniform": Uniform,
    "epsilon-greedy": EpsilonGreedy,
    "softmax": Softmax,
    "ucb": UCB,
    "ucb-e": UCBE,
    "triple-n1": Triple,
    "triple-random": lambda: Triple(deploy="random"),
    "sequential-halving": SequentialHalving,
    "successive-rejects": SuccessiveRejects,
    "correlated-halving": CorrelatedHalving,
    "paired-racing": PairedRacing,
    "surrogate": Surrogate,
    "top-two": TopTwo,
    "almost-tracking": AlmostTracking,
    "random": RandomArm,
}
"""Registry name -> the algorithm with its default options."""


NEEDED = ("init", "finished", "allocate", "update", "recommend")
"""Methods that every algorithm has."""


def get(text: str) -> Algorithm:
    """The algorithm that a text names, with its options.

    Args:
        text: a registered name, `path/file.py:Name` or `module:Name` (see `sim.plugins`), perhaps with options, as in
            `psst:budget_rule=reference,ties=index` or `mine.py:Rule:rho=0.3`. What is named may be a class, a function
            that makes an algorithm, or an algorithm.

    Raises:
        ValueError: unknown name or option (naming the nearest), or a value of the wrong kind.
    """
    if references.named(text) is not None:
        raise ValueError(f"{text} is told the truth: a reference in comparisons, no algorithm; name one that is not")
    address = plugins.split(text, ALGORITHMS)
    if not address.place and address.name in ALGORITHMS:
        return _with_options(address.name, ALGORITHMS[address.name](), address.options)
    thing = plugins.find("algorithm", text, fits, ALGORITHMS)
    if thing is None:
        known = names()
        hint = f"{plugins.nearest(address.name, known)}known: {', '.join(known)}"
        raise ValueError(f"unknown algorithm {address.name!r}; {hint}")
    return _made(address.base, thing, address.options)


def names() -> list[str]:
    """Registered names, and those that installed packages give."""
    return list(dict.fromkeys([*ALGORITHMS, *plugins.names("algorithm")]))


def options(text: str) -> dict[str, object]:
    """The options of an algorithm and their values, by default those that the text leaves out."""
    algorithm = get(text)
    return {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}


def fits(thing: object) -> bool:
    """Whether an object is an algorithm, or a class of them."""
    return isinstance(thing, Algorithm) or (isinstance(thing, type) and issubclass(thing, Algorithm))


def _made(title: str, thing: Any, options: str) -> Algorithm:
    """The algorithm that somebody's class or function makes."""
    if isinstance(thing, type) and issubclass(thing, Algorithm):
        missing = [name for name in NEEDED if getattr(thing, name) is getattr(Algorithm, name)]
        if missing:
            which = f"the method{'s' * (len(missing) > 1)} {', '.join(missing)}"
            raise ValueError(f"{title} has not all that an algorithm needs: {which}; see sim.core.Algorithm")
        return plugins.call(title, thing, options)
    made = thing
    if callable(thing) and not isinstance(thing, type | Algorithm):
        has_options = bool(plugins.parameters(thing))
        made = plugins.call(title, thing, options if has_options else "")
        options = "" if has_options else options
    if not isinstance(made, Algorithm):
        is_, kind = ("is", thing) if made is thing else ("makes", made)
        said = "a class" if isinstance(kind, type) else f"an object of class {type(kind).__name__}"
        raise ValueError(f"{title} {is_} {said}; expected a class derived from sim.core.Algorithm, or what makes one")
    return _with_options(title, made, options)


def _with_options(title: str, algorithm: Algorithm, text: str) -> Algorithm:
    known = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    with mistakes.telling(title):
        return dataclasses.replace(algorithm, **plugins.read_options(title, text, known))
