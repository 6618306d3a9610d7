"""Network to numbers: every requested statistic and proxy from as few passes as they need."""

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.features._passes import Passes, Undefined
from parzc.features._record import NodeFeatures
from parzc.features._registry import ProxyInfo, resolve
from parzc.features._trace import Node


class Scores(dict[str, float]):
    """Proxy name to value; `reasons` says why a value is NaN."""

    def __init__(self, values: dict[str, float], reasons: dict[str, str]) -> None:
        super().__init__(values)
        self.reasons = reasons


def score(
    network: nn.Module,
    inputs: Tensor,
    proxies: Iterable[str] | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> Scores:
    """Compute zero-cost proxies of any network.

    Args:
        network: a module that maps `inputs` to logits `(batch, classes)`; it comes back unchanged.
        inputs: one batch.
        proxies: names as in `list_proxies()`, all of them if not given.
        labels: `(batch,)` class indices; drawn uniformly with `seed` if not given.
        seed: of everything random.

    Returns:
        A mapping from name to value; NaN where `.reasons` says why.

    Raises:
        InputError: for an unknown proxy, or a network with no weight-bearing node or another kind of output.
    """
    features = extract(network, inputs, labels, proxies, seed)
    return Scores(dict(features.scores), dict(features.reasons))


def extract(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor | None = None,
    proxies: Iterable[str] | None = None,
    seed: int = 0,
) -> NodeFeatures:
    """Collect node-wise statistics and network proxies of any network.

    The arguments and errors are those of `score`. Statistics that have a proxy are computed once for both.
    """
    infos = resolve(None if proxies is None else list(proxies))
    passes = Passes(network, inputs, labels, seed, wanted={name for info in infos for name in info.passes})
    nodes = passes.forward
    statistics: dict[str, NDArray[np.float64]] = {}
    scores: dict[str, float] = {}
    reasons: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for info in infos:
        start, in_passes = time.perf_counter(), sum(passes.seconds.values())
        if info.has_nodes:
            statistics[info.name] = np.full(len(nodes), np.nan)
        scores[info.name] = float("nan")
        try:
            if info.node_values is not None:
                statistics[info.name] = info.node_values(passes)
            scores[info.name] = _network_value(info, passes, statistics)
        except Undefined as reason:
            reasons[info.name] = str(reason)
        seconds[info.name] = time.perf_counter() - start - (sum(passes.seconds.values()) - in_passes)
    return NodeFeatures(
        nodes=tuple(node.name for node in nodes),
        kinds=tuple(node.kind for node in nodes),
        fields=_fields(nodes),
        statistics=statistics,
        scores=scores,
        reasons=reasons,
        seconds=passes.seconds | seconds,
    )


def _network_value(info: ProxyInfo, passes: Passes, statistics: dict[str, NDArray[np.float64]]) -> float:
    if info.network_value is not None:
        value = info.network_value(passes)
    elif info.scale == "log":
        value = float(np.logaddexp.reduce(statistics[info.name]))
    else:
        value = float(statistics[info.name].sum())
    if value == -np.inf:
        raise Undefined("nothing flows from the input to the output")
    if not np.isfinite(value):
        raise Undefined("the value is not finite in the network's number format")
    return value


def _fields(nodes: list[Node]) -> NDArray[np.int64]:
    rows = [(node.depth, node.weight.numel(), node.channels, node.macs) for node in nodes]
    return np.array(rows, dtype=np.int64)
