"""Ctrl-C and SIGTERM end a command at once, whatever the main thread does, with one sentence."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import hearing

from sim.cli import interrupt

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

START = """
import sys, threading, time
from sim.cli import interrupt
def ready():
    print("ready", flush=True)
interrupt.install()
interrupt.last_words(lambda: "stopped: 1 of 2 cells")
"""
SWALLOWED = """
while True:
    try:
        ready()
        while True:
            time.sleep(0.01)
    except BaseException:
        pass
"""
IN_A_DESTRUCTOR = """
class Slow:
    def __del__(self):
        ready()
        time.sleep(60)
del Slow
Slow = type("Slow", (), {"__del__": lambda self: (ready(), time.sleep(60))})
Slow()
time.sleep(60)
"""
IN_A_CALLBACK = """
import ctypes
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
items = (ctypes.c_int * 2)(2, 1)
def compare(a, b):
    ready()
    time.sleep(60)
    return 0
ctypes.CDLL(None).qsort(items, ctypes.c_size_t(2), ctypes.c_size_t(4), kind(compare))
time.sleep(60)
"""
WAITING_FOR_A_LOCK = """
lock = threading.Lock()
lock.acquire()
threading.Thread(target=lambda: time.sleep(60)).start()  # no daemon: the interpreter would wait for it
ready()
lock.acquire()
"""
AT_THE_END_OF_A_POOL = """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
pool.submit(time.sleep, 60)
ready()
"""
WHERE = [SWALLOWED, IN_A_DESTRUCTOR, IN_A_CALLBACK, WAITING_FOR_A_LOCK, AT_THE_END_OF_A_POOL]
NAMES = ["swallowed", "destructor", "callback", "lock", "pool"]

GENTLE = """
try:
    with interrupt.gently():
        ready()
        time.sleep(60)
except KeyboardInterrupt:
    print("unwound", flush=True)
    interrupt.told()
    print("stopped; all is kept", file=sys.stderr)
    try:
        sys.exit(130)
    finally:  # as `main` does
        interrupt.finish(130)
"""
STUCK = """
try:
    with interrupt.gently():
        ready()
        time.sleep(60)
except KeyboardInterrupt:
    time.sleep(60)
"""


def begin(program: str, ignored: bool = False) -> "subprocess.Popen[str]":
    """A process that runs a program, up to where it says that it is ready."""
    with hearing(ignored):
        begun = subprocess.Popen(
            [sys.executable, "-c", START + program],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert begun.stdout is not None
    assert begun.stdout.readline() == "ready\n"
    return begun


def ended(begun: "subprocess.Popen[str]", *signals: int) -> tuple[int, str, str, float]:
    """Its exit code, what it said on both streams, and the seconds from the first signal to its end."""
    start = time.monotonic()
    for number in signals:
        begun.send_signal(number)
        time.sleep(0.05)
    out, err = begun.communicate(timeout=30)
    return begun.returncode, out, err, time.monotonic() - start


@pytest.mark.parametrize("program", WHERE, ids=NAMES)
def test_a_signal_ends_whatever_the_main_thread_does(program: str):
    """Seen to fail for each of them where the signal raises a KeyboardInterrupt."""
    code, _, said, seconds = ended(begin(program), signal.SIGINT)
    assert (code, said) == (130, "stopped: 1 of 2 cells\n")
    assert seconds < 2


def test_sigterm_ends_with_its_own_code():
    assert ended(begin("ready()\ntime.sleep(60)"), signal.SIGTERM)[:3] == (143, "", "stopped: 1 of 2 cells\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_asks_for_it_is_unwound(number: int, code: int):
    assert ended(begin(GENTLE), number)[:3] == (code, "unwound\n", "stopped; all is kept\n")


def test_what_does_not_unwind_is_ended_in_time_and_at_once_by_a_second_signal():
    code, _, said, seconds = ended(begin(STUCK), signal.SIGINT)
    assert (code, said) == (130, "stopped: 1 of 2 cells\n")
    assert interrupt.GRACE <= seconds < 2
    code, _, said, seconds = ended(begin(STUCK), signal.SIGINT, signal.SIGINT)
    assert (code, said) == (130, "stopped: 1 of 2 cells\n")
    assert seconds < interrupt.GRACE


def test_after_the_work_a_signal_changes_neither_the_code_nor_what_is_said():
    """While threads are waited for, and when the interpreter has stopped all of them."""
    at_exit = "import atexit\natexit.register(lambda: (ready(), time.sleep(60)))\ninterrupt.finish(0)"
    assert ended(begin(at_exit), signal.SIGINT)[:3] == (0, "", "")
    late = """
import os
class Late:
    def __del__(self, write=os.write, now=time.monotonic):
        write(1, b"ready\\n")
        end = now() + 0.3
        while now() < end:
            pass
sys.late = Late()
interrupt.finish(0)
"""
    assert ended(begin(late), signal.SIGINT)[:3] == (0, "", "")


def test_the_sentence_is_said_once_while_handlers_are_exchanged():
    """The signal comes when the thread that ends the process is there, and the first handler still is.

    Seen to be said twice where signals are not blocked meanwhile; the exit is slow here so that it always is.
    """
    program = """
import os, signal, time
from sim import cli
cli._be_ready()
from sim.cli import interrupt
at_once, known = os._exit, signal.getsignal
os._exit = lambda code: (time.sleep(0.3), at_once(code))
signal.getsignal = lambda number: (os.kill(os.getpid(), signal.SIGINT), known(number))[1]
interrupt.install()
time.sleep(60)
"""
    with hearing():
        ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (130, "stopped\n")


def test_a_short_piece_of_work_is_not_cut_in_two():
    held = """
def work():
    with interrupt.held():
        ready()
        time.sleep(0.3)
        print("whole", flush=True)
    time.sleep(60)
work()
"""
    assert ended(begin(held), signal.SIGINT)[:3] == (130, "whole\n", "stopped: 1 of 2 cells\n")


def test_what_is_to_be_done_at_the_end_is_done_and_cannot_hang_it(tmp_path: Path):
    program = f"""
from pathlib import Path
file = Path({str(tmp_path)!r}, "temporary")
file.touch()
def hang():
    file.unlink()
    time.sleep(60)
with interrupt.ending(hang):
    ready()
    time.sleep(60)
"""
    code, _, _, seconds = ended(begin(program), signal.SIGINT)
    assert code == 130
    assert seconds < 2
    assert not (tmp_path / "temporary").exists()


def test_a_process_that_was_begun_to_ignore_ctrl_c_ignores_it():
    begun = begin("ready()\ntime.sleep(0.4)\nprint('done')", ignored=True)
    assert ended(begun, signal.SIGINT)[:3] == (0, "done\n", "")
