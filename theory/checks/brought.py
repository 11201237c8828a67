"""Bounds of one's own beside those of the project: `iapo verify --bound mine.py:my_bound`.

A bound is a function of a `theory.checks.claims.Case` and a budget that returns a number, about the algorithm that its
parameter or attribute `rule` names (a key of `theory.checks.rules.RULES`; PSST where it names none); or a `Claim`.

    def my_bound(case, budget, rule="uniform"):
        return case.problem.num_arms * math.exp(-budget * case.problem.gap.min() ** 2)
"""

from collections.abc import Iterable
from typing import Any

from sim import plugins
from theory.checks import claims, rules
from theory.checks.claims import Claim

_RULE = "psst"


def bring(texts: Iterable[str]) -> None:
    """Put bounds that texts name among those that are tested, in this process.

    Args:
        texts: `path/file.py:Name`, `module:Name`, or names that installed packages give; registered names pass.

    Raises:
        ValueError: there is none, it is no bound, or another has its name.
    """
    for text in texts:
        if text in claims.CLAIMS and not plugins.is_code(text):
            continue
        claim, name = claim_of(text), plugins.label(text)
        known = claims.CLAIMS.get(name)
        if known is not None and known != claim:
            if _home(known) != _home(claim):
                raise ValueError(f"{text} would be called {name!r}, as another bound is; rename it")
            del claims.CLAIMS[name]  # its file was edited
        claims.add(name, claim)


def claim_of(text: str) -> Claim:
    """The claim that a text names."""
    thing: Any = plugins.load("bound", text, lambda one: isinstance(one, Claim), claims.CLAIMS)
    if isinstance(thing, Claim):
        claim = thing
    elif callable(thing):
        bound: Any = thing
        parameters = plugins.parameters(thing)
        if len(parameters) < 2:
            raise ValueError(f"{text} takes {', '.join(parameters) or 'nothing'}; a bound takes a case and a budget")
        claim = Claim(str(parameters.get("rule", getattr(thing, "rule", _RULE))), bound)
    else:
        raise ValueError(f"{text} is an object of class {type(thing).__name__}; expected a function or a Claim")
    if claim.rule not in rules.RULES:
        hint = plugins.nearest(claim.rule, rules.RULES)
        raise ValueError(f"{text} is about {claim.rule!r}; {hint}known are {'; '.join(rules.RULES)}")
    return claim


def _home(claim: Claim) -> tuple[str, str]:
    """Where the function of a claim lies, whatever text its file has had."""
    code = getattr(claim.of, "__code__", None)
    return getattr(code, "co_filename", ""), getattr(claim.of, "__qualname__", "")
