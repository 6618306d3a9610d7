"""On which scale labels are learned: by their rank, or as they are.

Where a few untrainable networks take up most of the range of accuracies, rankers learn better from normal scores. Where
accuracies are a sum of what the parts of a network are worth, ranks bend that sum, and the accuracies themselves are
better. The labels tell which: each is predicted from the others on either scale. Boosted trees on their own need no
such choice: one split puts untrainable networks aside, and on NAS-Bench-201 the labels as they are serve them better.
"""

import numpy as np
from numpy.typing import NDArray

SURE, FEW = 1.28, 20
"""What is believed beforehand: that normal scores order labels better, as if `FEW` labels had shown it with `SURE`
standard errors (one-sided, 90 %). The more labels there are, the less it counts."""


def standard_scores(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return labels with mean 0 and spread 1; zeros where all are alike."""
    apart = labels - labels.mean()
    spread = apart.std()
    return apart / spread if spread > 1e-12 * np.abs(labels).max() else np.zeros_like(apart)


def ranks_better(ahead: NDArray[np.float64], behind: NDArray[np.float64], labels: NDArray[np.float64]) -> bool:
    """Tell whether one prediction of the labels orders them better than another, beyond chance.

    Args:
        ahead: `(n,)` predictions, each of a label that was held out.
        behind: `(n,)` predictions to compare them with.
        labels: `(n,)`.

    Returns:
        Whether the difference of the two Kendall correlations with the labels is more of its standard errors than
        `SURE` times the root of `FEW / n`.

    Source: Hoeffding, "A class of statistics with asymptotically normal distribution", 1948, for the standard error of
    a mean over pairs.
    """
    true = _order(labels)
    # Of each label, how many more of its pairs the first prediction has right than the second.
    gain = ((_order(ahead) - _order(behind)) * true).sum(1) / max(len(labels) - 1, 1)
    error = 2 * gain.std(ddof=1) / np.sqrt(len(labels))
    return bool(gain.mean() > SURE * np.sqrt(FEW / len(labels)) * error > 0)


def _order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order: NDArray[np.float64] = np.sign(values[:, None] - values[None])
    return order
