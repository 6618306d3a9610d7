"""Synaptic flow (Tanaka et al. 2020, arXiv:2006.05467, eq. 3): |w * dR/dw| with R the summed output for an input of
ones and every parameter replaced by its absolute value.

The values of different networks lie tens of orders of magnitude apart, so they are kept as natural logarithms: the
statistic is the log of the sum over a node's weights, the proxy the log of the sum over all nodes.
"""

import numpy as np

from parzc.features.passes.passes import Passes
from parzc.features.passes.trace import Node
from parzc.features.proxies._registry import NodeValues, ProxyInfo, register


def _log_flow(nodes: list[Node]) -> NodeValues:
    flows = [(node.weight * node.gradient).abs().sum().item() for node in nodes]
    with np.errstate(divide="ignore"):
        return np.log(np.array(flows, dtype=np.float64))


def _logsynflow(passes: Passes) -> NodeValues:
    flows = [(node.weight.abs() * node.gradient.abs().log1p()).sum().item() for node in passes.synaptic_flow]
    return np.array(flows, dtype=np.float64)


def _synflow(passes: Passes) -> NodeValues:
    return _log_flow(passes.synaptic_flow)


def _synflow_bn(passes: Passes) -> NodeValues:
    return _log_flow(passes.synaptic_flow_bn)


register(
    ProxyInfo(
        name="synflow",
        meaning="log of the synaptic flow through a weight, without batch norm",
        source="Tanaka et al. 2020 (arXiv:2006.05467), eq. 3, one shot, batch norm removed",
        bigger_is_better=True,
        passes=("synaptic_flow",),
        inputs="ones",
        initialisation="absolute",
        batch_norm="removed",
        scale="log",
        node_values=_synflow,
    )
)
register(
    ProxyInfo(
        name="synflow_bn",
        meaning="log of the synaptic flow through a weight, batch norm kept (what published ParZC code feeds)",
        source="Tanaka et al. 2020 (arXiv:2006.05467), eq. 3, one shot, with batch norm in training mode",
        bigger_is_better=True,
        passes=("synaptic_flow_bn",),
        inputs="ones",
        initialisation="absolute",
        batch_norm="batch",
        scale="log",
        node_values=_synflow_bn,
    )
)
register(
    ProxyInfo(
        name="logsynflow",
        meaning="synaptic flow with the logarithm of the gradient, without batch norm",
        source="Cavagnero et al. 2023 (FreeREA, arXiv:2207.05135): |w| * log(1 + |dR/dw|), without batch norm",
        bigger_is_better=True,
        passes=("synaptic_flow",),
        inputs="ones",
        initialisation="absolute",
        batch_norm="removed",
        node_values=_logsynflow,
    )
)
