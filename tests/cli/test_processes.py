"""A worker process that is killed is replaced; none outlives its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest
from commands import alive, hearing

from sim.cli import common, workers
from sim.cli.processes import MOST_TRIES, Processes
from sim.whole import whole

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture
def pool() -> Iterator[Processes]:
    made = Processes(2, workers._begin_worker, (None, None))
    try:
        yield made
    finally:
        made.shutdown(cancel_futures=True)


def tries(file: Path, deadly: int) -> int:
    """Which try this is; the first `deadly` tries end their process."""
    with file.open("a") as kept:
        kept.write("x")
    if file.stat().st_size <= deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return file.stat().st_size


def test_what_a_killed_process_computed_is_computed_again(pool: Processes, tmp_path: Path):
    """And nothing else is: the task beside it is done once. Seen to fail with a plain `ProcessPoolExecutor`."""
    found = [pool.submit(tries, tmp_path / str(deadly), deadly) for deadly in (0, 1, MOST_TRIES - 1)]
    assert [one.result(60) for one in found] == [1, 2, MOST_TRIES]


def test_a_task_that_ends_every_process_is_given_up(pool: Processes, tmp_path: Path):
    given_up, fine = (pool.submit(tries, tmp_path / str(deadly), deadly) for deadly in (10, 0))
    with pytest.raises(ChildProcessError, match=f"{MOST_TRIES} worker processes ended over the same part of the work"):
        given_up.result(60)
    assert (tmp_path / "10").stat().st_size == MOST_TRIES
    assert fine.result(60) == 1


def test_an_idle_process_that_is_killed_is_replaced(pool: Processes):
    for _ in range(2):
        first = pool.submit(os.getpid).result(60)
        os.kill(first, signal.SIGKILL)
    assert pool.submit(os.getpid).result(60) != first


def test_what_waits_is_computed_before_the_end(tmp_path: Path):
    made = Processes(1, workers._begin_worker, (None, None))
    found = [made.submit(tries, tmp_path / str(number), 0) for number in range(3)]
    made.shutdown()
    assert [one.result(0) for one in found] == [1, 1, 1]
    with pytest.raises(RuntimeError, match="after the end"):
        made.submit(os.getpid)


def test_a_task_that_comes_after_the_kill_says_nothing():
    """The main thread may still add tasks while another ends the process. Seen to fail: a traceback is printed."""
    made = Processes(1, workers._begin_worker, (None, None))
    made.kill()
    assert not made.submit(os.getpid).done()


def test_a_complaint_of_another_process_is_a_sentence_and_a_bug_is_not(pool: Processes):
    """Of the complaint only the text of the traceback comes back. Seen to fail by this process's own frames alone."""
    complaint, bug = pool.submit(whole, "no number"), pool.submit(int, "x")
    wait([complaint, bug])
    for future, ours in ((complaint, True), (bug, False)):
        error = future.exception()
        assert isinstance(error, ValueError)
        with pytest.raises(ValueError, match=r"no number|invalid literal") as raised:
            raise error
        assert common._is_ours(raised.value) is ours


PARENT = """
import os, time
from sim.cli import interrupt, workers
from commands import hold
if __name__ == "__main__":
    interrupt.install()
    with workers.pool(2, None, None) as pool:
        print("begun", flush=True)
        for _ in range(2):
            pool.submit(hold)
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("early", [True, False])
def test_no_process_outlives_its_parent(number: int, early: bool, tmp_path: Path):
    """Nor does the folder of compiled programs, even where the parent is killed; nobody says more than one sentence.

    The early signal comes before any worker has begun; seen to leave a folder that the parent made.
    """
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    with hearing():
        begun = subprocess.Popen(
            [sys.executable, str(program)],
            env=os.environ | {"PYTHONPATH": search, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
    assert begun.stdout is not None
    assert begun.stdout.readline() == "begun\n"
    children = [] if early else [int(begun.stdout.readline()) for _ in range(2)]
    assert early or len(list(tmp_path.glob("iapo-*"))) == 1
    if number == signal.SIGKILL:
        begun.kill()
    else:
        os.killpg(begun.pid, number)  # as a terminal does
    _, said = begun.communicate(timeout=30)  # which ends when all that could write has ended
    if number == signal.SIGINT or not early:  # else Python's own start of a process may miss what it was to be sent
        assert said == ("" if number == signal.SIGKILL else "stopped\n")
    assert begun.returncode == (130 if number == signal.SIGINT else -number)
    assert [child for child in children if alive(child)] == []
    assert list(tmp_path.glob("iapo-*")) == []
