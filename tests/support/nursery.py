"""Processes that begin at once: one imports everything, and forks for every line it is given.

As a program (python nursery.py MODULE) it reads JSON lists [errors, seconds, signal, argument, ..] and has a child call
MODULE.main with the arguments, its standard error going to the file `errors`; it sends the child the signal after so
many seconds, where there are any, and answers with the child's number, then its exit code and how many seconds it lived
after that signal. Nothing but imports happens before a fork:
there are no threads and no connections that a child could inherit.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from commands import hearing

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """Children that call a module's `main`, one at a time, with further environment variables.

    Attributes:
        took: seconds that the last child lived after the signal that it was sent; 0 where it was sent none.
    """

    def __init__(self, module: str, more: dict[str, str] | None = None):
        environment = (
            os.environ | (more or {}) | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
        )
        command = [sys.executable, str(Path(__file__)), module]
        with hearing():  # children of tests that run in the background too
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        self._child, self._begun = 0, threading.Event()
        self.took, self._killed = 0.0, 0.0

    def begin(
        self, errors: Path, *arguments: object, seconds: float | None = None, number: int = signal.SIGKILL
    ) -> None:
        """Begin a child, which is sent a signal after some seconds if it is not over by then."""
        assert self._process.stdin is not None
        self._begun.clear()
        self.took = self._killed = 0.0
        print(json.dumps([str(errors), seconds, number, *arguments]), file=self._process.stdin, flush=True)
        (self._child,) = map(int, self._line())
        self._begun.set()

    @property
    def child(self) -> int:
        """The number of the child's process."""
        return self._child

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the child a signal.

        A server's thread may ask for it before `begin` has returned: the child's number is waited for.
        """
        assert self._begun.wait(60)
        assert self._child > 0
        self._killed = time.monotonic()
        os.kill(self._child, number)

    def end(self) -> int:
        """Wait for the child; gives its exit code, negative for the signal that ended it."""
        code, took = self._line()
        self.took = float(took) or (time.monotonic() - self._killed if self._killed else 0.0)
        return int(code)

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _child(main: Any, errors: str, arguments: list[Any]) -> None:
    """Never returns."""
    code = 1
    try:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        main(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _end(child: int, seconds: float | None, number: int) -> tuple[int, float]:
    """How the child ended, which is sent a signal in time: its number is its own until it is waited for."""
    end = time.monotonic() + (seconds or 0.0)
    while seconds is not None and time.monotonic() < end:
        over, status = os.waitpid(child, os.WNOHANG)
        if over:
            return status, 0.0
        time.sleep(0.001)
    sent = time.monotonic()
    if seconds is not None:
        os.kill(child, number)
    status = os.waitpid(child, 0)[1]
    return status, time.monotonic() - sent if seconds is not None else 0.0


def _serve(module: str) -> None:
    main = importlib.import_module(module).main
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # jax warns of its threads; it has none yet
    gc.freeze()  # children that collect garbage would copy all that is imported
    for line in sys.stdin:
        assert threading.active_count() == 1
        errors, seconds, number, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(main, errors, arguments)
        print(child, flush=True)
        status, took = _end(child, seconds, number)
        print(os.waitstatus_to_exitcode(status), took, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
