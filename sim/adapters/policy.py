"""The answer of a live run as a file that a service can load, and one query answered with it.

A policy file is JSON: schema ("iapo-policy"), version (2), all that answering takes (endpoint, prompts with their
decoding, prices, objectives and scorers), and per context its weights and the arm with its value. It holds no secret:
the key's environment variable is named, the key is not there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from sim.adapters.fields import finite
from sim.adapters.journal import Draw
from sim.adapters.scoring import Scored
from sim.adapters.settings import Config, Context, Objective, Prompt
from sim.envs.files import write_whole

SCHEMA, VERSION = "iapo-policy", 2


class Arm(NamedTuple):
    """A prompt and a scale, with what the run knows of its value.

    Attributes:
        value: estimated utility; None where the run never pulled the arm.
        low, high: ends of the interval; None where there is none.
        pulls: pulls behind the estimate.
    """

    prompt: str
    scale: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    pulls: int = 0


class Choice(NamedTuple):
    """What was chosen for a context, what came second, and the best prompt for a single completion."""

    context: str
    chosen: Arm
    runner_up: Arm | None
    single: Arm | None


class Policy(NamedTuple):
    """A policy file.

    Attributes:
        file: where it was read.
        config: the place of the configuration file that it came from, for a comparison on held-out queries.
        source: strategy, endpoint, objectives and tie as that file says them.
        prices: of a prompt's and a completion's token, by model, in units of 10**-12.
        prompts: the prompts by name.
        contexts: in the configuration's order.
        choices: what was chosen, by context.
        spent: what the run spent.
    """

    file: Path
    name: str
    config: str
    source: dict[str, Any]
    prices: dict[str, tuple[int, int]]
    prompts: dict[str, Prompt]
    contexts: tuple[Context, ...]
    choices: dict[str, Choice]
    spent: dict[str, float | int]


def save(
    path: Path, config: Config, choices: Sequence[Choice], spent: dict[str, float | int], facts: dict[str, Any]
) -> None:
    """Write a policy; the file appears whole or not at all."""
    used = {arm.prompt for choice in choices for arm in choice[1:] if isinstance(arm, Arm)}
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "name": config.name,
        "config": str(config.file.resolve()),
        "source": config.source,
        "prices": {model: [price.prompt, price.completion] for model, price in config.prices.items()},
        "prompts": {prompt.name: asdict(prompt) for prompt in config.prompts if prompt.name in used},
        "contexts": {context.name: _context(context) for context in config.contexts},
        "policy": {
            choice.context: {name: arm._asdict() for name, arm in choice._asdict().items() if isinstance(arm, Arm)}
            for choice in choices
        },
        "spent": spent,
        "run": facts,
    }
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=True) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _context(context: Context) -> dict[str, Any]:
    return {"weights": context.weights, "cost_weight": context.cost_weight, "probability": context.probability}


def load(path: Path) -> Policy:
    """Read a policy file; a ValueError names it and what is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"names no schema {SCHEMA!r}")
        if content.get("version") != VERSION:
            raise ValueError(f"has version {content.get('version')!r}; this program reads version {VERSION}")
        _check_numbers(content)
        choices = {
            name: Choice(name, *(Arm(**arms[which]) if which in arms else None for which in Choice._fields[1:]))  # type: ignore[arg-type]
            for name, arms in content["policy"].items()
        }
        prompts = {name: Prompt(**prompt) for name, prompt in content["prompts"].items()}
        contexts = tuple(
            Context(name, tuple(one["weights"]), one["cost_weight"], one["probability"])
            for name, one in content["contexts"].items()
        )
        prices = {model: (int(price[0]), int(price[1])) for model, price in content["prices"].items()}
        if any(choice.chosen.prompt not in prompts or choice.chosen.scale < 1 for choice in choices.values()):
            raise ValueError("chooses a prompt that it does not hold")
        name, origin, source = content["name"], content["config"], dict(content["source"])
        return Policy(path, name, origin, source, prices, prompts, contexts, choices, content["spent"])
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no policy file ({' '.join(str(error).split())[:200]})") from None


def _check_numbers(content: dict[str, Any]) -> None:
    """Refuse what answering would stumble over after the completions are paid for."""
    counts = {f"prompts.{name}.max_tokens": one["max_tokens"] for name, one in content["prompts"].items()}
    counts |= {f"policy.{name}.chosen.scale": arms["chosen"]["scale"] for name, arms in content["policy"].items()}
    for key, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{key} is {value!r}; expected a whole number of at least 1")
    for name, one in content["contexts"].items():
        if not isinstance(one["weights"], list) or not all(map(finite, one["weights"])):
            raise ValueError(f"contexts.{name}.weights is {one['weights']!r}; expected a list of finite numbers")


class Answer(NamedTuple):
    """The answer to one query.

    Attributes:
        text: the completion that is returned.
        label: the answer voted for; None without a vote, or where no answer could be read.
        votes: completions for each answer.
    """

    text: str
    label: str | None
    votes: dict[str, int]


def combine(
    objectives: Sequence[Objective], context: Context, draws: Sequence[Draw], found: Sequence[Sequence[Scored]]
) -> Answer:
    """One answer from the completions of a pull, as the strategy values them.

    A vote decides which answer counts; ties go to the answer that came first, which is a random one. Among the
    completions with that answer, or among all without a vote, the best by the weighted "bon" scores is returned. What
    cannot be read has no vote here; when an arm is valued it counts as a wrong answer, which is never better.
    """
    places, votes, label = list(range(len(draws))), Counter[str](), None
    for objective, scored in zip(objectives, found, strict=True):
        if objective.aggregate == "mv":
            votes.update(one.label for one in scored if one.label is not None)
            if votes:
                label = votes.most_common(1)[0][0]
                places = [place for place in places if scored[place].label == label]
    best = [k for k, objective in enumerate(objectives) if objective.aggregate == "bon"]

    def score(place: int) -> float:
        values = ((k, found[k][place].value) for k in best)
        return 0.0 + sum(
            context.weights[k] * (objectives[k].unreadable if value is None else value) for k, value in values
        )

    return Answer(draws[max(places, key=score)].text, label, dict(votes.most_common()))
