"""Proxies that read which units are active for which input.

A unit is one output of a rectifier (ReLU, GELU, SiLU ...), active where what enters the rectifier is positive. Batch
norm uses the statistics of the batch, weights are those of the network.
"""

import math

import torch

from parzc.features.passes.bits import Patterns
from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family

CENTRE, WIDTH = 1000.0, 1e6
"""The mu and sigma of regularised SWAP, for thousands of parameters: networks of about a million are preferred."""


_patterns = Family(passes=("patterns",), batch_norm="batch", needs="rectifiers")


def log_determinant(patterns: Patterns) -> float:
    """Return the logarithm of the determinant of the agreement between inputs.

    Raises:
        Undefined: if it is zero.
    """
    if patterns.distinct_inputs < patterns.batch:
        raise Undefined("two inputs have the same activation pattern, so that the determinant is zero")
    values = torch.linalg.eigvalsh(patterns.agreement)
    if values[0] <= values[-1] * patterns.batch * torch.finfo(values.dtype).eps:
        raise Undefined("too few units differ between the inputs, so that the determinant is zero")
    return float(values.log().sum())


@_patterns.proxy(
    "nwot",
    "log-determinant of the agreement of activation patterns between inputs",
    "Mellor et al. 2021 (arXiv:2006.04647), eq. 2: log |K_H| with K_H[i, j] = N_A - d_H(c_i, c_j)",
)
def _nwot(passes: Passes) -> float:
    return log_determinant(passes.patterns)


@_patterns.proxy(
    "swap",
    "number of different sample-wise activation patterns; at most 2 to the power of the batch",
    "Peng et al. 2024 (arXiv:2403.04161), def. 3.3: cardinality of sample-wise patterns",
)
def _swap(passes: Passes) -> float:
    return float(passes.patterns.distinct_units)


@_patterns.proxy(
    "swap_regularised",
    "swap, favouring networks of about a million parameters",
    "Peng et al. 2024 (arXiv:2403.04161): swap * exp(-(P - mu)^2 / sigma), P in 1e3, mu 1e3, sigma 1e6",
)
def _swap_regularised(passes: Passes) -> float:
    thousands = sum(p.numel() for p in passes.network.parameters()) / 1000
    return _swap(passes) * math.exp(-((thousands - CENTRE) ** 2) / WIDTH)


@_patterns.proxy(
    "linear_regions",
    "number of different activation patterns among the inputs; at most the batch",
    "Chen et al. 2021 (TE-NAS, arXiv:2102.11535): linear regions that are hit, over the inputs of the batch",
)
def _linear_regions(passes: Passes) -> float:
    return float(passes.patterns.distinct_inputs)
