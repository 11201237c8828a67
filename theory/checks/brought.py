"""Bounds of one's own beside those of the project: `iapo verify --bound mine.py:my_bound`.

A bound is a function of a `theory.checks.claims.Case` and a budget that returns a number, about the algorithm that its
parameter or attribute `rule` names (a key of `theory.checks.rules.RULES`; PSST where it names none); or a `Claim`.

    def my_bound(case, budget, rule="uniform"):
        return case.problem.num_arms * math.exp(-budget * case.problem.gap.min() ** 2)

Its other parameters are its options, `mine.py:my_bound:rule=psst`: such a bound is called `my_bound:rule=psst`.
"""

from collections.abc import Iterable
from functools import partial
from types import FunctionType
from typing import Any

from sim import plugins
from theory.checks import claims, rules
from theory.checks.claims import Claim

_RULE = "psst"


def bring(texts: Iterable[str]) -> None:
    """Put bounds that texts name among those that are tested, in this process.

    Args:
        texts: `path/file.py:Name`, `module:Name`, or names that installed packages give, with options after a colon;
            registered names pass, and have none.

    Raises:
        ValueError: there is none, it is no bound, it has no such option, or another has its name.
    """
    for text in texts:
        address = plugins.split(text, claims.CLAIMS)
        if not address.place and address.name in claims.CLAIMS:
            _refuse_options(address, "a registered bound")
            continue
        claim, name = claim_of(text), ":".join(filter(None, (plugins.label(text), address.options)))
        known = claims.CLAIMS.get(name)
        if known is not None and _home(known) != _home(claim):
            raise ValueError(f"{text} would be called {name!r}, as another bound is; rename it")
        claims.CLAIMS[name] = claim  # in the place that it had, where its file was edited


def claim_of(text: str) -> Claim:
    """The claim that a text names."""
    address = plugins.split(text, claims.CLAIMS)
    thing: Any = plugins.load("bound", text, _fits, claims.CLAIMS)
    if isinstance(thing, Claim):
        _refuse_options(address, "a Claim")
        claim = thing
    elif callable(thing):
        bound: Any = thing
        parameters = plugins.parameters(thing)
        if len(parameters) < 2:
            raise ValueError(f"{text} takes {', '.join(parameters) or 'nothing'}; a bound takes a case and a budget")
        known = dict(list(parameters.items())[2:])
        options = plugins.read_options(address.base, address.options, known)
        if lacking := [name for name in plugins.missing(thing)[2:] if name not in options]:
            said = ",".join(f"{name}=..." for name in lacking)
            raise ValueError(f"{address.base} needs {', '.join(lacking)}; write {address.base}:{said}")
        rule = (known | options).get("rule", getattr(thing, "rule", _RULE))
        claim = Claim(str(rule), partial(bound, **options) if options else bound)
    else:
        raise ValueError(f"{text} is an object of class {type(thing).__name__}; expected a function or a Claim")
    if claim.rule not in rules.RULES:
        hint = plugins.nearest(claim.rule, rules.RULES)
        raise ValueError(f"{text} is about {claim.rule!r}; {hint}known are {'; '.join(rules.RULES)}")
    return claim


def _fits(thing: object) -> bool:
    """Whether an object of a file named alone is a bound."""
    return isinstance(thing, Claim) or (isinstance(thing, FunctionType) and len(plugins.parameters(thing)) >= 2)


def _refuse_options(address: plugins.Address, kind: str) -> None:
    if address.options:
        raise ValueError(f"{address.base} is {kind}, which has no options; leave out {address.options!r}")


def _home(claim: Claim) -> tuple[str, str]:
    """Where the function of a claim lies, whatever options it has and whatever text its file has had."""
    function = getattr(claim.of, "func", claim.of)
    code = getattr(function, "__code__", None)
    return getattr(code, "co_filename", ""), getattr(function, "__qualname__", "")
