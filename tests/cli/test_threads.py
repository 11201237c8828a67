"""XLA computes in one thread in commands and in the processes that share their work, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

from sim.comparison import api

SAYS = """
import atexit, os, sys
atexit.register(lambda: print(os.environ["NPROC"]))
sys.argv = ["iapo", "--version"]
from sim.cli import main
main()
"""


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("3", "3")])
def test_commands_have_one_thread_unless_told(given: str | None, threads: str) -> None:
    """Seen to fail without the setting, and with one that overrides the user's."""
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    environment |= {} if given is None else {"NPROC": given}
    said = subprocess.run(
        [sys.executable, "-c", SAYS], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert said.splitlines()[-1] == threads


def test_processes_of_a_comparison_in_python_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the initializer."""
    monkeypatch.delenv("NPROC")
    with api._pool(2) as pool:
        assert pool is not None
        assert pool.submit(subprocess.check_output, ["printenv", "NPROC"]).result() == b"1\n"
