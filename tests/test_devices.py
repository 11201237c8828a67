"""The trial axis over several devices, forced on the CPU in a process of its own: the same trials."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import hashlib, sys
import jax, numpy as np
sys.path.insert(0, "tests")
from helpers import arena, given
from sim import algorithms, runner
digest = hashlib.sha256()
assert len(jax.devices()) == int(sys.argv[1])
for name in ("psst", "ucb"):
    for chunk in (7, 64):
        found = runner.run_trials(given(arena()), algorithms.get(name), 60, seed=3, trials=101, chunk=chunk)
        digest.update(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in found))
print(digest.hexdigest())
"""


def digest_on(devices: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    command = [sys.executable, "-c", PROGRAM, str(devices)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_one_two_and_four_devices_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """101 trials do not divide evenly. Seen to fail with every device starting at the first trial."""
    found = [digest_on(devices, monkeypatch) for devices in (1, 2, 4)]
    assert len(found[0]) == 65
    assert found[0] == found[1] == found[2]
