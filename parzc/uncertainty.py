"""What scores and their deviations say of the order of networks."""

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


def expected_best(
    scores: NDArray[np.float64], covariance: NDArray[np.float64], n: int, seed: int = 0, draws: int = 2000
) -> list[int]:
    """Return `n` networks, chosen one after the other so that the best of them is expected to be as good as can be.

    A network that does what a chosen one does adds nothing, one that may be much better than it looks adds much.

    Args:
        scores: `(m,)` expected scores, bigger is better.
        covariance: `(m, m)` of the scores, positive semi-definite.
        n: how many to choose, at most `m`.
        seed: of the draws.
        draws: joint draws of all scores that expectations are taken over.

    Source: the expected improvement of several points, Ginsbourger et al., "Kriging is well-suited to parallelize
        optimization", 2010; greedy, which is within a factor of 1 - 1/e of the best choice.
    """
    # In the order of the scores: among networks that add equally much, the first one is taken.
    order = np.argsort(-scores, kind="stable")
    values, vectors = np.linalg.eigh(covariance[np.ix_(order, order)])
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = scores[order, None] + root @ np.random.default_rng(seed).standard_normal((len(order), draws))
    best, chosen = np.full(draws, drawn.min()), list[int]()
    for _ in range(n):
        gain = np.maximum(drawn - best, 0.0).mean(1)
        gain[chosen] = -1.0
        # Rounding makes tiny differences between networks that add nothing.
        pick = int(np.flatnonzero(gain >= gain.max() - 1e-9 * (1 + abs(gain.max())))[0])
        best = np.maximum(best, drawn[pick])
        chosen.append(pick)
    return [int(i) for i in order[chosen]]
