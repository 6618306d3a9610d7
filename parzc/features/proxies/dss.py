"""DSS, the indicator of TF-TAS for vision transformers (Zhou et al., CVPR 2022, "Training-free Transformer Architecture
Search"): synaptic diversity of attention and synaptic saliency of the perceptrons.

Weights, all made absolute, carry the flow of an input of ones, as in synaptic flow; with R the summed output, the
weight W of attention (of queries, keys and values, or of the projection behind) has the product of nuclear norms
|dR/dW| * |W|, and any other linear map the sum of |dR/dW * W|. The convolution that makes the patches does not enter.

The published code recognises attention by names and shapes. Here a linear map is of attention if a softmax, or a fused
attention, lies between it and the linear map before or behind it. The published code gives 0 for the weights of
supernets on current versions of torch, because it reads the gradients of slices; here they have their values.
"""

from collections.abc import Sequence

import numpy as np
import torch

from parzc.features.passes.blocks import smaller_product
from parzc.features.passes.nodes import Node, functions_before
from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

FAR_BELOW = 4
"""How much smaller than a matrix its rank has to be for the nuclear norm to be taken from a part of it."""


_family = Family(
    passes=("synaptic_flow",),
    inputs="ones",
    initialisation="absolute",
    batch_norm="removed",
    needs="attention",
    elements="node",
)


def attention_nodes(nodes: Sequence[Node]) -> set[int]:
    """Return the indices of the linear nodes that make the queries, keys and values of attention, or project it.

    Args:
        nodes: of a pass whose autograd graph is still alive.
    """
    owner = {call.origin: i for i, node in enumerate(nodes) for call in node.calls if call.origin is not None}
    found: set[int] = set()
    for i, node in enumerate(nodes):
        for call in node.calls:
            before = list(functions_before(call.source, owner))
            if any(function not in owner and _attends(function.name()) for function in before):
                found |= {i, *(owner[function] for function in before if function in owner)}
    return {i for i in found if nodes[i].kind == "linear"}


def _attends(name: str) -> bool:
    return "Softmax" in name or "ScaledDotProduct" in name


@_family.statistic(
    "dss",
    "synaptic diversity of attention weights and synaptic saliency of other linear weights",
    "Zhou et al. 2022 (TF-TAS, CVPR), DSS-indicator; nuclear norms of each weight as one matrix",
)
def _dss(passes: Passes) -> NodeValues:
    nodes = passes.synaptic_flow
    attention = attention_nodes(nodes)
    if not attention:
        raise Undefined("the network has no attention, whose weights this indicator is about")
    values = np.zeros(len(nodes))
    for i, node in enumerate(nodes):
        if i in attention:
            # A gradient is a sum over tokens of products of two vectors.
            tokens = sum(call.inputs.shape[:-1].numel() for call in node.calls)
            values[i] = nuclear_norm(node.gradient, tokens) * nuclear_norm(node.weight)
        elif node.kind == "linear":
            values[i] = (node.weight * node.gradient).abs().sum().item()
    return values


def nuclear_norm(matrix: torch.Tensor, rank: int | None = None) -> float:
    """Return the sum of the singular values of a matrix.

    Args:
        matrix: in float64.
        rank: what the matrix has at most, if that is known; one far below its size saves most of the time.

    Raises:
        Undefined: if a number is not finite.
    """
    if not matrix.isfinite().all():
        raise Undefined("the synaptic flow is not finite")
    norm: torch.Tensor
    if rank is not None and rank <= min(matrix.shape) // FAR_BELOW:
        # As many combinations of the columns as the rank says, drawn at random, span what all of them do. (Not by
        # torch.svd_lowrank, which would draw from the caller's random state.)
        drawn = torch.randn(matrix.shape[1], rank, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        basis = torch.linalg.qr(matrix @ drawn.to(matrix.device)).Q
        norm = torch.linalg.svdvals(basis.T @ matrix).sum()
    else:
        # The singular values are the roots of these eigenvalues, which take less time.
        norm = torch.linalg.eigvalsh(smaller_product(matrix)).clamp_min(0).sqrt().sum()
    return norm.item()
