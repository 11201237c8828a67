"""Every selection algorithm, one file each, and the registry that names them.

To try one of your own, name it as `mine.py:Rule` wherever an algorithm is named. To add one to the project: write a
file with an `Algorithm` class, and add a line to `ALGORITHMS` and one to the imports for checkers of types, which
programs are followed by too; it is then part of `iapo compare`, `iapo algorithms` and the conformance tests.

    >>> from sim import algorithms
    >>> algorithms.get("psst:ties=index").ties
    'index'
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sim import mistakes, plugins, references
from sim.public import lazily

if TYPE_CHECKING:
    from sim.algorithms.almost_tracking import AlmostTracking as AlmostTracking
    from sim.algorithms.correlated_halving import CorrelatedHalving as CorrelatedHalving
    from sim.algorithms.epsilon_greedy import EpsilonGreedy as EpsilonGreedy
    from sim.algorithms.mixture_racing import MixtureRacing as MixtureRacing
    from sim.algorithms.paired_racing import PairedRacing as PairedRacing
    from sim.algorithms.prompt_halving import PromptHalving as PromptHalving
    from sim.algorithms.proven_racing import ProvenRacing as ProvenRacing
    from sim.algorithms.psst import PSST as PSST
    from sim.algorithms.psst_topk import PSSTTopK as PSSTTopK
    from sim.algorithms.random_arm import RandomArm as RandomArm
    from sim.algorithms.sequential_halving import SequentialHalving as SequentialHalving
    from sim.algorithms.softmax import Softmax as Softmax
    from sim.algorithms.successive_rejects import SuccessiveRejects as SuccessiveRejects
    from sim.algorithms.surrogate import Surrogate as Surrogate
    from sim.algorithms.top_two import TopTwo as TopTwo
    from sim.algorithms.triple import Triple as Triple
    from sim.algorithms.ucb import UCB as UCB
    from sim.algorithms.ucb_e import UCBE as UCBE
    from sim.algorithms.uniform import Uniform as Uniform
    from sim.algorithms.until_sure import UntilSure as UntilSure
    from sim.core import Algorithm


class Maker(NamedTuple):
    """Maker of a registered algorithm: its class, module:Name in this folder, and options other than its defaults."""

    home: str
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def kind(self) -> str:
        """Name of the class."""
        return self.home.rpartition(":")[2]

    def __call__(self) -> "Algorithm":
        """The algorithm; only this imports its module."""
        return __getattr__(self.kind)(**self.options)


ALGORITHMS: dict[str, "Callable[[], Algorithm]"] = {
    "psst": Maker("psst:PSST"),
    "psst+k1": Maker("psst_topk:PSSTTopK", {"num_kept": 1}),
    "psst+k4": Maker("psst_topk:PSSTTopK", {"num_kept": 4}),
    "psst+k8": Maker("psst_topk:PSSTTopK", {"num_kept": 8}),
    "prompt-halving": Maker("prompt_halving:PromptHalving"),
    "prompt-halving-n8": Maker("prompt_halving:PromptHalving", {"pull": 8, "estimator": "plug-in"}),
    "proven-racing": Maker("proven_racing:ProvenRacing"),
    "mixture-racing": Maker("mixture_racing:MixtureRacing"),
    "until-sure": Maker("until_sure:UntilSure"),
    "uniform": Maker("uniform:Uniform"),
    "epsilon-greedy": Maker("epsilon_greedy:EpsilonGreedy"),
    "softmax": Maker("softmax:Softmax"),
    "ucb": Maker("ucb:UCB"),
    "ucb-e": Maker("ucb_e:UCBE"),
    "triple-n1": Maker("triple:Triple"),
    "triple-random": Maker("triple:Triple", {"deploy": "random"}),
    "sequential-halving": Maker("sequential_halving:SequentialHalving"),
    "successive-rejects": Maker("successive_rejects:SuccessiveRejects"),
    "correlated-halving": Maker("correlated_halving:CorrelatedHalving"),
    "paired-racing": Maker("paired_racing:PairedRacing"),
    "surrogate": Maker("surrogate:Surrogate"),
    "top-two": Maker("top_two:TopTwo"),
    "almost-tracking": Maker("almost_tracking:AlmostTracking"),
    "random": Maker("random_arm:RandomArm"),
}
"""Registry name -> what makes the algorithm with its default options: a class, a function, or a `Maker`."""

_HOMES = {one.kind: f"sim.algorithms.{one.home}" for one in ALGORITHMS.values() if isinstance(one, Maker)}

__getattr__, __dir__ = lazily(__name__, _HOMES)

NEEDED = ("init", "finished", "allocate", "update", "recommend")
"""Methods that every algorithm has."""


def get(text: str) -> "Algorithm":
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
    check_name(text)
    return _made(address.base, plugins.load("algorithm", text, fits, ALGORITHMS), address.options)


def check_name(text: str) -> None:
    """Refuse a plain name that no algorithm has, and no reference; nothing is imported for it.

    Raises:
        ValueError: naming the nearest.
    """
    address, known = plugins.split(text, ALGORITHMS), names()
    if address.place or address.name in known or address.name in references.REFERENCES:
        return
    hint = f"{plugins.nearest(address.name, known)}known: {', '.join(known)}"
    raise ValueError(f"unknown algorithm {address.name!r}; {hint}")


def names() -> list[str]:
    """Registered names, and those that installed packages give."""
    return list(dict.fromkeys([*ALGORITHMS, *plugins.names("algorithm")]))


def options(text: str) -> dict[str, object]:
    """The options of an algorithm and their values, by default those that the text leaves out."""
    algorithm = get(text)
    return {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}


def fits(thing: object) -> bool:
    """Whether an object is an algorithm, or a class of them."""
    from sim.core import Algorithm

    return isinstance(thing, Algorithm) or (isinstance(thing, type) and issubclass(thing, Algorithm))


def _made(title: str, thing: Any, options: str) -> "Algorithm":
    """The algorithm that somebody's class or function makes."""
    from sim.core import Algorithm

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


def _with_options(title: str, algorithm: "Algorithm", text: str) -> "Algorithm":
    known = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    with mistakes.telling(title):
        return dataclasses.replace(algorithm, **plugins.read_options(title, text, known))
