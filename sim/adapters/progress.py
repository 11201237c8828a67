"""Progress of a tuning run in words: rounds, completions, money and time, of how many each."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sim.adapters.live import RunStep
from sim.adapters.paid.ledger import Amount, Ledger
from sim.adapters.planning import RunPlan
from sim.adapters.run_file.endpoints import free
from sim.adapters.run_file.settings import MONEY, Config

_SHORT, _LONG = 90.0, 5400.0
"""Seconds below which time left is told in seconds, and above which in hours."""


class RunProgress(NamedTuple):
    """Progress of a tuning run.

    Attributes:
        round, rounds: the round that it is in, from 1, of how many in a dry run.
        done, pulls: pulls of this round.
        completions, budget: of the rounds so far, of at most how many.
        spent: completions, tokens and money charged so far, the probe and repeats included.
        money_cap: the most money that may be spent; None for no cap.
        priced: whether anything has a price.
        left: seconds that the rest will take about; None while nothing is known.
    """

    round: int
    rounds: int
    done: int
    pulls: int
    completions: int
    budget: int
    spent: dict[str, float | int]
    money_cap: float | None
    priced: bool
    left: float | None

    @property
    def whole(self) -> bool:
        """Whether the round is at its end."""
        return self.done == self.pulls

    def __str__(self) -> str:
        """As in "round 2 of 6, 1,240 of 5,000 completions, money 0.31 of 2.00, about 4 min left"."""
        told = [
            f"round {self.round:,} of {self.rounds:,}",
            f"{self.completions:,} of {self.budget:,} completions",
        ]
        if self.priced:
            cap = "" if self.money_cap is None else f" of {_money(self.money_cap)}"
            told.append(f"money {_money(self.spent['money'])}{cap}")
        if self.left is not None:
            told.append(f"about {_duration(self.left)} left")
        return ", ".join(told)

    def event(self) -> dict[str, Any]:
        """Parts of it for machines."""
        return {
            "round": self.round,
            "rounds": self.rounds,
            "pulls": self.done,
            "pulls_of_round": self.pulls,
            "completions": self.completions,
            "budget": self.budget,
            "spent": self.spent,
            "money_cap": self.money_cap,
            "seconds_left": None if self.left is None else round(self.left, 1),
        }


def spent_parts(amount: Amount) -> dict[str, float | int]:
    """An amount by its parts, money in units of the user's currency."""
    return {"completions": amount.completions, "tokens": amount.tokens, "money": amount.money / MONEY}


def watching(
    run: Config,
    plan: RunPlan,
    ledger: Ledger,
    tell: Callable[[RunProgress], None],
    now: Callable[[], float] = time.monotonic,
) -> Callable[[RunStep], None]:
    """Reporter of a run's steps that tells its progress.

    Time left is that of the completions that the dry run still has, at the pace of those that were asked for so far;
    completions that the journal had come at once and are no part of that pace.

    Args:
        run: the run.
        plan: its plan.
        ledger: what is spent.
        tell: is told after every pull.
        now: seconds since some moment.
    """
    planned = sum(step.completions for step in plan.rounds)
    priced = not free(run.prices)
    cap = None if run.caps.money is None else run.caps.money / MONEY
    began, before, kept = now(), ledger.spent.completions, 0

    def report(step: RunStep) -> None:
        nonlocal kept
        left = None
        if ledger.spent.completions == before:
            kept = step.completions
        elif (new := step.completions - kept) > 0:
            left = max(planned - step.completions, 0) * (now() - began) / new
        place = (step.round + 1, max(step.round + 1, len(plan.rounds)), step.done, step.pulls)
        tell(RunProgress(*place, step.completions, run.budget, spent_parts(ledger.spent), cap, priced, left))

    return report


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount == 0 or amount >= 0.1 else f"{amount:.4f}"


def _duration(seconds: float) -> str:
    if seconds < _SHORT:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < _LONG else f"{seconds / 3600:.1f} h"
