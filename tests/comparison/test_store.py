"""Kept results: digests tell inputs apart, and nothing damaged is ever read."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sim import algorithms, digests, envs, program
from sim.comparison import store

ARRAYS = {"a": np.arange(6).reshape(2, 3), "b": np.array([0.1, 0.2])}


def test_what_is_saved_loads(tmp_path: Path):
    store.save(tmp_path / "x.npz", ARRAYS, {"run": 0.1})
    content = store.load(tmp_path / "x.npz")
    assert content is not None
    assert content.record == {"run": 0.1}
    assert list(content.arrays) == ["a", "b"]
    np.testing.assert_array_equal(content.arrays["a"], ARRAYS["a"])
    assert content.arrays["b"].tobytes() == ARRAYS["b"].tobytes()
    assert store.load(tmp_path / "y.npz") is None


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_torn_file_counts_as_absent(tmp_path: Path, keep: float):
    path = tmp_path / "x.npz"
    store.save(path, ARRAYS, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    assert store.load(path) is None


def test_changed_numbers_count_as_absent(tmp_path: Path):
    path = tmp_path / "x.npz"
    store.save(path, ARRAYS, {})
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"b": arrays["b"] + 1e-16}))
    assert store.load(path) is None
    np.savez(path, **(arrays | {"c": arrays["b"]}))
    assert store.load(path) is None
    np.savez(path, **arrays)
    assert store.load(path) is not None


def test_digests_tell_apart_what_numbers_depend_on():
    things = [
        *(algorithms.get(text) for text in ("psst", "psst:ties=index", "psst+k1", "psst+k4", "random")),
        *(envs.get(name).source for name in ("crossover", "two-arm", "synth-bernoulli", "beta-bon")),
        *(envs.get(name).data for name in ("crossover", "two-arm")),
        *(np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.ones(2)),
        *(0, 1, True, "1", None, [], [0], {"0": 0}),
    ]
    found = [digests.digest(thing) for thing in things]
    assert len(set(found)) == len(things)
    assert [digests.digest(thing) for thing in things] == found


def test_equal_content_has_equal_digests():
    assert digests.digest(algorithms.get("psst")) == digests.digest(algorithms.get("psst:ties=random"))
    assert digests.digest(envs.get("crossover").source) == digests.digest(envs.get("crossover").source)
    assert digests.digest(jnp.arange(3)) == digests.digest(np.arange(3, dtype=np.int32))
    with pytest.raises(TypeError, match="cannot be described"):
        digests.digest(object())


def test_algorithms_do_not_depend_on_each_other():
    kin, alone = (program.behind(modules=(f"sim.algorithms.{name}",)).key for name in ("psst_topk", "uniform"))
    names = {name for module in ("sim.algorithms.uniform", "sim.engine.runner") for name in program._reach(module)}
    assert not any(name.startswith("sim.algorithms.") and not name.endswith(".uniform") for name in names)
    assert "sim.algorithms.psst" in program._reach("sim.algorithms.psst_topk")
    assert {"sim.core", "sim.engine.fused", "sim.kernels.counter"} <= program._reach("sim.engine.runner")
    assert kin != alone


def test_a_program_is_what_a_module_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Editing a module changes the digests of those that import it, directly or not, and of no others."""
    texts = {"a": "from stale import b", "b": "import stale_too", "d": "import os", "__init__": ""}
    (tmp_path / "stale").mkdir()
    for name, text in texts.items():
        (tmp_path / "stale" / f"{name}.py").write_text(text)
    (tmp_path / "stale_too.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def programs() -> list[str]:
        return [program.behind(modules=(name,)).key for name in ("stale.a", "stale.b", "stale.d", "stale_too", "numpy")]

    before = programs()
    assert len(set(before)) == 5
    (tmp_path / "stale_too.py").write_text("x = 1")
    assert [old == new for old, new in zip(before, programs(), strict=True)] == [False, False, True, False, True]
    assert "stale" not in sys.modules, "nothing is run in order to look"
