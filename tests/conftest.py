"""Flags under which every test runs; nothing here imports the packages under test."""

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("NPROC", "1")  # threads of XLA, as the commands have it
os.environ["IAPO_CACHE_DIR"] = "none"  # of the commands under test, so that none writes to the cache of this user
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

MOST_MAPS = 20_000
"""Memory maps after which compiled programs are dropped. Every program holds some; Linux allows a process 65,530 by
default, and the compiler ends the process when they are used up."""

_tests = itertools.count()
_hook = install_import_hook(("sim", "theory"), "beartype.beartype")


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
