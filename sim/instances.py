"""Randomness of a trial: its key, and the world and the split of queries that follow from it."""

from jaxtyping import Array

from sim.core import Instance, Key, Source
from sim.kernels import counter

WORLD, SPLIT, RUN = 1, 2, 3
"""Numbers that a trial's key is folded with: for its world, its split of the queries, its run."""


def trial_key(seed: int, trial: int | Array) -> Key:
    """The key of one trial."""
    return counter.fold(counter.from_seed(seed), trial)


def instance(source: Source, key: Key) -> Instance:
    """The world and the train and test queries of the trial with this key."""
    train, test = source.split(counter.fold(key, SPLIT))
    return Instance(source.world(counter.fold(key, WORLD)), train, test)
