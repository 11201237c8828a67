"""Compiled programs kept for later commands: faster, never different, and never a word about it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from sim.cli import programs, workers

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
import jax
from sim.cli import programs
compiled = []
jax.monitoring.register_event_listener(lambda event, **_: compiled.append(event) if "cache_misses" in event else None)
folder = programs.keep()
before = len(compiled)
print(folder, float(jax.jit(lambda x: (x * 3).sum())(jax.numpy.arange(5.0))), len(compiled) - before)
"""
posix = pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs rights that may be missing")


def work(home: Path, *shell: str, **more: str) -> tuple[str, str, int]:
    """The folder that a process keeps programs in, what it computed, and how many programs it did not find there."""
    ours = (programs.VARIABLE, "JAX_COMPILATION_CACHE_DIR")
    given = {key: value for key, value in os.environ.items() if key not in ours}
    environment = given | {"XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT)} | more
    done = subprocess.run(
        [*shell, sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder, value, missed = done.stdout.split()
    return folder, value, int(missed)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a user who has run a command."""
    home = tmp_path_factory.mktemp("home")
    folder, value, _ = work(home)
    if any((home / "iapo-testbed").glob("*/*-refused")):
        pytest.skip("the compiler of this machine refuses what it wrote")
    assert value == "30.0"
    assert Path(folder).is_relative_to(home)
    return home


@pytest.fixture
def home(kept: Path, tmp_path: Path) -> Path:
    """A copy of it, with its rights."""
    return shutil.copytree(kept, tmp_path / "home")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the compiler of this process as it was."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def inside(home: Path) -> Path:
    (folder,) = (home / "iapo-testbed").iterdir()
    return folder


def test_a_second_process_compiles_nothing_again(kept: Path) -> None:
    """Seen to fail where the least time of a program that is kept is left at the compiler's own second."""
    assert work(kept) == (str(inside(kept)), "30.0", 0)
    assert all(not place.stat().st_mode & 0o077 for place in (kept / "iapo-testbed", inside(kept)))


def test_garbage_in_place_of_programs_harms_nothing(home: Path) -> None:
    """Seen to fail where the warning about an entry that cannot be read is not silenced."""
    work(home)  # keys of programs depend on the folder
    for number, one in enumerate(inside(home).glob("*-cache")):
        one.write_bytes((b"", b"garbage", one.read_bytes()[:100])[number % 3])
    assert work(home)[:2] == (str(inside(home)), "30.0")


def test_a_file_in_place_of_the_folder_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "iapo-testbed").touch()
    assert work(tmp_path)[:2] == ("None", "30.0")


def test_a_folder_that_others_may_write_to_is_not_used(home: Path) -> None:
    """They could put programs there that run. Seen to fail without the look at its mode."""
    (home / "iapo-testbed").chmod(0o777)
    assert work(home)[:2] == ("None", "30.0")
    (home / "iapo-testbed").chmod(0o700)
    inside(home).chmod(0o750)
    assert work(home)[:2] == ("None", "30.0")


def test_a_folder_of_somebody_else_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert programs.own_folder() is not None
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert programs.own_folder() is None


@posix
def test_a_folder_that_cannot_be_written_to_is_not_used(home: Path) -> None:
    inside(home).chmod(0o500)
    assert work(home)[:2] == ("None", "30.0")


def test_a_full_disk_harms_nothing_and_is_no_refusal(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the answer "refused" kept: the next command would not try again."""
    limited = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")
    assert work(home, *limited)[:2] == (str(inside(home)), "30.0")
    assert work(tmp_path / "new", *limited)[:2] == ("None", "30.0")
    (tmp_path / "full").mkdir()
    monkeypatch.setattr(programs, "_reads_back", lambda folder: False)  # for nothing was written
    assert programs.keep(tmp_path / "full") is None
    assert list((tmp_path / "full").iterdir()) == []


def test_a_compiler_that_refuses_what_it_wrote_is_left_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on processors of jax-ml/jax issue 38445, where it writes an error for every entry."""
    for answer in inside(home).glob("*-accepted"):
        answer.rename(answer.with_name(answer.name.replace("accepted", "refused")))
    assert work(home)[:2] == ("None", "30.0")
    monkeypatch.setattr(programs, "_HIT", "never")
    assert programs.keep(tmp_path / "given") is None
    assert [one.name.partition("-")[2] for one in (tmp_path / "given").glob("*-refused")] == ["refused"]


def test_a_compiler_that_complains_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its complaints go past Python's own standard error."""
    use = programs.use

    def complaining(folder: Path) -> None:
        use(folder)
        os.write(2, b"E0000 Target machine feature +prefer-no-gather is not supported on the host machine\n")

    monkeypatch.setattr(programs, "use", complaining)
    assert programs.keep(tmp_path) is None
    assert capfd.readouterr().err == ""


def test_what_is_old_or_too_much_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    old, young = (home / "iapo-testbed" / name for name in ("old", "young"))
    for folder, days in ((old, programs.MOST_DAYS + 1), (young, programs.MOST_DAYS - 1)):
        folder.mkdir()
        (folder / "a-cache").touch()
        used = time.time() - days * 86400
        os.utime(folder, (used, used))
    monkeypatch.setattr(programs, "MOST_BYTES", 10_000)
    folder = programs.own_folder()
    assert folder is not None
    for number in range(4):
        one = folder / f"{number}-cache"
        one.write_bytes(bytes(4000))
        os.utime(one, (number, number))
    assert programs.own_folder() == folder
    assert not old.exists()
    assert young.exists()
    assert not (folder / "0-cache").exists()
    assert sum(one.stat().st_size for one in folder.iterdir()) <= 5000 + 4000


def test_none_keeps_nothing_and_what_cannot_be_written_to_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert programs.keep("none") is None
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--cache-dir is .*, which cannot be written to"):
        programs.keep(tmp_path / "file" / "folder")
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "file" / "folder"))
    with pytest.raises(ValueError, match=rf"{programs.VARIABLE} is .*, which cannot be written to"):
        programs.keep()


def test_processes_share_the_folder(home: Path) -> None:
    with workers.pool(2, None, inside(home)) as executor:
        assert executor is not None
        assert executor.submit(_folder).result() == str(inside(home))


def _folder() -> str | None:
    return getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
