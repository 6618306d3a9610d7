"""How much each member of a ranker counts: as much as it tells of labels that it has not seen."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.model_selection import KFold
from torch import Tensor, nn

FEWEST = 10
"""Labels that weights are learned from; with fewer, all members count alike."""
FOLDS = 5
"""Parts of the labels, each of which is held out once."""
SHARPNESS = 2.0
"""Power of a member's precision, which is one over its squared error, that its weight is expected to go with."""
DEVIATION = 0.1
"""How far the weight of a member is believed to be from the expected one."""


def stacking_weights(told: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what to multiply the predictions of each member, so that their sum tells labels best.

    Each is first put on the scale of the labels, by least squares. Their weights, none negative, are expected to go
    with their precision on these labels to the power `SHARPNESS`. Returned are the most probable ones that deviate from
    that by `DEVIATION`, with the error of the expected ones as noise. So a few labels tell a bad member from good ones,
    but not yet which of the good ones make up for each other's mistakes.

    Args:
        told: `(n, members)` predictions of labels that were held out; 0 is that of a middling label.
        seen: `(n,)` these labels, of mean about 0.

    Returns:
        `(members,)`, none negative; zeros if no member tells anything, or there are fewer than `FEWEST` labels.

    Source: Breiman, "Stacked Regressions", 1996, with a normal prior, whose mean is that of Bates and Granger, "The
    Combination of Forecasts", 1969 (`SHARPNESS` 1), sharpened.
    """
    if len(seen) < FEWEST:
        return np.zeros(told.shape[1])
    slopes = np.maximum(told.T @ seen, 0) / np.maximum(np.square(told).sum(0), 1e-12)
    calibrated = told * slopes
    errors = np.maximum(np.square(seen[:, None] - calibrated).mean(0), 1e-12)
    expected = (errors.min() / errors) ** SHARPNESS
    expected /= expected.sum()
    noise = np.sqrt(np.square(seen - calibrated @ expected).mean())
    belief = noise / DEVIATION
    rows = np.vstack([calibrated, belief * np.eye(len(expected))])
    weights: NDArray[np.float64] = nnls(rows, np.append(seen, belief * expected))[0]
    scaled: NDArray[np.float64] = weights * slopes
    return scaled


def cross_validated(
    fit: Callable[[Sequence[Tensor], Tensor], nn.Module], inputs: Sequence[Tensor], targets: Tensor, seed: int
) -> Tensor:
    """Return what a member tells of each of `FOLDS` parts of the targets, `(n,)`, that has learned the others.

    Args:
        fit: fits it, anew for each part, to inputs and targets.
        inputs: `(n, ...)` each.
        targets: `(n,)`, at least as many as parts.
        seed: of the parts.
    """
    told = torch.zeros_like(targets)
    for learned, hidden in KFold(FOLDS, shuffle=True, random_state=seed % 2**32).split(targets):
        member = fit([x[learned] for x in inputs], targets[learned])
        with torch.no_grad():
            told[hidden] = member(*[x[hidden] for x in inputs])
    return told
