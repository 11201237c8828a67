"""Endpoints of a run file and their prices: the one in [endpoint], or several by name in [endpoints.NAME]."""

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from sim.adapters.run_file.kinds import NAME
from sim.adapters.run_file.settings import (
    AnsweringFile,
    BatchOptions,
    Concurrency,
    Endpoint,
    EndpointPrices,
    EndpointTable,
    PriceList,
    Prices,
    RunFile,
)
from sim.adapters.run_file.toml_table import TomlTable, missing

ONLY = ""
"""Name of an endpoint that stands alone."""
PRICED = ("prompt", "completion")
"""Tokens that have prices."""
Asked = Collection[tuple[str, str]]
"""Names of endpoints, each with a model that is asked there."""
V = TypeVar("V")


def place_of(name: str) -> str:
    """The table of an endpoint, as messages call it."""
    return "endpoint" if name == ONLY else f"endpoints.{name}"


def prices_place(name: str) -> str:
    """The table of an endpoint's prices, as messages call it."""
    return "prices" if name == ONLY else f"{place_of(name)}.prices"


def check(top: TomlTable) -> None:
    """Refuse a file without an endpoint, or with both ways of giving one.

    Raises:
        ValueError: it is so; or the name of an endpoint is none.
    """
    if "endpoint" in top.content and "endpoints" in top.content:
        raise top.wrong("endpoints", "stand beside endpoint; give that one a name too: [endpoints.NAME]")
    if "endpoint" not in top.content and not top.content.get("endpoints"):
        known = {one.name for one in fields(RunFile)}
        raise top.wrong("endpoint", missing("endpoint", top.content.keys() - known))
    several = top.content.get("endpoints")
    if isinstance(several, dict) and not any(isinstance(one, dict) for one in several.values()):
        raise top.wrong("endpoint", missing("endpoint", ["endpoints"]))
    for name in several if isinstance(several, dict) else ():
        try:
            NAME.check(name)
        except ValueError as error:
            raise top.wrong("endpoints", f"hold a name that {error}") from None
    if several and "prices" in top.content:
        raise top.wrong("prices", "are those of [endpoint]; each of several has its own, endpoints.NAME.prices")


def tables(made: AnsweringFile) -> dict[str, EndpointTable]:
    """Endpoints as they stand in the file, by name."""
    return dict(made.endpoints) if made.endpoint is None else {ONLY: made.endpoint}


def read(top: TomlTable, given: Mapping[str, EndpointTable]) -> dict[str, Endpoint]:
    """All endpoints by name, in the order of the file.

    Raises:
        ValueError: what is wrong, with file and key; or two have one address, by which requests are told apart.
    """
    found: dict[str, Endpoint] = {}
    for name, table in given.items():
        one = _endpoint(top, name, table)
        for other, earlier in found.items():
            if earlier.base_url == one.base_url:
                raise top.wrong(
                    f"{place_of(name)}.base_url",
                    f"is that of {place_of(other)}; addresses must differ (one endpoint takes several models: `model` "
                    "in [[prompts]] and prices.models)",
                )
        found[name] = one
    return found


def asked_of(endpoints: Mapping[str, V], asked: Asked, top: TomlTable, whole: bool) -> dict[str, V]:
    """Those endpoints that something is asked of; where `whole`, the others are refused.

    Raises:
        ValueError: nothing is asked of one.
    """
    used = {name for name, _ in asked}
    for name in endpoints:
        if whole and name not in used:
            raise top.wrong(place_of(name), "is named by no prompt and no judge; name it there, or leave it out")
    return {name: one for name, one in endpoints.items() if name in used}


def source(content: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoints for a policy: their keys, and neither presets, which may change, nor prices, which it holds.

    Of these the currency stays.
    """
    if "endpoint" in content:
        return {"endpoint": _without(content["endpoint"], "preset")}
    kept = {}
    for name, one in content["endpoints"].items():
        sign = {key: value for key, value in one.get("prices", {}).items() if key == "currency"}
        kept[name] = _without(one, "preset", "prices") | ({"prices": sign} if sign else {})
    return {"endpoints": kept}


def _without(table: Mapping[str, Any], *left_out: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in left_out}


def _endpoint(top: TomlTable, name: str, made: EndpointTable) -> Endpoint:
    place, url = place_of(name), made.base_url.rstrip("/")
    if url.endswith("/chat/completions"):
        raise top.wrong(f"{place}.base_url", f"is {made.base_url!r}; leave out /chat/completions")
    if made.deadline < made.timeout:
        short = f"is {made.deadline:g} s, below the timeout of one request ({made.timeout:g} s)"
        raise top.wrong(f"{place}.deadline", short)
    low, high = made.concurrency.least, made.concurrency.most
    start = min(max(16, low), high) if made.concurrency.start is None else made.concurrency.start
    if not low <= start <= high:
        between = f"is {start}; it must lie between least ({low}) and most ({high})"
        raise top.wrong(f"{place}.concurrency.start", between)
    ours = {"model", "messages", "n", "seed", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens"}
    for key in sorted((ours | {made.seed_field}) & set(made.extra)):
        raise top.wrong(f"{place}.extra.{key}", "is set by other keys of this file; it cannot be an extra field")
    try:
        json.dumps(made.extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise top.wrong(f"{place}.extra", f"holds what no JSON request can carry ({error})") from None
    content = top.content["endpoint"] if name == ONLY else top.content["endpoints"][name]
    if made.mode == "sync" and content.get("batch"):
        raise top.wrong(f"{place}.batch", "is for mode 'batch', but the mode is 'sync'")
    batch = (made.batch or BatchOptions()) if made.mode == "batch" else None
    own = {one.name: getattr(made, one.name) for one in fields(Endpoint)}
    return Endpoint(**own | {"base_url": url, "concurrency": Concurrency(start, low, high), "batch": batch})


def price_lists(made: RunFile) -> dict[str, PriceList]:
    """Prices as they stand in the file, by the name of the endpoint."""
    return {name: one.prices for name, one in made.endpoints.items()} or {ONLY: made.prices}


def prices(top: TomlTable, lists: Mapping[str, PriceList], asked: Asked) -> dict[str, dict[str, Prices]]:
    """Prices of every model by endpoint: the list's own, or those of the model's own table inside it.

    Raises:
        ValueError: a model is asked by nobody.
    """
    found: dict[str, dict[str, Prices]] = {}
    for name, made in lists.items():
        models = sorted(model for own, model in asked if own == name)
        for model in made.models:
            if model not in models:
                known = ", ".join(models)
                raise top.wrong(f"{prices_place(name)}.models.{model}", f"is no model of a prompt; those are {known}")
        found[name] = {model: Prices(*(_price(made, model, key) or 0 for key in PRICED)) for model in models}
    return found


def free(found: Mapping[str, Mapping[str, Prices]]) -> bool:
    """Whether nothing has a price above 0."""
    return not any(one.prompt or one.completion for own in found.values() for one in own.values())


def check_money(
    top: TomlTable, lists: Mapping[str, PriceList], found: Mapping[str, Mapping[str, Prices]], cost: bool, cap: bool
) -> None:
    """Refuse money that some tokens would not count in: in costs, where there are several endpoints, and in a cap.

    Args:
        top: the run file.
        lists: prices as they stand there.
        found: `prices` of all models that are asked.
        cost: whether costs are measured in money.
        cap: whether there is a cap on money.

    Raises:
        ValueError: a price is missing, or nothing has any.
    """
    if cost and len(lists) > 1:
        said = "is 'money'", "its completions would look free beside those of other endpoints"
        _check_named(top, lists, found, "cost.measure", *said)
    all_prices = "[prices]" if ONLY in lists else "endpoints.NAME.prices"
    if cost and free(found):
        raise top.wrong("cost.measure", f"is 'money', but {all_prices} names no price above 0")
    if not cap:
        return
    _check_named(top, lists, found, "caps.money", "is set", "nothing would count against the cap")
    if free(found):
        raise top.wrong(
            "caps.money", f"is set, but all {all_prices} are 0, so that nothing would count against the cap"
        )


def _check_named(
    top: TomlTable,
    lists: Mapping[str, PriceList],
    found: Mapping[str, Mapping[str, Prices]],
    asked: str,
    how: str,
    then: str,
) -> None:
    """Refuse a key that needs all prices named, where some is not: what the key is, and what would come of it."""
    for name, model, key in _unnamed(lists, found):
        place = prices_place(name)
        unpriced = f"[{place}] names no price of a {key} token of {model!r}"
        raise top.wrong(asked, f"{how}, but {unpriced}, so that {then}; give {place}.{key} (0 where it is free)")


def _unnamed(
    lists: Mapping[str, PriceList], found: Mapping[str, Mapping[str, Prices]]
) -> Iterator[tuple[str, str, str]]:
    """Endpoint, model and kind of the tokens that have no price in the file."""
    for name, own in found.items():
        for model, key in itertools.product(own, PRICED):
            if _price(lists[name], model, key) is None:
                yield name, model, key


def _price(made: PriceList, model: str, key: str) -> int | None:
    """The price of a model's tokens of a kind, None where none is named."""
    own = getattr(made.models.get(model, made), key)
    return getattr(made, key) if own is None else own


def currency(
    top: TomlTable, lists: Mapping[str, PriceList], found: Mapping[str, Mapping[str, Prices]], sign: str | None
) -> str | None:
    """The one currency of a run's prices; None where nobody names one.

    Args:
        top: the run file.
        lists: prices as they stand there.
        found: `prices` of all models that are asked.
        sign: `cost.currency`, which prices are in that name none.

    Raises:
        ValueError: there are several, or some prices name none; what is free is so in all of them.
    """
    known = {} if sign is None else {"cost.currency": sign}
    named = {
        f"{prices_place(name)}.currency": one.currency or sign
        for name, one in lists.items()
        if isinstance(one, EndpointPrices) and not free({name: found[name]})
    }
    known |= {place: one for place, one in named.items() if one is not None}
    first = next(iter(known), None)
    for place, one in named.items():
        if first is not None and one != known[first]:
            told = "missing" if one is None else repr(one)
            raise top.wrong(place, f"is {told}, and {first} is {known[first]!r}; money is counted in one currency")
    return None if first is None else known[first]
