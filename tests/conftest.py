"""Flags under which every test runs, and compiled programs that are kept from one run of the tests to the next."""

import gc
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("NPROC", "1")  # threads of XLA, as the commands have it
os.environ["IAPO_CACHE_DIR"] = "none"  # of the commands under test, so that none writes to the cache of this user
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

KEPT, LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
MOST_BYTES = 2**30
"""Compiled programs beyond which those of earlier runs go."""
MOST_MAPS = 20_000
"""Memory maps after which compiled programs are dropped. Every program holds some; Linux allows a process 65,530 by
default, and the compiler ends the process when they are used up."""

_tests = itertools.count()
_hook = install_import_hook(("sim", "theory"), "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs in pytest's own cache, for all processes of this run and for later ones.

    Half of what the tests take is compiling. Not where somebody named a folder, nor where the compiler refuses what it
    wrote itself (`sim.cli.programs`). `pytest --cache-clear` empties it.
    """
    cache = getattr(config, "cache", None)
    if cache is None or KEPT in os.environ or hasattr(config, "workerinput"):
        return
    from sim.cli import programs

    folder = cache.mkdir("programs")
    if sum(one.stat().st_size for one in folder.iterdir()) > MOST_BYTES:
        shutil.rmtree(folder)
    if programs.keep(folder) is not None:
        os.environ |= {KEPT: str(folder), LEAST: "0"}


@pytest.fixture(scope="session")
def math_path() -> Path:
    """The authors' released MATH environment; the test is skipped where it is not at hand."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "MATH_final.pkl"
    if not path.exists():
        pytest.skip("MATH_final.pkl is not at hand (expected in ../shared/data)")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the queries of a live run; the key's variable is set."""
    from live_runs import queries
    from live_server import KEY

    queries(tmp_path)
    monkeypatch.setenv("LIVE_TEST_KEY", KEY)
    return tmp_path


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """Drop compiled programs before there are too many for one process; looks after every tenth test."""
    yield
    maps = Path("/proc/self/maps")
    if next(_tests) % 10 == 0 and maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
