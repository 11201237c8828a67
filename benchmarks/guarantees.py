"""The smallest valid bound of PSST against those of racing and halving prompts, on worlds of `iapo verify`.

Prints the table of docs/guarantees.md, bounds on a miss in any context. Run it as

    python benchmarks/guarantees.py
"""

from theory.checks import claims, families
from theory.checks.claims import Status
from theory.checks.events import MISS

WORLDS: dict[str, tuple[int, ...]] = {
    "two-arm": (400, 2000),
    "graded halving": (600, 2400),
    "bon, two scales": (240, 960, 4000),
    "bon, query effects": (240, 960, 4000),
    "graded, query effects": (480, 960, 1920),
    "mv, three scales": (300, 1200, 2400),
    "random": (240, 960, 4000),
}
"""Family -> budgets, of its first world."""
OURS = ("theorem D, common queries", "theorem D, no query twice", "theorem F")


def row(family: str, budget: int) -> str:
    """One line of the table."""
    case = claims.case_of(families.world(family, 0))
    found = {name: bound for name, bound in claims.values_of(case, budget).items() if isinstance(bound, float)}
    valid = {
        name: found[name]
        for name, claim in claims.at().items()
        if name in found and claim.event == MISS and claim.rule.startswith("psst") and claim.status != Status.STATED
    }
    best = min(valid, key=valid.__getitem__)
    numbers = " | ".join(f"{found[name]:.2g}" for name in OURS)
    return f"| {family} | {budget:,} | {valid[best]:.2g} | {best} | {numbers} |"


def table() -> list[str]:
    """All lines."""
    heads = ("world", "T", "PSST", "by", "halving", "halving, no query twice", "racing")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return lines + [row(family, budget) for family, budgets in WORLDS.items() for budget in budgets]


if __name__ == "__main__":
    print("\n".join(table()))
