"""Network to numbers: every requested statistic and proxy from as few passes as they need."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.errors import InputError
from parzc.features.extraction.arguments import (
    as_batch,
    as_labels,
    as_network,
    materialise,
    own_formats,
    with_floats_for_bytes,
)
from parzc.features.passes.batch import Batch
from parzc.features.passes.nodes import Node
from parzc.features.passes.once import said
from parzc.features.passes.outputs import Loss, Objective, Output
from parzc.features.passes.passes import Passes, Undefined
from parzc.features.passes.samples import Samples, of_batches
from parzc.features.passes.state import with_gradients
from parzc.features.proxies._registry import ProxyInfo, resolve
from parzc.features.store.record import NodeFeatures

LINEAR_ALGEBRA: tuple[type[Exception], ...] = (torch.linalg.LinAlgError, np.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What a decomposition of a matrix raises that does not converge."""


class Scores(dict[str, float]):
    """Proxy name to value; `reasons` says why a value is NaN."""

    def __init__(self, values: dict[str, float], reasons: dict[str, str]) -> None:
        super().__init__(values)
        self.reasons = reasons


def score(
    network: nn.Module,
    inputs: Any,
    proxies: Iterable[str] | None = None,
    labels: Any = None,
    seed: int = 0,
    batches: int = 1,
    output: Output | None = None,
    loss: Loss | None = None,
) -> Scores:
    """Compute zero-cost proxies of any network: one number each, without training.

    Args:
        network: any module; it comes back unchanged, save that lazy layers have their sizes and weights.
        inputs: `(batches * batch, ...)`, the same for all proxies: a tensor or array; a tuple or list of the network's
            positional arguments, or a mapping of its keyword arguments. Floating-point numbers get the format of the
            network, images of bytes are divided by 255 where it does not take bytes.
        proxies: names as in `list_proxies()`, or files and modules with proxies of one's own (`my_proxy.py`,
            `my_proxy.py:name`, `module:name`); all that are registered if not given.
        labels: class index of each input, drawn uniformly with `seed` if not given; with `loss`, whatever numbers that
            takes, such as float targets.
        seed: of everything random.
        batches: equal parts into which the inputs are cut and that run one after the other. The value of a proxy is
            the mean over them, except where its record has `across_batches`.
        output: a function from what the network returns to a floating tensor. Without it, that is the tensor returned,
            the `.logits` of an object, `"logits"` or `"out"` of a mapping, or the first of a tuple.
        loss: a function of the output and the labels (`None` if not given) to the mean loss over the batch; the mean
            cross-entropy if not given, for which the output must be logits `(batch, classes)` of two classes or more.

    Returns:
        A mapping from name to value; NaN where `.reasons` says why.

    Raises:
        InputError: for an unknown proxy, inputs that cannot be cut into `batches` or that the network does not take, a
            network with no weight-bearing node or no output that can be found, or a function that fails.
    """
    features = extract(network, inputs, labels, proxies, seed, batches, output, loss)
    return Scores(dict(features.scores), dict(features.reasons))


def extract(
    network: nn.Module,
    inputs: Any,
    labels: Any = None,
    proxies: Iterable[str] | None = None,
    seed: int = 0,
    batches: int = 1,
    output: Output | None = None,
    loss: Loss | None = None,
) -> NodeFeatures:
    """Collect the features of any network: statistics at each node, block statistics, and proxies.

    The arguments and errors are those of `score`. A statistic and the proxy of its name are computed together.
    """
    infos = resolve(proxies)
    batch, targets = as_batch(inputs, as_network(network)), as_labels(labels)
    _check(batch, targets, batches)
    with own_formats():
        materialise(network, batch, seed)
        batch = with_floats_for_bytes(batch, network, seed)
        return _extract(network, batch, targets, infos, seed, batches, Objective(output, loss))


def _extract(
    network: nn.Module,
    batch: Batch,
    labels: Tensor | None,
    infos: list[ProxyInfo],
    seed: int,
    batches: int,
    objective: Objective,
) -> NodeFeatures:
    single = [info for info in infos if batches == 1 or not info.across_batches]
    across = [info for info in infos if info not in single]
    wanted = {name for info in single for name in info.passes} | ({"gradients"} if across else set())
    parts, gradients, nodes = list[_Collected](), list[list[Tensor] | Undefined](), dict[str, Any]()
    size = len(batch) // batches
    with with_gradients():
        for i in range(batches):
            rows = slice(i * size, (i + 1) * size)
            own = labels if labels is None or batches == 1 else labels[rows]
            part = batch if batches == 1 else batch.part(rows.start, rows.stop)
            passes = Passes(network, part, own, seed + i, wanted, objective)
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


def _check(inputs: Batch, labels: Tensor | None, batches: int) -> None:
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

    def __init__(self, gradients: list[list[Tensor] | Undefined]) -> None:
        self._gradients, self.seconds = gradients, dict[str, float]()

    @cached_property
    def samples(self) -> Samples:
        """Moments of the gradients of the batches at each node."""
        known = [gradients for gradients in self._gradients if not isinstance(gradients, Undefined)]
        for reason in self._gradients:
            if isinstance(reason, Undefined):
                raise Undefined(str(reason))
        return of_batches(known)


def _gradients(passes: Passes) -> list[Tensor] | Undefined:
    try:
        return [node.gradient for node in passes.gradients]
    except Undefined as reason:
        return reason


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
        except LINEAR_ALGEBRA as reason:
            found.reasons[info.name] = said(reason)
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
