"""Flags under which every test runs; nothing here imports the packages under test."""

from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

_hook = install_import_hook(("sim", "theory"), "beartype.beartype")


@pytest.fixture(scope="session")
def math_path() -> Path:
    """The authors' released MATH environment; the test is skipped where it is not at hand."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "MATH_final.pkl"
    if not path.exists():
        pytest.skip("MATH_final.pkl is not at hand (expected in ../shared/data)")
    return path
