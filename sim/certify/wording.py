"""Statements in words: the sentences that a person reads."""

from collections.abc import Sequence

import numpy as np

from sim.certify.outlook import Outlook
from sim.certify.statement import GRADES, Statement

_SHOWN = 4
"""Prompts that are named one by one."""
_TARGETS = {"new": "on new queries", "these": "on exactly these queries"}


def in_words(
    statement: Statement,
    prompts: Sequence[str],
    also: Statement | None = None,
    outlook: Outlook | None = None,
    cost: str = "",
) -> str:
    """The sentences about one context's choice.

    Args:
        statement: of the choice.
        prompts: names of all prompts.
        also: of the same choice for the other target.
        outlook: the plan to be surer.
        cost: cost of the arm, as people write it, such as "$0.004 a query".

    Example:
        >>> import numpy as np
        >>> from sim.certify import ContextTerms, QueryEvidence, certify, in_words
        >>> rewards = np.zeros((1, 2, 20, 1))
        >>> rewards[0, 0, :18] = rewards[0, 1, :8] = 1.0
        >>> found = QueryEvidence(rewards, np.ones((2, 20), int), (ContextTerms("free"),), np.zeros(2))
        >>> print(in_words(certify(found, 0, 0, 1), ["check", "direct"]))  # doctest: +NORMALIZE_WHITESPACE
        Use `check` with N = 1: .90 (.73 to 1.07); with 95 % confidence no other arm is better on new queries (2 arms,
        20 queries; asymptotic, simultaneous). Every other arm is told apart. A difference that shows on fewer than 1
        query in 6 may have gone unseen.
    """
    terms = statement.confidence
    name, value = prompts[statement.prompt], statement.value
    parts = [f"Use `{name}` with N = {statement.scale}"]
    if cost:
        parts.append(f" at {cost}")
    level = f"{100 * terms.level:.10g} %"
    parts.append(f": {number(value.estimate)} ({number(value.low)} to {number(value.high)}); with {level} confidence ")
    parts.append(f"{_no_better(statement)} {_TARGETS[terms.target]}")
    if also is not None:
        parts.append(f" ({_amount(also)} {_TARGETS[also.confidence.target]})")
    looks = f", {terms.looks} looks" if terms.looks > 1 else ""
    together = f", {terms.together} contexts at once" if terms.together > 1 else ""
    size = f"{_counted(statement.num_arms, 'arm')}, {_counted(statement.queries, 'query', 'queries')}"
    parts.append(f" ({size}; {GRADES[terms.grade]}{looks}{together}).")
    parts.append(_apart(statement, prompts))
    if outlook is not None and np.isfinite(statement.eps):
        parts.append(_further(outlook))
    if statement.left_out:
        arms = "1 arm is" if statement.left_out == 1 else f"{statement.left_out} arms are"
        parts.append(f" {arms} left out: never asked, or N is above the completions of every pair.")
    if not terms.grade.startswith("bounded"):
        parts.append(_unseen(statement))
    return "".join(parts)


def amount(value: float) -> str:
    """An amount with three digits, whole from 1,000 on: 0.00412, 33.5, 62,800.

    Args:
        value: the amount.
    """
    return f"{value:.3g}" if abs(value) < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def number(value: float, places: int = 2) -> str:
    """A utility as people read it: .92, -.03, 1.07."""
    text = f"{value:.{places}f}"
    if text.lstrip("-").strip("0.") == "":
        text = text.lstrip("-")
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.lstrip("-").startswith("1") else text


def _amount(statement: Statement) -> str:
    """Eps rounded up, so that the words claim no more than the number."""
    if not np.isfinite(statement.eps):
        return "no statement"
    if statement.eps == 0:
        return "0"
    return number(*upwards(statement.eps))


def upwards(eps: float) -> tuple[float, int]:
    """Eps rounded up, to so many decimal places."""
    places = 2 if eps > 0.01 else 3
    return float(np.ceil(eps * 10**places - 1e-9) / 10**places), places


def _unseen(statement: Statement) -> str:
    """How rare something may be that has not occurred: among these queries, once all were met, in completions."""
    terms = statement.confidence
    few = [max(int(count / -np.log(1 - terms.level)), 1) for count in (statement.queries, statement.completions)]
    queries, completions = f"fewer than 1 query in {few[0]}", f"fewer than 1 completion in {few[1]}"
    if terms.target == "new":
        return f" A difference that shows on {queries} may have gone unseen."
    if statement.exhausted:
        return f" What {completions} says may have gone unseen."
    return f" A difference that shows on {queries}, and what {completions} says, may have gone unseen."


def no_better(eps: float) -> str:
    """The words for an eps that is finite: rounded up, so that they claim no more than the number.

    Args:
        eps: by how much another arm may be better.
    """
    return "no other arm is better" + (f" by more than {number(*upwards(eps))}" if eps > 0 else "")


def _no_better(statement: Statement) -> str:
    if not np.isfinite(statement.eps):
        return "nothing is said of prompts that have met too few queries in common with it,"
    if statement.num_arms == 1:
        return "nothing is said of other arms, for none was measured,"
    return no_better(statement.eps)


def _apart(statement: Statement, prompts: Sequence[str]) -> str:
    """Arms not told apart, by prompt, the best first; neighbouring N as a range."""
    scales: dict[int, list[int]] = {}
    for arm in statement.not_apart:
        scales.setdefault(arm.prompt, []).append(arm.scale)
    if not scales:
        if statement.num_arms == 1:
            return ""
        same = np.isfinite(statement.most) & (np.isclose(statement.lead, 0, atol=1e-12))
        same[statement.prompt, statement.scale - 1] = False
        if same.any():
            return f" {_counted(int(same.sum()), 'other arm')} did just as well; all the rest are told apart."
        return " Every other arm is told apart."
    names = [f"`{prompts[prompt]}`, N = {ranges(own)}" for prompt, own in list(scales.items())[:_SHOWN]]
    left = len(scales) - _SHOWN
    more = f"; and arms of {left} more {'prompt' if left == 1 else 'prompts'}" if left > 0 else ""
    return f" Not told apart: {'; '.join(names)}{more}."


def ranges(scales: Sequence[int]) -> str:
    """Scales in rising order, such as 1, 4 to 7."""
    runs: list[list[int]] = []
    for scale in sorted(scales):
        if runs and scale == runs[-1][-1] + 1:
            runs[-1].append(scale)
        else:
            runs.append([scale])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _further(outlook: Outlook) -> str:
    target = number(outlook.target)
    if outlook.completions == 0:
        return ""
    if not np.isfinite(outlook.completions):
        return f" No number of completions is expected to bring that to {target}: another arm looks better."
    end = "; the list ends before that" if outlook.beyond else ""
    many = round_up(outlook.completions)
    return f" About {many:,} more completions would be expected to bring that to {target}{end}."


def round_up(count: float) -> int:
    """A count to two digits, upwards."""
    if count < 10:
        return int(np.ceil(count))
    step = 10 ** (int(np.log10(count)) - 1)
    return int(np.ceil(count / step) * step)
