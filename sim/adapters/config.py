"""Reading a run's configuration from TOML; a bad one is refused in full, before the first request."""

import itertools
import json
import os.path  # whose questions any text may be asked, however long it is
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sim import algorithms, plugins, references
from sim.adapters import trust
from sim.adapters.policy import PolicyFile
from sim.adapters.run_file import urls
from sim.adapters.run_file.settings import (
    MONEY,
    Asking,
    BatchOptions,
    Caps,
    Config,
    Context,
    Endpoint,
    Objective,
    Prices,
    Prompt,
    QueryFile,
)
from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers import registry
from sim.adapters.scorers.judge import Judge
from sim.adapters.trust import Trust
from sim.core import Algorithm
from sim.engine import runner
from sim.utilities import AGGREGATES, MAX_SCALE, TIES

STRATEGIES = ("mv", "bon", "mean", "mixed")
SOURCE = ("strategy", "tie", "endpoint", "objectives", "cost", "tune")
"""Keys that a policy carries along as they are: what answering a query needs, and what its values mean."""


def load(path: str | Path, told_by: str | Path | None = None, may_import: Trust | None = None) -> Config:
    """Read and check a configuration file; a ValueError names the file, the key and the reason.

    Args:
        path: the file.
        told_by: the policy or journal that names it; None where the user does.
        may_import: which modules of scorers it may import: by default all where the user names the file, else none.
    """
    path = Path(path)
    if may_import is None:
        may_import = trust.all_modules if told_by is None else trust.only()
    return _config(path, _toml(path, told_by), may_import)


def _toml(path: Path, told_by: str | Path | None = None) -> dict[str, Any]:
    if told_by is not None and not os.path.isfile(path):
        raise ValueError(f"{told_by}: came from {path}, which is not there any more; put the configuration back there")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; `iapo tune --example` writes one") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise ValueError(f"{path}: is no TOML file ({error})") from None


def _config(path: Path, content: dict[str, Any], may_import: Trust) -> Config:
    top = TomlTable(path, "", content)
    beside = path.resolve().parent
    endpoint, model = _endpoint(top.table("endpoint"))
    prompts = _prompts(top, model)
    max_scale = (tune := top.table("tune")).whole("max_scale", high=MAX_SCALE)
    objectives, tie = _objectives(top, may_import)
    text = tune.text("algorithm", "psst")
    budget = tune.whole("budget", high=runner.MAX_BUDGET, written=True)
    tune.done()
    cost = top.table("cost", needed=False)
    measure = cost.choice("measure", ("tokens", "money"), "tokens")
    shares = cost.choice("prompt_tokens", ("each", "shared", "ignore"), "each")
    probe = (cost.whole("probe_queries", 4, high=10**6), cost.whole("probe_completions", 4, high=MAX_SCALE))
    cost.done()
    judges = [one.scorer.model for one in objectives if isinstance(one.scorer, Judge)]
    if judges and endpoint.batch is not None:
        raise top.wrong(
            "endpoint.mode", "is 'batch', but a judge asks one request at a time at other prices; use 'sync'"
        )
    prices = _prices(top.table("prices", needed=False), {prompt.model for prompt in prompts} | set(judges))
    if measure == "money" and not any(price.prompt or price.completion for price in prices.values()):
        raise cost.wrong("measure", "is 'money', but [prices] names no price above 0")
    config = Config(
        file=path,
        name=top.name("name", path.stem),
        out=_out(top, beside),
        seed=top.whole("seed", 0, low=0, high=2**63 - 1),
        endpoint=endpoint,
        prompts=prompts,
        prices=prices,
        queries=_queries(top.table("queries"), beside),
        objectives=objectives,
        tie=tie,
        contexts=_contexts(top, objectives),
        algorithm_text=text,
        algorithm=_algorithm(tune, text, may_import),
        budget=budget,
        max_scale=max_scale,
        caps=_caps(top.table("caps", needed=False), budget * (1 + len(judges)), len(prompts) * probe[0] * probe[1]),
        source={"cost": {}} | {key: content[key] for key in SOURCE if key in content},
        cost_measure=measure,
        prompt_tokens=shares,
        probe=probe,
    )
    top.done()
    if config.caps.money is not None:
        _check_prices(top, prices)
    if config.endpoint.batch is not None and config.algorithm.one_at_a_time:
        raise ValueError(
            f"{path}: tune.algorithm is {text!r}, which pulls one arm at a time; in batch mode every round is a batch: "
            "use one with rounds, such as psst, or endpoint.mode 'sync'"
        )
    if config.votes and config.queries.gold is None:
        raise ValueError(f"{path}: queries.gold is missing; votes ('mv') need the column of the right answers")
    for objective in objectives:
        if objective.aggregate != "mv" and objective.scorer.needs_gold and config.queries.gold is None:
            raise ValueError(f"{path}: queries.gold is missing; the scorer of {objective.name!r} needs right answers")
        template = objective.scorer.template if isinstance(objective.scorer, Judge) else ""
        for slot in ("gold", "reference"):
            if f"{{{slot}}}" in template and getattr(config.queries, slot) is None:
                problem = f"is missing; the template of {objective.name!r} has a {{{slot}}} slot"
                raise ValueError(f"{path}: queries.{slot} {problem}")
    return config


def _out(top: TomlTable, beside: Path) -> Path:
    """The folder of results, which need not be there; a file in its place is refused."""
    out = beside / top.text("out", f"results/{top.file.stem}")
    for place in (out, *out.parents):
        if os.path.exists(place) and not os.path.isdir(place):
            raise top.wrong("out", f"is {str(out)!r}; {place} is a file, not a folder")
    return out


def of_policy(policy: PolicyFile, may_import: Trust | None = None) -> Asking:
    """What answers queries with a policy, from its file alone: the configuration it came from is not looked at.

    A callable's module is looked for beside that configuration, or beside the policy where that is gone.

    Args:
        policy: the policy.
        may_import: which modules of scorers it may import; by default none.

    Raises:
        ValueError: something in the file is wrong, or it names a module that it may not import.
    """
    may_import = may_import or trust.only()
    top = TomlTable(policy.file, "", policy.source)
    origin = Path(policy.config)
    objectives, tie = _objectives(
        TomlTable(origin if os.path.exists(origin) else policy.file, "", policy.source), may_import
    )
    judges = {one.scorer.model for one in objectives if isinstance(one.scorer, Judge)}
    for context in policy.contexts:
        if len(context.weights) != len(objectives):
            numbers = f"{len(context.weights)} numbers; expected {len(objectives)}, one for each objective"
            raise ValueError(f"{policy.file}: contexts.{context.name}.weights holds {numbers}")
    models = {prompt.model for prompt in policy.prompts.values()} | judges
    if not models <= set(policy.prices):
        raise ValueError(f"{policy.file}: prices lack the model {min(models - set(policy.prices))!r}")
    endpoint, _ = _endpoint(top.table("endpoint"))
    return Asking(
        file=policy.file,
        name=policy.name,
        out=policy.file.resolve().parent,
        seed=0,
        endpoint=replace(endpoint, batch=None),  # one query is not worth a batch
        prompts=tuple(policy.prompts.values()),
        prices={model: Prices(*pair) for model, pair in policy.prices.items()},
        objectives=objectives,
        tie=tie,
        contexts=policy.contexts,
        caps=None,
        source=policy.source,
    )


def of_tuning(policy: PolicyFile, may_import: Trust | None = None) -> tuple[Config, list[str]]:
    """The run that a policy came from, as the policy holds it, and what its configuration says otherwise by now.

    Queries and caps are those of the configuration. `may_import` says which modules of scorers may be imported, by
    default none.

    Raises:
        ValueError: the configuration is gone, or something in either file is wrong.
    """
    path, may_import = Path(policy.config), may_import or trust.only()
    content, asked = _toml(path, policy.file), of_policy(policy, may_import)
    judges = {one.scorer.model for one in asked.objectives if isinstance(one.scorer, Judge)}
    models = {prompt.model for prompt in asked.prompts} | judges
    prices = {}
    for model in models:
        prices[model] = {key: units * 10**6 / MONEY for key, units in asdict(asked.prices[model]).items()}
    prompts = [{key: value for key, value in asdict(one).items() if value is not None} for one in asked.prompts]
    contexts = [asdict(one) | {"weights": list(one.weights)} for one in asked.contexts]
    held = {"prompts": prompts, "contexts": contexts, "prices": {"models": prices}}
    kept = {key: value for key, value in content.items() if key != "tie"}  # a policy without it has the default
    run, now = _config(path, kept | policy.source | held, may_import), _config(path, content, may_import)
    changed = [
        name
        for name in ("endpoint", "objectives", "tie", "contexts", "cost_measure", "prompt_tokens", "max_scale")
        if getattr(run, name) != getattr(now, name)
    ]
    changed += [] if set(run.prompts) <= set(now.prompts) else ["prompts"]
    changed += [] if run.prices.items() <= now.prices.items() else ["prices"]
    return replace(run, caps=now.caps), changed  # by default they depend on the number of prompts


def _endpoint(table: TomlTable) -> tuple[Endpoint, str | None]:
    url = urls.address(table, "base_url")
    if url.rstrip("/").endswith("/chat/completions"):
        raise table.wrong("base_url", f"is {url!r}; leave out /chat/completions")
    variable = table.variable("key_variable", "OPENAI_API_KEY")
    timeout = table.number("timeout", 120.0, low=0, high=3600, open_low=True)
    deadline = table.number("deadline", 900.0, low=0, high=10**6, open_low=True)
    if deadline < timeout:
        raise table.wrong("deadline", f"is {deadline:g} s, below the timeout of one request ({timeout:g} s)")
    pace = table.table("concurrency", needed=False)
    low, high = pace.whole("least", 1, high=1000), pace.whole("most", 64, high=1000)
    first = pace.whole("start", min(max(16, low), high), high=1000)
    pace.done()
    if not low <= first <= high:
        raise pace.wrong("start", f"is {first}; it must lie between least ({low}) and most ({high})")
    extra = table.table("extra", needed=False).content
    ours = {"model", "messages", "n", "seed", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens"}
    for key in sorted(ours & set(extra)):
        raise table.wrong(f"extra.{key}", "is set by other keys of this file; it cannot be an extra field")
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise table.wrong("extra", f"holds what no JSON request can carry ({error})") from None
    endpoint = Endpoint(
        base_url=url.rstrip("/"),
        key_variable=variable,
        timeout=timeout,
        deadline=deadline,
        max_n=table.whole("max_n", 16, high=MAX_SCALE),
        max_tokens_field=table.choice("max_tokens_field", ("max_tokens", "max_completion_tokens"), "max_tokens"),
        send_seed=table.flag("send_seed", True),
        template_tokens=table.whole("template_tokens", 64, low=0, high=10**6),
        concurrency=(first, low, high),
        extra=dict(extra),
        batch=_batch(table),
        max_reply_bytes=table.whole("max_reply_bytes", Endpoint.max_reply_bytes, low=1000, high=2**31),
    )
    model = table.text("model", None)
    table.done()
    return endpoint, model


def _batch(table: TomlTable) -> BatchOptions | None:
    mode, own = table.choice("mode", ("sync", "batch"), "sync"), table.table("batch", needed=False)
    if mode == "sync" and own.content:
        raise table.wrong("batch", "is for mode 'batch', but the mode is 'sync'")
    found = BatchOptions(
        window=own.text("window", "24h"),
        poll=own.number("poll", 30.0, low=0, high=86400, open_low=True),
        offline=own.flag("offline", False),
        max_requests=own.whole("max_requests", 50_000, high=10**6),
        max_bytes=own.whole("max_bytes", 100_000_000, low=1000, high=2 * 10**9),
        max_output_bytes=own.whole("max_output_bytes", BatchOptions.max_output_bytes, low=1000, high=2**34),
    )
    own.done()
    return found if mode == "batch" else None


def _prompts(top: TomlTable, model: str | None) -> tuple[Prompt, ...]:
    prompts: list[Prompt] = []
    for table in top.tables("prompts"):
        prompt = Prompt.read(table, model)
        for other in prompts:
            if other.name == prompt.name:
                raise table.wrong("name", f"is {prompt.name!r}, the name of an earlier prompt; names must differ")
            if _content(other) == _content(prompt):
                raise table.wrong("text", f"and decoding are those of {other.name!r}; prompts must differ")
        prompts.append(prompt)
    if len({prompt.cost is None for prompt in prompts}) > 1:
        raise top.wrong("prompts", "give a cost to some prompts only; give it to all or to none (the probe measures)")
    return tuple(prompts)


def _content(prompt: Prompt) -> tuple[object, ...]:
    return tuple(getattr(prompt, one.name) for one in fields(prompt) if one.name not in ("name", "cost"))


def _prices(table: TomlTable, models: set[str]) -> dict[str, Prices]:
    """Prices of every model: the table's own, or those of the model's own table inside it."""
    common = _price(table, Prices())
    own = table.table("models", needed=False)
    found = {}
    for model in own.content:
        if model not in models:
            raise own.wrong(model, f"is no model of a prompt; those are {', '.join(sorted(models))}")
        inner = own.table(model)
        found[model] = _price(inner, common)
        inner.done()
    table.done()
    return {model: found.get(model, common) for model in sorted(models)}


def _check_prices(top: TomlTable, prices: dict[str, Prices]) -> None:
    """Refuse a cap on money that some tokens would not count against."""
    table = top.table("prices", needed=False)
    models = table.table("models", needed=False)
    for model in sorted(prices):
        own = models.table(model, needed=False)
        for key in ("prompt", "completion"):
            if key not in table and key not in own:
                raise top.wrong(
                    "caps.money",
                    f"is set, but [prices] names no price of a {key} token of {model!r}, so that nothing would count "
                    f"against the cap; give prices.{key} (0 where it is free)",
                )
    if not any(price.prompt or price.completion for price in prices.values()):
        raise top.wrong("caps.money", "is set, but all [prices] are 0, so that nothing would count against the cap")


def _price(table: TomlTable, default: Prices) -> Prices:
    def one(key: str, ours: int) -> int:
        value = table.number(key, None, low=0, high=10**6)
        if value is None:
            return ours
        units = value * MONEY / 10**6
        if abs(units - round(units)) > 1e-6:
            raise table.wrong(key, f"is {value!r}; prices per million tokens have at most 6 decimals")
        return round(units)

    return Prices(one("prompt", default.prompt), one("completion", default.completion))


def _queries(table: TomlTable, beside: Path) -> QueryFile:
    file = beside / table.text("file")
    if file.suffix not in (".jsonl", ".csv", ".parquet"):
        raise table.wrong("file", f"is {file.name!r}; expected a .jsonl, .csv or .parquet file")
    if not os.path.isfile(file):
        raise table.wrong("file", f"names {file}, which does not exist")
    columns = (table.text("text", "query"), table.text("gold", None))
    found = QueryFile(file, *columns, table.whole("limit", None), table.text("reference", None))
    table.done()
    return found


def _objectives(top: TomlTable, may_import: Trust) -> tuple[tuple[Objective, ...], str]:
    strategy = top.choice("strategy", STRATEGIES)
    found: list[Objective] = []
    for table in top.tables("objectives"):
        name = table.name("name", f"objective {len(found)}" if found else "reward")
        default = strategy if strategy != "mixed" else None
        aggregate = table.choice("aggregate", AGGREGATES, default)
        if aggregate is None:
            raise table.wrong("aggregate", f"is missing; with strategy 'mixed' it is one of {', '.join(AGGREGATES)}")
        if default is not None and aggregate != default:
            raise table.wrong("aggregate", f"is {aggregate!r}, but the strategy is {strategy!r}; use strategy 'mixed'")
        trust.check(table, may_import)
        scorer = registry.read(table)
        if aggregate == "mv" and not scorer.votes:
            raise table.wrong("scorer", f"is {table.content['scorer']!r}, which reads no answers to vote on")
        low, high = table.number("low", 0.0), table.number("high", 1.0)
        if not low < high:
            raise table.wrong("high", f"is {high:g}; it must be above low ({low:g})")
        unreadable = table.number("unreadable", low, low=low, high=high)
        table.done()
        if any(other.name == name for other in found):
            raise table.wrong("name", f"is {name!r}, the name of an earlier objective; names must differ")
        found.append(Objective(name, aggregate, scorer, low, high, unreadable))
    if sum(objective.aggregate == "mv" for objective in found) > 1:
        raise top.wrong("objectives", "hold 'mv' more than once; one objective can be voted on")
    return tuple(found), top.choice("tie", TIES, "uniform")


def _contexts(top: TomlTable, objectives: tuple[Objective, ...]) -> tuple[Context, ...]:
    size = len(objectives)
    if isinstance(top.content.get("contexts"), dict):
        grid = top.table("contexts")
        rows = grid.take("weights", [[1.0] * size])
        if not isinstance(rows, list) or not rows:
            raise grid.wrong("weights", "must be a list of lists, one weight per objective")
        own = [TomlTable(top.file, "contexts", {f"weights[{k}]": row}) for k, row in enumerate(rows)]
        weights = [table.numbers(f"weights[{k}]", size) for k, table in enumerate(own)]
        costs = grid.numbers("cost_weights", low=0)
        grid.done()
        pairs = list(itertools.product(weights, costs))
        several = len(weights) > 1

        def name(row: tuple[float, ...], cost: float) -> str:
            return " ".join([f"{weight:g}" for weight in row] if several else []) + f" cost {cost:g}"

        made = [Context(name(row, cost).strip(), row, cost, 1 / len(pairs)) for row, cost in pairs]
    else:
        made = []
        tables = top.tables("contexts")
        for table in tables:
            made.append(
                Context(
                    name=table.name("name", f"context {len(made)}"),
                    weights=table.numbers("weights", size) if "weights" in table or size > 1 else (1.0,),
                    cost_weight=table.number("cost_weight", 0.0, low=0),
                    probability=table.number("probability", 1 / len(tables), low=0, high=1),
                )
            )
            table.done()
    names = [context.name for context in made]
    for name_ in names:
        if names.count(name_) > 1:
            raise top.wrong("contexts", f"hold {name_!r} twice; contexts must differ")
    for context in made:
        if not any(context.weights):
            raise top.wrong(
                "contexts", f"weigh nothing in {context.name!r}; some objective needs a weight other than 0"
            )
    total = sum(context.probability for context in made)
    if not np.isclose(total, 1, atol=1e-6):
        raise top.wrong("contexts", f"have probabilities that sum to {total:.6g}; they must sum to 1")
    return tuple(made)


def _algorithm(table: TomlTable, text: str, may_import: Trust) -> Algorithm:
    if plugins.is_code(text):
        trust.check_code(table, "algorithm", may_import)
    try:
        told = references.named(text)
        algorithm = None if told else algorithms.get(plugins.everywhere(text, trust.folder_of(table)))
    except ValueError as error:
        raise table.wrong("algorithm", f"cannot be used: {error}") from None
    if algorithm is None:
        raise table.wrong("algorithm", f"is {text!r}, which needs the truth; a live model cannot tell it")
    if algorithm.overspends:
        raise table.wrong("algorithm", f"is {text!r}, which may spend more than the budget; with real money it may not")
    return algorithm


def _caps(table: TomlTable, budget: int, probing: int) -> Caps:
    completions = table.whole("completions", budget + budget // 10 + 256 + probing)
    if completions < budget:
        raise table.wrong("completions", f"is {completions}, below what the rounds need ({budget})")
    money = table.number("money", None, low=1 / MONEY, high=9 * 10**6)
    found = Caps(completions, table.whole("tokens", None), None if money is None else int(money * MONEY))
    table.done()
    return found
