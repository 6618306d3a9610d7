"""Static costs of a network: the baselines that every proxy has to beat."""

from parzc.features.passes.passes import Passes
from parzc.features.proxies._family import Family

_costs = Family(passes=("forward",))


@_costs.proxy("params", "number of parameters", "count over all parameters of the network", passes=(), inputs="none")
def _params(passes: Passes) -> float:
    return float(sum(p.numel() for p in passes.network.parameters()))


@_costs.proxy(
    "flops",
    "multiply-accumulates of convolutions and linear layers for one input",
    "the literature's FLOPs: one per multiply-accumulate and per added bias; norms and pooling not counted",
)
def _flops(passes: Passes) -> float:
    return float(sum(node.macs for node in passes.forward))


@_costs.proxy("n_layers", "number of weight-bearing nodes", "count over the nodes of the network")
def _n_layers(passes: Passes) -> float:
    return float(len(passes.forward))
