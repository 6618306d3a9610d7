"""Probabilities about the order of networks, from scores and their standard deviations."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr


def probability_above(
    score: ArrayLike, deviation: ArrayLike, other: ArrayLike, other_deviation: ArrayLike
) -> NDArray[np.float64]:
    """Return the probability that networks have a higher accuracy than others.

    Args:
        score: of the networks, any shape.
        deviation: standard deviation of these scores.
        other: scores of the networks they are compared with, of a shape that broadcasts.
        other_deviation: standard deviation of these.

    Returns:
        Values in [0, 1]; .5 where both are the same and known exactly, NaN where something is NaN.
    """
    gap = np.subtract(score, other, dtype=np.float64)
    spread = np.hypot(np.asarray(deviation, dtype=np.float64), other_deviation)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        probability: NDArray[np.float64] = ndtr(gap / spread)
    return np.where((gap == 0) & (spread == 0), 0.5, probability)


def rank_intervals(
    scores: ArrayLike, deviations: ArrayLike, level: float = 0.9, draws: int = 500, seed: int = 0
) -> NDArray[np.int64]:
    """Return the lowest and highest rank of each network, between which it lies with probability `level`.

    Args:
        scores: `(n,)`.
        deviations: `(n,)` standard deviations of the scores.
        level: in (0, 1).
        draws: sets of scores that are drawn and ranked.
        seed: of the draws.

    Returns:
        `(n, 2)` ranks; 1 is the best.
    """
    scores, deviations = np.asarray(scores, dtype=np.float64), np.asarray(deviations, dtype=np.float64)
    rng = np.random.default_rng(seed)
    ranks = np.empty((draws, len(scores)), dtype=np.int32)
    for drawn in ranks:
        order = np.argsort(-(scores + deviations * rng.standard_normal(len(scores))), kind="stable")
        drawn[order] = np.arange(1, len(scores) + 1)
    ends = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest")
    return ends.T.astype(np.int64)
