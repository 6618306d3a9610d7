"""Gradient and weight saliencies of pruning, one value at each node, from one forward and one backward pass.

Gradients are of the mean cross-entropy over the batch, batch norm uses the statistics of the batch, biases and norm
parameters are left out. A node that the loss does not depend on has the value zero.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from parzc.features.passes.nodes import Call, Node
from parzc.features.passes.passes import Passes
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

_gradients = Family(passes=("gradients",), labels=True, batch_norm="batch")


def _per_node(passes: Passes, measure: Callable[[Node], Tensor]) -> NodeValues:
    return torch.stack([measure(node).double() for node in passes.gradients]).cpu().numpy()


@_gradients.statistic(
    "grad_norm",
    "Euclidean norm of the weight gradient",
    "Abdelfattah et al. 2021 (arXiv:2101.08134), sec. 3.1: sum over layers of ||dL/dw||_2",
    elements="node",
)
def _grad_norm(passes: Passes) -> NodeValues:
    return _per_node(passes, lambda node: node.gradient.norm())


@_gradients.statistic(
    "snip",
    "loss change when a weight is removed, absolute value",
    "Lee et al. 2019 (arXiv:1810.02340), eq. 5 unnormalised: |dL/dw * w|",
)
def _snip(passes: Passes) -> NodeValues:
    return _per_node(passes, lambda node: (node.gradient * node.weight).abs().sum())


@_gradients.statistic("plain", "loss change when a weight is removed, signed", "Mozer and Smolensky 1988: dL/dw * w")
def _plain(passes: Passes) -> NodeValues:
    return _per_node(passes, lambda node: (node.gradient * node.weight).sum())


@_gradients.proxy(
    "snip_mean",
    "snip as ParZC's published code reduces it: the mean over nodes of the mean over weights",
    "published ParZC code feeds torch.mean of each layer instead of the sum",
)
def _snip_mean(passes: Passes) -> float:
    means = [(node.gradient * node.weight).abs().mean().double() for node in passes.gradients]
    return float(torch.stack(means).mean())


@_gradients.statistic(
    "grasp",
    "how much the removal of a weight lowers the norm of the gradient",
    "Wang et al. 2020 (arXiv:2002.07376), as MeCo app. B writes it: -(H dL/dw) * w, temperature 1",
    passes=("forward", "double_backward"),
)
def _grasp(passes: Passes) -> NodeValues:
    products = passes.double_backward
    return np.array([-float((node.weight * products[node.name]).double().sum()) for node in passes.forward])


@_gradients.statistic(
    "fisher",
    "loss change when an output channel is removed",
    "Turner et al. 2020 (arXiv:1906.04113), eq. 1: 1/(2N) sum_n (sum_hw a * dL_n/da)^2 at the node's output",
    elements="channels",
)
def _fisher(passes: Passes) -> NodeValues:
    return _per_node(passes, lambda node: torch.stack([_fisher_of_call(c, node.batch) for c in node.calls]).sum(0))


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


@_gradients.statistic(
    "l2_norm",
    "Euclidean norm of the weight",
    "Abdelfattah et al. 2021 (arXiv:2101.08134): sum over layers of ||w||_2",
    passes=("forward",),
    inputs="none",
    labels=False,
    batch_norm="-",
    elements="node",
)
def _l2_norm(passes: Passes) -> NodeValues:
    return np.array([node.weight.double().norm().item() for node in passes.forward])
