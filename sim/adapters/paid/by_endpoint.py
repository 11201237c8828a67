"""Draws from several endpoints, each by a sampler of its own; journal, caps and the end of the run are one for all."""

import asyncio
from collections.abc import Mapping, Sequence

from sim.adapters.paid.batches import Waiting
from sim.adapters.paid.entries import Asked, Draw
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import Ending, Sampler, Want
from sim.adapters.run_file.settings import Prompt
from sim.adapters.wire.retry import Stopped


class EndpointSamplers:
    """Samplers of a run by the name of their endpoint. What is asked of whom, the cell's address says.

    Attributes:
        ending: that of all samplers.
        journal, ledger: those of all samplers.
    """

    def __init__(self, samplers: Mapping[str, Sampler]):
        one = next(iter(samplers.values()))
        self.ending, self.journal, self.ledger = one.ending, one.journal, one.ledger
        self._by_name = dict(samplers)
        self._by_address = {sampler.endpoint.base_url: sampler for sampler in samplers.values()}

    @property
    def stopping(self) -> str | None:
        """Reason why the run is over, None while it is not."""
        return self.ending.why

    def stop(self, reason: str) -> str:
        """Let nothing more be sent to any endpoint; see `Sampler.stop`."""
        return self.ending.stop(reason)

    def at(self, name: str) -> Sampler:
        """The sampler of an endpoint."""
        return self._by_name[name]

    def apart(self) -> "EndpointSamplers":
        """The same samplers with an end of their own: to stop them stops no others."""
        ending = Ending()
        return EndpointSamplers({name: one.apart(ending) for name, one in self._by_name.items()})

    async def gather(self, wants: Sequence[Want]) -> None:
        """Bring draws into the journal where endpoints take batches, side by side; see `Sampler.gather`.

        Raises:
            Stopped: the run cannot go on.
        """
        own: dict[str, list[Want]] = {}
        for want in wants:
            own.setdefault(want.cell.endpoint, []).append(want)
        tasks = [asyncio.ensure_future(self._by_address[address].gather(some)) for address, some in own.items()]
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if any(task.exception() for task in done):
                await self.ledger.close()  # the batches of one that fails are not settled here
        found = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [error for error in found if isinstance(error, BaseException)]
        waiting = [str(error) for error in failed if isinstance(error, Waiting)]
        if len(waiting) == len(failed) > 1:
            raise Waiting(" ".join(waiting))
        for error in sorted(failed, key=lambda one: (isinstance(one, Stopped), str(one) != self.stopping)):
            raise error

    async def draws(self, want: Want) -> list[Draw]:
        """All draws of a want; see `Sampler.draws`."""
        return await self._by_address[want.cell.endpoint].draws(want)

    def worst(self, prompt: Prompt, cell: Asked, n: int) -> Amount:
        """The most that a request can cost; see `Sampler.worst`."""
        return self._by_address[cell.endpoint].worst(prompt, cell, n)
