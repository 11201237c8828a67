"""Folder of compiled programs: what one command compiled, later ones find. It changes speed, never results.

By default it is this user's own, in XDG_CACHE_HOME or ~/.cache (~/Library/Caches, LOCALAPPDATA), with one folder inside
for every kind of processor and every version of the compiler and of this package. Where that cannot be private and
written to, or the compiler refuses what it wrote itself (github.com/jax-ml/jax/issues/38445), nothing is kept.
"""

import hashlib
import os
import platform
import shutil
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

VARIABLE = "IAPO_CACHE_DIR"
"""Environment variable that says what --cache-dir would."""
NONE = "none"
MOST_BYTES = 2**29
"""Beyond it the oldest programs go, down to half."""
MOST_DAYS = 30
"""Folders of other processors and versions go when they were not used for so long."""
_HIT = "/jax/compilation_cache/cache_hits"
_FOLDER, _LEAST = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


def keep(given: str | Path | None = None) -> Path | None:
    """Look for programs in a folder before they are compiled, and keep new ones there, from here on in this process.

    Args:
        given: the folder, or "none"; None for what the environment says, else for this user's own folder.

    Returns:
        The folder; None where nothing is kept.

    Raises:
        ValueError: a folder that was asked for cannot be written to.
    """
    asked, said_by = (given, "--cache-dir") if given is not None else (os.environ.get(VARIABLE) or None, VARIABLE)
    if asked is not None and str(asked) == NONE:
        return None
    import jax

    if asked is not None:
        folder = _writable(Path(asked), said_by)
    elif (chosen := getattr(jax.config, _FOLDER)) is not None:  # somebody's choice already
        return Path(chosen)
    else:
        folder = own_folder()
    if folder is None or not _accepted(folder):
        return None
    use(folder)
    return folder


def use(folder: Path) -> None:
    """Keep every program that is compiled from here on in a folder that is known to be fit for it."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    # such a program is compiled again, and a full disk is said where results are written
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    jax.config.update(_FOLDER, str(folder))
    jax.config.update(_LEAST, 0.0)
    compilation_cache.reset_cache()  # it remembers that there was none


def own_folder() -> Path | None:
    """This user's folder for this processor and these versions, made if missing; None where none can be had."""
    try:
        home = _caches() / "iapo-testbed"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = home / _kind()
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (_private(home) and _private(folder)):
            return None
        with TemporaryFile(dir=folder):
            pass
        os.utime(folder)
    except (OSError, RuntimeError):  # the latter: this user has no home
        return None
    _tidy(home, folder)
    return folder


def _caches() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    return Path(base) if os.path.isabs(base) else Path.home() / ".cache"


def _kind() -> str:
    """A name for what a compiled program depends on besides its text."""
    flags = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), flags)
    found = (one for name in ("jaxlib", "iapo-testbed") for one in metadata.Distribution.discover(name=name))
    versions = (f"{one.name} {one.version}" for one in found)
    parts = (platform.machine(), flags, *versions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _private(folder: Path) -> bool:
    """Whether nobody else may put programs there, which would be run."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return False
    return os.name != "posix" or (found.st_uid == os.getuid() and not found.st_mode & 0o077)


def _writable(folder: Path, said_by: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{said_by} is {folder}, which cannot be written to ({error.strerror})") from None
    return folder


def _tidy(home: Path, folder: Path) -> None:
    """Remove the folders that nobody uses any more, and the oldest programs where they are too many."""
    now = time.time()
    with suppress(OSError):
        for other in home.iterdir():
            if other != folder and now - other.lstat().st_mtime > MOST_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
    with suppress(OSError):  # another command may tidy at the same time
        kept = sorted((one.stat().st_mtime, one.stat().st_size, one) for one in folder.iterdir())
        total = sum(size for _, size, _ in kept)
        over = total - MOST_BYTES // 2 if total > MOST_BYTES else 0
        for _, size, one in kept:
            if over <= 0:
                break
            one.unlink(missing_ok=True)
            over -= size


def _accepted(folder: Path) -> bool:
    """Whether the compiler reads back in silence what it wrote here; tried once; the answer is kept there."""
    import jax

    answers = {fits: folder / f"{jax.default_backend()}-{fits}" for fits in ("accepted", "refused")}
    for fits, answer in answers.items():
        if answer.exists():
            return fits == "accepted"
    with suppress(OSError):  # a full disk is no answer
        found = "accepted" if _reads_back(folder) else "refused"
        if found == "accepted" or any(folder.glob("*-cache")):
            answers[found].touch()
        return found == "accepted"
    return False


def _reads_back(folder: Path) -> bool:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    hits = []

    def note(event: str, **_: object) -> None:
        if event == _HIT:
            hits.append(event)

    def compile_one() -> None:
        def one(values: jax.Array) -> jax.Array:  # a new function every time, but the same program
            return values[values.argsort()] + 1

        jax.jit(one).lower(jax.ShapeDtypeStruct((64,), "float32")).compile()

    before = {name: getattr(jax.config, name) for name in (_FOLDER, _LEAST)}
    jax.monitoring.register_event_listener(note)
    try:
        with _silence() as said, warnings.catch_warnings():
            use(folder)
            compile_one()
            compile_one()
            return bool(hits) and not os.fstat(said.fileno()).st_size
    finally:
        jax.monitoring.unregister_event_listener(note)
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@contextmanager
def _silence() -> Iterator[IO[bytes]]:
    """A file that takes what is written to standard error meanwhile, by the compiler itself too."""
    with TemporaryFile() as taken:
        kept = os.dup(2)
        try:
            os.dup2(taken.fileno(), 2)
            yield taken
        finally:
            os.dup2(kept, 2)
            os.close(kept)
