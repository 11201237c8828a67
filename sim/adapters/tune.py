"""A live run from configuration to policy: probe, plan, rounds, answer.

Everything that costs money goes through one `Sampler` and one journal. The probe measures what a completion of every
prompt costs, which is what the algorithm works with; the rounds are the algorithm's; the answer is its policy, with
values from all pulls together, less what completions of the probe and the rounds took.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from sim import defaults, instances, origins
from sim.adapters import until
from sim.adapters.evidence import Estimate, Paid, interval
from sim.adapters.live import Desk, Live, RunStep, in_parallel, jobs_of, token_counts
from sim.adapters.paid.sampler import Want, consecutive
from sim.adapters.policy import Arm, Chosen
from sim.adapters.run_file import queries
from sim.adapters.run_file.settings import MONEY, Config, Context, Prompt
from sim.adapters.scoring import Item
from sim.adapters.session import Session
from sim.adapters.summing import estimator_for
from sim.adapters.wire.retry import Stopped
from sim.algorithms.until_sure import UntilSure
from sim.certify import vote_bounds
from sim.core import Key, Policy, Queries, Spec
from sim.engine import runner
from sim.engine.contract import contract
from sim.envs.contexts import Outcomes, describe
from sim.kernels import counter
from sim.raw import RAW
from sim.utilities import Strategy

LEVEL = 0.95
FIRST_ROUNDS = 16
"""Rounds after each of which the policy so far is at hand; later, whenever there are a tenth more pulls."""


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
    """Costs of completions: as configured, or measured on a few queries (drawn by the seed, the same for all prompts).

    Raises:
        ValueError: the server reports no usage, so that nothing can be measured.
    """
    config = live.config
    wants = probe_wants(live, items)
    if not wants:
        return unmeasured(config)
    live.loop.run(live.sampler.gather(wants))
    live.loop.run(in_parallel(jobs_of(wants, lambda place: live.sampler.draws(wants[place])), live.sampler))
    before, after = np.full((2, len(config.prompts)), np.nan)
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


def probe_wants(live: Session[Config], items: Sequence[Item]) -> list[Want]:
    """The draws of the probe, prompts in the outer loop; none where every prompt has a configured cost."""
    config = live.config
    if all(prompt.cost is not None for prompt in config.prompts):
        return []
    num_queries, count = min(config.probe[0], len(items)), config.probe[1]
    chosen = random.Random(f"probe {config.seed}").sample(range(len(items)), num_queries)
    seed = live.seeds("probe", len(config.prompts) * num_queries * count, chosen, count, items)
    probed = [items[query] for query in chosen]
    return consecutive("probe", config.endpoints, config.prompts, probed, count, seed)


def completion_cost(config: Config, prompt: Prompt, before: float, after: float) -> float:
    """Cost of one completion in the configuration's measure, from mean prompt and completion tokens."""
    price = config.prices_of(prompt)
    units = (price.prompt / MONEY, price.completion / MONEY) if config.cost_measure == "money" else (1.0, 1.0)
    share = {"each": 1.0, "shared": 1.0 / config.max_scale, "ignore": 0.0}[config.prompt_tokens]
    return float(share * before * units[0] + after * units[1])


def unmeasured(config: Config) -> Costs:
    """Costs without a probe: as configured, else none."""
    nothing = np.full(len(config.prompts), np.nan)
    return Costs(np.array([prompt.cost or 0.0 for prompt in config.prompts]), nothing, nothing)


def world(config: Config, costs: Costs, items: Sequence[Item] = ()) -> tuple[Spec, Strategy]:
    """The world of a run: what the algorithm knows, and how completions become rewards.

    Args:
        config: the run.
        costs: of completions.
        items: the queries; none where their number does not matter.
    """
    ends = [(0.0, 1.0) if one.aggregate == "mv" else (one.low, one.high) for one in config.objectives]
    low, high = np.array(ends, np.float64).T
    spec, strategy = describe(
        Outcomes(tuple(one.aggregate for one in config.objectives), low, high),
        np.array([context.weights for context in config.contexts], np.float64),
        np.array([context.cost_weight for context in config.contexts], np.float64),
        np.asarray(costs.cost, np.float64),
        config.max_scale,
        num_answers=(config.answers or config.max_scale + 1) if config.votes else 1,
        tie=config.tie,
    )
    return replace(spec, num_queries=len(items) or None), strategy


def check(config: Config) -> None:
    """Refuse somebody's algorithm whose methods give what cannot be used, before anything is asked.

    Raises:
        ValueError: what is wrong.
    """
    algorithm = config.algorithm
    if origins.own(type(algorithm).__module__):
        return
    spec, _ = world(config, Costs(*np.zeros((3, len(config.prompts)))))
    if (wrong := contract(algorithm, spec)) is not None:
        raise ValueError(f"{config.file}: tune.algorithm is {config.algorithm_text!r}: {wrong}; `iapo check` says more")


def replaced(config: Config) -> str:
    """Sentence on an option that would be too dear and on its replacement; "" where there is none."""
    spec, strategy = world(config, Costs(*np.zeros((3, len(config.prompts)))))
    taken = estimator_for(spec, strategy, config.algorithm)
    if config.algorithm.estimator == RAW or taken == config.algorithm.estimator:
        return ""
    return (
        f"tune.algorithm is {config.algorithm_text!r} and tune.max_scale {config.max_scale}: takes estimator={taken} "
        f"instead of {config.algorithm.estimator}, whose table would be too large"
    )


def assumed(config: Config) -> str:
    """Sentences on what the run file leaves to be guessed, as the algorithm; "" where that is nothing."""
    said, given = [], config.source["tune"]
    if "algorithm" not in given:
        said += [f"tune.algorithm is not given: {config.algorithm_text} is recommended, {defaults.WHY}"]
    if "answers" not in given and config.answers is not None:
        number = f"{config.answers} different answers to a query, what cannot be read among them"
        said += [f"tune.answers is not given: {config.algorithm_text} assumes {number}; say how many where you know"]
    weighed = any(context.cost_weight for context in config.contexts)
    if len(config.endpoints) > 1 and config.cost_measure == "tokens" and weighed:
        alike = "a token of one endpoint counts as much as one of another"
        said += [f"cost.measure is 'tokens': {alike}; where they have prices, 'money' says what is cheaper"]
    return ". ".join(said)


def run_key(seed: int) -> Key:
    """The key of a live run: that of trial 0 of its seed."""
    return counter.fold(instances.trial_key(seed, 0), instances.RUN)


class RunResult(NamedTuple):
    """The outcome of a run.

    Attributes:
        choices: the arm of every context.
        estimate: what all pulls together say.
        rounds: whole rounds.
        stopped: why the policy is one before the end, in words, such as a cap; None where it is the algorithm's.
        sure: what a run until sure says of its policy; None for others, and before a first round.
    """

    choices: tuple[Chosen, ...]
    estimate: Estimate
    rounds: int
    stopped: str | None = None
    sure: until.Sure | None = None


def rounds_of(
    live: Session[Config],
    items: Sequence[Item],
    spec: Spec,
    strategy: Strategy,
    report: Callable[[RunStep], None],
    keep: Callable[[RunResult], None] = lambda result: None,
) -> RunResult:
    """Run the algorithm against the model.

    Where a cap ends the run, the policy is the best that all pulls so far show; see `best_so_far`. A run until sure has
    its leaders as its policy at any time.

    Args:
        live: the session.
        items: the queries.
        spec: what the algorithm knows.
        strategy: how completions become rewards.
        report: is told of every pull.
        keep: gets the result so far after rounds, before the next: after each of the first, then after some.

    Raises:
        Stopped: the run cannot go on; started again, it goes on where it stopped.
    """
    config = live.config
    rewards = (config.contexts, config.objectives, config.tie, np.asarray(spec.cost).tolist())
    rewards += (config.answers,) if config.algorithm.estimator == RAW else ()
    judged_at = tuple(one.scorer.requests.endpoint for one in config.objectives)
    rewards += (judged_at,) if any(judged_at) else ()
    seed = live.seeds("tune", config.budget, config.algorithm_text, config.max_scale, items, rewards)
    train = Queries(jnp.arange(len(items), dtype=jnp.int32))
    train = runner.queries_of(config.algorithm.queries, train, run_key(config.seed))
    desk = Desk(config.prompts, items, live.sampler, live.reader, live.loop, "tune", seed)
    asking = Live(spec, strategy, config.algorithm, train, desk, report)
    is_until, last, kept = isinstance(config.algorithm, UntilSure), list[Any](), 0

    def so_far(stopped: str) -> RunResult:
        """The result after the last whole round."""
        found = asking.evidence.estimate(_paid(live, items, asking))
        if not (is_until and asking.rounds):
            return RunResult(choose(config, best_so_far(config, found), found), found, asking.rounds, stopped)
        seen = until.observe(spec, None, last[0])
        arms = _arms(last[0].leader)
        return RunResult(
            choose(config, arms, found), found, asking.rounds, stopped, until.statement(config, spec, seen)
        )

    def watch(state: Any) -> None:
        nonlocal kept
        last[:] = [state]
        if asking.rounds and (asking.rounds <= FIRST_ROUNDS or len(asking.asked) >= 1.1 * kept):
            kept = len(asking.asked)
            keep(so_far(f"under way, after round {asking.rounds}"))

    try:
        trial = runner.run_rounds(
            spec,
            config.algorithm,
            config.budget,
            run_key(config.seed),
            asking.answer,
            watch,
            until.observe if is_until else None,
        )
    except Stopped as error:
        if not _capped(live) or not asking.asked:
            raise
        return so_far(str(error))
    found = asking.evidence.estimate(_paid(live, items, asking))
    sure = None
    if is_until and asking.rounds:
        seen = until.StateSeen(*(part[asking.rounds - 1] for part in trial.seen))
        sure = until.statement(config, spec, seen)
    return RunResult(choose(config, _arms(trial.policy), found), found, asking.rounds, None, sure)


def _arms(policy: Policy) -> list[tuple[int, int]]:
    """Prompt and scale of every context."""
    return list(zip(*(np.asarray(part).tolist() for part in policy), strict=True))


def _capped(live: Session[Config]) -> bool:
    """Whether it is a cap that ended the run, and nothing before it."""
    met, why = live.ledger.met, live.sampler.stopping
    return met is not None and (why is None or met in why)


def best_so_far(config: Config, found: Estimate) -> list[tuple[int, int]]:
    """Prompt and scale of every context whose value is surest to be high: the highest lower end of an interval.

    For a run that broke off: its algorithm has no policy yet, and the highest estimate would often be that of an arm
    with few pulls. Without intervals it is the highest estimate.
    """
    arms = []
    for context, place in enumerate(config.contexts):
        bounds, values = score_bounds(config, place), found.value[context]
        ranks = np.full((*values.shape, 2), -np.inf)
        for prompt, scale in np.argwhere(np.isfinite(values)).tolist():
            ends = interval(found, context, prompt, scale + 1, bounds, LEVEL, values.size)
            ranks[prompt, scale] = (-np.inf if ends is None else ends[0], values[prompt, scale])
        order = np.lexsort((ranks[..., 1].ravel(), ranks[..., 0].ravel()))
        prompt, scale = divmod(int(order[-1]), values.shape[1])
        arms.append((prompt, scale + 1))
    return arms


def _paid(live: Session[Config], items: Sequence[Item], asking: Live) -> Paid | None:
    """Tokens that all completions of the probe and the rounds took; None where every prompt has a configured cost."""
    config, journal = live.config, live.journal
    if not (wants := probe_wants(live, items)):
        return None
    probe = []
    for prompt in config.prompts:
        asked = [(want.cell.digest, want.first, want.count) for want in wants if want.prompt is prompt]
        probe.append(token_counts(journal, "probe", asked))
    rates = [[completion_cost(config, prompt, *one) for one in ((1.0, 0.0), (0.0, 1.0))] for prompt in config.prompts]
    weights = np.array([context.cost_weight for context in config.contexts])
    return Paid(token_counts(journal, "tune", asking.asked), probe, np.array(rates), weights)


def vote_ranges(config: Config, strategy: Strategy) -> Float64[np.ndarray, "task 2"]:
    """Least and largest reward of every task, infinite where a score that is no vote has a weight."""
    return vote_bounds([one.aggregate == "mv" for one in config.objectives], np.asarray(strategy.weights, np.float64))


def score_bounds(config: Config, context: Context) -> tuple[float, float]:
    """The least and the largest utility that completions can have in a context, before costs."""
    ends = [(0.0, 1.0) if one.aggregate == "mv" else (one.low, one.high) for one in config.objectives]
    products = [
        sorted((weight * low, weight * high)) for weight, (low, high) in zip(context.weights, ends, strict=True)
    ]
    return sum(low for low, _ in products), sum(high for _, high in products)


def choose(config: Config, arms: Sequence[tuple[int, int]], found: Estimate) -> tuple[Chosen, ...]:
    """The policy's arm (prompt, scale) of every context with its interval, the runner-up and the best single one."""
    num_arms = len(config.prompts) * config.max_scale
    choices = []

    def arm(context: int, prompt: int, scale: int) -> Arm:
        name = config.prompts[prompt].name
        if scale > found.value.shape[2] or not np.isfinite(found.value[context, prompt, scale - 1]):
            return Arm(name, scale)
        bounds = score_bounds(config, config.contexts[context])
        low, high = interval(found, context, prompt, scale, bounds, LEVEL, num_arms) or (None, None)
        pulls = int(found.pulls[prompt, scale - 1])
        return Arm(name, scale, float(found.value[context, prompt, scale - 1]), low, high, pulls)

    for context, place in enumerate(config.contexts):
        prompt, scale = arms[context]
        values = np.where(np.isfinite(found.value[context]), found.value[context], -np.inf)
        single = int(values[:, 0].argmax())
        others = values.copy()
        if scale <= others.shape[1]:
            others[prompt, scale - 1] = -np.inf
        second = np.unravel_index(others.argmax(), others.shape)
        runner_up = arm(context, int(second[0]), int(second[1]) + 1) if np.isfinite(others.max()) else None
        alone = arm(context, single, 1) if np.isfinite(values[single, 0]) else None
        choices.append(Chosen(place.name, arm(context, prompt, scale), runner_up, alone))
    return tuple(choices)


def load_items(config: Config) -> tuple[Item, ...]:
    """The queries, each with a right answer that the scorers can read and what else they need.

    Raises:
        ValueError: a right answer cannot be read or something is missing, before anything is asked.
    """
    items = queries.read(config.queries)
    for number, item in enumerate(items, start=1):
        for objective in config.objectives:
            try:
                objective.scorer.check(item)
                if item.gold is not None and objective.scorer.needs_gold:
                    objective.scorer.right(item.gold)
            except ValueError as error:
                raise ValueError(f"{config.queries.file}: row {number}: {error}") from None
    return items
