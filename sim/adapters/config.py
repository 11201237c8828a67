"""Reading a run's configuration from TOML; a bad one is refused in full, before the first request."""

import itertools
import os.path  # whose questions any text may be asked, however long it is
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim import plugins
from sim.adapters import trust
from sim.adapters.policy import PolicyFile
from sim.adapters.run_file import candidates, presets
from sim.adapters.run_file import endpoints as endpoint_tables
from sim.adapters.run_file.kinds import number, numbers
from sim.adapters.run_file.settings import (
    MONEY,
    AnsweringFile,
    Asking,
    Caps,
    CapsTable,
    Config,
    Context,
    ContextGrid,
    ContextTable,
    Endpoint,
    Objective,
    ObjectiveTable,
    Prices,
    Prompt,
    QueryFile,
    RunFile,
)
from sim.adapters.run_file.toml_table import TomlTable, read_toml
from sim.adapters.scorers import registry
from sim.adapters.trust import Trust
from sim.constants import AGGREGATES, MAX_ANSWERS

if TYPE_CHECKING:
    from sim.core import Algorithm

SOURCE = ("strategy", "tie", "objectives", "cost", "tune")
"""Keys that a policy carries along as they are, beside endpoints: for answering, and for what its values mean."""
_NEAR = 1.1e-5
"""Largest error of probabilities in their sum."""
ANSWERING = ("strategy", "tie", "endpoint", "endpoints", "objectives")
"""Those that answering a query needs."""
DOT_ENV = ".env"
"""Name of the file beside a run file that may hold keys."""


def load(
    path: str | Path,
    told_by: str | Path | None = None,
    may_import: Trust | None = None,
    tune: Mapping[str, Any] | None = None,
) -> Config:
    """Read and check a configuration file; a ValueError names the file, the key and the reason.

    Args:
        path: the file.
        told_by: the policy or journal that names it; None where the user does.
        may_import: which modules of scorers it may import: by default all where the user names the file, else none.
        tune: keys of [tune] that are to hold in place of the file's.
    """
    path = Path(path)
    if may_import is None:
        may_import = trust.all_modules if told_by is None else trust.only()
    content = read_toml(path, told_by)
    if tune and isinstance(content.get("tune"), dict):
        content["tune"] |= tune
    return _config(path, content, may_import)


def of_content(path: Path, content: dict[str, Any], algorithm: "Algorithm | None" = None) -> Config:
    """Check a run's content as `load` does that of the file `path`; `algorithm` replaces the one that it names."""
    return _config(path, content, trust.all_modules, algorithm=algorithm)


def _config(
    path: Path,
    content: dict[str, Any],
    may_import: Trust,
    every_field: bool = True,
    algorithm: "Algorithm | None" = None,
) -> Config:
    """The run that a content stands for; `every_field` refuses listed fields that no prompt has a slot for."""
    content = presets.expanded(TomlTable(path, "", content))
    top = TomlTable(path, "", content)
    endpoint_tables.check(top)
    made = top.fill(RunFile)
    beside, tables = path.resolve().parent, endpoint_tables.tables(made)
    endpoints = endpoint_tables.read(top, tables)
    prompts = candidates.read(top, made.prompts, tables, made.queries, every_field)
    objectives = _objectives(top, made, may_import)
    judges = _judges(top, objectives, endpoints)
    for name, _ in judges:
        direct = next((one.endpoint for one in prompts if endpoints[one.endpoint].batch is None), None)
        if endpoints[name].batch is not None and direct is not None:
            raise top.wrong(
                f"{endpoint_tables.place_of(name)}.mode",
                f"is 'batch', but prompts are asked one by one at {endpoint_tables.place_of(direct)}, and so is their "
                "judge; use 'sync', or 'batch' for both",
            )
    asked = {(prompt.endpoint, prompt.model) for prompt in prompts} | set(judges)
    endpoints = endpoint_tables.asked_of(endpoints, asked, top, every_field)
    lists = {name: one for name, one in endpoint_tables.price_lists(made).items() if name in endpoints}
    prices = endpoint_tables.prices(top, lists, asked)
    endpoint_tables.check_money(top, lists, prices, made.cost.measure == "money", made.caps.money is not None)
    probe = (made.cost.probe_queries, made.cost.probe_completions)
    scored = sum(one.scorer.requests.texts for one in objectives)
    rounds, probing = made.tune.budget * (1 + len(judges) + scored), len(prompts) * probe[0] * probe[1]
    if any(prompt.cost is None for prompt in prompts):  # else there is no probe
        probing += sum(one.scorer.requests.probed for one in objectives)
    config = Config(
        file=path,
        name=path.stem if made.name is None else made.name,
        out=_out(top, beside / (f"results/{path.stem}" if made.out is None else made.out)),
        seed=made.seed,
        endpoints=endpoints,
        prompts=prompts,
        prices=prices,
        queries=_queries(top, made.queries, beside, prompts),
        objectives=objectives,
        tie=made.tie,
        contexts=_contexts(top, made.contexts, len(objectives)),
        algorithm_text=made.tune.algorithm if algorithm is None else repr(algorithm),
        algorithm=_algorithm(top, made.tune.algorithm, may_import) if algorithm is None else _brought(top, algorithm),
        budget=made.tune.budget,
        max_scale=made.tune.max_scale,
        answers=made.tune.answers,
        caps=_caps(top, made.caps, rounds, probing),
        source={"cost": {}} | {key: content[key] for key in SOURCE if key in content} | endpoint_tables.source(content),
        dot_env=beside / DOT_ENV,
        cost_measure=made.cost.measure,
        currency=endpoint_tables.currency(top, lists, prices, made.cost.currency),
        prompt_tokens=made.cost.prompt_tokens,
        probe=probe,
    )
    for name, endpoint in endpoints.items():
        if endpoint.batch is not None and config.algorithm.small_rounds:
            raise top.wrong(
                "tune.algorithm",
                f"is {config.algorithm_text!r}, which pulls one arm or a few at a time; in batch mode every round is a "
                f"batch: use one with rounds, such as psst, or {endpoint_tables.place_of(name)}.mode 'sync'",
            )
    config = replace(config, answers=_answers(top, config))
    if config.votes and config.queries.gold is None:
        raise top.wrong("queries.gold", "is missing; votes ('mv') need the column of the right answers")
    for objective in objectives:
        if objective.aggregate != "mv" and objective.scorer.needs_gold and config.queries.gold is None:
            raise top.wrong("queries.gold", f"is missing; the scorer of {objective.name!r} needs right answers")
        for slot in objective.scorer.requests.slots:
            if getattr(config.queries, slot) is None:
                problem = f"is missing; the template of {objective.name!r} has a {{{slot}}} slot"
                raise top.wrong(f"queries.{slot}", problem)
    return config


def _out(top: TomlTable, out: Path) -> Path:
    """The folder of results, which need not be there; a file in its place is refused."""
    for place in (out, *out.parents):
        if os.path.exists(place) and not os.path.isdir(place):
            raise top.wrong("out", f"is {str(out)!r}; {place} is a file, not a folder")
    return out


def of_policy(policy: PolicyFile, may_import: Trust | None = None) -> Asking:
    """Settings to answer queries with a policy, from its file alone; the configuration it came from is not looked at.

    A callable's module is looked for beside that configuration, or beside the policy where that is gone.

    Args:
        policy: the policy.
        may_import: which modules of scorers it may import; by default none.

    Raises:
        ValueError: something in the file is wrong, or it names a module that it may not import.
    """
    may_import, origin = may_import or trust.only(), Path(policy.config)
    top = TomlTable(policy.file, "", {key: one for key, one in policy.source.items() if key in ANSWERING})
    made = top.fill(AnsweringFile)
    beside = replace(top, file=origin if os.path.exists(origin) else policy.file)
    objectives = _objectives(beside, made, may_import)
    for context in policy.contexts:
        if len(context.weights) != len(objectives):
            numbers = f"{len(context.weights)} numbers; expected {len(objectives)}, one for each objective"
            raise ValueError(f"{policy.file}: contexts.{context.name}.weights holds {numbers}")
    endpoint_tables.check(top)
    endpoints = endpoint_tables.read(top, endpoint_tables.tables(made))
    for name, prompt in policy.prompts.items():
        if prompt.endpoint not in endpoints:
            known = ", ".join(map(repr, endpoints))
            raise ValueError(f"{policy.file}: prompts.{name}.endpoint is {prompt.endpoint!r}; known are {known}")
    asked = {(prompt.endpoint, prompt.model) for prompt in policy.prompts.values()}
    asked |= set(_judges(top, objectives, endpoints))
    endpoints = endpoint_tables.asked_of(endpoints, asked, top, whole=False)
    for name, model in sorted(asked):
        if model not in policy.prices.get(name, {}):
            raise ValueError(f"{policy.file}: prices lack the model {model!r}{name and f' of the endpoint {name!r}'}")
    return Asking(
        file=policy.file,
        name=policy.name,
        out=policy.file.resolve().parent,
        seed=0,
        endpoints={name: replace(one, batch=None) for name, one in endpoints.items()},  # a query is not worth a batch
        prompts=tuple(policy.prompts.values()),
        prices={name: {model: Prices(*pair) for model, pair in policy.prices[name].items()} for name in endpoints},
        objectives=objectives,
        tie=made.tie,
        contexts=policy.contexts,
        caps=None,
        source=policy.source,
        dot_env=_dot_env(policy),
    )


def _dot_env(policy: PolicyFile) -> Path:
    """Where keys of a policy may be: beside its configuration, if that is there and it lies below; else beside itself.

    A policy may come from anywhere and name any folder; its keys go where it says.
    """
    own, origin = policy.file.resolve().parent, Path(policy.config).parent
    below = own.is_relative_to(origin) and os.path.isfile(policy.config)
    return (origin if below else own) / DOT_ENV


def of_tuning(policy: PolicyFile, may_import: Trust | None = None) -> tuple[Config, list[str]]:
    """The run that a policy came from, as the policy holds it, and what its configuration says otherwise by now.

    Queries and caps are those of the configuration. `may_import` says which modules of scorers may be imported, by
    default none.

    Raises:
        ValueError: the configuration is gone, or something in either file is wrong.
    """
    path, may_import = Path(policy.config), may_import or trust.only()
    content, asked = read_toml(path, policy.file), of_policy(policy, may_import)
    prompts = [one.table() for one in asked.prompts]
    contexts = [asdict(one) | {"weights": list(one.weights)} for one in asked.contexts]
    held = {"prompts": prompts, "contexts": contexts} | _priced(policy.source, asked)
    gone = ("tie", "endpoint", "endpoints", "prices")  # a policy without a tie has the default
    kept = {key: value for key, value in content.items() if key not in gone}
    run, now = _config(path, kept | policy.source | held, may_import, False), _config(path, content, may_import)
    changed = [] if run.endpoints.items() <= now.endpoints.items() else ["endpoint"]
    changed += [
        name
        for name in ("objectives", "tie", "contexts", "cost_measure", "prompt_tokens", "max_scale")
        if getattr(run, name) != getattr(now, name)
    ]
    changed += [] if set(run.prompts) <= set(now.prompts) else ["prompts"]
    same = (own.items() <= now.prices.get(name, {}).items() for name, own in run.prices.items())
    changed += [] if all(same) else ["prices"]
    # By default caps depend on the number of prompts.
    return replace(run, caps=now.caps, dot_env=_dot_env(policy)), changed


def _priced(source: dict[str, Any], asked: Asking) -> dict[str, Any]:
    """Tables of a policy's endpoints, of those that are asked, with the prices that it holds."""
    lists: dict[str, Any] = {}
    for name, own in asked.prices.items():
        units = {model: asdict(price).items() for model, price in own.items()}
        lists[name] = {"models": {model: {key: n * 10**6 / MONEY for key, n in one} for model, one in units.items()}}
    if endpoint_tables.ONLY in lists:
        return {"prices": lists[endpoint_tables.ONLY]}
    held = source["endpoints"]
    return {
        "endpoints": {name: held[name] | {"prices": held[name].get("prices", {}) | one} for name, one in lists.items()}
    }


def _queries(top: TomlTable, made: QueryFile, beside: Path, prompts: Sequence[Prompt]) -> QueryFile:
    file = beside / made.file
    if file.suffix not in (".jsonl", ".csv", ".parquet"):
        raise top.wrong("queries.file", f"is {file.name!r}; expected a .jsonl, .csv or .parquet file")
    if not os.path.isfile(file):
        raise top.wrong("queries.file", f"names {file}, which does not exist")
    fields = tuple(dict.fromkeys(name for prompt in prompts for name in prompt.fields))
    return replace(made, file=file, fields=fields)


def _objectives(top: TomlTable, made: AnsweringFile, may_import: Trust) -> tuple[Objective, ...]:
    found: list[Objective] = []
    for place, content in enumerate(made.objectives):
        table = TomlTable(top.file, f"objectives[{place}]", content)
        one = table.options(ObjectiveTable)
        name = one.name or (f"objective {place}" if found else "reward")
        default = made.strategy if made.strategy != "mixed" else None
        aggregate = one.aggregate or default
        if aggregate is None:
            raise table.wrong("aggregate", f"is missing; with strategy 'mixed' it is one of {', '.join(AGGREGATES)}")
        if default is not None and aggregate != default:
            said = f"is {aggregate!r}, but the strategy is {made.strategy!r}; use strategy 'mixed'"
            raise table.wrong("aggregate", said)
        trust.check(table, may_import)
        scorer = registry.read(table)
        if aggregate == "mv" and not scorer.votes:
            raise table.wrong("scorer", f"is {one.scorer!r}, which reads no answers to vote on")
        if not one.low < one.high:
            raise table.wrong("high", f"is {one.high:g}; it must be above low ({one.low:g})")
        unreadable = table.value("unreadable", number(one.low, one.high), one.low)
        table.done()
        if any(other.name == name for other in found):
            raise table.wrong("name", f"is {name!r}, the name of an earlier objective; names must differ")
        found.append(Objective(name, aggregate, scorer, one.low, one.high, unreadable))
    if sum(objective.aggregate == "mv" for objective in found) > 1:
        raise top.wrong("objectives", "hold 'mv' more than once; one objective can be voted on")
    return tuple(found)


def _judges(top: TomlTable, objectives: Sequence[Objective], endpoints: dict[str, Endpoint]) -> list[tuple[str, str]]:
    """Endpoints and models that scorers ask, an entry for each completion that is asked of them about one completion.

    Raises:
        ValueError: a scorer names none of the endpoints.
    """
    found = []
    for place, one in enumerate(objectives):
        requests = one.scorer.requests
        if requests.models and requests.endpoint not in endpoints:
            said = f"is {requests.endpoint!r}" if requests.endpoint else "is missing"
            known = ", ".join(filter(None, endpoints)) or "none: the one [endpoint] has no name"
            raise top.wrong(
                f"objectives[{place}].endpoint", f"{said}; its model is asked at one of them, known are {known}"
            )
        found += [(requests.endpoint, model) for model in requests.models]
    return found


def _contexts(top: TomlTable, made: ContextGrid | Sequence[ContextTable], size: int) -> tuple[Context, ...]:
    found = _grid(top, made, size) if isinstance(made, ContextGrid) else _listed(top, made, size)
    names = [context.name for context in found]
    for name in names:
        if names.count(name) > 1:
            raise top.wrong("contexts", f"hold {name!r} twice; contexts must differ")
    for context in found:
        if not any(context.weights):
            raise top.wrong(
                "contexts", f"weigh nothing in {context.name!r}; some objective needs a weight other than 0"
            )
    total = sum(context.probability for context in found)
    if not abs(total - 1) <= _NEAR:
        raise top.wrong("contexts", f"have probabilities that sum to {total:.6g}; they must sum to 1")
    return tuple(found)


def _grid(top: TomlTable, made: ContextGrid, size: int) -> list[Context]:
    keys = {f"weights[{k}]": row for k, row in enumerate(made.weights or [[1.0] * size])}
    table = TomlTable(top.file, "contexts", keys)
    weights = [_sized(table, key, table.value(key, numbers()), size) for key in keys]
    pairs = list(itertools.product(weights, made.cost_weights))
    several = len(weights) > 1

    def name(row: tuple[float, ...], cost: float) -> str:
        return " ".join([f"{weight:g}" for weight in row] if several else []) + f" cost {cost:g}"

    return [Context(name(row, cost).strip(), row, cost, 1 / len(pairs)) for row, cost in pairs]


def _listed(top: TomlTable, made: Sequence[ContextTable], size: int) -> list[Context]:
    found = []
    for place, one in enumerate(made):
        table = TomlTable(top.file, f"contexts[{place}]", {})
        if one.weights is None and size > 1:
            raise table.wrong("weights", "is missing; it is needed")
        weights = (1.0,) if one.weights is None else _sized(table, "weights", one.weights, size)
        name = f"context {place}" if one.name is None else one.name
        share = 1 / len(made) if one.probability is None else one.probability
        found.append(Context(name, weights, one.cost_weight, share))
    return found


def _sized(table: TomlTable, key: str, weights: tuple[float, ...], size: int) -> tuple[float, ...]:
    if len(weights) != size:
        raise table.wrong(key, f"holds {len(weights)} numbers; expected {size}")
    return weights


def _algorithm(top: TomlTable, text: str, may_import: Trust) -> "Algorithm":
    from sim import algorithms, references

    table = TomlTable(top.file, "tune", {"algorithm": text})
    if plugins.is_code(text):
        trust.check_code(table, "algorithm", may_import)
    try:
        told = references.named(text)
        algorithm = None if told else algorithms.get(plugins.everywhere(text, trust.folder_of(table)))
    except ValueError as error:
        raise table.wrong("algorithm", f"cannot be used: {error}") from None
    if algorithm is None:
        raise table.wrong("algorithm", f"is {text!r}, which needs the truth; a live model cannot tell it")
    return _brought(top, algorithm, text)


def _brought(top: TomlTable, algorithm: "Algorithm", text: str | None = None) -> "Algorithm":
    """An algorithm that keeps to its budget."""
    if algorithm.overspends:
        said = repr(algorithm if text is None else text)
        raise top.wrong(
            "tune.algorithm", f"is {said}, which may spend more than the budget; with real money it may not"
        )
    return algorithm


def _answers(top: TomlTable, config: Config) -> int | None:
    """Different answers to a query, as said, or as assumed for a rule that values votes by a law of the answers.

    Then as many as the completions of a vote can show beside the right one, up to the most that there can be. Too many
    cost such a rule time and next to no regret. Other rules count the answers that pulls show.
    """
    from sim.raw import RAW

    if config.answers is not None and not config.votes:
        raise top.wrong("tune.answers", f"is {config.answers}; no objective is voted on, so that there are no answers")
    if config.answers is None and config.votes and config.algorithm.estimator == RAW:
        return min(config.max_scale + 1, MAX_ANSWERS)
    return config.answers


def _caps(top: TomlTable, made: CapsTable, rounds: int, probing: int) -> Caps:
    completions = rounds + rounds // 10 + 256 + probing if made.completions is None else made.completions
    if completions < rounds:
        raise top.wrong("caps.completions", f"is {completions}, below what the rounds need ({rounds})")
    return Caps(completions, made.tokens, made.money)
