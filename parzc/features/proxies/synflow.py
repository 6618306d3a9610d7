"""Synaptic flow (Tanaka et al. 2020, arXiv:2006.05467, eq. 3): |w * dR/dw| with R the summed output for an input of
ones and every parameter replaced by its absolute value.

The values of different networks lie tens of orders of magnitude apart, so they are kept as natural logarithms: the
statistic is the log of the sum over a node's weights, the proxy the log of the sum over all nodes.
"""

import numpy as np

from parzc.features.passes.nodes import Node
from parzc.features.passes.passes import Passes
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

_flow = Family(inputs="ones", initialisation="absolute")
_PAPER = "Tanaka et al. 2020 (arXiv:2006.05467), eq. 3, one shot, "


def _log_flow(nodes: list[Node]) -> NodeValues:
    flows = [(node.weight * node.gradient).abs().sum().item() for node in nodes]
    with np.errstate(divide="ignore"):
        return np.log(np.array(flows, dtype=np.float64))


@_flow.statistic(
    "synflow",
    "log of the synaptic flow through a weight, without batch norm",
    _PAPER + "batch norm removed",
    passes=("synaptic_flow",),
    batch_norm="removed",
    scale="log",
)
def _synflow(passes: Passes) -> NodeValues:
    return _log_flow(passes.synaptic_flow)


@_flow.statistic(
    "synflow_bn",
    "log of the synaptic flow through a weight, batch norm kept (what published ParZC code feeds)",
    _PAPER + "with batch norm in training mode",
    passes=("synaptic_flow_bn",),
    batch_norm="batch",
    scale="log",
)
def _synflow_bn(passes: Passes) -> NodeValues:
    return _log_flow(passes.synaptic_flow_bn)


@_flow.statistic(
    "logsynflow",
    "synaptic flow with the logarithm of the gradient, without batch norm",
    "Cavagnero et al. 2023 (FreeREA, arXiv:2207.05135): |w| * log(1 + |dR/dw|), without batch norm",
    passes=("synaptic_flow",),
    batch_norm="removed",
)
def _logsynflow(passes: Passes) -> NodeValues:
    flows = [(node.weight.abs() * node.gradient.abs().log1p()).sum().item() for node in passes.synaptic_flow]
    return np.array(flows, dtype=np.float64)
