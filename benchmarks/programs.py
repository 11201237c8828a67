"""Counts of what a compiler is given and gives back: operations of a lowered program, kernels of an optimised one.

Counts say what a change costs without a clock: they are the same on every machine that has the same version of JAX.
"""

import re
from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sim.core import Algorithm, Source
from sim.engine import fused
from sim.kernels import counter

LANES, SLOTS = 64, 1024
"""Trials in progress and trials of a call; they change shapes, hardly counts."""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy", "after-all", "partition-id"}
"""Operations of an optimised program that are no code of their own, or a plain copy."""
CONTROL = {"while", "conditional", "call"}
"""Operations that lead to other computations."""
TRACED = "/jax/core/compile/jaxpr_trace_duration"
"""JAX's name of the event that a function was traced."""


class Kernels(NamedTuple):
    """Parts of an optimised program.

    Attributes:
        kernels: fusions, sorts, calls of a library and single operations: what is compiled to code of its own.
        loops: while loops.
        branches: conditionals.
        sorts: sorts among the kernels.
        calls: custom calls among the kernels.
    """

    kernels: int
    loops: int
    branches: int
    sorts: int
    calls: int

    def __add__(self, other: Any) -> "Kernels":
        """The counts of two programs together."""
        return Kernels(*(a + b for a, b in zip(self, other, strict=True)))


def lowered(source: Source, algorithm: Algorithm, budget: int = 1, seed: int = 0) -> Any:
    """The program of `sim.engine.fused` that runs all rounds, before the compiler sees it. Nothing is run.

    Args:
        source: where worlds come from.
        algorithm: what would be run.
        budget: completions T, which is data.
        seed: root of randomness, which is data.
    """
    numbers = (jnp.int32(budget), counter.from_seed(seed), jnp.int32(0), jnp.int32(0))
    return fused.compiled(fused.run, algorithm).lower(source, algorithm.traced(), *numbers, SLOTS, LANES)


def operations(text: str) -> int:
    """Operations in a lowered program's text (StableHLO): lines that name a result."""
    return sum(1 for _ in re.finditer(r"^\s+%\S+ = ", text, re.MULTILINE))


def kernels(text: str) -> Kernels:
    """Kernels, loops and branches in an optimised program's text (HLO).

    What a fusion, a sort or a reduction holds is part of it and not counted again.
    """
    found = _computations(text)
    held = {inner for operations in found.values() for name, line in operations for inner in _held(name, line)}
    counts = Counter(name for title, operations in found.items() if title not in held for name, _ in operations)
    work = sum(number for name, number in counts.items() if name not in FREE | CONTROL)
    return Kernels(work, counts["while"], counts["conditional"], counts["sort"], counts["custom-call"])


def traces(source: Source, algorithm: Algorithm, budget: int, seed: int) -> int:
    """Functions that JAX traces while an algorithm is lowered: none if an equal one was, whatever budget and seed."""
    seen: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        lowered(source, algorithm, budget, seed)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    return seen.count(TRACED)


def _computations(text: str) -> dict[str, list[tuple[str, str]]]:
    """Of every computation the name and text of each of its operations."""
    found: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        part = re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = .*?(?<=[\])} ])\s*([a-z][a-z0-9\-]*)\(", line)
        if head:
            title = head[1]
            found[title] = []
        elif part and title:
            found[title].append((part[1], line))
    return found


def _held(name: str, line: str) -> list[str]:
    """Computations that an operation holds as a part of itself."""
    return [] if name in CONTROL else re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", line)
