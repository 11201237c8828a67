"""A live run from configuration to policy: probe, plan, rounds, answer.

Everything that costs money goes through one `Sampler` and one journal. The probe measures what a completion of every
prompt costs; the rounds are the algorithm's; the answer is its policy, with estimates from all pulls together.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from sim import runner
from sim.adapters import queries
from sim.adapters.batch_api import BatchClient
from sim.adapters.batches import Batches
from sim.adapters.evidence import Estimate, half_width
from sim.adapters.journal import Journal
from sim.adapters.ledger import Amount, Ledger
from sim.adapters.live import Live, Step, first_seed, in_parallel, with_answers
from sim.adapters.policy import Arm, Choice
from sim.adapters.protocol import Client
from sim.adapters.reading import Reader
from sim.adapters.retry import real_clock
from sim.adapters.sampler import Sampler, cell_of, consecutive
from sim.adapters.scorers.judge import Judge
from sim.adapters.scoring import Item
from sim.adapters.settings import MONEY, Asking, Config, Prompt
from sim.core import Allocation, Key, Queries, Spec, Stats, Trial
from sim.envs.contexts import describe
from sim.kernels import counter, rounds, subsets
from sim.utilities import Strategy

LEVEL = 0.95
DRY_RUNS = 16
"""Runs on made-up rewards from which a plan is read."""


C = TypeVar("C", bound=Asking)


class Session(Generic[C]):
    """What a live command holds open: journal, connections, scorers, the event loop."""

    def __init__(
        self,
        config: C,
        journal: Journal,
        client: Client,
        loop: asyncio.Runner,
        capped: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.config, self.journal, self.client, self.loop = config, journal, client, loop
        caps, clock = config.caps if capped else None, real_clock(loop.get_loop(), config.seed)
        self.ledger = Ledger(caps, journal.charged())
        self.sampler = Sampler(client, config.endpoint, config.prices, journal, self.ledger, clock)
        if config.endpoint.batch is not None and isinstance(client, BatchClient):
            batches = Batches(self.sampler, client, config.endpoint.batch, config.out / "batches", say)
            self.sampler.fetch = batches.fetch
        self.reader = Reader(config.objectives, journal)
        for objective in config.objectives:
            objective.scorer.attach(self.sampler)

    def seeds(self, purpose: str, count: int, *what: object) -> int:
        """The first of `count` request seeds that belong to this purpose, these prompts and `what` alone."""
        identity = repr((self.config.seed, self.config.prompts, count, what))
        name = f"{purpose} {hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        return first_seed(self.config.seed, self.journal.span(name, count), count)


@contextmanager
def session(
    config: C,
    connect: Callable[[], Client],
    journal: str | None = None,
    capped: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Session[C]]:
    """Open everything, and close it whatever happens.

    Args:
        config: the run.
        connect: makes the client.
        journal: where to keep what is paid for; the configuration's place when None.
        capped: whether the configuration's caps hold.
        say: is told how batches fare.
    """
    kept = Journal(config.journal if journal is None else journal)
    try:
        left = [] if config.endpoint.batch is not None else kept.unfinished(config.endpoint.base_url)
        if left and capped:  # what has no caps here sends nothing to go into this journal
            raise ValueError(
                f"{config.file}: endpoint.mode is 'sync', but batch {left[0].id} ({left[0].remote or left[0].state}) "
                f"in {kept.path} is not over and its requests would be paid for twice; run in mode 'batch' until it is"
            )
        kept.note("config", str(config.file.resolve()))
        with asyncio.Runner() as loop:
            made = Session(config, kept, connect(), loop, capped, say)
            try:
                loop.run(made.reader.start())
                yield made
            finally:
                loop.run(made.reader.close())
                loop.run(made.client.close())
    finally:
        kept.close()


class Costs(NamedTuple):
    """Tokens and cost per completion of every prompt.

    Attributes:
        cost: in the configuration's measure, as contexts weigh it, shape (prompt,).
        prompt_tokens, completion_tokens: mean per completion request and per completion; NaN without a probe.
    """

    cost: np.ndarray
    prompt_tokens: np.ndarray
    completion_tokens: np.ndarray


def probe(live: Session[Config], items: Sequence[Item]) -> Costs:
    """What completions cost: as configured, or measured on a few queries (drawn by the seed, the same for all prompts).

    Raises:
        ValueError: the server reports no usage, so that nothing can be measured.
    """
    config = live.config
    size = len(config.prompts)
    given = [prompt.cost for prompt in config.prompts]
    if all(cost is not None for cost in given):
        return Costs(np.array(given, np.float64), np.full(size, np.nan), np.full(size, np.nan))
    num_queries, count = min(config.probe[0], len(items)), config.probe[1]
    chosen = random.Random(f"probe {config.seed}").sample(range(len(items)), num_queries)
    total = size * num_queries * count
    seed = live.seeds("probe", total, chosen, count, items)
    queries = [items[query].text for query in chosen]
    wants = consecutive("probe", config.endpoint, config.prompts, queries, count, seed)
    live.loop.run(live.sampler.gather(wants))
    live.loop.run(in_parallel(iter([partial(live.sampler.draws, want) for want in wants]), live.sampler))
    before, after = np.full(size, np.nan), np.full(size, np.nan)
    for place, prompt in enumerate(config.prompts):
        own = [want.cell.digest for want in wants if want.prompt is prompt]
        usage = live.journal.usage(own)
        if usage is None:
            raise ValueError(
                f"the server reports no usable token counts for prompt {prompt.name!r}; give every prompt a cost"
            )
        before[place], after[place] = usage
    cost = [completion_cost(config, *one) for one in zip(config.prompts, before, after, strict=True)]
    return Costs(np.array(cost), before, after)


def completion_cost(config: Config, prompt: Prompt, before: float, after: float) -> float:
    """Cost of one completion in the configuration's measure, from mean prompt and completion tokens."""
    price = config.prices[prompt.model]
    units = (price.prompt / MONEY, price.completion / MONEY) if config.cost_measure == "money" else (1.0, 1.0)
    share = {"each": 1.0, "shared": 1.0 / config.max_scale, "ignore": 0.0}[config.prompt_tokens]
    return float(share * before * units[0] + after * units[1])


def world(config: Config, costs: Costs) -> tuple[Spec, Strategy]:
    """What the algorithm knows, and how completions become rewards."""
    return describe(
        tuple(one.aggregate for one in config.objectives),
        np.array([context.weights for context in config.contexts], np.float64),
        np.array([context.cost_weight for context in config.contexts], np.float64),
        jnp.asarray(costs.cost, jnp.float32),
        config.max_scale,
        np.array([1.0 if one.aggregate == "mv" else max(abs(one.low), abs(one.high)) for one in config.objectives]),
        config.max_scale + 1 if config.votes else 1,
        config.tie,
    )


def check(config: Config) -> None:
    """Refuse what the rounds could not be run with, before anything is asked.

    Raises:
        ValueError: the algorithm's estimator needs tables that are too large, where all answers of a pull may differ.
    """
    spec, strategy = world(config, Costs(*np.zeros((3, len(config.prompts)))))
    algorithm = config.algorithm
    width, num_scales = algorithm.max_pull(spec), algorithm.num_scales(spec)
    try:
        subsets.check(with_answers(strategy, width), width, num_scales, algorithm.estimator)
    except ValueError as error:
        raise ValueError(
            f"{config.file}: tune.algorithm is {config.algorithm_text!r} and tune.max_scale {config.max_scale}: "
            f"{error} or a smaller max_scale"
        ) from None


class Plan(NamedTuple):
    """What a run will do.

    Attributes:
        rounds: of every round: pulls, prompts pulled, largest scale, completions; from one dry run.
        worst: completions, tokens and money that the rounds can cost at most, without failed attempts.
        expected: the same, with the tokens that the probe measured; None where costs were configured.
    """

    rounds: tuple[tuple[int, int, int, int], ...]
    worst: Amount
    expected: Amount | None


def plan(config: Config, spec: Spec, costs: Costs, items: Sequence[Item], sampler: Sampler) -> Plan:
    """Read a plan from dry runs on random rewards; the first is shown, the dearest counts.

    Raises:
        ValueError: the budget is too small for the algorithm.
    """
    longest = max(items, key=lambda item: len(item.text.encode("utf-8", "replace")))
    each = [dearest(sampler, config, prompt, longest) for prompt in config.prompts]
    worst, expected, shown = Amount(), None, ()
    for number in range(DRY_RUNS):
        steps, pulled, pulls = _dry_run(config, spec, number)
        shown = shown or steps
        parts = [Amount(0, int(n) * one.tokens, int(n) * one.money) for n, one in zip(pulled, each, strict=True)]
        found = Amount(config.budget * (1 + sum(isinstance(one.scorer, Judge) for one in config.objectives)))
        for part in parts:
            found = found.plus(part)
        worst = Amount(*map(max, worst, found))
        if not np.isnan(costs.prompt_tokens).any():
            likely = _likely(config, costs, pulled, pulls)
            expected = likely if expected is None else Amount(*map(max, expected, likely))
    return Plan(shown, worst, expected)


def dearest(sampler: Sampler, config: Config, prompt: Prompt, item: Item) -> Amount:
    """The most that one completion of a prompt on a query can cost, asked for alone, with all judgements of it."""
    worst = sampler.worst(prompt, cell_of("plan", config.endpoint, prompt, item.text), 1)
    for objective in config.objectives:
        if isinstance(objective.scorer, Judge):
            worst = worst.plus(sampler.worst(*objective.scorer.request(item, "four" * prompt.max_tokens), 1))
    return worst


def _likely(config: Config, costs: Costs, pulled: np.ndarray, pulls: np.ndarray) -> Amount:
    """Prompt tokens once per request, completion tokens per completion."""
    requests = np.maximum(pulls, pulled / config.endpoint.max_n)
    before, after = requests * costs.prompt_tokens, pulled * costs.completion_tokens
    prices = [config.prices[prompt.model] for prompt in config.prompts]
    money = sum(b * price.prompt + a * price.completion for b, a, price in zip(before, after, prices, strict=True))
    return Amount(int(pulled.sum()), int(np.ceil((before + after).sum())), int(np.ceil(money)))


def _dry_run(config: Config, spec: Spec, seed: int) -> tuple[tuple, np.ndarray, np.ndarray]:
    """Rounds, and completions and pulls of every prompt, of a run whose rewards are random."""
    rng, steps = np.random.default_rng(seed), []
    pulled, pulls = np.zeros(spec.num_prompts), np.zeros(spec.num_prompts)

    def answer(key: Key, allocation: Allocation) -> Stats:
        prompt, scale, number = (np.asarray(leaf) for leaf in allocation)
        np.add.at(pulled, prompt, scale * number)
        np.add.at(pulls, prompt, number)
        on = number > 0
        steps.append(
            (int(number.sum()), len(set(prompt[on])), int(scale[on].max(initial=0)), int((scale * number).sum()))
        )
        blocks = np.asarray(rounds.block_counts(allocation, rounds.Pulling.of(config.algorithm, spec)))
        shape = (len(prompt), spec.num_tasks, blocks.shape[1])
        total = rng.uniform(0, 1, shape).astype(np.float32) * blocks[:, None]
        return Stats(jnp.asarray(total), jnp.asarray(blocks))

    runner.run_rounds(spec, config.algorithm, config.budget, run_key(seed), answer)
    return tuple(steps), pulled, pulls


def run_key(seed: int) -> Key:
    """The key of a live run: that of trial 0 of its seed."""
    return counter.fold(runner.trial_key(seed, 0), runner.RUN)


class Result(NamedTuple):
    """What came out of a run."""

    choices: tuple[Choice, ...]
    trial: Trial
    estimate: Estimate


def rounds_of(
    live: Session[Config], items: Sequence[Item], spec: Spec, strategy: Strategy, report: Callable[[Step], None]
) -> Result:
    """Run the algorithm against the model.

    Raises:
        Stopped: the run cannot go on; started again, it goes on where it stopped.
    """
    config = live.config
    seed = live.seeds("tune", config.budget, config.algorithm_text, config.max_scale, items)
    train = Queries(jnp.arange(len(items), dtype=jnp.int32))
    train = runner.queries_of(config.algorithm.queries, train, run_key(config.seed))
    asking = Live(
        spec, strategy, config.algorithm, train, config.prompts, items, live.sampler, live.reader, live.loop, "tune",
        seed, report,
    )  # fmt: skip
    trial = runner.run_rounds(spec, config.algorithm, config.budget, run_key(config.seed), asking.answer)
    found = asking.evidence.estimate()
    return Result(choose(config, trial, found), trial, found)


def choose(config: Config, trial: Trial, found: Estimate) -> tuple[Choice, ...]:
    """The policy's arm of every context with its interval, the runner-up and the best single completion."""
    num_arms = len(config.prompts) * config.max_scale
    choices = []

    def arm(context: int, prompt: int, scale: int) -> Arm:
        name = config.prompts[prompt].name
        if scale > found.value.shape[2] or not np.isfinite(found.value[context, prompt, scale - 1]):
            return Arm(name, scale)
        value = float(found.value[context, prompt, scale - 1])
        half = half_width(found, context, prompt, scale, LEVEL, num_arms)
        pulls = int(found.pulls[prompt, scale - 1])
        return Arm(name, scale, value, *((value - half, value + half) if np.isfinite(half) else (None, None)), pulls)

    for context, place in enumerate(config.contexts):
        prompt, scale = int(trial.policy.prompt[context]), int(trial.policy.scale[context])
        values = np.where(np.isfinite(found.value[context]), found.value[context], -np.inf)
        single = int(values[:, 0].argmax())
        others = values.copy()
        if scale <= others.shape[1]:
            others[prompt, scale - 1] = -np.inf
        second = np.unravel_index(others.argmax(), others.shape)
        runner_up = arm(context, int(second[0]), int(second[1]) + 1) if np.isfinite(others.max()) else None
        alone = arm(context, single, 1) if np.isfinite(values[single, 0]) else None
        choices.append(Choice(place.name, arm(context, prompt, scale), runner_up, alone))
    return tuple(choices)


def load_items(config: Config) -> tuple[Item, ...]:
    """The queries, each with a right answer that the scorers can read.

    Raises:
        ValueError: a right answer cannot be read, before anything is asked.
    """
    items = queries.read(config.queries)
    for number, item in enumerate(items, start=1):
        for objective in config.objectives:
            if item.gold is not None and objective.scorer.needs_gold:
                try:
                    objective.scorer.right(item.gold)
                except ValueError as error:
                    raise ValueError(f"{config.queries.file}: row {number}: {error}") from None
    return items
