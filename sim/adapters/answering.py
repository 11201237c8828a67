"""One query asked as a policy says, and one answer made of its completions."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sim.adapters import config
from sim.adapters import policy as files
from sim.adapters.paid.by_endpoint import EndpointSamplers
from sim.adapters.paid.entries import Draw
from sim.adapters.paid.sampler import Want, cell_of
from sim.adapters.policy import PolicyFile
from sim.adapters.run_file.prompts import Prompt
from sim.adapters.run_file.settings import Asking, Context
from sim.adapters.scorers.reader import hollow
from sim.adapters.scoring import Item
from sim.adapters.session import Session
from sim.adapters.trust import Trust

STREAM = "ask"
"""Stream of the draws in a journal."""
MOST_SEED = 2**63 - 1
"""The largest number that a journal holds."""


class Question(NamedTuple):
    """A query as it is asked in a context.

    Attributes:
        scale: completions of the prompt that are asked for.
        seed: of the first of them.
    """

    context: Context
    prompt: Prompt
    scale: int
    item: Item
    seed: int


class LiveAnswer(NamedTuple):
    """The answer to a query and where it comes from.

    Attributes:
        text: the completion that is returned.
        label: the answer voted for; None without a vote, or where no answer could be read.
        votes: completions for each answer.
        score: the weighted "bon" score of the completion; None without such objectives.
        context, prompt, scale: the context, and the arm that the policy has for it.
        completions: texts of all completions.
        problem: why there is no text, in words; "" where there is one.
    """

    text: str
    label: str | None
    votes: dict[str, int]
    score: float | None
    context: str
    prompt: str
    scale: int
    completions: tuple[str, ...]
    problem: str


def settings(policy: PolicyFile, may_import: Trust) -> Asking:
    """Settings to answer with a policy: objectives are those that decide which completion is best.

    Raises:
        ValueError: something in the file is wrong, it names a module that may not be imported, or no scorer of its
            best of N can do without right answers.
    """
    run = config.of_policy(policy, may_import)
    used = [one.aggregate != "mean" for one in run.objectives]  # a mean says nothing about which completion is best
    objectives = tuple(itertools.compress(run.objectives, used))
    if any(one.aggregate == "bon" and one.scorer.needs_gold for one in objectives):
        raise ValueError("best of N needs scores of completions whose right answer is not known; this scorer has none")
    weights = (tuple(itertools.compress(one.weights, used)) for one in run.contexts)
    contexts = tuple(replace(one, weights=own) for one, own in zip(run.contexts, weights, strict=True))
    asked = {policy.prompts[one.chosen.prompt].endpoint for one in policy.choices.values()}
    asked |= {one.scorer.requests.endpoint for one in objectives}
    endpoints = {name: one for name, one in run.endpoints.items() if name in asked}  # others need no key
    return replace(run, objectives=objectives, contexts=contexts, endpoints=endpoints)


def question(
    policy: PolicyFile,
    run: Asking,
    query: str,
    context: str,
    fields: Mapping[str, str],
    seed: int = 0,
    options: tuple[str, str] = ("fields", "seed"),
) -> Question:
    """The query as the policy asks it in a context.

    Args:
        policy: the policy.
        run: its `settings`.
        query: text of the query.
        context: name of one of its contexts.
        fields: what fills slots of the prompt besides the query.
        seed: of the first completion.
        options: how `fields` and `seed` are called where something is wrong with them.

    Raises:
        ValueError: something does not fit.
    """
    chosen = policy.choices[context].chosen
    prompt, most = policy.prompts[chosen.prompt], MOST_SEED - chosen.scale
    if not 0 <= seed <= most:
        raise ValueError(f"{options[1]} is {seed}; expected a whole number from 0 to {most}")
    item = Item(query, fields=_fields(prompt, fields, options[0]))
    for one in run.objectives:
        one.scorer.check(item)
    return Question(next(one for one in run.contexts if one.name == context), prompt, chosen.scale, item, seed)


def _fields(prompt: Prompt, given: Mapping[str, str], option: str) -> tuple[tuple[str, str], ...]:
    """Names and texts that fill a prompt's slots besides the query."""
    for name in prompt.fields:
        if name not in given:
            raise ValueError(f"{option} is needed: the prompt {prompt.name!r} has a slot for {name!r}; {name}=...")
    for name in given:
        if name not in prompt.fields:
            have = ", ".join(map(repr, prompt.fields)) or "the query alone"
            raise ValueError(f"{option} names {name!r}, but the prompt {prompt.name!r} has slots for {have}")
    return tuple((name, given[name]) for name in prompt.fields)


def want_of(run: Asking, asked: Question, stream: str = STREAM, first: int = 0) -> Want:
    """The draws that a question takes, numbered from `first` in their cell."""
    cell = cell_of(stream, run.endpoint_of(asked.prompt), asked.prompt, asked.item.text, asked.item.fields)
    return Want(asked.prompt, cell, first, asked.scale, asked.seed)


async def answered(live: Session, sampler: EndpointSamplers, asked: Question, want: Want) -> LiveAnswer:
    """Ask a question and make one answer of its completions.

    Raises:
        Stopped: it cannot be answered; what was paid for is in the journal.
    """
    draws = await sampler.draws(want)
    found = await live.reader.read(want.cell, want.first, asked.item, asked.prompt.text, draws)
    best = files.combine(live.config.objectives, asked.context, draws, found)
    texts = tuple(draw.text for draw in draws)
    return LiveAnswer(*best, asked.context.name, asked.prompt.name, asked.scale, texts, _problem(best.text, draws))


def _problem(text: str, draws: Sequence[Draw]) -> str:
    """A sentence on an answer without text; "" where it has some."""
    if text.strip():
        return ""
    if (wrong := hollow(draws)) is not None:
        return f"{'the completion is' if len(draws) == 1 else f'all {len(draws)} completions are'} {wrong}"
    return f"of {len(draws)} completions the one chosen is empty"
