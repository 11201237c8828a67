"""Ctrl-C and SIGTERM: a command ends at once, with one sentence and exit code 130 or 143.

No KeyboardInterrupt is raised: imports, compiled code and destructors swallow it, or crash on it. A thread that the
signal wakes ends the process instead, whatever the main thread is doing. Nothing is lost by that, because results
appear whole or not at all. Work that must be unwound, such as a live run, asks for the exception (`gently`) and has
`GRACE` seconds. Where there are no POSIX signals a KeyboardInterrupt stays what it is.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

INTERRUPTED, TERMINATED = 130, 143
GRACE = 1.5
"""Seconds for what is unwound, or must not be cut in two."""

_CODES = {int(signal.SIGINT): INTERRUPTED, int(signal.SIGTERM): TERMINATED}
_CLEANING = 0.4
"""Seconds for ending children and removing temporary files."""


class _State:
    """One for the process: signals are the process's."""

    def __init__(self) -> None:
        self.installed = False
        self.gentle = False
        self.code: int | None = None
        """Exit code for the signal that came; None before one."""
        self.over: int | None = None
        """Exit code of the command when its work is done; None before."""
        self.told = False
        self.words: Callable[[], str] = lambda: "stopped"
        self.endings: list[Callable[[], object]] = []
        self.held = threading.RLock()


_state = _State()


def install() -> None:
    """From now on Ctrl-C and SIGTERM end this process. To be called first, by the main thread of a command.

    A signal that this process was begun to ignore (by nohup, say) stays ignored.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread() or _state.installed:
        return
    _state.installed = True
    _open_standard_streams()
    ours, signals = os.pipe()
    os.set_blocking(signals, False)
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, _CODES
    )  # else the handler that goes would speak beside the thread
    signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours,), name="signals", daemon=True).start()
    for number in _CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_to_the_thread)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.register(_ignore)  # the first to be registered runs last


def finish(code: int) -> None:
    """The work is done: a signal from now on ends the process with this exit code, and nothing is said."""
    with _state.held:  # for ever where the process is being ended
        _state.over = code
        if _state.code == TERMINATED and code == INTERRUPTED:
            code = TERMINATED
        if _state.code is not None:  # threads that are still at it are not waited for
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)


def last_words(words: Callable[[], str]) -> None:
    """Set the last words of a command that is ended; another thread calls them, so they only format what they have."""
    _state.words = words


@contextmanager
def ending(work: Callable[[], object]) -> Iterator[None]:
    """Work for the end of the process if it is ended in here: killing children, removing temporary files."""
    _state.endings.append(work)
    try:
        yield
    finally:
        _state.endings.remove(work)


@contextmanager
def held() -> Iterator[None]:
    """Hold off the end of the process, `GRACE` seconds at most: work in here is not cut in two.

    For what takes milliseconds; once the end has begun nobody gets in.
    """
    with _state.held:
        yield


@contextmanager
def gently() -> Iterator[None]:
    """In here a signal raises a KeyboardInterrupt in the main thread (`asyncio.Runner` cancels its task instead).

    The process is ended if it is not over `GRACE` seconds later, or at a second signal.
    """
    if not _state.installed or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    _state.gentle = True
    unwinding = False
    try:
        yield
    except KeyboardInterrupt:
        unwinding = True  # which still has its time, though the thread may not have looked yet
        raise
    finally:
        _state.gentle = unwinding or _state.code is not None
        signal.signal(signal.SIGINT, before)


def told() -> None:
    """The command is about to say how it ends: the end of the process says nothing more, or has begun."""
    with _state.held:
        _state.told = True


def _open_standard_streams() -> None:
    """Give closed standard streams to nobody, so that no file or pipe gets their numbers and what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _leave_to_the_thread(number: int, frame: object) -> None:
    """A handler must be there for the signal to wake the thread."""


def _ignore() -> None:
    """While the interpreter shuts down no thread would be there to wake."""
    for number in _CODES:
        if signal.getsignal(number) is _leave_to_the_thread:
            signal.signal(number, signal.SIG_IGN)


def _watch(ours: int) -> None:
    """Wait for signals, each of which arrives as a byte, and end the process in time."""
    deadline, again = None, False
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not select.select([ours], [], [], left)[0]:
            break
        number = os.read(ours, 1)[0]
        if number not in _CODES:
            continue
        if number == signal.SIGINT and again:
            again = False
            continue
        gentle = _state.gentle and _state.code is None and _state.over is None
        _state.code = _state.code or _CODES[number]
        if not gentle:
            break
        deadline = time.monotonic() + GRACE
        if number != signal.SIGINT:  # which alone raises
            again = True
            os.kill(os.getpid(), signal.SIGINT)
    _end(_state.code or INTERRUPTED)


def _end(code: int) -> None:
    """End the process. Never returns; whatever of its last acts takes too long is left out."""
    _state.held.acquire(timeout=GRACE)  # never released: nobody begins anything now
    try:
        last = threading.Thread(target=_last_acts, daemon=True)
        last.start()
        last.join(_CLEANING)
    finally:
        os._exit(code if _state.over is None else _state.over)


def _last_acts() -> None:
    writing = sys.modules.get("sim.writing")
    for part in list(writing.PARTS) if writing else ():
        with suppress(OSError):
            os.unlink(part)
    for work in reversed(_state.endings):
        with suppress(Exception):
            work()
    if _state.told or _state.over is not None:
        return
    text = "stopped"
    with suppress(Exception):
        text = " ".join(_state.words().split())
    with suppress(OSError):
        start = b"\x1b[?25h\n" if os.isatty(2) else b""  # a bar hides the cursor, and Ctrl-C shows as ^C
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        os.write(2, start + text.encode(encoding, "backslashreplace") + b"\n")
