"""Settings of a run: frozen dataclasses, filled and checked by `sim.adapters.config`.

Secrets are not part of it: it names the environment variable that holds the key. Money is counted in whole units of
10**-12, so that sums are exact.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.adapters.run_file.toml_table import TomlTable
from sim.adapters.scorers.scoring import Scorer
from sim.core import Algorithm

SLOT = "{query}"
MONEY = 10**12
"""Units of money in one unit of the user's currency."""


@dataclass(frozen=True)
class Prices:
    """Money per token, in units of 10**-12 of the currency."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True)
class Prompt:
    """A prompt: text plus decoding configuration.

    Attributes:
        name: for people.
        text: the user message, with a {query} slot.
        system: the system message; empty for none.
        model: who answers.
        max_tokens: the longest completion, in tokens.
        temperature, top_p: None leaves them to the server.
        cost: cost of one completion, in the measure of `Cost`; None to measure it by the probe.
    """

    name: str
    text: str
    system: str
    model: str
    max_tokens: int
    temperature: float | None
    top_p: float | None
    cost: float | None

    @classmethod
    def read(cls, table: TomlTable, model: str | None = None) -> "Prompt":
        """From a table of a configuration or a policy, with the model for those that name none."""
        name, text, system = table.name("name"), table.text("text", SLOT), table.text("system", "", blank=True)
        if SLOT not in text + system:
            raise table.wrong("text", f"has no {SLOT} slot; every prompt needs one")
        for key in ("text", "system"):
            if "\0" in table.content.get(key, ""):
                raise table.wrong(key, "holds a NUL, which servers do not take")
        own = table.text("model", model)
        if own is None:
            raise table.wrong("model", "is missing here and in [endpoint]; one of them is needed")
        prompt = cls(
            name=name,
            text=text,
            system=system,
            model=own,
            max_tokens=table.whole("max_tokens", 512, high=10**6),
            temperature=table.number("temperature", None, low=0, high=10),
            top_p=table.number("top_p", None, low=0, high=1, open_low=True),
            cost=table.number("cost", None, low=0),
        )
        table.done()
        return prompt

    def messages(self, query: str) -> tuple[tuple[str, str], ...]:
        """Role and content of every message. The slot is replaced as it stands; other braces mean nothing."""
        system = (("system", self.system.replace(SLOT, query)),) if self.system else ()
        return (*system, ("user", self.text.replace(SLOT, query)))


@dataclass(frozen=True)
class BatchOptions:
    """How batches are sent.

    Attributes:
        window: the completion window that is asked for.
        poll: seconds between looks at a batch.
        offline: whether files are written for a program such as `vllm run-batch`, and nothing is sent.
        max_requests, max_bytes: of one batch; a larger round becomes several.
        max_output_bytes: of a file of replies, at most.
    """

    window: str
    poll: float
    offline: bool
    max_requests: int
    max_bytes: int
    max_output_bytes: int = 2**27


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and how.

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
    """

    base_url: str
    key_variable: str
    timeout: float
    deadline: float
    max_n: int
    max_tokens_field: str
    send_seed: bool
    template_tokens: int
    concurrency: tuple[int, int, int]
    extra: dict[str, Any] = field(default_factory=dict)
    batch: BatchOptions | None = None
    max_reply_bytes: int = 2**24


@dataclass(frozen=True)
class QueryFile:
    """Where queries are, and the columns that hold what."""

    file: Path
    text: str
    gold: str | None
    limit: int | None
    reference: str | None = None


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
    """What may be spent in all, ambiguous attempts included. None is no cap. Money in units of 10**-12."""

    completions: int
    tokens: int | None
    money: int | None


@dataclass(frozen=True)
class Asking:
    """What it takes to ask the model and to read its answers.

    Attributes:
        file: where it was read.
        out: folder of the journal and the results.
        source: strategy, endpoint, objectives and tie as the file says them, for a policy to carry along.
    """

    file: Path
    name: str
    out: Path
    seed: int
    endpoint: Endpoint
    prompts: tuple[Prompt, ...]
    prices: dict[str, Prices]
    objectives: tuple[Objective, ...]
    tie: str
    contexts: tuple[Context, ...]
    caps: Caps | None
    source: dict[str, Any]

    @property
    def votes(self) -> bool:
        """Whether an objective is voted on."""
        return any(objective.aggregate == "mv" for objective in self.objectives)

    @property
    def journal(self) -> Path:
        """Where everything paid for is kept."""
        return self.out / "journal.sqlite"


@dataclass(frozen=True)
class Config(Asking):
    """A whole run. See `example.toml` for every key.

    Attributes:
        cost_measure: "tokens" or "money": the unit of a completion's cost.
        prompt_tokens: "each", "shared" or "ignore": how a pull's prompt tokens enter the cost of a completion.
        probe: queries and completions per prompt that measure costs.
    """

    caps: Caps
    queries: QueryFile
    algorithm_text: str
    algorithm: Algorithm
    budget: int
    max_scale: int
    cost_measure: str
    prompt_tokens: str
    probe: tuple[int, int]
