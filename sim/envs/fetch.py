"""Fetches the environments that the paper's authors released, and checks that they are those.

Source: github.com/IAPO-AAAI25/IAPO-PSST, folder data. A file counts as the released one if its git blob
id, which the repository gives for it, is right; anything else is not kept.
"""

import contextlib
import difflib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from sim.envs.blobs import RELEASED, git_blob_id
from sim.envs.unpickle import MAX_BYTES
from sim.writing import write_whole

URL = "https://raw.githubusercontent.com/IAPO-AAAI25/IAPO-PSST/main/data"
"""Where the released files are: URL/NAME_final.pkl."""

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes so far and, where it is known, their final number."""


def fetch(
    names: Iterable[str],
    source: str | Path | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Bring released files to this machine and return where they are, in the order of `names`.

    A file that is already there and whole is left alone. A file appears under its name only after its
    git blob id was found right. Where one cannot be had, those that are in place stay, and the error says so; a
    folder that was made for none is removed.

    Args:
        names: names from `sim.envs.blobs.RELEASED`.
        source: a folder that holds the files, or another URL in the place of `URL`.
        folder: where to put them; `data_folder()` by default.
        progress: told about the bytes as they come.
    """
    names = list(names)
    for name in names:
        if name not in RELEASED:
            raise ValueError(f"unknown released file {name!r}; {_nearest(name)}known are {', '.join(RELEASED)}")
    folder = data_folder() if folder is None else folder
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    paths = [folder / f"{name}_final.pkl" for name in names]
    source = URL if source is None else str(source)
    done: list[str] = []
    try:
        for name, path in zip(names, paths, strict=True):
            if not (path.is_file() and git_blob_id(path) == RELEASED[name]):
                _fetch_one(path, source, RELEASED[name], progress)
            done.append(path.name)
    except ValueError as error:
        kept = f"; in place in {folder}: {', '.join(done)}" if done else ""
        raise ValueError(f"{error}{kept}") from error
    finally:
        if not done:
            _remove_empty(made)
    return paths


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost first, as long as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def data_folder() -> Path:
    """This user's folder for fetched files: XDG_DATA_HOME, or ~/.local/share, then iapo-testbed."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "iapo-testbed"


def _fetch_one(path: Path, source: str, blob: str, progress: Progress | None) -> None:
    def write(file: BinaryIO) -> None:
        if "://" in source:
            _download(f"{source.rstrip('/')}/{path.name}", file, path.name, progress)
        else:
            _copy(Path(source) / path.name, file)
        file.flush()
        found = git_blob_id(Path(file.name))
        if found != blob:
            raise ValueError(f"{path.name} from {source} has the git blob id {found}; expected {blob}; it was not kept")

    write_whole(path, write)


def _copy(path: Path, file: BinaryIO) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; the source must be a folder with the released files, or a URL")
    with path.open("rb") as content:
        shutil.copyfileobj(content, file)


def _download(url: str, file: BinaryIO, name: str, progress: Progress | None) -> None:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url}: only http and https URLs can be fetched; give a folder as a plain path")
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            while chunk := answer.read(2**16):
                received += len(chunk)
                if received > MAX_BYTES:
                    raise ValueError(f"{url}: sends more than {MAX_BYTES} bytes; it was not kept")
                file.write(chunk)
                if progress is not None:
                    progress(name, received, total)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise ValueError(f"{url}: cannot be fetched ({reason}); `--from` takes a folder with the files") from error
    if total is not None and received != total:
        raise ValueError(f"{url}: ended after {received} of {total} bytes; try again, or give a folder with `--from`")


def _nearest(name: str) -> str:
    known = {entry.casefold(): entry for entry in RELEASED}
    stem = name.casefold().removesuffix(".pkl").removesuffix("_final")
    near = difflib.get_close_matches(stem, known, n=1, cutoff=0.5)
    return f"did you mean {known[near[0]]!r}? " if near else ""
