"""How well scores rank architectures: rank correlations, quality of the top, bootstrap intervals.

Scores and labels are `(n,)`, bigger is better on both sides. Missing scores (NaN: a proxy that is undefined
for a degenerate network) are not accepted silently: `fill_missing` ranks them last, all tied, which is this
project's rule.

Metrics of the k best-scored treat tied scores by their expectation over a random order of the tied, in closed
form. They are therefore deterministic and do not depend on the order of the rows, so that a coarse proxy
gains nothing from a table that happens to be sorted by accuracy.
"""

import warnings
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from parzc.errors import InputError

Vector = NDArray[np.float64]


def fill_missing(scores: ArrayLike) -> Vector:
    """Replace scores that are not finite by one value just below the smallest finite score.

    Args:
        scores: `(n,)`; NaN and both infinities count as missing.

    Returns:
        `(n,)` finite scores, a copy: the missing ones rank last, tied (all 0 where none is finite).
    """
    filled = np.array(scores, dtype=np.float64)
    finite = np.isfinite(filled)
    # The next representable number changes linear correlation least and cannot be rounded away among huge scores.
    filled[~finite] = np.nextafter(filled[finite].min(), -np.inf) if finite.any() else 0.0
    return filled


def kendall_tau(scores: ArrayLike, labels: ArrayLike) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the opposite order, over all pairs, corrected for ties.

    Args:
        scores: `(n,)`, finite.
        labels: `(n,)`, finite.

    Returns:
        In [-1, 1]; NaN where scores or labels are constant.

    Raises:
        InputError: lengths differ, fewer than two, or values that are not finite.

    Source: Kendall, "The treatment of ties in ranking problems", 1945; ParZC, section 4.1.
    """
    x, y = _checked(scores, labels)
    return np.nan if _constant(x) or _constant(y) else float(scipy.stats.kendalltau(x, y).statistic)


def spearman(scores: ArrayLike, labels: ArrayLike) -> float:
    """Spearman's rank correlation, ties by average rank; arguments, range, errors as `kendall_tau`."""
    x, y = _checked(scores, labels)
    return np.nan if _constant(x) or _constant(y) else float(scipy.stats.spearmanr(x, y).statistic)


def pearson(scores: ArrayLike, labels: ArrayLike) -> float:
    """Pearson's linear correlation; arguments, range, errors as `kendall_tau`."""
    x, y = _checked(scores, labels)
    if _constant(x) or _constant(y):
        return np.nan
    with warnings.catch_warnings():
        # Scores that differ in their last digits only have a noisy correlation, not a wrong one.
        warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
        return float(scipy.stats.pearsonr(x, y).statistic)


def precision_at_k(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Fraction of the k best-scored architectures that are among the k with the best labels.

    Every label that is not below the k-th best counts as one of the best.

    Args:
        scores: `(n,)`, finite; ties by expectation.
        labels: `(n,)`, finite.
        k: in 1..n.

    Returns:
        In [0, 1]; k / n is the expectation of random scores where labels differ.

    Raises:
        InputError: lengths differ, fewer than two, values that are not finite, or k out of range.
    """
    x, y = _checked(scores, labels, k)
    best = y >= np.sort(y)[-k]
    first_k = np.arange(x.size) < k
    return float(best @ _expected_by_place(x, first_k)) / k


def precision_at_fraction(scores: ArrayLike, labels: ArrayLike, fraction: float = 0.05) -> float:
    """`precision_at_k` for k = `fraction` of n, rounded to the nearest number and at least 1.

    Args:
        scores: `(n,)`, finite; ties by expectation.
        labels: `(n,)`, finite.
        fraction: in (0, 1].

    Returns:
        In [0, 1].

    Raises:
        InputError: as `precision_at_k`, or fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction must be in (0, 1], got {fraction}.")
    return precision_at_k(scores, labels, max(1, round(fraction * np.size(scores))))


def ndcg_at_k(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Normalised discounted cumulative gain of the k best-scored.

    The gain is the label, scaled to 0..1 between the worst and the best label, so that the value depends
    neither on the unit nor on the offset of accuracies; place r has the discount 1 / log2(r + 1).

    Args:
        scores: `(n,)`, finite; ties by expectation.
        labels: `(n,)`, finite.
        k: in 1..n.

    Returns:
        In [0, 1], 1 for the best possible top k; NaN where labels are constant.

    Raises:
        InputError: lengths differ, fewer than two, values that are not finite, or k out of range.

    Source: Järvelin and Kekäläinen, 2002; ties as McSherry and Najork, 2008.
    """
    x, y = _checked(scores, labels, k)
    if _constant(y):
        return np.nan
    gains = (y - y.min()) / (y.max() - y.min())
    places = np.arange(x.size)
    discounts = np.where(places < k, 1 / np.log2(places + 2), 0.0)
    ideal = np.sort(gains)[::-1] @ discounts
    return min(1.0, float(gains @ _expected_by_place(x, discounts) / ideal))


def regret_at_k(scores: ArrayLike, labels: ArrayLike, k: int = 10) -> float:
    """Best label of all minus the best label among the k best-scored: the loss of a search that trains k.

    Args:
        scores: `(n,)`, finite; ties by expectation.
        labels: `(n,)`, finite.
        k: in 1..n.

    Returns:
        In units of the labels, >= 0; 0 where the best architecture is surely among the k best-scored.

    Raises:
        InputError: lengths differ, fewer than two, values that are not finite, or k out of range.
    """
    x, y = _checked(scores, labels, k)
    threshold = np.sort(x)[-k]
    floor = y[x > threshold].max(initial=-np.inf)
    tied = np.sort(y[x == threshold])[::-1]
    draws = k - np.count_nonzero(x > threshold)
    # chance[j]: the best of `draws` labels drawn from the tied without replacement is the j-th best of them.
    later = np.arange(1, tied.size)
    ratios = np.maximum(tied.size - draws - later + 1, 0) / (tied.size - later)
    chance = draws / tied.size * np.cumprod(np.concatenate(([1.0], ratios)))
    return float(chance @ (y.max() - np.maximum(tied, floor)))


def calibration_error(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: how far predicted probabilities are from how often they come true.

    Args:
        probabilities: `(n,)` of the outcome 1, in [0, 1].
        outcomes: `(n,)`, 0 or 1.
        bins: number of equal bins of the probability of the likelier outcome, from .5 to 1.

    Returns:
        Mean over the bins, weighted by their size, of the distance between the mean probability of the likelier outcome
        and how often it came true; in [0, 1].

    Raises:
        InputError: lengths differ, fewer than two, values that are not finite, or no bins.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    p, y = _checked(probabilities, outcomes)
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}.")
    likelier = p >= 0.5
    confidence, right = np.where(likelier, p, 1 - p), np.where(likelier, y, 1 - y)
    index = np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / p.size)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Vector], float] | Callable[[Vector], np.floating] = np.mean,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic.

    With few values (ten seeds, say) percentile intervals are somewhat too narrow.

    Args:
        values: `(n,)`, finite, n >= 2.
        statistic: maps a resample `(n,)` to a number.
        level: nominal coverage, in (0, 1).
        resamples: number of resamples, >= 1.
        seed: of the resampling; the global random state is not used.

    Returns:
        `(low, high)`, in units of the statistic.

    Raises:
        InputError: fewer than two values, values that are not finite, level or resamples out of range.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13.
    """
    x = _finite(values, "values")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level must be in (0, 1) and resamples at least 1, got {level} and {resamples}.")
    rng = np.random.default_rng(seed)
    if statistic is np.mean:
        rows = max(1, 2**20 // x.size)
        sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
        drawn = np.concatenate([x[rng.integers(0, x.size, (size, x.size))].mean(axis=1) for size in sizes])
    else:
        drawn = np.array([float(statistic(x[rng.integers(0, x.size, x.size)])) for _ in range(resamples)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _finite(values: ArrayLike, name: str) -> Vector:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size < 2:
        raise InputError(f"{name} must be one-dimensional with at least two values, got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise InputError(
            f"{name} hold {np.count_nonzero(~np.isfinite(x))} missing or infinite values: drop them, or use "
            "fill_missing for scores."
        )
    return x


def _checked(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> tuple[Vector, Vector]:
    x, y = _finite(scores, "scores"), _finite(labels, "labels")
    if x.size != y.size:
        raise InputError(f"scores and labels must have the same length, got {x.size} and {y.size}.")
    if not 1 <= k <= x.size:
        raise InputError(f"k must be between 1 and the number of scores ({x.size}), got {k}.")
    return x, y


def _constant(values: Vector) -> bool:
    return bool((values == values[0]).all())


def _expected_by_place(scores: Vector, by_place: NDArray[np.float64] | NDArray[np.bool_]) -> Vector:
    """Expected `by_place[place]` of each item, `(n,)`, with a random order among tied scores (best first)."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    means = np.add.reduceat(by_place.astype(np.float64), starts) / sizes
    expected: Vector = means[group]
    return expected
