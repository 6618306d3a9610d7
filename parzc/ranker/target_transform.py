"""The target transform: whether members learn labels as they are or by their ranks.

Normal scores are the labels replaced by the quantiles of a normal distribution at their ranks
(`parzc.encoding.scaling.normal_scores`): the same order, evenly spread. Where a few networks that cannot be trained
take up most of the range of accuracies, members learn better from normal scores. Where the accuracy is about a sum of
the effects of the parts of a network, ranks distort that sum, and the labels as they are do better. To decide, the
Gaussian processes are fitted to both, and each label is predicted from all others (leave-one-out mean).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError


@dataclass(frozen=True)
class TransformConfig:
    """How much evidence the labels as they are need against normal scores.

    Normal scores are the safer choice where a few labels cannot show the difference. So the labels as they are have to
    be ahead by `standard_errors` standard errors where there are `prior_labels` labels. Both numbers were chosen on 500
    architectures each of `autoformer-small` and `autoformer-base`, all their labels in view, with a look at CIFAR-100
    validation accuracies of NAS-Bench-201 (docs/results.md, "What was seen while choosing").

    Args:
        standard_errors: one-sided; 1.28 is a chance of 10 % to choose the labels as they are where both do equally
            well.
        prior_labels: with so many labels, `standard_errors` are asked for; with `n` labels, `sqrt(prior_labels / n)`
            times as much.
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
        Whether Kendall's tau of `first` with the labels is ahead of that of `second` by more than the standard error of
        the difference times `standard_errors` times `sqrt(prior_labels / n)`.

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
