"""Workers that compute cells: this process, a pool of processes, or those of a Dask scheduler."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any

import typer

from sim.cli import interrupt, options, programs

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        parser=options.whole,
        metavar="N",
        help="Processes that share the work.",
        show_default="one per core, at most 8",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEDULER",
        help="Compute on the workers of this Dask scheduler instead: its address, or its scheduler file (.json). They "
        "need this package and the same files; start them with one thread each. Extra `cluster`.",
        show_default="none",
    ),
]
CacheDir = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Keep compiled programs here for later commands; none: only until this one ends.",
        envvar=programs.VARIABLE,
        show_default="this user's cache folder",
    ),
]

_PATIENCE = "10s"
"""How long a scheduler may take to answer."""


@contextmanager
def pool(workers: int | None, dask: str | None, cache_dir: str | Path | None) -> Iterator[Executor | None]:
    """Executor of cells; None for this process. Leaving it in a hurry ends what still runs.

    Processes share what they compile: in the folder of `programs.keep`, or in one that goes with them.

    Raises:
        ValueError: the options contradict each other, or Dask is not installed.
        OSError: no scheduler answers.
    """
    if dask is not None and workers is not None:
        raise ValueError("--workers and --dask exclude each other: the scheduler has workers of its own")
    workers = min(usable_cores(), 8) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    if dask is not None:
        with _cluster(dask, cache_dir) as executor:
            yield executor
        return
    kept = programs.keep(cache_dir)
    if workers == 1:
        yield None
        return
    with (
        _folder_of_programs() if kept is None else nullcontext() as passing,
        _processes(workers, kept, passing) as executor,
    ):
        yield executor


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def everywhere(name: str, dask: str | None) -> str:
    """The name of an environment or, where it names a file, a path that workers in other folders understand."""
    from sim import plugins

    if dask is None:
        return name
    return str(Path(name).resolve()) if Path(name).exists() else plugins.everywhere(name)


@contextmanager
def _processes(workers: int, kept: Path | None, passing: Path | None) -> Iterator[Executor]:
    from sim.cli.processes import Processes

    pool = Processes(workers, _begin_worker, (kept or passing, None if passing is None else str(passing)))
    with interrupt.ending(pool.kill):
        try:
            yield pool
        except BaseException:
            pool.kill()
            raise
        if passing is not None:
            _remove(passing)  # processes that still live do it where this one is killed
        pool.shutdown()


@contextmanager
def _folder_of_programs() -> Iterator[Path | None]:
    """A name in the temporary folder for compiled programs; None where no temporary folder can be written to.

    Workers make the folder, once they can be sure that it goes with them: this process may be killed at any moment.
    """
    try:
        made = Path(gettempdir(), f"iapo-{secrets.token_hex(8)}")
    except OSError:
        yield None
        return
    with interrupt.ending(lambda: _remove(made)):
        try:
            yield made
        finally:
            _remove(made)


def _remove(folder: Path) -> None:
    """Remove a folder that others may still write into."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.001)


@contextmanager
def _cluster(scheduler: str, cache_dir: str | Path | None) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--dask needs the package distributed; install iapo-testbed[cluster]") from None
    at_file = scheduler.endswith(".json")
    if at_file and not Path(scheduler).is_file():
        raise ValueError(f"{scheduler}: no such scheduler file")
    where: dict[str, Any] = {"scheduler_file": scheduler} if at_file else {"address": scheduler}
    try:
        client = Client(**where, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler} ({error})") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise ValueError(f"the Dask scheduler at {scheduler} has no workers yet; start some with `dask worker`")
        client.run(_keep_there, cache_dir)
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False)  # cancels
            raise


def _keep_there(cache_dir: str | Path | None) -> None:
    """`programs.keep` on a worker of a scheduler, in whose folders nobody else's mistakes are complained about."""
    with suppress(ValueError):
        programs.keep(cache_dir)


def _begin_worker(folder: Path | None, passing: str | None) -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however it ends; the folder of programs goes too."""
    import multiprocessing
    import signal
    import threading

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            if passing is not None:
                _remove(Path(passing))
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if passing is not None:
        with suppress(OSError):  # then every process compiles for itself
            Path(passing).mkdir(mode=0o700, exist_ok=True)
    threading.Thread(target=follow, daemon=True).start()
    if folder is not None:
        programs.use(folder)
