"""Processes that compute: one that is killed is replaced, and what it was computing is computed again."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from sim.cli import interrupt

MOST_TRIES = 3
"""Processes that may end over a task before it is given up."""
_GIVEN_UP = (
    f"{MOST_TRIES} worker processes ended over the same part of the work, killed from outside or for want of memory; "
    "what is finished is kept; fewer --workers, or a smaller --chunk, need less memory"
)


class _Task(NamedTuple):
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    future: Future[Any]
    lost: int
    """Processes that ended while they computed it."""


class Processes(Executor):
    """Like a `ProcessPoolExecutor`, made of pools of one process each.

    A process that ends in the middle of its task (killed, or out of memory) takes nothing else with it, and it is known
    which task it was. A task over which `MOST_TRIES` processes ended fails with a ChildProcessError.
    """

    def __init__(self, workers: int, begin: Callable[..., None], arguments: tuple[Any, ...]):
        """Begin no process yet; each will call `begin(*arguments)` first."""
        from multiprocessing import get_context, resource_tracker

        self._begin, self._context = (begin, arguments), get_context("spawn")
        self._idle: list[ProcessPoolExecutor | None] = [None] * workers
        """None: a process that is not begun."""
        self._all: list[ProcessPoolExecutor] = []
        self._waiting: deque[_Task] = deque()
        self._open: set[Future[Any]] = set()
        self._lock = threading.RLock()
        self._closed = self._killed = False
        if os.name == "posix":
            with interrupt.held(), _quiet():
                resource_tracker.ensure_running()  # which would unblock signals if it began later

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Compute something as soon as a process is idle. After `kill` it is never computed: this process is ending."""
        future: Future[Any] = Future()
        with self._lock:
            if self._killed:
                return future
            if self._closed:
                raise RuntimeError("no task can be added after the end")
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            self._waiting.append(_Task(fn, args, kwargs, future, 0))
            self._go_on()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once their work is done."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting) if cancel_futures else []
        for task in waiting:
            task.future.cancel()
        if wait:
            futures.wait(list(self._open))
        for pool in self._all:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the processes now, whatever they do. Takes no lock: this may be the last act of a process."""
        self._closed = self._killed = True
        for pool in list(self._all):
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                with suppress(Exception):  # it may be ending by itself
                    process.kill()

    def _go_on(self) -> None:
        """Give waiting tasks to idle processes."""
        while self._idle and self._waiting and not self._killed:
            task = self._waiting.popleft()
            if not task.future.running() and not task.future.set_running_or_notify_cancel():
                continue
            pool = self._idle.pop() or self._new()
            try:
                with interrupt.held(), _unheard():
                    inner = pool.submit(task.call, *task.arguments, **task.named)
            except BrokenProcessPool:  # its process ended while it was idle
                self._idle.append(None)
                self._waiting.appendleft(task)
                continue
            inner.add_done_callback(partial(self._done, pool, task))

    def _new(self) -> ProcessPoolExecutor:
        begin, arguments = self._begin
        pool = ProcessPoolExecutor(1, self._context, begin, arguments)
        self._all.append(pool)
        return pool

    def _done(self, pool: ProcessPoolExecutor, task: _Task, inner: Future[Any]) -> None:
        """Hand on what a process found, or replace the process and try again."""
        error = None if inner.cancelled() else inner.exception()
        broken = isinstance(error, BrokenProcessPool)
        with self._lock:
            self._idle.append(None if broken else pool)
            again = broken and task.lost + 1 < MOST_TRIES and not self._killed
            if again:
                self._waiting.appendleft(task._replace(lost=task.lost + 1))
            self._go_on()
        if again:
            return
        if broken:
            task.future.set_exception(ChildProcessError(_GIVEN_UP))
        elif error is not None:
            task.future.set_exception(error)
        elif inner.cancelled():
            task.future.set_exception(CancelledError())
        else:
            task.future.set_result(inner.result())


@contextmanager
def _quiet() -> Iterator[None]:
    """The process that removes what killed processes leave does so without a word."""
    name = "PYTHONWARNINGS"
    before = os.environ.get(name)
    os.environ[name] = ",".join([*filter(None, [before]), "ignore:resource_tracker:UserWarning"])
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _unheard() -> Iterator[None]:
    """Threads and processes that begin in here never hear Ctrl-C, which is left to this process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
