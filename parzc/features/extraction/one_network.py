"""Network to numbers: every requested statistic and proxy from as few passes as they need."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.errors import InputError
from parzc.features.passes.nodes import Node
from parzc.features.passes.passes import Passes, Undefined
from parzc.features.passes.samples import Samples, of_batches
from parzc.features.passes.state import with_gradients
from parzc.features.proxies._registry import ProxyInfo, resolve
from parzc.features.store.record import NodeFeatures


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
    batches: int = 1,
) -> Scores:
    """Compute zero-cost proxies of any network: one number each, without training.

    Args:
        network: a module that maps a batch of inputs to logits `(batch, classes)`; it comes back unchanged.
        inputs: `(batches * batch, ...)`, the same for all proxies.
        proxies: names as in `list_proxies()`, or files and modules with proxies of one's own (`my_proxy.py`,
            `my_proxy.py:name`, `module:name`); all that are registered if not given.
        labels: class index of each input; drawn uniformly with `seed` if not given.
        seed: of everything random.
        batches: equal parts into which the inputs are cut and that run one after the other. The value of a proxy is
            the mean over them, except where its record has `across_batches`.

    Returns:
        A mapping from name to value; NaN where `.reasons` says why.

    Raises:
        InputError: for an unknown proxy, inputs that cannot be cut into `batches`, or a network with no weight-bearing
            node or another kind of output.
    """
    features = extract(network, inputs, labels, proxies, seed, batches)
    return Scores(dict(features.scores), dict(features.reasons))


def extract(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor | None = None,
    proxies: Iterable[str] | None = None,
    seed: int = 0,
    batches: int = 1,
) -> NodeFeatures:
    """Collect the features of any network: statistics at each node, block statistics, and proxies.

    The arguments and errors are those of `score`. A statistic and the proxy of its name are computed together.
    """
    infos = resolve(None if proxies is None else list(proxies))
    _check(inputs, labels, batches)
    single = [info for info in infos if batches == 1 or not info.across_batches]
    across = [info for info in infos if info not in single]
    wanted = {name for info in single for name in info.passes} | ({"gradients"} if across else set())
    parts, gradients, nodes = list[_Collected](), list[list[Tensor]](), dict[str, Any]()
    with with_gradients():
        for i, part in enumerate(inputs.chunk(batches)):
            own = None if labels is None else labels[i * len(part) : (i + 1) * len(part)]
            passes = Passes(network, part, own, seed + i, wanted)
            # Not the nodes themselves: they would keep the graph of one batch alive while the next one runs.
            nodes = nodes or _node_columns(passes.forward)
            parts.append(_collect(passes, single, len(nodes["nodes"])))
            if across:
                gradients.append(_gradients(passes))
    found = _mean(parts)
    if across:
        found.add(_collect(_AcrossBatches(gradients), across, len(nodes["nodes"])))
    return NodeFeatures(
        **nodes,
        statistics={info.name: found.statistics[info.name] for info in infos if info.has_nodes},
        scores={info.name: found.scores[info.name] for info in infos},
        blocks=found.blocks,
        block_statistics=found.block_statistics,
        reasons=found.reasons,
        seconds=found.seconds,
    )


def _check(inputs: Tensor, labels: Tensor | None, batches: int) -> None:
    if batches < 1 or len(inputs) % batches or len(inputs) == 0:
        raise InputError(f"{len(inputs)} inputs cannot be cut into {batches} equal batches; give a multiple")
    if batches > 1 and labels is not None and len(labels) != len(inputs):
        raise InputError(f"labels must be {len(inputs)} class indices, one for each input, but there are {len(labels)}")


@dataclass
class _Collected:
    """The values of some proxies for one network; the fields are those of `NodeFeatures`."""

    blocks: tuple[str, ...] = ()
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    block_statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, other: "_Collected") -> None:
        """Add the values of other proxies."""
        for own, more in ((self.statistics, other.statistics), (self.block_statistics, other.block_statistics)):
            own.update(more)
        self.scores.update(other.scores)
        self.reasons.update(other.reasons)
        self.seconds.update(other.seconds)


class _AcrossBatches:
    """In place of `Passes` for proxies that compare batches: the samples are the gradients of whole batches."""

    def __init__(self, gradients: list[list[Tensor]]) -> None:
        self._gradients, self.seconds = gradients, dict[str, float]()

    @cached_property
    def samples(self) -> Samples:
        """Moments of the gradients of the batches at each node."""
        if not all(self._gradients):
            raise Undefined("the network's output is not finite")
        return of_batches(self._gradients)


def _gradients(passes: Passes) -> list[Tensor]:
    try:
        return [node.gradient for node in passes.gradients]
    except Undefined:
        return []


def _collect(passes: Any, infos: Iterable[ProxyInfo], n_nodes: int) -> _Collected:
    found = _Collected(seconds=passes.seconds)
    for info in infos:
        start, in_passes = time.perf_counter(), sum(passes.seconds.values())
        if info.has_nodes:
            found.statistics[info.name] = np.full(n_nodes, np.nan)
        found.scores[info.name] = float("nan")
        try:
            if info.node_values is not None:
                found.statistics[info.name] = info.node_values(passes)
            if info.block_values is not None:
                found.block_statistics[info.name] = info.block_values(passes)
                found.blocks = passes.blocks.names
            found.scores[info.name] = _network_value(info, passes, found.statistics)
        except Undefined as reason:
            found.reasons[info.name] = str(reason)
        within = sum(passes.seconds.values()) - in_passes
        found.seconds[info.name] = time.perf_counter() - start - within
    return found


def _mean(parts: Sequence[_Collected]) -> _Collected:
    """Return the mean of the values of several batches, and the reason of each value that is missing in one of them."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    blocks = dict.fromkeys(name for part in parts for name in part.block_statistics)
    return _Collected(
        blocks=first.blocks,
        statistics={name: np.mean([part.statistics[name] for part in parts], axis=0) for name in first.statistics},
        block_statistics={
            name: np.mean([part.block_statistics[name] for part in parts], axis=0)
            for name in blocks
            if all(name in part.block_statistics for part in parts)
        },
        scores={name: float(np.mean([part.scores[name] for part in parts])) for name in first.scores},
        reasons={name: why for part in reversed(parts) for name, why in part.reasons.items()},
        seconds={name: sum(part.seconds.get(name, 0.0) for part in parts) for name in first.seconds},
    )


def _network_value(info: ProxyInfo, passes: Any, statistics: dict[str, NDArray[np.float64]]) -> float:
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


def _node_columns(nodes: list[Node]) -> dict[str, Any]:
    """Return the fields of `NodeFeatures` that do not depend on proxies: names, kinds and sizes of the nodes."""
    rows = [(node.depth, node.weight.numel(), node.channels, node.macs) for node in nodes]
    return {
        "nodes": tuple(node.name for node in nodes),
        "kinds": tuple(node.kind for node in nodes),
        "fields": np.array(rows, dtype=np.int64),
    }
