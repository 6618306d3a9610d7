"""How much a candidate is worth training next."""

import numpy as np
from numpy.typing import NDArray


def q_expected_improvement(
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
