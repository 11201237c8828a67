"""Prompts of a run: messages with slots for a query's fields, and decoding settings; and their tables in a run file."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from sim.adapters.run_file.kinds import ANY_TEXT, NAME, TEXT, number, one_or_more, whole, word
from sim.adapters.run_file.toml_table import Closed

SLOT = "{query}"
_ANY_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")
_LONGEST, _HEAT, _NUCLEUS = whole(high=10**6), number(0, 10), number(0, 1, above=True)


@dataclass(frozen=True)
class Shot(Closed):
    """A message before that with the query: an example that the model is shown.

    Attributes:
        role: who says it.
        content: what is said; slots in it are filled as in other messages.
    """

    role: Annotated[str, word("user", "assistant")]
    content: Annotated[str, TEXT]


@dataclass(frozen=True, repr=False)
class Prompt(Closed):
    """A prompt: text plus decoding configuration.

    Attributes:
        name: for people.
        text: the last message, of the user, with a slot for the query or for fields of it.
        system: the system message; empty for none.
        model: who answers; empty, in a run file, for that of the endpoint.
        max_tokens: the longest completion, in tokens.
        temperature, top_p: None leaves them to the server.
        cost: cost of one completion, in the measure of `Cost`; None to measure it by the probe.
        shots: messages between the system message and the last one.
        fields: columns of the query file that have slots, besides {query}.
        endpoint: name of the one that is asked; empty where there is one only.
    """

    name: Annotated[str, NAME]
    text: Annotated[str, TEXT] = SLOT
    system: Annotated[str, ANY_TEXT] = ""
    model: Annotated[str, TEXT] = ""
    max_tokens: Annotated[int, _LONGEST] = 512
    temperature: Annotated[float | None, _HEAT] = None
    top_p: Annotated[float | None, _NUCLEUS] = None
    cost: Annotated[float | None, number(0)] = None
    shots: tuple[Shot, ...] = ()
    fields: tuple[Annotated[str, TEXT], ...] = ()
    endpoint: Annotated[str, ANY_TEXT] = ""

    def __repr__(self) -> str:
        """As a dataclass, without the later fields where they are not set: seeds of journals go by this text."""
        return f"Prompt({', '.join(f'{name}={value!r}' for name, value in self.parts().items())})"

    def parts(self) -> dict[str, Any]:
        """Fields and their values; `shots`, `fields` and `endpoint` only where they are set."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in told.items() if value or name not in ("shots", "fields", "endpoint")}

    def checked(
        self, wrong: Callable[[str, str], ValueError], model: str | None = None, place: str = "endpoint"
    ) -> "Prompt":
        """The prompt with this model, where it names none itself.

        Args:
            wrong: makes the error about one of its keys.
            model: that of the endpoint.
            place: table of the endpoint, for messages.

        Raises:
            ValueError: a slot or the model is missing, or a text cannot be sent.
        """
        texts = {"text": self.text, "system": self.system, "messages": "".join(turn.content for turn in self.shots)}
        if not _slots(self.fields).search("".join(texts.values())):
            raise wrong("messages" if self.shots else "text", f"has no {SLOT} slot; every prompt needs one")
        for key, text in texts.items():
            if "\0" in text:
                raise wrong(key, "holds a NUL, which servers do not take")
        if not self.model and not model:
            raise wrong("model", f"is missing here and in [{place}]; one of them is needed")
        return self if self.model else replace(self, model=model)

    def messages(self, query: str, given: Iterable[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
        """Role and content of every message, all slots filled in one pass: braces in what fills them mean nothing.

        Args:
            query: fills {query}.
            given: names and values of the query's fields.
        """
        filling, slots = {"query": query, **dict(given)}, _slots(self.fields)
        system = (("system", self.system),) if self.system else ()
        shots = ((turn.role, turn.content) for turn in self.shots)
        return tuple(
            (role, slots.sub(lambda slot: filling[slot[1]], text))
            for role, text in (*system, *shots, ("user", self.text))
        )

    def table(self) -> dict[str, Any]:
        """The prompt as a table of a run file."""
        keys = ("name", "model", "max_tokens", "temperature", "top_p", "cost", "endpoint")
        own = {key: value for key, value in self.parts().items() if key in keys}
        if self.shots:
            system = [{"role": "system", "content": self.system}] if self.system else []
            shots = [{"role": turn.role, "content": turn.content} for turn in self.shots]
            own["messages"] = [*system, *shots, {"role": "user", "content": self.text}]
        else:
            own |= {"text": self.text, "system": self.system}
        return {key: value for key, value in own.items() if value is not None}


@functools.lru_cache(256)
def _slots(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\{{({'|'.join(map(re.escape, ('query', *names)))})\}}")


@dataclass(frozen=True)
class Message(Closed):
    """A message in the file."""

    role: Annotated[str, word("system", "user", "assistant")]
    content: Annotated[str, TEXT]


@dataclass(frozen=True)
class PromptTable(Closed):
    """A table of prompts in the file: one that stands there, or those of a file or folder; every setting of a grid.

    Attributes:
        name: for people; of a file its own by default.
        text, system: messages of the user and the system.
        messages: all messages, in place of the two.
        path: file or folder, beside the run file, that holds prompts in place of the table.
        role: what a text that `path` names is: the user's message or the system's.
        top: use the first so many prompts of a list.
        model, cost: as those of `Prompt`.
        endpoint: names of endpoints, where there are several; each of them makes a candidate.
        max_tokens, temperature, top_p: as those of `Prompt`; of a list every value makes a candidate.
    """

    name: Annotated[str | None, NAME] = None
    text: Annotated[str | None, TEXT] = None
    system: Annotated[str | None, ANY_TEXT] = None
    messages: tuple[Message, ...] = ()
    path: Annotated[str | None, TEXT] = None
    role: Annotated[str | None, word("user", "system")] = None
    top: Annotated[int | None, whole()] = None
    model: Annotated[str | None, TEXT] = None
    endpoint: Annotated[tuple[str, ...], one_or_more(NAME)] = ()
    max_tokens: Annotated[tuple[int, ...], one_or_more(_LONGEST)] = (512,)
    temperature: Annotated[tuple[float | None, ...], one_or_more(_HEAT)] = (None,)
    top_p: Annotated[tuple[float | None, ...], one_or_more(_NUCLEUS)] = (None,)
    cost: Annotated[float | None, number(0)] = None


def of_messages(name: str, messages: Sequence[Message], wrong: Callable[[str, str], ValueError]) -> Prompt:
    """A prompt of whole messages.

    Raises:
        ValueError: the first is not the system's alone, or the last not the user's.
    """
    first = messages[0].role == "system"
    rest = messages[1:] if first else messages
    for place, one in enumerate(rest, start=int(first)):
        if one.role == "system":
            raise wrong(f"messages[{place}].role", "is 'system'; only the first message can be the system's")
    if not rest or rest[-1].role != "user":
        raise wrong("messages", "do not end with one of the user, which the model answers")
    shots = tuple(Shot(one.role, one.content) for one in rest[:-1])
    return Prompt(name, rest[-1].content, messages[0].content if first else "", shots=shots)


def with_fields(
    prompt: Prompt, listed: Sequence[str] | None, hidden: Mapping[str, str], wrong: Callable[[str, str], ValueError]
) -> Prompt:
    """The prompt with the fields that it has slots for.

    Those that are listed, where a list is given: all other braces mean nothing. Without one a prompt with {query} has
    no others, and one without has a field for everything in braces that can be a name.

    Args:
        prompt: its slots are looked for; fields that it has stay.
        listed: columns that prompts may show; None where nothing is said.
        hidden: columns that no prompt shows unless it is listed, with what they are.
        wrong: makes the error about one of its keys.

    Raises:
        ValueError: it would show a hidden column.
    """
    text = prompt.text + prompt.system + "".join(turn.content for turn in prompt.shots)
    guessed = () if listed is not None or SLOT in text else _ANY_SLOT.findall(text)
    own, shown = prompt.fields or guessed, listed or ()
    for name in own:
        if name in hidden and name not in shown:
            said = f"has a {{{name}}} slot, the column of {hidden[name]}; where prompts may show it, or the braces are "
            raise wrong("text", f"{said}not a slot, list the columns that prompts show in queries.fields")
    also = (name for name in shown if f"{{{name}}}" in text and name != "query")
    return replace(prompt, fields=tuple(dict.fromkeys((*own, *also))))
