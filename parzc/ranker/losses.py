"""Training losses of the mixers: differentiable Kendall's tau, pairwise logistic loss, mean squared error.

Every loss is a pure function `(scores, labels) -> scalar` of the `n` architectures of a batch. Scores may carry leading
dimensions `(..., n)`, one for each model where several are trained at once; the loss is then the mean over them. Bigger
labels mean better.

Kendall's tau of scores and labels is the fraction of pairs that both order alike, less the fraction that they order
differently. It is a step function of the scores, so that its gradient is zero; `diff_kendall` ("DiffKendall") replaces
its steps by tanh. Where most pairs are in the right order, this loss falls if all scores are multiplied by a factor,
although no rank changes. That ends where tanh saturates (`alpha |d| >> 1` for the differences `d` of scores): the loss
then equals minus tau and its gradient vanishes.

The paper uses tanh with one alpha of .5 for scores and labels alike, and divides by the number of unordered pairs,
which only doubles the range. With standardised labels this keeps tanh in its linear zone, where the loss is about
`-alpha^2 Cov(scores, labels)`: a covariance, no rank correlation. So here the labels enter by the sign of their
differences.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from parzc.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]


def diff_kendall(
    scores: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.5,
    label_alpha: float | None = None,
    normalize: bool = False,
) -> Tensor:
    """Negative differentiable Kendall's tau: smooth in the scores, exact in the order of the labels.

    The loss is `-sum_ij t(s_i - s_j) w_ij / sum_ij |w_ij|` with `t(d) = sigmoid(alpha d) - sigmoid(-alpha d)
    = tanh(alpha d / 2)` and `w_ij = sign(y_i - y_j)`, so that pairs with equal labels do not count.

    Args:
        scores: predictions, `(..., n)`.
        labels: targets in any unit, `(n,)` or `(..., n)`.
        alpha: steepness for the scores, in 1 / score units (1 / standard deviations if normalised), > 0.
        label_alpha: if given, `w_ij = tanh(label_alpha (y_i - y_j) / 2)`, > 0, in 1 / label units: near-ties, which
            label noise may turn round, then count little.
        normalize: divide the scores by their standard deviation over the last dimension, so that growing them changes
            nothing. Needs batches of three or more: two standardised scores are always the same distance apart.

    Returns:
        Scalar in [-1, 1]; 0, still connected to the graph, where no two labels differ or n < 2.

    Raises:
        InputError: shapes do not match, or an alpha is not positive.

    Source: ParZC, section 3.4; what differs is in the docstring of this module.
    """
    if alpha <= 0 or (label_alpha is not None and label_alpha <= 0):
        raise InputError(f"alpha and label_alpha must be positive, got {alpha} and {label_alpha}.")
    scores, labels = _matched(scores, labels)
    if normalize:
        spread = scores.var(dim=-1, keepdim=True, unbiased=False)
        # The small constant keeps gradients finite where all scores are equal.
        scores = scores / (spread + 1e-12).sqrt()
    label_gaps = _pair_gaps(labels)
    weights = torch.sign(label_gaps) if label_alpha is None else torch.tanh(label_alpha * label_gaps / 2)
    return -_weighted_mean(torch.tanh(alpha * _pair_gaps(scores) / 2) * weights.sign(), weights.abs())


def pairwise(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean logistic loss `log(1 + exp(-(s_i - s_j) sign(y_i - y_j)))` over the pairs with different labels.

    Args:
        scores: predictions, `(..., n)`.
        labels: targets in any unit, `(n,)` or `(..., n)`.

    Returns:
        Scalar >= 0, log 2 for constant scores; 0, still connected to the graph, where no two labels differ.

    Raises:
        InputError: shapes do not match.

    Source: the baseline of ParZC, table 7, after ReNAS.
    """
    scores, labels = _matched(scores, labels)
    order = torch.sign(_pair_gaps(labels))
    return _weighted_mean(F.softplus(-_pair_gaps(scores) * order), order.abs())


def mse(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error.

    Args:
        scores: predictions, `(..., n)`.
        labels: targets in the unit of the scores, `(n,)` or `(..., n)`.

    Returns:
        Scalar >= 0, in squared label units.

    Raises:
        InputError: shapes do not match (they would silently broadcast).

    Source: the baseline of ParZC, table 7.
    """
    scores, labels = _matched(scores, labels)
    return F.mse_loss(scores, labels)


LOSSES: Mapping[str, Loss] = MappingProxyType({"diff_kendall": diff_kendall, "pairwise": pairwise, "mse": mse})


def _matched(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores `(..., n)`, and the labels expanded to the same shape and dtype."""
    if scores.ndim == 0 or labels.shape not in (scores.shape, scores.shape[-1:]):
        raise InputError(
            f"labels of shape {tuple(labels.shape)} do not match scores of shape {tuple(scores.shape)}: "
            "give (n,) labels for (..., n) scores, or equal shapes."
        )
    return scores, labels.to(scores.dtype).expand_as(scores)


def _pair_gaps(values: Tensor) -> Tensor:
    """Differences `values_i - values_j` of all ordered pairs, `(..., n, n)`.

    Both orders of a pair give the same term in the losses above. Keeping both avoids an index list, whose
    backward pass adds up in no fixed order.
    """
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def _weighted_mean(terms: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of `(..., n, n)` terms over pairs (0 without weight), then over leading dimensions."""
    total = weights.sum(dim=(-2, -1))
    # total is a constant of the graph: where it is 0 every term has weight 0, and any divisor gives 0.
    means = (terms * weights).sum(dim=(-2, -1)) / torch.where(total > 0, total, torch.ones_like(total))
    return means.mean()
