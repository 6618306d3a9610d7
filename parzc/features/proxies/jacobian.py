"""Proxies that read how the summed output changes with each input.

Rows of the Jacobian belong to the inputs of the batch; batch norm uses the statistics of the batch, as in published
code, so that a row also holds what its input does to the others.
"""

import torch
from torch import Tensor

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family

JACOB_COV_OFFSET = 1e-5
"""The k of jacob_cov, which keeps eigenvalues away from zero."""
EPE_OFFSET = 1e-5
"""What EPE-NAS adds to correlations before it takes their logarithms."""
FEW_CLASSES = 100
"""Up to so many classes EPE-NAS sums logarithms; above, it takes their means and compares them."""

_jacobian = Family(passes=("jacobian",), batch_norm="batch")


def _correlations(jacobian: Tensor) -> Tensor:
    """Return the Pearson correlations between the rows of a Jacobian, in float64."""
    rows = jacobian.double()
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise Undefined("the output does not change with some input, so that there are no correlations")
    correlations: Tensor = (centred / norms) @ (centred / norms).T
    return correlations


@_jacobian.proxy(
    "jacob_cov",
    "how uncorrelated the Jacobians of different inputs are",
    "Mellor et al. 2020 (arXiv:2006.04647v1), eq. 2: -sum_i log(l_i + k) + 1 / (l_i + k), k = 1e-5",
)
def _jacob_cov(passes: Passes) -> float:
    eigenvalues = torch.linalg.eigvalsh(_correlations(passes.jacobian)).clamp_min(0) + JACOB_COV_OFFSET
    return float(-(eigenvalues.log() + 1 / eigenvalues).sum())


@_jacobian.proxy(
    "epe_nas",
    "how uncorrelated the Jacobians of inputs of one class are",
    "Lopes et al. 2021 (EPE-NAS, arXiv:2102.08099), published code: sum_c |sum log(|corr_c| + 1e-5)|; "
    "above 100 classes mean logs and their mean absolute difference",
    passes=("jacobian", "labels", "classes"),
    labels=True,
)
def _epe_nas(passes: Passes) -> float:
    correlations, labels = _correlations(passes.jacobian), passes.labels
    scores = []
    for label in sorted(set(labels.tolist())):
        own = labels == label
        logs = (correlations[own][:, own].abs() + EPE_OFFSET).log()
        scores.append(logs.sum() if passes.classes <= FEW_CLASSES else logs.mean())
    values = torch.stack(scores)
    if passes.classes <= FEW_CLASSES:
        return float(values.abs().sum())
    return float((values[:, None] - values[None, :]).abs().triu().sum() / len(values))
