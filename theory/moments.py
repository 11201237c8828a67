"""Exact mean and variance of the estimate that one pull gives of a scale, by disjoint blocks.

A pull of n completions holds b = floor(n / k) disjoint blocks of k, each an estimate of the value at scale k. The
blocks are independent given the query, which they share: with q_k(x) the expected reward on query x,

    Var(mean of b blocks) = Vb + Vw / b,    Vb = Var_x q_k(x),    Vw = E_x Var(one block | x),

and not (Vb + Vw) / b. Averaging over more blocks of one pull never beats one query's worth of luck.

Differs from the paper: the proof of its Theorem 1 (Mahmud et al., arXiv 2508.10030) counts the b blocks as
independent.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from sim.envs.dataset import Dataset
from theory.exact import average, query_law, task_moments


class Components(NamedTuple):
    """Mean and variance components of one block on a random query.

    Attributes:
        mean: E_x q_k(x).
        between: Vb, the variance of q_k(x) over queries.
        within: Vw, the mean over queries of the variance of one block given its query.
    """

    mean: Float64[np.ndarray, "task prompt scale"]
    between: Float64[np.ndarray, "task prompt scale"]
    within: Float64[np.ndarray, "task prompt scale"]


class BlockMoments(NamedTuple):
    """Mean and variance of an estimate, entry [..., k - 1] for scale k."""

    mean: Float64[np.ndarray, "task prompt scale"]
    variance: Float64[np.ndarray, "task prompt scale"]


def components(data: Dataset, ids: Int[np.ndarray, " id"] | None = None) -> Components:
    """Mean, between-query and within-query variance of the task reward of one block.

    Args:
        data: a finite environment.
        ids: the queries of the split; all queries when None.
    """
    expected, variance = task_moments(data)
    law = query_law(data, ids)
    mean = average(expected, law)
    return Components(mean, average((expected - mean[..., None, :]) ** 2, law), average(variance, law))


def block_mean_variance(data: Dataset, pull_scale: int, ids: Int[np.ndarray, " id"] | None = None) -> BlockMoments:
    """Exact mean and variance of the mean task reward of the disjoint blocks of one pull on a random query.

    Args:
        data: a finite environment.
        pull_scale: completions n of the pull, at most `data.max_scale`.
        ids: the queries of the split; all queries when None.

    Returns:
        Moments for the scales k = 1..n that the pull can serve.
    """
    if not 1 <= pull_scale <= data.max_scale:
        raise ValueError(f"pull_scale is {pull_scale}; {data.name} allows 1 to {data.max_scale}")
    mean, between, within = (part[..., :pull_scale] for part in components(data, ids))
    blocks = pull_scale // np.arange(1, pull_scale + 1)
    return BlockMoments(mean, between + within / blocks)
