"""The `iapo` command as a user runs it: in a process group of its own, which can be signalled at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "import sys; from sim.cli import main; sys.exit(main())"
"""What the installed script does."""
TOLD = """
import sys
from sim import cli
be_ready = cli._be_ready
cli._be_ready = lambda: (be_ready(), print("ready", flush=True))
sys.exit(cli.main())
"""
"""The same, saying when signals are the command's: what the interpreter does before is not ours, and takes its time."""


@contextmanager
def hearing(ignored: bool = False) -> Iterator[None]:
    """Processes that begin in here hear Ctrl-C, or ignore it, however the tests were begun themselves.

    They are not told by a function between fork and exec: JAX, where a test has used it, warns of any code there.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Ended(NamedTuple):
    """How a command ended, and the seconds from a signal to its end."""

    code: int
    out: str
    err: str
    seconds: float


class Command:
    """A command under way.

    Attributes:
        pid: its number, and that of the group of all its processes.
    """

    def __init__(self, *arguments: object, cwd: Path, more: dict[str, str] | None = None, ready: bool = False):
        """Begin it; with `ready`, wait until signals are its own."""
        search = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
        with hearing():
            self._process = subprocess.Popen(
                [sys.executable, "-c", TOLD if ready else ENTRY, *map(str, arguments)],
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": search} | (more or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        self.pid = self._process.pid
        if ready:
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n"

    def send(self, number: int, to_all: bool = False) -> bool:
        """Send a signal, to all its processes as a terminal does or to the first one; whether it was not over."""
        if self._process.poll() is not None:
            return False
        os.killpg(self.pid, number) if to_all else os.kill(self.pid, number)
        return True

    def children(self) -> list[int]:
        """Processes of its group that still run, besides the first one."""
        return [process for process in running() if process != self.pid and group(process) == self.pid]

    def end(self, timeout: float = 600.0) -> Ended:
        """Wait for its end: of all its processes that hold its streams."""
        start = time.monotonic()
        code = self._process.wait(timeout)
        seconds = time.monotonic() - start
        out, err = self._process.communicate(timeout=timeout)
        return Ended(code, out, err, seconds)


def running() -> list[int]:
    """All processes of this machine that are not over."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and alive(int(path.name))]


def alive(process: int) -> bool:
    """Whether a process runs: one that is over may wait for its parent to look."""
    return _stat(process)[:1] not in ([], ["Z"], ["X"])


def group(process: int) -> int:
    """The process group of a process, 0 where it is gone."""
    found = _stat(process)
    return int(found[2]) if found else 0


def _stat(process: int) -> list[str]:
    """State, parent, group, ... of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def hold() -> None:
    """Say who computes, and go on for long."""
    print(os.getpid(), flush=True)
    time.sleep(60)
