"""Ensemble weights by stacking: each member counts by how well it predicts labels that it has not learned.

Predictions of a labelled network that were made without its label are held-out predictions. Cross-validation gives them
for any member (out-of-fold predictions: each fifth of the labels from the other four), random forests give them as
out-of-bag predictions.
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
        fewest: labels that weights are learned from; with fewer, all members count alike, because a squared error over
            a handful of labels is mostly chance.
        folds: parts of the labels, each of which is held out once.
        sharpness: power of a member's precision (one over its squared error) that its weight is expected to be
            proportional to; 1 is right for members whose errors are independent, and theirs are not.
        deviation: prior standard deviation of a weight around the expected one; small, so that few labels exclude a bad
            member but do not decide among good ones.
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

    Each member is first put on the scale of the targets, by least squares. Weights, none negative, are expected to be
    proportional to the member's precision on these targets to the power `sharpness`. Returned are the most probable
    ones under a normal prior around that with standard deviation `deviation`, the squared error of the expected ones
    being the variance of the noise.

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
        fit: fits the member, anew for each fold, to inputs and targets.
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
