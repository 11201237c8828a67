"""Modules of a user's own, written and imported while a test runs."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sim import plugins


@contextmanager
def forgotten() -> Iterator[None]:
    """Forget afterwards all files of temporary folders that were brought along meanwhile, as a new process would."""
    modules, files = set(sys.modules), dict(plugins._modules)
    finders, folders = sys.meta_path[:], plugins._beside.folders[:]
    yield
    for name in set(sys.modules) - modules:
        if "/pytest-" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.meta_path[:], plugins._beside.folders[:] = finders, folders
    plugins._modules.clear()
    plugins._modules.update(files)


class Folder:
    """A folder among those that modules are imported from."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        path.mkdir()
        monkeypatch.syspath_prepend(str(path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would be reused within a second

    def write(self, **texts: str) -> None:
        """Write modules; `a__b` is the module b of the package a, `a__` the package itself."""
        for name, text in texts.items():
            package, dunder, inner = name.partition("__")
            file = self.path / package / f"{inner or '__init__'}.py" if dunder else self.path / f"{name}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)

    def load(self, name: str) -> Any:
        """Import a module as a new process would."""
        self.forget()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def forget(self) -> None:
        """Unload the modules of this folder."""
        for known, module in list(sys.modules.items()):
            if str(self.path) in f"{getattr(module, '__file__', '')} {getattr(module, '__path__', '')}":
                del sys.modules[known]
