"""Static costs of a network: the baselines that every proxy has to beat."""

from parzc.features.passes.passes import Passes
from parzc.features.proxies._registry import ProxyInfo, register


def _params(passes: Passes) -> float:
    return float(sum(p.numel() for p in passes.network.parameters()))


def _flops(passes: Passes) -> float:
    return float(sum(node.macs for node in passes.forward))


def _n_layers(passes: Passes) -> float:
    return float(len(passes.forward))


register(
    ProxyInfo(
        name="params",
        meaning="number of parameters",
        source="count over all parameters of the network",
        bigger_is_better=True,
        passes=(),
        inputs="none",
        network_value=_params,
    )
)
register(
    ProxyInfo(
        name="flops",
        meaning="multiply-accumulates of convolutions and linear layers for one input",
        source="the literature's FLOPs: one per multiply-accumulate and per added bias; norms and pooling not counted",
        bigger_is_better=True,
        passes=("forward",),
        inputs="data",
        network_value=_flops,
    )
)
register(
    ProxyInfo(
        name="n_layers",
        meaning="number of weight-bearing nodes",
        source="count over the nodes of the network",
        bigger_is_better=True,
        passes=("forward",),
        inputs="data",
        network_value=_n_layers,
    )
)
