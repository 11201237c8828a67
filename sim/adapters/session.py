"""The session of a live command: everything that it holds open, opened and closed together."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from sim.adapters.paid.batches import Batches
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Ledger
from sim.adapters.paid.sampler import Ending, Sampler
from sim.adapters.run_file.endpoints import place_of
from sim.adapters.run_file.settings import Asking, Config, Endpoint
from sim.adapters.scorers.reader import Reader
from sim.adapters.wire.batch_api import BatchClient
from sim.adapters.wire.openai_client import OpenAIClient
from sim.adapters.wire.protocol import Client
from sim.adapters.wire.redact import Secrets
from sim.adapters.wire.retry import real_clock

SEED_RANGE = 2**30
"""Seeds of a run start somewhere below this, and there are fewer of them: all fit 31 bits."""

C = TypeVar("C", bound=Asking)


class Session(Generic[C]):
    """Session of a live command, all that it holds open: journal, connections, scorers, the event loop."""

    def __init__(
        self,
        config: C,
        journal: Journal,
        clients: Mapping[str, Client],
        loop: asyncio.Runner,
        capped: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.config, self.journal, self.loop = config, journal, loop
        caps, clock = config.caps if capped else None, real_clock(loop.get_loop(), config.seed)
        self.ledger = Ledger(caps, journal.charged())
        secrets, ending, samplers = Secrets(config.dot_env), Ending(), dict[str, Sampler]()
        for name, endpoint in config.endpoints.items():
            client, prices = clients[name], config.prices[name]
            one = Sampler(client, endpoint, prices, journal, self.ledger, clock, secrets, ending)
            if endpoint.batch is not None and isinstance(client, BatchClient):
                one.fetch = Batches(one, client, endpoint.batch, config.out / "batches", say).fetch
            samplers[name] = one
        self.sampler = EndpointSamplers(samplers)
        self.reader = Reader(config.objectives, journal)
        for objective in config.objectives:
            asked = objective.scorer.requests.endpoint
            objective.scorer.attach(samplers[asked] if asked in samplers else next(iter(samplers.values())))

    def seeds(self, purpose: str, count: int, *what: object) -> int:
        """The first of `count` request seeds that belong to this purpose, these prompts and `what` alone.

        `what` must hold all that decides which draws are asked for: draws are kept under their numbers, so that a run
        that asks for others with the same seeds would get copies of what it has. All intervals of a journal are counted
        from where the seed of its first run lies, so that an edited seed shares none of them either.
        """
        identity = repr((self.config.seed, self.config.prompts, count, what))
        name = f"{purpose} {hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        first_run = self.journal.note("seed") or self.journal.note("seed", str(self.config.seed))
        return first_seed(int(str(first_run)), self.journal.span(name, count), count)


def connector(config: Asking, secrets: Secrets) -> Callable[[Endpoint], Client]:
    """Maker of a run's clients. All keys are looked up at once, and none of them shows in what any client returns.

    Raises:
        ValueError: there is no key for an endpoint, or it cannot be one.
    """
    keys: dict[str, str] = {}
    for name, endpoint in config.endpoints.items():
        variable = endpoint.key_variable
        keys[variable] = secrets.key(variable, f"{place_of(name)}.key_variable")
    hidden = (*keys.values(), *secrets.values)
    return lambda endpoint: OpenAIClient(endpoint, keys[endpoint.key_variable], hidden)


@contextmanager
def session(
    config: C,
    connect: Callable[[Endpoint], Client],
    journal: str | None = None,
    capped: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Session[C]]:
    """Open everything, and close it whatever happens.

    Args:
        config: the run.
        connect: makes the client of an endpoint.
        journal: where to keep what is paid for; the configuration's place when None.
        capped: whether the configuration's caps hold.
        say: is told how batches fare.
    """
    kept = Journal(config.journal if journal is None else journal)
    try:
        for name, endpoint in config.endpoints.items():
            left = [] if endpoint.batch is not None else kept.unfinished(endpoint.base_url)
            if left and capped:  # what has no caps here sends nothing to go into this journal
                raise ValueError(
                    f"{config.file}: {place_of(name)}.mode is 'sync', but batch {left[0].id} "
                    f"({left[0].remote or left[0].state}) in {kept.path} is not over and its requests would be paid "
                    "for twice; run in mode 'batch' until it is"
                )
        if isinstance(config, Config):  # a policy that answers leaves alone what a run has noted
            kept.note("config", str(config.file.resolve()))
        with asyncio.Runner() as loop:
            clients = {name: connect(endpoint) for name, endpoint in config.endpoints.items()}
            made = Session(config, kept, clients, loop, capped, say)
            try:
                loop.run(made.reader.start())
                yield made
            finally:
                loop.run(made.reader.close())
                for client in clients.values():
                    loop.run(client.close())
    finally:
        kept.close()


def first_seed(seed: int, offset: int, count: int) -> int:
    """Start of an interval of the journal's global counter among the seeds of requests.

    Args:
        seed: that of the journal's first run; journals of different seeds start at places that a hash decides.
        offset: the interval's first number (`Journal.span`).
        count: its length.
    """
    if offset + count > SEED_RANGE:
        raise ValueError(
            f"the journal has used up {offset:,} of {SEED_RANGE:,} request seeds; use another folder (out)"
        )
    base = int.from_bytes(hashlib.sha256(f"request seeds {seed}".encode()).digest()[:8], "big") % SEED_RANGE
    return base + offset
