"""Sizes of what is done at a time, by kind of device: trials in progress, trials of a call, rows of pulls.

A core of a CPU works on little at a time, so that it stays in the cache; an accelerator wants thousands of everything,
and a host that waits after every round leaves it idle. None of it ever shows in results.
"""

from typing import NamedTuple

import jax


class Portions(NamedTuple):
    """Trials and pulls that go together on one device.

    Attributes:
        lanes: trials in progress at a time where all rounds are one program.
        call: trials of one call of that program.
        batch: trials in progress at a time where the host calls every round.
        rows: pulls of one step, at most: `sim.kernels.rounds` takes fewer where each is large.
        row_bytes: about what the rewards of all blocks of a step's pulls may take: where they are many, fewer pulls.
        by_round: trials up to which the host calls every round of a rule that has few.
    """

    lanes: int
    call: int
    batch: int
    rows: int
    row_bytes: int
    by_round: int


CPU = Portions(lanes=64, call=1024, batch=256, rows=512, row_bytes=2**19, by_round=4096)
"""On MATH at T = 5,000, round by round takes 2 to 3.5 core-seconds less to compile and .2 to .3 ms more a trial: the
two ways meet at about 12,000 trials, sooner at larger budgets (docs/speed.md)."""
ACCELERATOR = Portions(lanes=4096, call=16384, batch=4096, rows=65536, row_bytes=2**26, by_round=0)
"""GPUs and TPUs; chosen by reading, not measured."""


def of_device() -> Portions:
    """Sizes for the devices that programs run on."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR
