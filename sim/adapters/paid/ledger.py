"""Caps on spending: the worst case of an attempt is reserved before it is sent, and settled when it is over.

The sums live in one asyncio thread: between the check and the reservation nothing else runs.
"""

import asyncio
from typing import NamedTuple

from sim.adapters.run_file.settings import MONEY, Caps
from sim.adapters.wire.retry import Stopped


class Amount(NamedTuple):
    """Completions, tokens, and money in units of 10**-12."""

    completions: int = 0
    tokens: int = 0
    money: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """The sum, entry by entry."""
        return Amount(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: "Amount") -> "Amount":
        """The difference, entry by entry."""
        return Amount(*(mine - its for mine, its in zip(self, other, strict=True)))


class Ledger:
    """Spent and reserved amounts under caps.

    Attributes:
        spent: what finished attempts were charged.
        held: the worst case of the attempts under way.
        met: the cap that ended the run, in words; None while none did.
    """

    def __init__(self, caps: Caps | None, spent: Amount = Amount()):  # noqa: B008  (immutable)
        self._caps = caps
        self.spent, self.held = spent, Amount()
        self.met: str | None = None
        self._changed, self._closed = asyncio.Condition(), False

    def over(self, more: Amount = Amount()) -> str | None:  # noqa: B008
        """The first cap that spent, held and `more` together exceed, in words; None if they fit."""
        if self._caps is None:
            return None
        total = self.spent.plus(self.held).plus(more)
        for name, value in total._asdict().items():
            cap = getattr(self._caps, name)
            if cap is not None and value > cap:
                return f"caps.{name} is {_show(name, cap)}"
        return None

    async def reserve(self, worst: Amount, what: str = "request") -> None:
        """Hold the worst case of one attempt; wait for attempts under way where their settling may make room.

        Raises:
            Stopped: a cap does not allow it.
        """
        async with self._changed:
            while (cap := self.over(worst)) is not None:
                if self.held == Amount() or self._closed:
                    self.met = self.met or cap
                    left = f"{self.spent.completions:,} completions, {self.spent.tokens:,} tokens"
                    raise Stopped(
                        f"{cap}, and the next {what} could exceed it (spent so far: {left}, money "
                        f"{_show('money', self.spent.money)}); raise the cap and start again, nothing is lost"
                    )
                await self._changed.wait()
            self.held = self.held.plus(worst)

    async def close(self) -> None:
        """Let nothing wait for room any more: what is held is left to the next process."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    def resume(self, worst: Amount) -> None:
        """Hold again an attempt of an earlier process, which was charged at its worst until it is over."""
        self.spent, self.held = self.spent.minus(worst), self.held.plus(worst)

    async def settle(self, worst: Amount, charged: Amount) -> None:
        """Replace a reservation by what the attempt is charged."""
        self.held, self.spent = self.held.minus(worst), self.spent.plus(charged)
        async with self._changed:
            self._changed.notify_all()


def _show(name: str, value: int) -> str:
    return f"{value / MONEY:.6g}" if name == "money" else f"{value:,}"
