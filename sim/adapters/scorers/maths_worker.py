"""Reads mathematics in a process of its own, which may be killed at any moment: a JSON line in, a JSON line out.

Run as a script; needs math-verify and nothing of this project.
"""

import functools
import importlib
import json
import re
import resource
import sys
from decimal import Decimal
from typing import Any

MEMORY = 2 * 2**30
"""Bytes that the process may address."""
_MISREAD = re.compile(
    r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|pi|ln|lg|oo|no)(?![A-Za-z])|\d(?:\s+\d|_\d{3})|\de[-+]?\d", re.IGNORECASE
)
"""Text that math-verify takes for a product of letters or of numbers: words, names of functions, 3 1/2, 1 000, 1e400.

Of 1_000 it reads 1. A base as in 52_8 is not read, but neither is it in completions.
"""


def parse(text: str) -> list[Any]:
    """Mathematics that math-verify reads in a text; its own alarms are off, for the parent keeps the time."""
    return importlib.import_module("math_verify").parse(text, parsing_timeout=None)


@functools.lru_cache(2**10)
def parse_gold(gold: str) -> list[Any]:
    r"""A right answer as math-verify reads it whole; empty where it would read something else, or a part of it.

    Text without dollar signs is mathematics too: `3x` is read as `$3x$` and as `\boxed{3x}`, which must agree, for in
    plain text math-verify takes the last number it finds, here 3. Of a worked solution what stands after #### counts,
    as GSM8K has it.
    """
    gold = gold.rpartition("####")[2]
    if gold.count("$") > 1 or "boxed" in gold or re.search(r"\\[(\[]", gold):
        return parse(gold)
    bare = _without_exponent(gold.replace("\\$", "").replace("$", "").strip().removesuffix("."))
    marked = parse(f"${bare}$")
    if "\\" in bare or not marked:
        return marked
    boxed = parse(f"\\boxed{{{bare}}}")
    lost = [one for one in re.findall(r"\d[A-Za-z]+", bare) if one not in marked[-1]]
    if isinstance(marked[0], str) or boxed[:1] != marked[:1] or lost:
        return []
    return [] if any(_MISREAD.search(one[-1]) for one in (marked, boxed)) else marked


def _without_exponent(text: str) -> str:
    """1.5e3, which would be 1.5 times Euler's number times 3, in plain notation."""
    return format(Decimal(text), "f") if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,2}", text) else text


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
