"""Acquisition: which networks are worth training next, from the posterior of a Gaussian process.

The posterior is what the process predicts after it has seen the labels: a mean for each network, and a covariance of
all. For a search the best of the chosen networks should be as good as can be (expected improvement of several points,
qEI); for a ranking the labels of the chosen ones should lower the variance of all others (variance reduction).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from parzc.models._posterior import Posterior

GOALS = ("ranking", "best")

TAIL = -30.0
"""Deviations below the best score from which on the expected improvement is taken from its tail."""


@dataclass(frozen=True)
class AcquisitionConfig:
    """Sizes that bound memory and time.

    Args:
        candidates: for a ranking, how many networks are looked at: where there are more, so many of them are drawn. For
            each one the covariance with all labelled networks is kept in memory.
        reference: for a ranking, the number of networks whose variance is to be lowered. They are drawn from the
            candidates and stand for all of them; the time of each choice grows with their number.
        shortlist: for a search, the number of best-scored networks that are looked at. Their joint covariance takes
            memory with the square of this number, and networks further down are hardly ever the best.
        draws: joint draws of the scores that expectations are taken over.
        front_shortlist, front_draws: the same for a front of two objectives, where each candidate is compared at the
            cost of each other one, so that time grows with the square of the shortlist times the draws.
    """

    candidates: int = 20_000
    reference: int = 1000
    shortlist: int = 400
    draws: int = 2000
    front_shortlist: int = 200
    front_draws: int = 500


def drawn_candidates(networks: int, n: int, seed: int, most: int) -> NDArray[np.int64]:
    """Return the indices of all networks, or of at most `most` (but no fewer than `n`) drawn with the seed, sorted."""
    return np.sort(np.random.default_rng(seed).permutation(networks)[: max(n, most)])


def shortlist(scores: NDArray[np.float64], n: int, most: int) -> NDArray[np.int64]:
    """Return the indices of the best `most` scores (but no fewer than `n`), the best first."""
    return np.argsort(-scores, kind="stable")[: max(n, most)]


def variance_reduction(posterior: Posterior, n: int, seed: int, reference: int = 1000) -> list[int]:
    """Return the indices of `n` candidates, the first choice first.

    Each is the one whose label, in addition to those of the earlier choices, would lower the total variance most. In a
    Gaussian process this does not depend on what the labels will be.

    Args:
        posterior: of the candidates.
        n: how many to choose.
        seed: with which the networks whose variance is summed are drawn from the candidates.
        reference: how many these are.

    Source: Cohn, "Neural Network Exploration Using Optimal Experiment Design", 1996.
    """
    drawn = torch.randperm(len(posterior), generator=torch.Generator().manual_seed(seed))[:reference]
    shared, variance, noise = posterior.covariance(drawn), posterior.variance, posterior.noise
    updates = torch.zeros(0, len(posterior), dtype=torch.float64)
    chosen: list[int] = []
    for _ in range(min(n, len(posterior))):
        gain = shared.square().sum(0) / (variance + noise)
        gain[chosen] = -1.0
        pick = int(gain.argmax())
        # The covariance of the pick with every candidate, less what earlier picks explain.
        column = posterior.covariance_of(pick)
        column = (column - updates[:, pick] @ updates) / (variance[pick] + noise).sqrt()
        shared, variance = shared - column[drawn, None] * column, variance - column.square()
        updates = torch.cat([updates, column[None]])
        chosen.append(pick)
    return chosen


def log_expected_improvement(
    scores: NDArray[np.float64], deviations: NDArray[np.float64], best: float
) -> NDArray[np.float64]:
    """Return the logarithm of how much each network is expected to be better than the best one that is known.

    The logarithm keeps networks apart that are hardly ever better.

    Args:
        scores: `(m,)` expected scores, bigger is better.
        deviations: `(m,)` of the scores; at least 1e-9 is taken.
        best: score of the best one.

    Source: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box Functions", 1998, eq. 15.
    """
    deviation = np.maximum(deviations, 1e-9)
    z = (scores - best) / deviation
    # z * cdf(z) + pdf(z); far below zero by its tail, pdf(z) / z^2, where the two terms would cancel.
    near = np.maximum(z, TAIL)
    inside = np.log(near * norm.cdf(near) + norm.pdf(near))
    tail = norm.logpdf(z) - 2 * np.log(np.maximum(-z, 1.0))
    improvement: NDArray[np.float64] = np.log(deviation) + np.where(z > TAIL, inside, tail)
    return improvement


def q_expected_improvement(
    scores: NDArray[np.float64],
    covariance: NDArray[np.float64],
    n: int,
    seed: int = 0,
    draws: int = 2000,
    best: float | None = None,
    pending: Sequence[int] = (),
) -> list[int]:
    """Return the indices of `n` networks, each chosen so that the best of them is expected to be as good as can be.

    A network whose score always moves with that of a chosen one adds nothing; one with a large deviation of its own
    adds much.

    Args:
        scores: `(m,)` expected scores, bigger is better.
        covariance: `(m, m)` of the scores, positive semi-definite.
        n: how many to choose, at most `m` less the pending ones.
        seed: of the draws.
        draws: joint draws of all scores that expectations are taken over.
        best: score of the best network that is trained already; what is not better adds nothing. None if there is none.
        pending: networks whose training has begun: they are not chosen, and count as if they were.

    Source: the expected improvement of several points, Ginsbourger et al., "Kriging is well-suited to parallelize
        optimization", 2010; greedy, which is within a factor of 1 - 1/e of the best choice.
    """
    # In the order of the scores: among networks that add equally much, the first one is taken.
    order = np.argsort(-scores, kind="stable")
    values, vectors = np.linalg.eigh(covariance[np.ix_(order, order)])
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = scores[order, None] + root @ np.random.default_rng(seed).standard_normal((len(order), draws))
    waiting = np.flatnonzero(np.isin(order, pending))
    top = np.full(draws, drawn.min() if best is None else best)
    top, chosen = np.maximum(top, drawn[waiting].max(0, initial=-np.inf)), list[int](waiting)
    for _ in range(n):
        gain = np.maximum(drawn - top, 0.0).mean(1)
        gain[chosen] = -1.0
        # Rounding makes tiny differences between networks that add nothing.
        pick = int(np.flatnonzero(gain >= gain.max() - 1e-9 * (1 + abs(gain.max())))[0])
        top = np.maximum(top, drawn[pick])
        chosen.append(pick)
    return [int(i) for i in order[chosen[len(waiting) :]]]
