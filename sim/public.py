"""Public names of a package, imported when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names live in its rooms.

    Args:
        package: its name.
        homes: public name -> `module` or `module:name`.
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; public are {', '.join(homes)}")
        home, _, inner = homes[name].partition(":")
        module = import_module(home)
        return getattr(module, inner) if inner else module

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return fetch, names
