"""Proxies of the neural tangent kernel, over the weights of the nodes.

The kernel of the inputs `i` and `j` is the scalar product of the gradients of their summed logits; its trace and its
mean are sums over nodes. Biases and norm parameters are left out, as in all saliencies here.
"""

import numpy as np
import torch

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

_kernel = Family(passes=("kernel",), batch_norm="batch")


@_kernel.proxy(
    "ntk",
    "condition number of the neural tangent kernel of the batch",
    "Chen et al. 2021 (TE-NAS, arXiv:2102.11535), as in MeCo app. B: largest over smallest eigenvalue",
    bigger_is_better=False,
)
def _ntk(passes: Passes) -> float:
    kernel = passes.kernel.sum(0)
    if not np.isfinite(kernel).all():
        raise Undefined("the gradients are not finite")
    values = np.linalg.eigvalsh(kernel)
    # Gradients are in single precision: an eigenvalue below their rounding error is zero.
    if values[0] <= values[-1] * len(values) * torch.finfo(torch.float32).eps:
        raise Undefined(
            "the gradients of the inputs are linearly dependent, so that the kernel has an eigenvalue of zero"
        )
    return float(values[-1] / values[0])


@_kernel.statistic(
    "knas",
    "mean of the gradient kernel over pairs of inputs",
    "Xu et al. 2021 (KNAS, ICML), as MeCo app. B writes it: 1/n^2 sum_ij (dy_i/dw)(dy_j/dw)^T of the logits",
    elements="node",
)
def _knas(passes: Passes) -> NodeValues:
    means: NodeValues = passes.kernel.mean((1, 2))
    return means


@_kernel.statistic(
    "nasi",
    "squared norm of the gradient: the trace of the tangent kernel but for a constant factor",
    "Shu et al. 2022 (NASI, arXiv:2109.00817), as MeCo app. B writes it: ||1/b sum_x dL_x/dw||^2",
    passes=("gradients",),
    labels=True,
)
def _nasi(passes: Passes) -> NodeValues:
    return torch.stack([node.gradient.double().square().sum() for node in passes.gradients]).cpu().numpy()
