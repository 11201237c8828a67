"""Pieces of the work of a verification, plain data so that any process can do them."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sim import digests
from sim.envs.dataset import Dataset
from theory.checks import families
from theory.checks.events import MISS, Event


class Kind(StrEnum):
    """Kind of work: bounds and exact values of all rules, all runs there are, trials, or a splitting estimate."""

    CLAIMS = "claims"
    ENUMERATION = "enumeration"
    SIMULATION = "simulation"
    SPLITTING = "splitting"


class Task(NamedTuple):
    """One piece of work.

    Attributes:
        kind: what is computed.
        family: name of the family.
        number: of the instance.
        rule: name of the rule; empty for claims.
        budget: completions T.
        effort: trials, or particles.
        seed: root of all randomness.
        math: path of the MATH environment.
        folder: where results are kept.
        program: key of the program that computes it (`verify.program_of`), taken where the run began: a process that
            knows another refuses.
        event: what counts as a failure, in a simulation; misses alone are told apart by context and round.
        bounds: bounds of one's own, which every process has to bring.
    """

    kind: Kind
    family: str
    number: int
    rule: str
    budget: int
    effort: int
    seed: int
    math: str | None
    folder: str
    program: str
    event: Event = MISS
    bounds: tuple[str, ...] = ()

    @property
    def data(self) -> Dataset:
        """The world."""
        return families.world(self.family, self.number, self.math)

    @property
    def path(self) -> Path:
        """File of the result: under a digest of all it depends on."""
        what = (self.kind, self.data, self.rule, self.budget, self.effort, self.seed, self.program, self.event)
        return Path(self.folder) / f"{digests.digest(what)}.npz"

    @property
    def needs(self) -> tuple[Kind, str, Event]:
        """Modules and objects that its program is made of."""
        return self.kind, self.rule, self.event

    @property
    def cost(self) -> int:
        """Simulated completions."""
        return self.budget * self.effort if self.kind is Kind.SIMULATION else 0
