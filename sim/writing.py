"""Files that appear whole or not at all, and text that UTF-8 can hold."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

PARTS: set[Path] = set()
"""Files that `write_whole` is writing: to be removed by whoever ends the process in the middle of it."""


def write_whole(path: Path, write: Callable[[BinaryIO], T]) -> T:
    """Write a file that appears whole or not at all: beside its place first, then renamed.

    Args:
        path: the file.
        write: puts the content into an open file.

    Returns:
        The answer of `write`.

    Raises:
        ValueError: the folder is missing, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    PARTS.add(part)
    try:
        with part.open("wb") as file:
            given = write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        return given
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
        PARTS.discard(part)


def escape(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates become the six characters of their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
