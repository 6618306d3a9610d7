"""Gradient and weight saliencies of pruning, one value at each node, from one forward and one backward pass.

Gradients are of the mean cross-entropy over the batch, batch norm uses the statistics of the batch, biases and norm
parameters are left out. A node that the loss does not depend on has the value zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from parzc.features.passes.passes import Passes
from parzc.features.passes.trace import Call, Node
from parzc.features.proxies._registry import NodeValues, ProxyInfo, register


def _per_node(measure: Callable[[Node], Tensor]) -> Callable[[Passes], NodeValues]:
    def node_values(passes: Passes) -> NodeValues:
        return torch.stack([measure(node).double() for node in passes.gradients]).cpu().numpy()

    return node_values


def _fisher(node: Node) -> Tensor:
    return torch.stack([_fisher_of_call(call, node.batch) for call in node.calls]).sum(0)


def _fisher_of_call(call: Call, batch: int) -> Tensor:
    if call.output_grad is None:
        return call.output.new_zeros(())
    product = call.original_output() * call.output_grad
    parts = call.by_sample(product, batch)
    parts = product[:, None] if parts is None else parts
    channel = parts.ndim - 1 if call.geometry is None else 2
    # The loss is a mean over the batch, so the gradient of one sample's own loss is `batch` times what was recorded.
    per_sample = len(parts) * parts.sum([axis for axis in range(1, parts.ndim) if axis != channel])
    return 0.5 * per_sample.square().mean(0).sum()


def _snip_mean(passes: Passes) -> float:
    means = [(node.gradient * node.weight).abs().mean().double() for node in passes.gradients]
    return float(torch.stack(means).mean())


def _grasp(passes: Passes) -> NodeValues:
    products = passes.double_backward
    return np.array([-float((node.weight * products[node.name]).double().sum()) for node in passes.forward])


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
        name="snip_mean",
        meaning="snip as ParZC's published code reduces it: the mean over nodes of the mean over weights",
        source="published ParZC code feeds torch.mean of each layer instead of the sum",
        bigger_is_better=True,
        passes=("gradients",),
        inputs="data",
        labels=True,
        batch_norm="batch",
        network_value=_snip_mean,
    )
)
register(
    ProxyInfo(
        name="grasp",
        meaning="how much the removal of a weight lowers the norm of the gradient",
        source="Wang et al. 2020 (arXiv:2002.07376), as MeCo app. B writes it: -(H dL/dw) * w, temperature 1",
        bigger_is_better=True,
        passes=("forward", "double_backward"),
        inputs="data",
        labels=True,
        batch_norm="batch",
        node_values=_grasp,
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
