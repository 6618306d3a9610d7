"""How much each member of a ranker counts: as much as it tells of labels that it has not seen."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.model_selection import KFold, ShuffleSplit

Rows = NDArray[np.int64]
FOLDS = 5
FEW = 400
"""Up to as many labels, each is held out once; of more, one part in `FOLDS`."""
DEVIATION = 0.15
"""How far the weight of a member is believed to be from that of all others, before a label is held out."""


def folds(labels: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield which of the labels to learn from, and which to hold out; nothing for fewer than ten labels."""
    if labels >= 2 * FOLDS:
        split = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        once = ShuffleSplit(1, test_size=1 / FOLDS, random_state=seed % 2**32)
        yield from (split if labels <= FEW else once).split(np.arange(labels))


def stacking_weights(told: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what to multiply the predictions of each member, so that their sum tells labels best.

    Each is first put on the scale of the labels, by least squares. The weights of what comes out, none negative, are
    the most probable ones where all are believed to be alike, with a deviation of `DEVIATION`, and the error with equal
    weights is the noise: few labels say little of which member is the best one.

    Args:
        told: `(n, members)` predictions of labels that were held out; 0 is that of a middling label.
        seen: `(n,)` these labels, of mean about 0.

    Returns:
        `(members,)`, none negative; zeros if no member tells anything.

    Source: Breiman, "Stacked Regressions", 1996, with a normal prior.
    """
    slopes = np.maximum(told.T @ seen, 0) / np.maximum(np.square(told).sum(0), 1e-12)
    calibrated = told * slopes
    alike = np.full(told.shape[1], 1 / told.shape[1])
    noise = np.sqrt(np.square(seen - calibrated @ alike).mean())
    belief = noise / DEVIATION
    rows = np.vstack([calibrated, belief * np.eye(len(alike))])
    weights: NDArray[np.float64] = nnls(rows, np.append(seen, belief * alike))[0]
    scaled: NDArray[np.float64] = weights * slopes
    return scaled
