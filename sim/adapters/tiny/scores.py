"""Two objectives that pull apart, coverage and brevity: what a run file scores completions by, as `scores.py:coverage`.

A query is notes with their importance, "3 bridge closed ; 7 market open"; a completion passes some of them on. Both
functions read the query, so that `iapo ask` can score completions of a new one. A blank completion has no score.
"""

import re

NOTE = re.compile(r"(\d) (\w+ \w+)")
"""Importance of a note, and its two words."""
MOST_WORDS = 24
"""A completion of so many words, or more, is not brief at all."""


def coverage(query: str, gold: str | None, completion: str) -> float | None:
    """Share of the notes that a completion mentions word for word, by importance: 0 to 1.

    Raises:
        ValueError: the query has no notes.

    Example:
        >>> from sim.adapters.tiny.scores import coverage
        >>> coverage("3 bridge closed ; 7 market open", None, "Dear all: market open, and bridge late.")
        0.7
    """
    notes = NOTE.findall(query)
    if not notes:
        raise ValueError(f"the query {query[:80]!r} has no note such as '3 bridge closed'")
    words = _words(completion)
    text = f" {' '.join(words)} "
    told = sum(int(importance) for importance, note in notes if f" {note} " in text)
    return told / sum(int(importance) for importance, _ in notes) if words else None


def brevity(query: str, gold: str | None, completion: str) -> float | None:
    """One less the words of a completion in parts of `MOST_WORDS`, 0 at least.

    Example:
        >>> from sim.adapters.tiny.scores import brevity
        >>> brevity("3 bridge closed", None, "bridge closed , market open , train late")
        0.75
    """
    words = _words(completion)
    return max(0.0, 1 - len(words) / MOST_WORDS) if words else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
