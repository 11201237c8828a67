"""Two prompts that answer alike on five queries, in any unit of utility."""

import numpy as np

from sim.envs.dataset import Dataset


def case(
    values: np.ndarray,
    probs: np.ndarray,
    weights: np.ndarray,
    costs: tuple[float, float] = (0.0, 0.0),
    cost_weights: np.ndarray | None = None,
    max_scale: int = 1,
) -> Dataset:
    """Two prompts that answer alike on five queries: outcomes (prompt, outcome, objective), averaged."""
    shape = (2, 5, values.shape[1], values.shape[2])
    return Dataset(
        name="case",
        aggregate=("mean",) * values.shape[2],
        probs=np.broadcast_to(probs[:, None, :], shape[:3]).copy(),
        values=np.broadcast_to(values[:, None], shape).copy(),
        objective_weights=weights,
        cost_weights=np.zeros(len(weights)) if cost_weights is None else cost_weights,
        costs=np.array(costs),
        max_scale=max_scale,
    )


def p1200(weight: float = 1200.0) -> Dataset:
    """Two prompts right with probability .90 and .95, worth 1200 each time."""
    success = np.array([0.9, 0.95])
    return case(
        np.broadcast_to(np.array([[0.0], [1.0]]), (2, 2, 1)),
        np.stack([1 - success, success], axis=1),
        np.array([[weight]]),
    )
