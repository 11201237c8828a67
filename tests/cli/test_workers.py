"""Where cells are computed changes no byte: a Dask scheduler, and complaints when none is there."""

from pathlib import Path

import jax
import pytest
from cli_runs import iapo
from distributed import LocalCluster
from plans import PLAN

from sim.cli import compare as cli
from sim.cli import processes, workers
from sim.comparison import compare
from theory.truth import exact_values


def test_a_dask_scheduler_changes_no_byte(tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        workers.pool(None, cluster.scheduler_address, None) as executor,
    ):
        compare.compare(PLAN, tmp_path / "dask", exact_values, executor=executor)
    compare.compare(PLAN, tmp_path / "here", exact_values)
    for name in ("trials.parquet", "summary.csv", "contexts.csv"):
        assert (tmp_path / "dask" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


MINE = """
import jax.numpy as jnp
from sim.algorithms.uniform import Uniform

class Mine(Uniform):
    def recommend(self, key, spec, state):
        found = super().recommend(key, spec, state)
        return found._replace(scale=jnp.ones_like(found.scale))
"""


def test_a_dask_worker_runs_an_algorithm_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process and a folder of its own. Seen to fail (no such file) with the relative path handed on."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(cli, "save_pictures", lambda *_, **__: [])
        Path("lone.py").write_text(MINE)  # a name of its own: its module stays
        command = ("compare", "two-arm", "--algorithm", "lone.py:Mine", "--trials", 6, "--budget", 20)
        for where in (("--out", "dask", "--dask", cluster.scheduler_address), ("--out", "here", "--workers", 1)):
            result = iapo(*command, *where)
            assert result.exit_code == 0, result.output
    for name in ("trials.parquet", "summary.csv", "contexts.csv"):
        assert Path("dask", name).read_bytes() == Path("here", name).read_bytes()
    assert "lone.py:Mine" in Path("dask", "summary.csv").read_text()


def folder_of_programs() -> str | None:
    return jax.config.jax_compilation_cache_dir


def test_processes_share_a_folder_of_programs_that_goes_with_them(tmp_path: Path) -> None:
    """Seen to fail with the given folder alone handed on."""
    before = folder_of_programs()
    with workers.pool(2, None, None) as executor:
        assert executor is not None
        folder = executor.submit(folder_of_programs).result()
        assert folder is not None
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
    assert folder_of_programs() == before


def test_the_folder_goes_before_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They remove it where this process is killed, so that it must not outlive them. Seen to fail the other way round.

    Found by kills: one came after the last process had ended and before the folder was removed.
    """
    left = list[bool]()
    monkeypatch.setattr(processes.Processes, "shutdown", lambda self: left.append(Path(folder).exists()))
    with workers.pool(2, None, None) as executor:
        assert isinstance(executor, processes.Processes)
        folder = executor.submit(folder_of_programs).result()
        assert Path(folder).is_dir()
    assert left == [False]
    executor.kill()


def test_what_cannot_work_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: object) -> str:
        with pytest.raises(ValueError, match=" ") as caught, workers.pool(*arguments):
            pass
        return str(caught.value)

    assert said(0, None, None) == "workers is 0; it must be at least 1"
    assert "exclude each other" in said(2, "tcp://127.0.0.1:1", None)
    assert said(None, str(tmp_path / "scheduler.json"), None).endswith("scheduler.json: no such scheduler file")
    monkeypatch.setattr(workers, "_PATIENCE", "100ms")
    assert said(None, "tcp://127.0.0.1:1", None).startswith("no Dask scheduler answers at tcp://127.0.0.1:1 (")


def test_paths_are_made_absolute_for_workers_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").touch()
    assert workers.everywhere("mine.npz", "tcp://x") == str(tmp_path / "mine.npz")
    assert workers.everywhere("mine.npz", None) == "mine.npz"
    assert workers.everywhere("crossover", "tcp://x") == "crossover"
