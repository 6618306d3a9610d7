"""Ensemble weights by stacking: each member counts by how well it predicts labels that it has not learned.

A held-out prediction is one for a labelled network by a member that was fitted without its label. Cross-validation
gives them for any member (out-of-fold predictions: each fifth of the labels from the other four). A random forest gives
them without a further fit: each of its trees learns from a sample of the labels, and the trees whose sample left a
network out predict it (out-of-bag predictions).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.model_selection import KFold
from torch import Tensor

from parzc.errors import InputError

Rows = TypeVar("Rows", bound=Any)


@dataclass(frozen=True)
class StackingConfig:
    """How ensemble weights are learned.

    `sharpness` and `deviation` were chosen on 400 architectures of `autoformer-small`, 450 of `transnas-macro` that no
    record is of, and CIFAR-100 validation accuracies of NAS-Bench-201 (docs/results.md, "What was seen while
    choosing").

    Args:
        fewest: least number of labels that weights are learned from; with fewer the members keep equal weights, because
            a squared error over a handful of labels is mostly chance.
        folds: parts of the labels, each of which is held out once.
        sharpness: the weight of a member is expected to be proportional to its precision (one over its squared error)
            to this power. 1 would be right for members whose errors are independent, and theirs are not.
        deviation: standard deviation of the prior, by which a weight may differ from the expected one; small, so that a
            few labels can exclude a bad member but do not decide among good ones.
    """

    fewest: int = 10
    folds: int = 5
    sharpness: float = 2.0
    deviation: float = 0.1

    def __post_init__(self) -> None:
        if not (2 <= self.folds <= self.fewest and self.deviation > 0):
            raise InputError(
                f"stacking cannot use {self.folds} folds of {self.fewest} labels and a deviation of {self.deviation}; "
                "set folds to 2 or more, fewest to no less than folds, and deviation above 0"
            )


def stacking_weights(
    held_out: NDArray[np.float64], targets: NDArray[np.float64], config: StackingConfig | None = None
) -> NDArray[np.float64]:
    """Return the factors with which the predictions of the members, added up, predict the targets best.

    1. The predictions of each member are multiplied by the slope of their least-squares fit to the targets.
    2. The expected weights, of sum 1, are proportional to the precision of each member on these targets to the power
       `sharpness`.
    3. The weights minimise the squared error of the weighted sum plus a penalty on their distance from the expected
       ones (a normal prior of standard deviation `deviation`; the variance of the noise is the mean squared error with
       the expected weights). None is negative.

    A factor is the weight times the slope; factors need not sum to 1.

    Args:
        held_out: `(n, members)` predictions, each made without its target.
        targets: `(n,)`, of mean about 0.
        config: of the prior.

    Returns:
        `(members,)`, none negative; zeros if no member predicts anything, or there are fewer targets than `fewest`.

    Source: Breiman, "Stacked Regressions", 1996, with a normal prior, whose mean is that of Bates and Granger, "The
    Combination of Forecasts", 1969 (`sharpness` 1), sharpened.
    """
    config = config or StackingConfig()
    if len(targets) < config.fewest:
        return np.zeros(held_out.shape[1])
    slopes = np.maximum(held_out.T @ targets, 0) / np.maximum(np.square(held_out).sum(0), 1e-12)
    calibrated = held_out * slopes
    errors = np.maximum(np.square(targets[:, None] - calibrated).mean(0), 1e-12)
    expected = (errors.min() / errors) ** config.sharpness
    expected /= expected.sum()
    noise = np.sqrt(np.square(targets - calibrated @ expected).mean())
    # The prior enters the least squares as one more row for each weight.
    strength = noise / config.deviation
    rows = np.vstack([calibrated, strength * np.eye(len(expected))])
    weights: NDArray[np.float64] = nnls(rows, np.append(targets, strength * expected))[0]
    scaled: NDArray[np.float64] = weights * slopes
    return scaled


def out_of_fold(
    fit: Callable[[Rows, Tensor], Callable[[Rows], Tensor]], inputs: Rows, targets: Tensor, seed: int, folds: int = 5
) -> Tensor:
    """Return predictions `(n,)` of the targets of each fold by a member that was fitted on the other folds.

    Args:
        fit: fits a new member to inputs and targets, and returns the function that predicts.
        inputs: `n` rows.
        targets: `(n,)`, at least as many as folds.
        seed: of the folds.
        folds: how many.
    """
    predictions = torch.zeros_like(targets)
    for learned, hidden in KFold(folds, shuffle=True, random_state=seed % 2**32).split(targets):
        member = fit(inputs[learned], targets[learned])
        with torch.no_grad():
            predictions[hidden] = member(inputs[hidden])
    return predictions
