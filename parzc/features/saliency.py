"""Gradient and weight saliencies of pruning, one value at each node, from one forward and one backward pass.

Gradients are of the mean cross-entropy over the batch, batch norm uses the statistics of the batch, biases and norm
parameters are left out. A node that the loss does not depend on has the value zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from parzc.features._passes import Passes
from parzc.features._registry import NodeValues, ProxyInfo, register
from parzc.features._trace import Call, Node


def _per_node(measure: Callable[[Node], Tensor]) -> Callable[[Passes], NodeValues]:
    def node_values(passes: Passes) -> NodeValues:
        return torch.stack([measure(node).double() for node in passes.gradients]).cpu().numpy()

    return node_values


def _fisher(node: Node) -> Tensor:
    return torch.stack([_fisher_of_call(call, node.batch) for call in node.calls]).sum(0)


def _fisher_of_call(call: Call, batch: int) -> Tensor:
    if call.output_grad is None:
        return call.output.new_zeros(())
    # Windows or tokens folded into the first axis are positions of the sample they come from.
    samples = batch if len(call.output) % batch == 0 else len(call.output)
    # The loss is a mean over the batch, so the gradient of one sample's own loss is `batch` times what was recorded.
    product = call.original_output() * call.output_grad * samples
    product = product.reshape(samples, -1, *product.shape[1:])
    channel = product.ndim - 1 if call.kind == "linear" else 2
    per_sample = product.sum([axis for axis in range(1, product.ndim) if axis != channel])
    return 0.5 * per_sample.square().mean(0).sum()


def _l2_norm(passes: Passes) -> NodeValues:
    return np.array([node.weight.double().norm().item() for node in passes.forward])


register(
    ProxyInfo(
        name="grad_norm",
        meaning="Euclidean norm of the weight gradient",
        source="Abdelfattah et al. 2021 (arXiv:2101.08134), sec. 3.1: sum over layers of ||dL/dw||_2",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        elements="node",
        node_values=_per_node(lambda node: node.gradient.norm()),
    )
)
register(
    ProxyInfo(
        name="snip",
        meaning="loss change when a weight is removed, absolute value",
        source="Lee et al. 2019 (arXiv:1810.02340), eq. 5 unnormalised: |dL/dw * w|",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        node_values=_per_node(lambda node: (node.gradient * node.weight).abs().sum()),
    )
)
register(
    ProxyInfo(
        name="plain",
        meaning="loss change when a weight is removed, signed",
        source="Mozer and Smolensky 1988: dL/dw * w",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        node_values=_per_node(lambda node: (node.gradient * node.weight).sum()),
    )
)
register(
    ProxyInfo(
        name="fisher",
        meaning="loss change when an output channel is removed",
        source="Turner et al. 2020 (arXiv:1906.04113), eq. 1: 1/(2N) sum_n (sum_hw a * dL_n/da)^2 at the node's output",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        elements="channels",
        node_values=_per_node(_fisher),
    )
)
register(
    ProxyInfo(
        name="l2_norm",
        meaning="Euclidean norm of the weight",
        source="Abdelfattah et al. 2021 (arXiv:2101.08134): sum over layers of ||w||_2",
        bigger_is_better=True,
        passes=("forward",),
        inputs="none",
        elements="node",
        node_values=_l2_norm,
    )
)
