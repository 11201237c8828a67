"""Trees of NumPy arrays with a leading row axis: the states that exact enumeration carries along."""

from typing import Any

import jax
import numpy as np


def size(tree: Any) -> int:
    """Number of rows."""
    return len(jax.tree.leaves(tree)[0])


def pick(tree: Any, rows: Any) -> Any:
    """Some rows."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def table(tree: Any) -> np.ndarray:
    """The bytes of every row: rows are equal when their bytes are."""
    leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
    flat = [leaf.reshape(len(leaf), -1).view(np.uint8).reshape(len(leaf), -1) for leaf in leaves if leaf[0:1].size]
    return np.concatenate(flat, axis=1)


def merge(origin: np.ndarray, tree: Any, weight: np.ndarray) -> tuple[np.ndarray, Any, np.ndarray]:
    """Rows of equal origin and equal content made one, their weights added.

    Args:
        origin: a whole number per row.
        tree: the rows.
        weight: non-negative weight per row.
    """
    content = table((origin, tree))
    words = np.ascontiguousarray(content).view(np.dtype((np.void, content.shape[1]))).ravel()
    _, first, group = np.unique(words, return_index=True, return_inverse=True)
    return origin[first], pick(tree, first), np.bincount(group.ravel(), weight, len(first))
