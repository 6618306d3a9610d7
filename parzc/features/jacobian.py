"""Proxies that read how the summed output changes with each input.

Rows of the Jacobian belong to the inputs of the batch; batch norm uses the statistics of the batch, as in published
code, so that a row also holds what its input does to the others.
"""

import torch

from parzc.features._passes import Passes, Undefined
from parzc.features._registry import ProxyInfo, register

JACOB_COV_OFFSET = 1e-5


def _jacob_cov(passes: Passes) -> float:
    jacobian = passes.jacobian.double()
    centred = jacobian - jacobian.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise Undefined("the output does not change with some input, so that there are no correlations")
    rows = centred / norms
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + JACOB_COV_OFFSET
    return float(-(eigenvalues.log() + 1 / eigenvalues).sum())


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
