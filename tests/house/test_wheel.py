"""The wheel as an installer unpacks it: its README, and files of one's own begun and checked without a clone."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from sim.cli.new import Skeleton, named

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
ROOMS = ("sim", "theory", "figures")
COMMAND = "import sys, sim, theory, figures; print(sim.__file__, theory.__file__, figures.__file__, file=sys.stderr)"
COMMAND += "; from sim.cli import main; main()"
"""The command `iapo`, which first says on stderr where it comes from."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree; building it needs no network."""
    pytest.importorskip("hatchling", reason="the extra [test] has it")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """The folder that an installer would put on the path."""
    folder = wheel.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_packaged_readme_shows_its_pictures_by_address(wheel: Path) -> None:
    """From a wheel's METADATA. Seen to fail with links left as they are."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        assert {f"{room}/py.typed" for room in ROOMS} <= set(archive.namelist())
        parts = {f"sim/reports/report.{ending}" for ending in ("html.jinja", "css", "js")}
        assert parts <= set(archive.namelist())
    there = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    assert f"({there}/raw/main/figures/readme.png)" in text
    assert f"({there}/blob/main/docs/index.md)" in text
    assert not [link for link in LINK.findall(text) if not link.startswith("#")]


def iapo(unpacked: Path, folder: Path, *words: str) -> str:
    """Output of a command that comes from the wheel, in a folder."""
    path = {"PYTHONPATH": str(unpacked), "IAPO_CACHE_DIR": "none"}
    command = [sys.executable, "-c", COMMAND, *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n")[0].split() == [str(unpacked / room / "__init__.py") for room in ROOMS]
    return done.stdout


def begun(unpacked: Path, folder: Path, *kinds: Skeleton) -> list[str]:
    """Addresses of new files of some kinds."""
    for kind in kinds:
        assert iapo(unpacked, folder, "new", kind, f"my-{kind}").startswith(f"wrote my_{kind}.py, ")
    return [f"my_{kind}.py{named(kind, f'my_{kind}')}" for kind in kinds]


def test_from_a_wheel_all_kinds_are_begun_and_a_scorer_is_checked(unpacked: Path, tmp_path: Path) -> None:
    """Seen to fail with skeletons left out of the wheel, and with PYTHONPATH on the clone."""
    addresses = begun(unpacked, tmp_path, *Skeleton)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"my_{kind}.py" for kind in Skeleton)
    said = iapo(unpacked, tmp_path, "check", addresses[list(Skeleton).index(Skeleton.scorer)])
    assert said.endswith("checks passed\n")


@pytest.mark.slow
def test_from_a_wheel_figures_algorithms_and_environments_pass_their_checks(unpacked: Path, tmp_path: Path) -> None:
    """Seen to fail with figures left out of the wheel."""
    for address in begun(unpacked, tmp_path, Skeleton.figure, Skeleton.environment, Skeleton.algorithm):
        assert " checks passed" in iapo(unpacked, tmp_path, "check", address).splitlines()[-1]
