"""Scaling by rank to a normal distribution: of features, without labels, and of labels."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from parzc.errors import InputError

NEXT_TO_ZERO = 1e-280
"""Numbers below are zero: the slopes between such numbers are beyond what a float holds."""


class RankGauss:
    """Maps each column to a standard normal distribution by its quantiles over the networks it was fitted on.

    A value `x` becomes `ndtri(f)`, where `f` is the fraction of these networks whose value is below `x`, and `ndtri`
    the quantile function of the normal distribution ("RankGauss"). Only the order of a column enters, so statistics
    that span tens of orders of magnitude, or logarithms of them, are treated alike. Values beyond the fitted range,
    infinite ones among them, go to its ends; NaN counts as the smallest.

    Args:
        knots: number of quantiles that are kept of each column; between them `f` is interpolated.
    """

    def __init__(self, knots: int = 257) -> None:
        self.knots = knots
        self.quantiles = np.zeros((0, knots), dtype=np.float64)

    def fit(self, values: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> "RankGauss":
        """Learn the quantiles of the columns of `(n, columns)` values; of those alone that are `present`, if given.

        A column without any finite value maps to 0.
        """
        values, columns = _flushed(values), values.shape[1]
        known = np.isfinite(values) if present is None else np.isfinite(values) & present
        fractions = np.linspace(0, 1, self.knots)
        self.quantiles = np.full((columns, self.knots), np.nan)
        for j in range(columns):
            column = values[known[:, j], j]
            if len(column):
                self.quantiles[j] = np.quantile(column, fractions)
        return self

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `(n, columns)` values within about [-2.9, 2.9].

        Raises:
            InputError: if there are other columns than those it was fitted on.
        """
        if values.shape[1] != len(self.quantiles):
            raise InputError(f"{values.shape[1]} columns of features, but scaling was fitted on {len(self.quantiles)}")
        fractions = np.linspace(0, 1, self.knots)
        ordered = np.where(np.isnan(values), -np.inf, _flushed(values))
        out = np.full(values.shape, 0.5)
        for j, quantiles in enumerate(self.quantiles):
            if np.isnan(quantiles[0]):
                continue
            # A value that several quantiles have in common gets the middle of their ranks: interpolate from both sides.
            up = np.interp(ordered[:, j], quantiles, fractions)
            down = 1 - np.interp(-ordered[:, j], -quantiles[::-1], fractions)
            out[:, j] = (up + down) / 2
        edge = 0.5 / self.knots
        normal: NDArray[np.float64] = ndtri(np.clip(out, edge, 1 - edge))
        return normal


def _flushed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    flushed: NDArray[np.float64] = np.where(np.abs(values) < NEXT_TO_ZERO, 0.0, values)
    return flushed


def normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what `(n,)` values would be if they were normally distributed in the same order.

    A value of rank r (from 1, equal values share their mean rank) becomes the quantile of the standard normal
    distribution at (r - 1/2) / n.
    """
    scores: NDArray[np.float64] = ndtri((rankdata(values) - 0.5) / len(values))
    return scores
