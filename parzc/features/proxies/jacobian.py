"""Proxies that read how the summed output changes with each input.

Rows of the Jacobian belong to the inputs of the batch; batch norm uses the statistics of the batch, as in published
code, so that a row also holds what its input does to the others.
"""

import torch
from torch import Tensor

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._registry import ProxyInfo, register

JACOB_COV_OFFSET = 1e-5


EPE_OFFSET = 1e-5
FEW_CLASSES = 100


def _correlations(jacobian: Tensor) -> Tensor:
    """Return the Pearson correlations between the rows of a Jacobian, in float64."""
    rows = jacobian.double()
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise Undefined("the output does not change with some input, so that there are no correlations")
    correlations: Tensor = (centred / norms) @ (centred / norms).T
    return correlations


def _jacob_cov(passes: Passes) -> float:
    eigenvalues = torch.linalg.eigvalsh(_correlations(passes.jacobian)).clamp_min(0) + JACOB_COV_OFFSET
    return float(-(eigenvalues.log() + 1 / eigenvalues).sum())


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


register(
    ProxyInfo(
        name="jacob_cov",
        meaning="how uncorrelated the Jacobians of different inputs are",
        source="Mellor et al. 2020 (arXiv:2006.04647v1), eq. 2: -sum_i log(l_i + k) + 1 / (l_i + k), k = 1e-5",
        bigger_is_better=True,
        passes=("jacobian",),
        inputs="data",
        batch_norm="batch",
        network_value=_jacob_cov,
    )
)
register(
    ProxyInfo(
        name="epe_nas",
        meaning="how uncorrelated the Jacobians of inputs of one class are",
        source="Lopes et al. 2021 (EPE-NAS, arXiv:2102.08099), published code: sum_c |sum log(|corr_c| + 1e-5)|; "
        "above 100 classes mean logs and their mean absolute difference",
        bigger_is_better=True,
        passes=("jacobian", "labels", "classes"),
        inputs="data",
        labels=True,
        batch_norm="batch",
        network_value=_epe_nas,
    )
)
