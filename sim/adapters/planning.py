"""Plans of runs, before they cost anything: rounds, a bound on the bill, and an estimate.

The bound needs no luck: no rule draws more completions than its budget, and none of them costs more than the dearest
one, asked for alone. A request for n completions sends its prompt once and so costs no more than n of them.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sim.adapters.judge_probe import ProbedJudge, judges, orders_of, wants_of
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.entries import Draw
from sim.adapters.paid.journal import Journal
from sim.adapters.paid.ledger import Amount
from sim.adapters.paid.sampler import Want, cell_of
from sim.adapters.run_file.settings import Asking, Caps, Config
from sim.adapters.scorers.reader import blank, score_key
from sim.adapters.scorers.rewards import RewardModel
from sim.adapters.scoring import Item, Scorer
from sim.adapters.session import Session
from sim.adapters.tune import Costs, run_key, unmeasured, world
from sim.core import Allocation, Key, Spec, Stats
from sim.engine import runner

DRY_RUNS = 4
"""Runs on made-up rewards over which an estimate is the mean."""
JUDGED = "four"
"""A token of a completion that a judge reads, at its longest; a few are longer, which no bound can know."""


class Round(NamedTuple):
    """One round of a dry run.

    Attributes:
        arms: arms of a context that are left before it.
        prompts: prompts that it pulls.
        scale: the largest N that it pulls.
        pulls, completions: how many.
    """

    arms: int
    prompts: int
    scale: int
    pulls: int
    completions: int


class RunPlan(NamedTuple):
    """A plan of a run.

    Attributes:
        rounds: of one dry run.
        worst: completions, tokens and money that the rounds can cost at most, without repeats of failed requests.
        expected: the mean over dry runs, with the tokens that the probe measured, without judgements; None without a
            probe.
        judged: whether `worst` holds judgements.
        kept: completions of rounds that the journal has, or that a batch will bring.
        judgements: the part of `worst` that is judgements.
        expected_judgements: judgements of as many completions, with the tokens that the probe measured; equal
            completions share one. None where some judge was not measured.
    """

    rounds: tuple[Round, ...]
    worst: Amount
    expected: Amount | None
    judged: bool
    kept: int
    judgements: Amount = Amount()
    expected_judgements: Amount | None = None

    @property
    def about(self) -> Amount | None:
        """The estimate of all that the rounds take, as far as it is known; None without a probe."""
        if self.expected is None:
            return None
        return self.expected.plus(self.expected_judgements or Amount())

    def short(self, caps: Caps, spent: Amount) -> list[str]:
        """The caps that leave less than the estimate, but for the part of it that is kept already."""
        if self.expected is None or self.about is None:
            return []
        number = max(self.expected.completions, 1)
        rest, left = max(number - self.kept, 0), within(self.about, caps, spent)
        parts = zip(Amount._fields, self.about, left, strict=True)
        return [name for name, part, most in parts if rest * part > number * most]


class Need(NamedTuple):
    """Need of some draws: completions in all and already paid for, and the worst case of the rest.

    Paid for is what the journal has, and what a batch that is not over will bring.

    `judged` says whether the worst case holds judgements.
    """

    completions: int
    kept: int
    worst: Amount
    judged: bool


def plan(
    config: Config,
    spec: Spec,
    costs: Costs,
    items: Sequence[Item],
    sampler: EndpointSamplers,
    probed: Sequence[ProbedJudge] = (),
) -> RunPlan:
    """The rounds of a dry run on random rewards, what they can cost at most, and what they will cost about.

    Args:
        config: the run.
        spec: what the algorithm knows.
        costs: of completions, as the probe measured them.
        items: the queries.
        sampler: bounds what requests cost.
        probed: judges that the probe measured.

    Raises:
        ValueError: the budget is too small for the algorithm.
    """
    measured = not np.isnan(costs.prompt_tokens).any()
    shown, likely = (), []
    for number in range(DRY_RUNS if measured else 1):
        steps, pulled, pulls = _dry_run(config, spec, number)
        shown = shown or steps
        likely.append(_likely(config, costs, pulled, pulls, sampler) if measured else Amount())
    mean = Amount(*(-(-sum(part) // len(likely)) for part in zip(*likely, strict=True)))
    worst, judged = bound(config, items, sampler), bool(_judges(config))
    judgements = _judgement_bound(config, items, sampler)
    about = _likely_judgements(config, probed, mean.completions) if measured and judged else None
    kept = sampler.journal.num_draws("tune")
    return RunPlan(shown, worst, mean if measured else None, judged, kept, judgements, about)


def rest(plan: RunPlan, config: Config, sampler: EndpointSamplers) -> tuple[Amount | None, Amount]:
    """Cost of the part of a plan that is not kept yet: as estimated, None without a probe; and at most."""
    kept = sampler.journal.num_draws("tune")

    def share(whole: Amount, completions: int) -> Amount:
        left = max(completions - kept, 0)
        return Amount(*(-(-part * left // max(completions, 1)) for part in whole))

    about = None
    if plan.expected is not None and plan.about is not None:
        about = share(plan.about, plan.expected.completions)
    return about, share(plan.worst, config.budget)


def check_cap(config: Config, probe: Need, items: Sequence[Item], sampler: EndpointSamplers) -> None:
    """Refuse, before the first round, a cap on completions that leaves the rounds too little.

    The rounds need what they spend of the budget in dry runs. A run that is in its rounds goes on: it may need less.

    Raises:
        ValueError: the cap is too small.
    """
    spent, probing = sampler.ledger.spent.completions, probe.worst.completions
    cap, budget = config.caps.completions, config.budget
    if spent + probing + budget <= cap or sampler.journal.num_draws("tune"):
        return
    spec, _ = world(config, unmeasured(config), items)
    most = max(int(_dry_run(config, spec, number)[1].sum()) for number in range(DRY_RUNS))
    needed = spent + probing + most
    if needed > cap:
        measured = any(prompt.cost is None for prompt in config.prompts)
        free = " or give every prompt a cost, which needs no probe" if measured else ""
        raise ValueError(
            f"{config.file}: caps.completions is {cap:,}; {spent:,} are spent, the probe needs {probing:,} more and "
            f"the rounds {most:,}: it must be at least {needed:,}, and more where requests fail; raise the cap, lower "
            f"tune.budget ({budget:,}){free}"
        )


def bound(config: Config, items: Sequence[Item], sampler: EndpointSamplers) -> Amount:
    """The most that all rounds can cost without repeats: the budget times the dearest completion and its judgements."""
    longest = [max(items, key=lambda item: len(item.text.encode("utf-8", "replace")))]
    each = _largest(
        sampler.worst(prompt, cell_of("plan", config.endpoint_of(prompt), prompt, item.text, item.fields), 1)
        for prompt in config.prompts
        for item in (items if prompt.fields else longest)
    )
    whole = Amount(*(config.budget * part for part in each))
    return whole.plus(_judgement_bound(config, items, sampler))


def _judgement_bound(config: Config, items: Sequence[Item], sampler: EndpointSamplers) -> Amount:
    """The most that judgements of all rounds can cost without repeats: the budget times the dearest."""
    dearest = _sum(_dearest(config, judge, items, sampler) for judge in _judges(config))
    return Amount(*(config.budget * part for part in dearest))


def _dearest(config: Config, judge: Scorer, items: Sequence[Item], sampler: EndpointSamplers) -> Amount:
    """Largest cost of scoring one completion by a scorer that asks models."""
    text = JUDGED * max(prompt.max_tokens for prompt in config.prompts)
    return _largest(_judged(sampler, judge, item, text) for item in items)


def _likely_judgements(config: Config, probed: Sequence[ProbedJudge], completions: int) -> Amount | None:
    """Judgements of so many completions with the tokens that the probe measured; None where a judge was not."""
    found, asked_at = Amount(), {one.name: one.scorer.requests.endpoint for one in config.objectives}
    for one in probed:
        if one.tokens is None:
            return None
        before, after = (completions * tokens for tokens in one.tokens)
        price = config.prices[asked_at[one.objective]][one.model]
        money = before * price.prompt + after * price.completion
        found = found.plus(Amount(completions, int(np.ceil(before + after)), int(np.ceil(money))))
    return found if len(probed) == len(_judges(config)) else None


def within(amount: Amount, caps: Caps, spent: Amount) -> Amount:
    """An amount cut at what the caps leave."""
    limits = (caps.completions, caps.tokens, caps.money)
    left = [part if cap is None else max(0, cap - gone) for part, cap, gone in zip(amount, limits, spent, strict=True)]
    return Amount(*map(min, amount, left))


def need(live: Session, wants: Sequence[Want], items: Sequence[Item] = ()) -> Need:
    """Count what is missing, each completion at its worst; with one item for every want, its judgements too."""
    kept, worst, coming = 0, Amount(), _coming(live.journal)
    judges = _judges(live.config) if items else []
    for place, want in enumerate(wants):
        have = live.loop.run(live.journal.draws(want.cell, want.first, want.count))
        one = live.sampler.worst(want.prompt, want.cell, 1)
        for judge in judges:
            worst = worst.plus(live.loop.run(_unjudged(live, judge, items[place], want, have)))
            one = one.plus(_judged(live.sampler, judge, items[place], JUDGED * want.prompt.max_tokens))
        numbers = range(want.first, want.first + want.count)
        missing = len(set(numbers) - have.keys() - coming.get(want.cell.digest, set()))
        kept += want.count - missing
        worst = worst.plus(Amount(*(missing * part for part in one)))
    return Need(sum(want.count for want in wants), kept, worst, bool(judges))


def with_judgements(live: Session[Config], probe: Need, items: Sequence[Item]) -> Need:
    """The need of a probe, with that of the judgements that belong to it: at their worst where completions lack."""
    config, asked = live.config, judges(live.config)
    if not asked or not probe.completions:
        return probe
    if probe.kept == probe.completions and not live.journal.coming():
        more = need(live, list(dict.fromkeys(wants_of(live, items))))
    else:
        more = Need(0, 0, Amount(), True)
        for _, judge in asked:
            number = min(judge.probe, probe.completions)
            for order in orders_of(judge, live.sampler):
                worst = _dearest(config, order, items, live.sampler)
                worst = more.worst.plus(Amount(*(number * part for part in worst)))
                more = more._replace(completions=more.completions + number, worst=worst)
    return Need(probe.completions + more.completions, probe.kept + more.kept, probe.worst.plus(more.worst), judged=True)


def _coming(journal: Journal) -> dict[bytes, set[int]]:
    """Draws by cell that batches which are not over will bring."""
    found: dict[bytes, set[int]] = {}
    for cell, first, n in journal.coming():
        found.setdefault(cell, set()).update(range(first, first + n))
    return found


async def _unjudged(live: Session, judge: Scorer, item: Item, want: Want, have: Mapping[int, Draw]) -> Amount:
    """Largest cost of the judgements of draws that the journal lacks: a run may have stopped before them."""
    if isinstance(judge, RewardModel):
        kept = await live.journal.scores(want.cell, want.first, want.count, score_key(judge, item))
        draws = [draw for number, draw in have.items() if number not in kept and not blank(draw)]
        return judge.worst(judge.texts(item.text, [draw.text for draw in draws]))
    asked = {one for draw in have.values() if not blank(draw) for one in _wants(judge, item, draw.text)}
    lacking = {one: one.count - len(await live.journal.draws(one.cell, one.first, one.count)) for one in asked}
    return _sum(_each(live.sampler, one, count) for one, count in lacking.items())


def _judges(config: Asking) -> list[Scorer]:
    """Scorers whose findings are paid for: judges, reward models, and such as are brought along."""
    return [one.scorer for one in config.objectives if one.scorer.requests.models or one.scorer.requests.texts]


def _wants(judge: Scorer, item: Item, completion: str) -> Sequence[Want]:
    """Draws that a scorer asks for about a completion, which must be no more than it says of itself."""
    wants = judge.wants(item, completion)
    asked = Counter(want.prompt.model for want in wants for _ in range(want.count))
    for model in asked - Counter(judge.requests.models):
        raise ValueError(
            f"the scorer {type(judge).__name__} wants {asked[model]} completions of {model!r} about one, and its "
            f"`requests` name {model!r} {judge.requests.models.count(model)} times; caps and prices follow those"
        )
    return wants


def _judged(sampler: EndpointSamplers, judge: Scorer, item: Item, completion: str) -> Amount:
    """Largest cost of scoring a completion by a scorer that asks models."""
    if isinstance(judge, RewardModel):
        return judge.worst(judge.texts(item.text, [completion]))
    return _sum(_each(sampler, want, want.count) for want in _wants(judge, item, completion))


def _each(sampler: EndpointSamplers, want: Want, count: int) -> Amount:
    """Largest cost of some draws of a want, each asked for alone."""
    return Amount(*(count * part for part in sampler.worst(want.prompt, want.cell, 1)))


def _sum(amounts: Iterable[Amount]) -> Amount:
    return functools.reduce(Amount.plus, amounts, Amount())


def _largest(amounts: Iterable[Amount]) -> Amount:
    """The largest of every entry."""
    return Amount(*map(max, zip(*amounts, strict=True)))


def _likely(config: Config, costs: Costs, pulled: np.ndarray, pulls: np.ndarray, sampler: EndpointSamplers) -> Amount:
    """Prompt tokens once per request, as large as the server is known to take it; completion tokens per completion."""
    most = [sampler.at(prompt.endpoint).most_choices(prompt.model) for prompt in config.prompts]
    requests = np.maximum(pulls, pulled / most)
    before, after = requests * costs.prompt_tokens, pulled * costs.completion_tokens
    prices = [config.prices_of(prompt) for prompt in config.prompts]
    money = sum(b * price.prompt + a * price.completion for b, a, price in zip(before, after, prices, strict=True))
    return Amount(int(pulled.sum()), int(np.ceil((before + after).sum())), int(np.ceil(money)))


def _dry_run(config: Config, spec: Spec, seed: int) -> tuple[tuple[Round, ...], np.ndarray, np.ndarray]:
    """Rounds, and completions and pulls of every prompt, of a run whose rewards are random."""
    rng, steps, arms = np.random.default_rng(seed), [], []
    pulled, pulls = np.zeros(spec.num_prompts), np.zeros(spec.num_prompts)

    def answer(key: Key, allocation: Allocation) -> Stats:
        prompt, scale, number = (np.asarray(leaf) for leaf in allocation[:3])
        new = (scale if allocation.places is None else scale - np.asarray(allocation.places.had)) * number
        np.add.at(pulled, prompt, new)
        np.add.at(pulls, prompt, np.where(new > 0, number, 0))
        on = number > 0
        size = (len(set(prompt[on])), int(scale[on].max(initial=0)), int(number.sum()), int(new.sum()))
        steps.append(Round(arms[-1], *size))
        return runner.random_stats(rng, spec, config.algorithm, allocation)

    def watch(state: Any) -> None:
        arms.append(config.algorithm.arms_left(spec, state))

    runner.run_rounds(spec, config.algorithm, config.budget, run_key(seed), answer, watch)
    return tuple(steps), pulled, pulls
