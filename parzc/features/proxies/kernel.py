"""Proxies of the neural tangent kernel, over the weights of the nodes.

The kernel of the inputs `i` and `j` is the scalar product of the gradients of their summed logits; its trace and its
mean are sums over nodes. Biases and norm parameters are left out, as in all saliencies here.
"""

import numpy as np
import torch

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._registry import NodeValues, ProxyInfo, register


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


def _knas(passes: Passes) -> NodeValues:
    means: NodeValues = passes.kernel.mean((1, 2))
    return means


def _nasi(passes: Passes) -> NodeValues:
    return torch.stack([node.gradient.double().square().sum() for node in passes.gradients]).cpu().numpy()


register(
    ProxyInfo(
        name="ntk",
        meaning="condition number of the neural tangent kernel of the batch",
        source="Chen et al. 2021 (TE-NAS, arXiv:2102.11535), as in MeCo app. B: largest over smallest eigenvalue",
        bigger_is_better=False,
        passes=("kernel",),
        inputs="data",
        batch_norm="batch",
        network_value=_ntk,
    )
)
register(
    ProxyInfo(
        name="knas",
        meaning="mean of the gradient kernel over pairs of inputs",
        source="Xu et al. 2021 (KNAS, ICML), as MeCo app. B writes it: 1/n^2 sum_ij (dy_i/dw)(dy_j/dw)^T of the logits",
        bigger_is_better=True,
        passes=("kernel",),
        inputs="data",
        batch_norm="batch",
        elements="node",
        node_values=_knas,
    )
)
register(
    ProxyInfo(
        name="nasi",
        meaning="squared norm of the gradient: the trace of the tangent kernel but for a constant factor",
        source="Shu et al. 2022 (NASI, arXiv:2109.00817), as MeCo app. B writes it: ||1/b sum_x dL_x/dw||^2",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        node_values=_nasi,
    )
)
