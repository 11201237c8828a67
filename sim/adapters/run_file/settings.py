"""Settings of a run: frozen dataclasses, which pydantic fills from a run file and which describe its JSON schema.

Those that are `Closed` stand in the file as they are; `sim.adapters.config` makes the others of them. Secrets are not
part of it: it names the environment variable that holds the key. Money is counted in whole units of 10**-12, so that
sums are exact.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sim import defaults
from sim.adapters.run_file.kinds import (
    FLAG,
    NAME,
    ROWS,
    TEXT,
    VARIABLE,
    GridOrTables,
    Several,
    ValueKind,
    later,
    number,
    numbers,
    whole,
    word,
    written,
)
from sim.adapters.run_file.presets import presets
from sim.adapters.run_file.prompts import Prompt, PromptTable
from sim.adapters.run_file.toml_table import Closed
from sim.adapters.run_file.urls import ADDRESS
from sim.adapters.scoring import Scorer
from sim.constants import AGGREGATES, MAX_ANSWERS, MAX_BUDGET, MAX_SCALE, TIES

if TYPE_CHECKING:
    from sim.core import Algorithm

MONEY = 10**12
"""Units of money in one unit of the user's currency."""


def _price(value: Any) -> int:
    units = number(0, 10**6).check(value) * MONEY / 10**6
    if abs(units - round(units)) > 1e-6:
        raise ValueError(f"is {value!r}; prices per million tokens have at most 6 decimals")
    return round(units)


PRICE = ValueKind(_price, number(0, 10**6).schema)
"""Money per million tokens, in units per token."""
_SUM = number(1 / MONEY, 9 * 10**6)
SUM = ValueKind(lambda value: int(_SUM.check(value) * MONEY), _SUM.schema)
"""A sum of money, in units."""


@dataclass(frozen=True)
class Prices:
    """Money per token, in units of 10**-12 of the currency."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True)
class ModelPrices(Closed):
    """Prices in the file, of one model; None where it names none."""

    prompt: Annotated[int | None, PRICE] = None
    completion: Annotated[int | None, PRICE] = None


@dataclass(frozen=True)
class PriceList(ModelPrices):
    """Prices of all models, but for those that have a table of their own."""

    models: dict[str, ModelPrices] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointPrices(PriceList):
    """Prices of one of several endpoints, and the currency that they are in."""

    currency: Annotated[str | None, NAME] = None


@dataclass(frozen=True)
class BatchOptions(Closed):
    """Options of requests that are sent in batches.

    Attributes:
        window: the completion window that is asked for.
        poll: seconds between looks at a batch.
        offline: whether files are written for a program such as `vllm run-batch`, and nothing is sent.
        max_requests, max_bytes: of one batch; a larger round becomes several.
        max_output_bytes: of a file of replies, at most.
    """

    window: Annotated[str, TEXT] = "24h"
    poll: Annotated[float, number(0, 86400, above=True)] = 30.0
    offline: Annotated[bool, FLAG] = False
    max_requests: Annotated[int, whole(high=10**6)] = 50_000
    max_bytes: Annotated[int, whole(1000, 2 * 10**9)] = 100_000_000
    max_output_bytes: Annotated[int, whole(1000, 2**34)] = 2**27


@dataclass(frozen=True)
class Concurrency(Closed):
    """Requests under way: at the start (None, in a run file, for 16 or the nearest to it), at least, at most."""

    start: Annotated[int | None, whole(high=1000)] = None
    least: Annotated[int, whole(high=1000)] = 1
    most: Annotated[int, whole(high=1000)] = 64


@dataclass(frozen=True)
class Endpoint(Closed):
    """Server that requests go to, its key's variable, and how requests are sent.

    Attributes:
        base_url: ends before /chat/completions.
        key_variable: name of the environment variable that holds the key; empty for none.
        timeout: seconds for one request.
        deadline: seconds from a pull's first request after which none of its requests is begun, retries included; time
            in which it only waits for its turn does not count.
        max_n: most completions asked for in one request.
        max_tokens_field: how the server calls the longest completion.
        send_seed: whether requests carry seeds.
        template_tokens: tokens that a chat template may add to a prompt; part of the worst case.
        concurrency: requests under way: at the start, at least, at most.
        extra: further fields of every request.
        batch: how batches are sent; None to send every request on its own.
        max_reply_bytes: of a reply, at most.
        seed_field: how the server calls a seed.
        max_temperature: the highest that the server takes; None where that is not known.
    """

    base_url: Annotated[str, ADDRESS]
    key_variable: Annotated[str, VARIABLE] = "OPENAI_API_KEY"
    timeout: Annotated[float, number(0, 3600, above=True)] = 120.0
    deadline: Annotated[float, number(0, 10**6, above=True)] = 900.0
    max_n: Annotated[int, whole(high=MAX_SCALE)] = 16
    max_tokens_field: Annotated[str, word("max_tokens", "max_completion_tokens")] = "max_tokens"
    send_seed: Annotated[bool, FLAG] = True
    template_tokens: Annotated[int, whole(0, 10**6)] = 64
    concurrency: Concurrency = Concurrency(16)
    extra: dict[str, Any] = field(default_factory=dict)
    batch: BatchOptions | None = None
    max_reply_bytes: Annotated[int, whole(1000, 2**31)] = 2**24
    seed_field: Annotated[str, word("seed", "random_seed")] = "seed"
    max_temperature: Annotated[float | None, number(0, 10)] = None


@dataclass(frozen=True)
class EndpointTable(Endpoint):
    """An endpoint in the file, with its preset, the way of sending and the model of prompts that name none."""

    mode: Annotated[str, word("sync", "batch")] = "sync"
    model: Annotated[str | None, TEXT] = None
    preset: Annotated[str | None, word(*presets())] = None


@dataclass(frozen=True)
class NamedEndpoint(EndpointTable):
    """One of several endpoints in the file, with its own prices."""

    prices: EndpointPrices = EndpointPrices()


@dataclass(frozen=True)
class QueryFile(Closed):
    """File of queries, and the columns that hold what.

    Attributes:
        fields: columns that prompts have slots for; None, in a run file, where nothing is said.
    """

    file: Annotated[Path, TEXT]
    text: Annotated[str, TEXT] = "query"
    gold: Annotated[str | None, TEXT] = None
    limit: Annotated[int | None, whole()] = None
    reference: Annotated[str | None, TEXT] = None
    fields: tuple[Annotated[str, TEXT], ...] | None = None


@dataclass(frozen=True)
class Objective:
    """One objective: how completions are read, and how readings of one block become a reward.

    Attributes:
        name: for people.
        aggregate: "mv", "bon" or "mean".
        scorer: reads completions.
        low, high: declared bounds of scores; a score outside is an error.
        unreadable: score of a completion that cannot be read ("bon" and "mean"); in a vote it counts as an answer of
            its own, which is wrong.
    """

    name: str
    aggregate: str
    scorer: Scorer
    low: float
    high: float
    unreadable: float


@dataclass(frozen=True)
class Context:
    """A weighting of the objectives and of the cost."""

    name: str
    weights: tuple[float, ...]
    cost_weight: float
    probability: float


@dataclass(frozen=True)
class Caps:
    """Caps on spending, ambiguous attempts included. None is no cap. Money in units of 10**-12."""

    completions: int
    tokens: int | None
    money: int | None


@dataclass(frozen=True)
class Asking:
    """Settings to ask the model and to read its answers.

    Attributes:
        file: where it was read.
        out: folder of the journal and the results.
        endpoints: by name; one that stands alone has the name "".
        prices: by the name of the endpoint and the model.
        source: strategy, endpoint, objectives and tie as the file says them, a preset spelt out, for a policy to carry
            along.
        dot_env: the file that keys are looked for in where the environment lacks them; it need not be there.
    """

    file: Path
    name: str
    out: Path
    seed: int
    endpoints: dict[str, Endpoint]
    prompts: tuple[Prompt, ...]
    prices: dict[str, dict[str, Prices]]
    objectives: tuple[Objective, ...]
    tie: str
    contexts: tuple[Context, ...]
    caps: Caps | None
    source: dict[str, Any]
    dot_env: Path

    def endpoint_of(self, prompt: Prompt) -> Endpoint:
        """The endpoint that a prompt is asked at."""
        return self.endpoints[prompt.endpoint]

    def prices_of(self, prompt: Prompt) -> Prices:
        """Prices of a prompt's tokens."""
        return self.prices[prompt.endpoint][prompt.model]

    @property
    def votes(self) -> bool:
        """Whether an objective is voted on."""
        return any(objective.aggregate == "mv" for objective in self.objectives)

    @property
    def journal(self) -> Path:
        """Path of the journal, which keeps everything paid for."""
        return self.out / "journal.sqlite"


@dataclass(frozen=True)
class Config(Asking):
    """A whole run. See `example.toml` for every key.

    Attributes:
        cost_measure: "tokens" or "money": the unit of a completion's cost.
        currency: sign of the money, for people; None where nobody said.
        answers: different answers to a query, the right one and what cannot be read included, for rules that
            estimate by themselves: as said, or assumed for such a rule; else None.
        prompt_tokens: "each", "shared" or "ignore": how a pull's prompt tokens enter the cost of a completion.
        probe: queries and completions per prompt that measure costs.
    """

    caps: Caps
    queries: QueryFile
    algorithm_text: str
    algorithm: "Algorithm"
    budget: int
    max_scale: int
    answers: int | None
    cost_measure: str
    currency: str | None
    prompt_tokens: str
    probe: tuple[int, int]


@dataclass(frozen=True)
class ObjectiveTable:
    """An objective in the file, but for the options of its scorer, which stand beside these keys."""

    scorer: Annotated[Any, later({"type": "string"})]
    name: Annotated[str | None, NAME] = None
    aggregate: Annotated[str | None, word(*AGGREGATES)] = None
    low: Annotated[float, number()] = 0.0
    high: Annotated[float, number()] = 1.0
    unreadable: Annotated[Any, later({"type": "number"})] = None


@dataclass(frozen=True)
class ContextTable(Closed):
    """A context in the file."""

    name: Annotated[str | None, NAME] = None
    weights: Annotated[tuple[float, ...] | None, numbers()] = None
    cost_weight: Annotated[float, number(0)] = 0.0
    probability: Annotated[float | None, number(0, 1)] = None


@dataclass(frozen=True)
class ContextGrid(Closed):
    """Contexts in the file as a grid: every row of weights with every cost weight."""

    cost_weights: Annotated[tuple[float, ...], numbers(0)]
    weights: Annotated[list[list[float]] | None, ROWS] = None


@dataclass(frozen=True)
class Tune(Closed):
    """The algorithm, and the budget and scales that it may use."""

    budget: Annotated[int, written(MAX_BUDGET)]
    max_scale: Annotated[int, whole(high=MAX_SCALE)]
    algorithm: Annotated[str, TEXT] = defaults.RECOMMENDED
    answers: Annotated[int | None, whole(2, MAX_ANSWERS)] = None


@dataclass(frozen=True)
class Cost(Closed):
    """Cost of a completion: what is counted, and how many a probe measures it by."""

    measure: Annotated[str, word("tokens", "money")] = "tokens"
    currency: Annotated[str | None, NAME] = None
    prompt_tokens: Annotated[str, word("each", "shared", "ignore")] = "each"
    probe_queries: Annotated[int, whole(high=10**6)] = 4
    probe_completions: Annotated[int, whole(high=MAX_SCALE)] = 4


@dataclass(frozen=True)
class CapsTable(Closed):
    """Caps in the file; completions have one in any case."""

    completions: Annotated[int | None, whole()] = None
    tokens: Annotated[int | None, whole()] = None
    money: Annotated[int | None, SUM] = None


Tables = Annotated[tuple[dict[str, Any], ...], Several()]


@dataclass(frozen=True, kw_only=True)
class AnsweringFile:
    """Tables that answering queries takes, of a run file or a policy: one endpoint, or several by their names."""

    strategy: Annotated[str, word(*AGGREGATES, "mixed")]
    tie: Annotated[str, word(*TIES)] = "uniform"
    endpoint: EndpointTable | None = None
    endpoints: dict[str, NamedEndpoint] = field(default_factory=dict)
    objectives: Tables


@dataclass(frozen=True, kw_only=True)
class RunFile(AnsweringFile, Closed):
    """A run file as it stands."""

    name: Annotated[str | None, NAME] = None
    out: Annotated[str | None, TEXT] = None
    seed: Annotated[int, whole(0, 2**63 - 1)] = 0
    prompts: Annotated[tuple[PromptTable, ...], Several()]
    prices: PriceList = PriceList()
    cost: Cost = Cost()
    queries: QueryFile
    contexts: Annotated[ContextGrid | Annotated[tuple[ContextTable, ...], Several()], GridOrTables()]
    tune: Tune
    caps: CapsTable = CapsTable()
