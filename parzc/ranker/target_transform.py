"""The target transform: whether members learn labels as they are or by their ranks.

Where a few untrainable networks take up most of the range of accuracies, members learn better from normal scores (what
the labels would be if they were normally distributed in the same order). Where accuracies are a sum of the effects of
the parts of a network, ranks bend that sum, and the labels as they are do better. The labels decide: under either
transform each is predicted from the others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError


@dataclass(frozen=True)
class TransformConfig:
    """How much evidence the labels as they are need against normal scores.

    Normal scores are preferred as if `prior_labels` labels had shown them to be ahead by `standard_errors` standard
    errors, because they are the safer choice where a few labels cannot show the difference. Both were developed on 500
    architectures each of `autoformer-small` and `autoformer-base`, all their labels in view, with a look at CIFAR-100
    validation accuracies of NAS-Bench-201 (docs/results.md, "What was seen while choosing").

    Args:
        standard_errors: one-sided; 1.28 is a chance of 10 % to choose the labels as they are where both do as well.
        prior_labels: with as many labels, that is what is asked for; with more it is less, by the root of their number.
    """

    standard_errors: float = 1.28
    prior_labels: int = 20

    def __post_init__(self) -> None:
        if self.prior_labels < 0:
            raise InputError(f"prior_labels cannot be {self.prior_labels}; set it to 0 or more")


def standard_scores(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return labels with mean 0 and standard deviation 1; zeros where all are alike."""
    apart = labels - labels.mean()
    spread = apart.std()
    return apart / spread if spread > 1e-12 * np.abs(labels).max() else np.zeros_like(apart)


def ranks_better(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    labels: NDArray[np.float64],
    config: TransformConfig | None = None,
) -> bool:
    """Return whether one prediction of the labels ranks them better than another, beyond chance.

    Args:
        first: `(n,)` predictions, each made without its label.
        second: `(n,)` predictions to compare them with.
        labels: `(n,)`.
        config: how much evidence is asked for.

    Returns:
        Whether the difference of the two Kendall correlations with the labels is larger than its standard error times
        `standard_errors` times the root of `prior_labels / n`.

    Source: Hoeffding, "A class of statistics with asymptotically normal distribution", 1948, for the standard error of
    a mean over pairs.
    """
    config = config or TransformConfig()
    true = _order(labels)
    # Of each label, how many more of its pairs the first prediction has right than the second.
    gain = ((_order(first) - _order(second)) * true).sum(1) / max(len(labels) - 1, 1)
    error = 2 * gain.std(ddof=1) / np.sqrt(len(labels))
    return bool(gain.mean() > config.standard_errors * np.sqrt(config.prior_labels / len(labels)) * error > 0)


def _order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order: NDArray[np.float64] = np.sign(values[:, None] - values[None])
    return order
