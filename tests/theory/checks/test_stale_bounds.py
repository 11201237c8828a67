"""Cells of `iapo verify` depend on bounds, rules and worlds that were added while it runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_code import Folder

from sim import program
from sim.algorithms import PSST
from theory.checks import claims, families, rules, table, verify
from theory.checks.tasks import Kind, Task


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    found = Folder(tmp_path / "code", monkeypatch)
    yield found
    found.forget()


BOUND = """
import share
def bound(case, budget):
    return share.OF / budget
"""


def test_a_bound_that_is_edited_is_computed_again(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else is. Seen to fail (the old value, from the old cell) with the text of this project's modules."""
    plan = verify.VerifyPlan(quick=True, families=("two-arm",))

    def work() -> dict[str, list[Task]]:
        cells_of = list(verify.tasks_of(plan, str(tmp_path)))
        return {kind.value: [cell for cell in cells_of if cell.kind == kind] for kind in (Kind.CLAIMS, Kind.SIMULATION)}

    def known() -> tuple[float, bool]:
        mine = folder.load("mine").bound
        monkeypatch.setitem(claims.CLAIMS, "mine", claims.Claim("psst", mine))
        cell = work()["claims"][0]
        if not (there := cell.path.exists()):
            verify.run_group([cell])
        return verify._load(cell).record["claims"]["mine"] * cell.budget, there

    before = work()
    folder.write(mine=BOUND, share="OF = 1.0")
    assert known() == (1.0, False)
    folder.write(share="OF = 2.0")
    assert known() == (2.0, False)
    assert known() == (2.0, True)
    after = work()
    assert after["simulation"] == before["simulation"]
    assert not {cell.path for cell in before["claims"]} & {cell.path for cell in after["claims"]}
    monkeypatch.setitem(rules.RULES, "psst, fresh", PSST(fresh=True))
    assert not {cell.path for cell in work()["simulation"]} & {cell.path for cell in before["simulation"]}
    monkeypatch.setattr(program, "_taken", {})
    with pytest.raises(ValueError, match=r"^psst, fresh: is not what it was when the run began"):
        verify.run_group(before["simulation"][:1])


def test_a_bound_without_a_readable_text_is_said_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {"__name__": "nowhere"}
    exec("def bound(case, budget): return 0.5", made)
    monkeypatch.setitem(claims.CLAIMS, "mine", claims.Claim("psst", made["bound"]))
    monkeypatch.setattr(verify, "_run", lambda missing, executor: [(missing[:1], verify.run_group(missing[:1]))])
    monkeypatch.setattr(table, "build", lambda cells, load: (_ for _ in ()).throw(KeyboardInterrupt))
    plan = verify.VerifyPlan(quick=True, families=("two-arm",))
    with (
        pytest.warns(UserWarning, match=r"^the bounds: the source of nowhere:bound cannot be read; its results"),
        pytest.raises(verify.Interrupted, match="stopped with 0 of"),
    ):
        verify.verify(plan, tmp_path)
    assert list((tmp_path / "cells").iterdir()) == []


def test_a_family_of_worlds_that_is_edited_is_built_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import chance\nfrom sim.envs import families\ndef build(number): return families.two_arm((chance.P, 0.2))"
    folder.write(mine=text, chance="P = 0.7")
    built = []
    for _ in range(2):
        family = families.Family(folder.load("mine").build, budgets=(20,))
        monkeypatch.setitem(families.FAMILIES, "mine", family)
        built += [families.world("mine", 0), families.world("mine", 0)]
        folder.write(chance="P = 0.9")
    assert built[0] is built[1]
    assert built[2] is built[3]
    assert [float(data.probs[0, 0, 1]) for data in built[1:3]] == [0.7, 0.9]
