"""Gradients of single inputs with respect to the weights, from what one forward and two backward passes recorded.

The gradient of input `i` is the one that a copy of the weight of its own would receive, one copy for each input of the
batch. Without batch norm it is the gradient of the input's own loss; with batch norm it is that input's share of the
gradient, what it does to the others through their common statistics included. The shares add up to the gradient of the
batch, so that one pass gives all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad

from parzc.features._trace import Call, Geometry, Node

XI = 1e-8
"""The small number that keeps the variance of a gradient away from zero (xi-GSNR, sec. 4.1.1)."""
BUFFER = 2**23
"""Numbers in the largest buffer that is made at once."""
CACHED = 2**16
"""Numbers of which statistics are taken at once: what fits in a cache is several times as fast."""


class Spread:
    """`n` samples of the gradient of some weights, `(n, weights)`, and how they are spread.

    Moments are over the samples, variances those of the population.
    """

    def __init__(self, samples: Tensor) -> None:
        self.samples = samples

    @cached_property
    def mean(self) -> Tensor:
        """Return the mean of each weight's gradient, `(weights,)`."""
        return self.samples.mean(0)

    @cached_property
    def variance(self) -> Tensor:
        """Return the variance of each weight's gradient, `(weights,)`."""
        return (self.samples - self.mean).square_().mean(0)

    @cached_property
    def deviation(self) -> Tensor:
        """Return the standard deviation of each weight's gradient, `(weights,)`."""
        return self.variance.sqrt()

    @cached_property
    def size(self) -> Tensor:
        """Return the absolute gradients, `(n, weights)`."""
        return self.samples.abs()

    @cached_property
    def mean_size(self) -> Tensor:
        """Return the mean of each weight's absolute gradient, `(weights,)`."""
        return self.size.mean(0)


ROUNDING = 32
"""How many times the machine precision, for each sample, the rounding error of a gradient is taken to be."""


def _where_it_varies(s: Spread, ratio: Tensor, deviation: Tensor) -> Tensor:
    """Sum over the weights whose gradient varies by more than its rounding error: the others have no ratio."""
    rounding = ROUNDING * len(s.samples) * torch.finfo(s.samples.dtype).eps * s.mean_size
    return torch.where(deviation > rounding, ratio, 0).sum()


def _zico(s: Spread) -> Tensor:
    deviation = (s.size - s.mean_size).square_().mean(0).sqrt_()
    return _where_it_varies(s, s.mean_size / deviation, deviation)


def _accumulated(s: Spread) -> Tensor:
    # Running sums as a matrix product: five times as fast as cumsum along the first axis.
    running = Spread(torch.ones(len(s.samples), len(s.samples)).to(s.samples).tril() @ s.samples)
    return (running.mean.square() / (running.variance + XI)).sum()


MEASURES: dict[str, Callable[[Spread], Tensor]] = {
    "zico": _zico,
    "zico_signed": lambda s: _where_it_varies(s, s.mean_size / s.deviation, s.deviation),
    "gsnr": lambda s: _where_it_varies(s, s.mean.square() / s.variance, s.deviation),
    "xi_gsnr": lambda s: (s.mean.square() / (s.variance + XI)).sum(),
    "gsnr_mean": lambda s: s.mean.square().sum(),
    "gsnr_variance": lambda s: _where_it_varies(s, 1 / s.variance, s.deviation),
    "xi_gsnr_variance": lambda s: (1 / (s.variance + XI)).sum(),
    "xi_gsnr_accumulated": _accumulated,
    "gradsign": lambda s: s.samples.sign().sum(0).abs_().sum(),
}
"""What is summed over the weights of a node, by the name of the proxy that reads it."""


@dataclass(frozen=True)
class Samples:
    """What is known of the gradients of `n` samples.

    Args:
        n: number of samples.
        sums: for each of `MEASURES` its value at each node, `(nodes,)`.
        kernel: `(nodes, n, n)`: scalar products of the samples' gradients of the summed logits at each node; empty
            where the samples are batches.
    """

    n: int
    sums: dict[str, NDArray[np.float64]]
    kernel: NDArray[np.float64]


def of_inputs(nodes: Sequence[Node], batch: int) -> Samples | None:
    """Measure the gradients of the single inputs of a batch; `None` where a node does not keep the inputs apart.

    Args:
        nodes: recorded nodes, with the gradients of the mean loss and of the summed logits at their outputs.
        batch: number of inputs.
    """
    sums, kernels = [], []
    for node in nodes:
        totals = torch.zeros(len(MEASURES), dtype=torch.float64, device=node.weight.device)
        kernel = torch.zeros(batch, batch, dtype=torch.float64, device=node.weight.device)
        for pair in _gradients(node, batch):
            if pair is None:
                return None
            loss, logits = pair
            kernel += (logits @ logits.T).double()
            totals += _measure(loss * batch)
        sums.append(totals)
        kernels.append(kernel)
    values = torch.stack(sums).cpu().numpy()
    return Samples(batch, dict(zip(MEASURES, values.T, strict=True)), torch.stack(kernels).cpu().numpy())


def of_batches(gradients: Sequence[Sequence[Tensor]]) -> Samples:
    """Measure gradients of whole batches.

    Args:
        gradients: for each batch the gradient at each node.
    """
    sums = [_measure(torch.stack([g.flatten() for g in node])) for node in zip(*gradients, strict=True)]
    values = torch.stack(sums).cpu().numpy()
    return Samples(len(gradients), dict(zip(MEASURES, values.T, strict=True)), np.zeros((len(sums), 0, 0)))


def _measure(samples: Tensor) -> Tensor:
    width = max(CACHED // len(samples), 1)
    total = torch.zeros(len(MEASURES), dtype=torch.float64, device=samples.device)
    for start in range(0, samples.shape[1], width):
        spread = Spread(samples[:, start : start + width])
        total += torch.stack([measure(spread) for measure in MEASURES.values()]).double()
    return total


def _gradients(node: Node, batch: int) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Yield the gradients of loss and logits, each `(batch, weights)`, for some output channels at a time."""
    rows, width = node.weight.shape[0], node.weight[0].numel()
    step = max(BUFFER // (batch * width), 1)
    if any(call.geometry is not None and call.geometry.groups > 1 for call in node.calls):
        step = rows
    for start in range(0, rows, step):
        total: Tensor | None = None
        for call in node.calls:
            found = _of_call(call, batch, slice(start, start + step))
            if found is None:
                yield None
                return
            total = found if total is None else total + found
        assert total is not None
        half = total.shape[1] // 2
        yield total[:, :half].flatten(1), total[:, half:].flatten(1)


def _of_call(call: Call, batch: int, rows: slice) -> Tensor | None:
    """Return `(batch, 2 x rows, weights of one row)`: gradients of the loss, then of the logits."""
    given = [torch.zeros_like(call.output) if g is None else g for g in (call.output_grad, call.logit_grad)]
    arranged = [call.by_sample(t, batch) for t in (call.inputs.detach(), *given)]
    kept = [t for t in arranged if t is not None]
    if len(kept) < 3:
        return None
    inputs, *outputs = kept
    geometry = call.geometry
    if geometry is None:
        x = inputs.reshape(batch, -1, inputs.shape[-1])
        return torch.cat([o.reshape(batch, -1, o.shape[-1])[..., rows].transpose(1, 2) @ x for o in outputs], 1)
    if geometry.groups == 1 and call.weight[0, 0].numel() == 1 and inputs.shape[3:] == outputs[0].shape[3:]:
        # A matrix product at each position.
        x = inputs.movedim(2, -1).reshape(batch, -1, inputs.shape[2])
        sides = [o.movedim(2, 1).flatten(2) for o in outputs]
        if call.kind.startswith("conv_transpose"):
            return torch.cat([x[..., rows].transpose(1, 2) @ o.transpose(1, 2) for o in sides], 1)
        return torch.cat([o[:, rows] @ x for o in sides], 1)
    if call.kind.startswith("conv_transpose"):
        # Input and gradient change places: the weight slides over the gradient.
        own = inputs if geometry.groups > 1 else inputs[:, :, rows]
        return torch.cat([_weight_gradients(o, [own], call.weight, geometry) for o in outputs], 1)
    own_rows = slice(None) if geometry.groups > 1 else rows
    return _weight_gradients(inputs, [o[:, :, own_rows] for o in outputs], call.weight, geometry)


def _weight_gradients(inputs: Tensor, gradients: list[Tensor], weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the weight gradients of a convolution for each input, `(batch, n x channels, weights of one channel)`.

    One grouped convolution has a weight of its own for each input, so that its weight gradient is that of all inputs.

    Args:
        inputs: `(batch, parts, channels, ...)`.
        gradients: `n` gradients at the output, each `(batch, parts, channels, ...)`.
        weight: of the convolution.
        geometry: of the convolution.
    """
    (batch, parts, channels, *places), groups = gradients[0].shape, geometry.groups
    side = inputs.new_empty(parts, batch, groups, len(gradients), channels // groups, *places)
    for k, gradient in enumerate(gradients):
        side[:, :, :, k] = gradient.reshape(batch, parts, groups, -1, *places).transpose(0, 1)
    side = side.flatten(1, 4)
    x = inputs.transpose(0, 1).contiguous().flatten(1, 2)
    padding = [min(pair) for pair in geometry.padding]
    extra = [p - low for pair, low in zip(geometry.padding[::-1], padding[::-1], strict=True) for p in pair]
    x = F.pad(x, extra) if any(extra) else x
    size = [side.shape[1], *weight.shape[1:]]
    derive = (grad.conv1d_weight, grad.conv2d_weight, grad.conv3d_weight)[len(padding) - 1]
    found: Tensor = derive(x, size, side, geometry.stride, padding, geometry.dilation, batch * groups)  # type: ignore[no-untyped-call]
    return found.reshape(batch, groups, len(gradients), -1, weight[0].numel()).transpose(1, 2).flatten(1, 3)
