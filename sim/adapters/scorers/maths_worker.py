"""Reads mathematics in a process of its own, which may be killed at any moment: a JSON line in, a JSON line out.

Run as a script; needs math-verify and nothing of this project.
"""

import importlib
import json
import resource
import sys
from typing import Any

MEMORY = 2 * 2**30
"""Bytes that the process may address."""


def parse(text: str) -> list[Any]:
    """What math-verify reads in a text; its own alarms are off, for the parent keeps the time."""
    return importlib.import_module("math_verify").parse(text, parsing_timeout=None)


def parse_gold(gold: str) -> list[Any]:
    """A right answer, which may be LaTeX without the dollar signs that mark it in a text."""
    bare = "\\" in gold and "$" not in gold and "boxed" not in gold
    return parse(f"${gold}$" if bare else gold)


def canonical(parsed: list[Any]) -> str | None:
    """One string for every way to write a value: exact fractions for decimals, else the expression as printed."""
    if not parsed:
        return None
    sympy, first = importlib.import_module("sympy"), parsed[0]
    return str(sympy.Rational(str(first))) if isinstance(first, sympy.Float | sympy.Rational) else str(first)


def answer(gold: str | None, text: str) -> dict[str, Any]:
    """Label of a completion, and whether it equals the right answer."""
    found = parse(text)
    if not found:
        return {"label": None, "right": None}
    verify = importlib.import_module("math_verify").verify
    right = None if gold is None else bool(verify(parse_gold(gold), found, timeout_seconds=None))
    return {"label": canonical(found), "right": right}


def main() -> None:
    """Answer line after line until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        task = json.loads(line)
        try:
            found = answer(task["gold"], task["text"])
        except Exception:  # whatever a strange expression makes the packages raise: it cannot be read
            found = {"label": None, "right": None}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
