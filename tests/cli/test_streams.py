"""Closed streams, readers that leave, ASCII terminals, full disks, folders without leave to write: no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENTRY, ROOT
from typer.testing import CliRunner

from sim.cli import app, workers
from sim.comparison import tables

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")

LIST = ("journal", "list", "--help")
"""Says much and imports little."""


def iapo(*arguments: object, shell: str = 'exec "$@"', **streams: int) -> "subprocess.CompletedProcess[str]":
    """The command in a process, begun by a line of the shell."""
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", ENTRY, *map(str, arguments)]
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, text=True, check=False, **given)


def left() -> int:
    """A pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_reader_that_leaves_ends_nothing():
    writing = left()
    try:
        done = iapo(*LIST, stdout=writing)
        assert (done.returncode, done.stderr) == (0, "")
        assert iapo("no-such-command", stderr=writing).returncode == 2
    finally:
        os.close(writing)


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams_are_nobodys(closed: tuple[int, ...], tmp_path: Path):
    """No file gets the number of a closed stream, and with it what is printed."""
    shell = " ".join(['exec "$@"', *(f"{number}>&-" for number in closed)])
    done = iapo("tune", "--out", tmp_path / "run.toml", "--example", shell=shell)
    assert done.returncode == 0
    assert done.stdout.startswith("wrote") == (1 not in closed)
    assert "wrote" not in (tmp_path / "run.toml").read_text()
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_one_sentence():
    """Seen to be two sentences: what is left is written once more at the end."""
    with open("/dev/full", "w") as full:
        done = iapo(*LIST, stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    "more",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "C"],
)
def test_any_text_is_shown_where_only_ascii_is_known(more: dict[str, str]):
    """Seen to be a UnicodeEncodeError."""
    program = "from sim.cli import streams; \nstreams.settle()\nwith streams.written(): print(chr(177), chr(0xD800))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xb1 \\ud800\n", b"")


def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path: Path):
    done = iapo("tune", "--out", tmp_path / "run.toml", "--example", shell='ulimit -f 0; exec "$@"')
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'run.toml'}: cannot be written (File too large)\n"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(tmp_path: Path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "folder"
    given = ("compare", "--env", "two-arm", "--algorithm", "random", "--budget", "20")
    for option, more in (("--cache-dir", ("--out", str(tmp_path / "out"))), ("--out", ())):
        result = CliRunner().invoke(app, [*given, option, str(place), *more, "--workers", "1"])
        assert result.exit_code == 2, result.output
        assert str(place) in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_without_a_temporary_folder_programs_are_not_shared(monkeypatch: pytest.MonkeyPatch):
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(workers, "gettempdir", nowhere)
    with workers._folder_of_programs() as folder:
        assert folder is None


def test_runs_may_share_a_folder_and_what_killed_ones_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file that tries whether a folder can be written to may be gone already: another run has tried too."""
    cells = tables.cell_folder(tmp_path)
    old, new = cells / ".a.npz.1.part", cells / ".b.npz.2.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    save = tables.save

    def and_gone(table: object, path: Path) -> Path:
        save({}, path).unlink()
        return path

    monkeypatch.setattr(tables, "save", and_gone)
    tables.cell_folder(tmp_path)
    assert list(cells.iterdir()) == [new]
