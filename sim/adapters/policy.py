"""The answer of a live run as a file that a service can load, and one query answered with it.

A policy file is JSON: schema ("iapo-policy"), version (2), all that answering takes (endpoints, prompts with their
decoding, prices, objectives and scorers), and per context its weights, the arm with its value, and how sure that is
(statements). It holds no secret: the key's environment variable is named, the key is not there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from sim.adapters.paid.entries import Draw
from sim.adapters.run_file.endpoints import ONLY
from sim.adapters.run_file.kinds import TEXT, ValueKind, number, numbers, whole, word
from sim.adapters.run_file.settings import MONEY, Config, Context, Objective, Prices, Prompt
from sim.adapters.run_file.toml_table import Closed, TomlTable, missing, unknown
from sim.adapters.scoring import Scored
from sim.constants import MAX_SCALE
from sim.writing import write_whole

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


class Chosen(NamedTuple):
    """The arm chosen for a context, what came second, and the best prompt for a single completion."""

    context: str
    chosen: Arm
    runner_up: Arm | None
    single: Arm | None


class PolicyFile(NamedTuple):
    """A policy file.

    Attributes:
        file: where it was read.
        config: the place of the configuration file that it came from, for a comparison on held-out queries.
        source: strategy, endpoint, objectives and tie as that file says them.
        prices: of a prompt's and a completion's token, by endpoint and model, in units of 10**-12.
        prompts: the prompts by name.
        contexts: in the configuration's order.
        choices: what was chosen, by context.
        spent: what the run spent.
        stopped: why the run had not come to its end, in words: a cap, or it was under way; None where it had.
        algorithm, budget: of the run; None in files that do not say.
        rounds: that it made; None where the file does not say.
        statements: how sure the choice of each context is, as the file says it; None where it does not.
    """

    file: Path
    name: str
    config: str
    source: dict[str, Any]
    prices: dict[str, dict[str, tuple[int, int]]]
    prompts: dict[str, Prompt]
    contexts: tuple[Context, ...]
    choices: dict[str, Chosen]
    spent: dict[str, float | int]
    stopped: str | None = None
    algorithm: str | None = None
    budget: int | None = None
    rounds: int | None = None
    statements: dict[str, Any] | None = None

    def address(self, prompt: str) -> str:
        """Address of the endpoint that a prompt is asked at; "" where the file gives none."""
        name = self.prompts[prompt].endpoint
        found = self.source.get("endpoint") if name == ONLY else self.source.get("endpoints", {}).get(name)
        return str((found or {}).get("base_url", ""))


def save(
    path: Path,
    config: Config,
    choices: Sequence[Chosen],
    spent: dict[str, float | int],
    facts: dict[str, Any],
    statements: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write a policy; the file appears whole or not at all.

    Args:
        path: of the file.
        config: the run.
        choices: of every context.
        spent: what the run spent.
        facts: about the run.
        statements: how sure the choice of each context is, as `certified.as_facts` says it.
    """
    used = {arm.prompt for choice in choices for arm in choice[1:] if isinstance(arm, Arm)}
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "name": config.name,
        "config": str(config.file.resolve()),
        "source": config.source,
        "prices": _written(config.prices),
        "prompts": {prompt.name: _prompt(prompt) for prompt in config.prompts if prompt.name in used},
        "contexts": {context.name: _context(context) for context in config.contexts},
        "policy": {
            choice.context: {name: arm._asdict() for name, arm in choice._asdict().items() if isinstance(arm, Arm)}
            for choice in choices
        },
        "statements": statements or {},
        "spent": spent,
        "run": facts,
    }
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=True) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {key: value for key, value in asdict(prompt).items() if key in prompt.parts()}


def _written(prices: dict[str, dict[str, Prices]]) -> dict[str, Any]:
    """Prices by endpoint and model; by model alone where there is one endpoint without a name."""
    found: dict[str, Any] = {
        name: {model: [price.prompt, price.completion] for model, price in own.items()} for name, own in prices.items()
    }
    return found.get(ONLY, found)


def _context(context: Context) -> dict[str, Any]:
    return {"weights": context.weights, "cost_weight": context.cost_weight, "probability": context.probability}


def _pair(value: Any) -> tuple[int, int]:
    fits = isinstance(value, list) and len(value) == 2
    if not fits or not all(type(one) is int and 0 <= one <= MONEY for one in value):
        raise ValueError(f"is {value!r}; expected two whole numbers of at least 0 and at most {MONEY}")
    return (value[0], value[1])


def _pair_or_models(value: Any) -> Any:
    """The two prices of a model, or those of all models of an endpoint."""
    return {model: _pair(one) for model, one in value.items()} if isinstance(value, dict) else _pair(value)


@dataclass(frozen=True)
class _Arm(Closed):
    prompt: Annotated[str, TEXT]
    scale: Annotated[int, whole(high=MAX_SCALE)]
    value: Annotated[float | None, number()] = None
    low: Annotated[float | None, number()] = None
    high: Annotated[float | None, number()] = None
    pulls: Annotated[int, whole(0)] = 0


@dataclass(frozen=True)
class _Chosen(Closed):
    chosen: _Arm
    runner_up: _Arm | None = None
    single: _Arm | None = None


@dataclass(frozen=True)
class _Context(Closed):
    weights: Annotated[tuple[float, ...], numbers()]
    cost_weight: Annotated[float, number(0)]
    probability: Annotated[float, number(0, 1)]


@dataclass(frozen=True)
class _Run:
    stopped: Annotated[str | None, TEXT] = None
    algorithm: Annotated[str | None, TEXT] = None
    budget: Annotated[int | None, whole()] = None
    rounds: Annotated[int | None, whole(0)] = None


@dataclass(frozen=True)
class _File:
    """A policy file as it stands."""

    name: Annotated[str, TEXT]
    config: Annotated[str, TEXT]
    source: dict[str, Any]
    prices: dict[str, Annotated[Any, ValueKind(_pair_or_models)]]
    prompts: dict[str, Prompt]
    contexts: dict[str, _Context]
    policy: dict[str, _Chosen]
    spent: dict[str, Any]
    run: _Run = _Run()
    statements: dict[str, Any] | None = None


def load(path: Path) -> PolicyFile:
    """Read and check a policy file; a ValueError names it, the field and what is wrong."""
    top = TomlTable(path, "", _known(_content(path)))
    made = top.fill(_File)
    prompts = {}
    for name, prompt in made.prompts.items():
        table = TomlTable(path, f"prompts.{name}", {})
        if prompt.name != name:
            raise table.wrong("name", f"is {prompt.name!r}; it stands under {name!r}")
        prompts[name] = prompt.checked(table.wrong)
    for name in (*made.contexts, *made.policy):
        if name not in made.policy:
            raise top.wrong(f"policy.{name}", missing(name, made.policy.keys() - made.contexts.keys()))
        if name not in made.contexts:
            raise top.wrong(f"policy.{name}", unknown(name, made.contexts))
    return PolicyFile(
        file=path,
        name=made.name,
        config=made.config,
        source=made.source,
        prices=_by_endpoint(top, made.prices),
        prompts=prompts,
        contexts=tuple(Context(name, **asdict(one)) for name, one in made.contexts.items()),
        choices={name: _chosen(top, name, made.policy[name], prompts) for name in made.contexts},
        spent=made.spent,
        stopped=made.run.stopped,
        algorithm=made.run.algorithm,
        budget=made.run.budget,
        rounds=made.run.rounds,
        statements=made.statements,
    )


def _by_endpoint(top: TomlTable, prices: dict[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Prices by endpoint and model."""
    nested = {isinstance(one, dict) for one in prices.values()}
    if len(nested) > 1:
        raise top.wrong("prices", "are those of models and of endpoints; expected one or the other")
    return prices if True in nested else {ONLY: prices}


def named(policy: PolicyFile, context: str | None, option: str = "context") -> str:
    """The context of a policy that an option names, or the only one.

    Raises:
        ValueError: the policy has no such context, or several and none is named.
    """
    names = list(policy.choices)
    if context is None and len(names) == 1:
        return names[0]
    if context is None or context not in policy.choices:
        asked = f"{option} is needed" if context is None else f"{option} is {context!r}"
        raise ValueError(f"{asked}; {policy.file} has {', '.join(map(repr, names))}")
    return context


def _known(content: Any, depth: int = 4) -> Any:
    """Tables inside tables without what is null, which counts as absent."""
    if depth == 0 or not isinstance(content, dict):
        return content
    return {key: _known(value, depth - 1) for key, value in content.items() if value is not None}


def _chosen(top: TomlTable, context: str, made: _Chosen, prompts: dict[str, Prompt]) -> Chosen:
    arms = {which: one for which in Chosen._fields[1:] if (one := getattr(made, which)) is not None}
    for which, one in arms.items():
        TomlTable(top.file, f"policy.{context}.{which}", asdict(one)).value("prompt", word(*prompts))
    chosen, runner_up, single = (Arm(**asdict(arms[one])) if one in arms else None for one in Chosen._fields[1:])
    return Chosen(context, chosen, runner_up, single)  # type: ignore[arg-type]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no policy file ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: is no policy file (it names no schema {SCHEMA!r})")
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: has version {content.get('version')!r}; this program reads version {VERSION}")
    return content


class Answer(NamedTuple):
    """The answer to one query.

    Attributes:
        text: the completion that is returned.
        label: the answer voted for; None without a vote, or where no answer could be read.
        votes: completions for each answer.
        score: the weighted "bon" score of the completion; None without such objectives.
    """

    text: str
    label: str | None
    votes: dict[str, int]
    score: float | None


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

    chosen = max(places, key=score)
    return Answer(draws[chosen].text, label, dict(votes.most_common()), score(chosen) if best else None)
