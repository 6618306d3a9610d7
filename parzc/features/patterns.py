"""Proxies that read which units are active for which input.

A unit is one output of a rectifier (ReLU, GELU, SiLU ...), active where what enters the rectifier is positive. Batch
norm uses the statistics of the batch, weights are those of the network.
"""

import numpy as np
import torch
from torch import Tensor

from parzc.features._passes import Passes, Undefined
from parzc.features._registry import ProxyInfo, register


def agreement(active: list[Tensor]) -> Tensor:
    """Return for each pair of inputs the number of units in the same state, `(batch, batch)` in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for states in active:
        x = states.float()
        counts = x.sum(1)
        # Both active: x x'. Both inactive: (1 - x)(1 - x)' = units - counts - counts' + x x'. Exact: counts < 2 ** 24.
        both = (x @ x.T).double()
        total = total.to(both) + 2 * both + states.shape[1] - counts[:, None].double() - counts[None, :].double()
    return total


def _nwot(passes: Passes) -> float:
    sign, log_determinant = torch.linalg.slogdet(agreement(passes.patterns))
    if sign <= 0 or not log_determinant.isfinite():
        raise Undefined("two inputs have the same activation pattern, so that the determinant is zero")
    return float(log_determinant)


def packed(active: list[Tensor]) -> Tensor:
    """Return the state of every unit over the whole batch as one integer per unit, `(units,)`; up to 62 inputs."""
    batch = active[0].shape[0]
    bits = 2 ** torch.arange(batch, device=active[0].device)
    return torch.cat([(states.T.long() * bits).sum(1) for states in active])


def _swap(passes: Passes) -> float:
    if len(passes.patterns[0]) > 62:
        raise Undefined("swap packs the states of at most 62 inputs into one integer; give a smaller batch")
    return float(len(np.unique(packed(passes.patterns).cpu().numpy())))


register(
    ProxyInfo(
        name="nwot",
        meaning="log-determinant of the agreement of activation patterns between inputs",
        source="Mellor et al. 2021 (arXiv:2006.04647), eq. 2: log |K_H| with K_H[i, j] = N_A - d_H(c_i, c_j)",
        bigger_is_better=True,
        passes=("patterns",),
        inputs="data",
        batch_norm="batch",
        network_value=_nwot,
    )
)
register(
    ProxyInfo(
        name="swap",
        meaning="number of different sample-wise activation patterns; at most 2 to the power of the batch",
        source="Peng et al. 2024 (arXiv:2403.04161), def. 3.3: cardinality of sample-wise patterns",
        bigger_is_better=True,
        passes=("patterns",),
        inputs="data",
        batch_norm="batch",
        network_value=_swap,
    )
)
