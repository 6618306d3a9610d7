"""Gradients of single inputs with respect to the weights, from what one forward and two backward passes recorded.

A sample is one of the gradients over which moments (mean, variance) are taken. Suppose that each input of the batch had
its own copy of a weight. The gradient of input `i` is what copy `i` receives. Without batch norm it is the gradient of
that input's own loss. With batch norm it also holds what the input does to the loss of the others through their common
statistics. These gradients add up to the gradient of the batch, so that one pass gives all of them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad

from parzc.features.passes.nodes import Call, Geometry, Node

XI = 1e-8
"""The small number that keeps the variance of a gradient away from zero (xi-GSNR, sec. 4.1.1)."""
BUFFER = 2**25
"""Numbers in the largest buffer that is made at once."""
CACHED = 2**19
"""Numbers of which statistics are taken at once: about what a cache holds."""
ROUNDING = 32
"""How many times the machine precision, for each sample, the rounding error of a gradient is taken to be."""


class Spread:
    """`n` samples of the gradient of some weights, `(n, weights)`, and how they are spread.

    Moments are over the samples, variances those of the population; each of them is `(weights,)`.
    """

    def __init__(self, samples: Tensor) -> None:
        self.samples = samples

    @cached_property
    def mean(self) -> Tensor:
        """Return the mean of each weight's gradient."""
        return _mean(self.samples)

    @cached_property
    def variance(self) -> Tensor:
        """Return the variance of each weight's gradient."""
        return _mean((self.samples - self.mean).square_())

    @cached_property
    def size(self) -> Tensor:
        """Return the absolute gradients, `(n, weights)`."""
        return self.samples.abs()

    @cached_property
    def mean_size(self) -> Tensor:
        """Return the mean of each weight's absolute gradient."""
        return _mean(self.size)

    @cached_property
    def deviation(self) -> Tensor:
        """Return the standard deviation of each weight's gradient."""
        return self.variance.sqrt()

    @cached_property
    def size_deviation(self) -> Tensor:
        """Return the same of each weight's absolute gradient."""
        return _mean((self.size - self.mean_size).square_()).sqrt()

    @cached_property
    def varies(self) -> Tensor:
        """Return whether the gradient varies by more than its rounding error."""
        return self._above_rounding(self.deviation)

    @cached_property
    def size_varies(self) -> Tensor:
        """Return the same of the absolute gradient."""
        return self._above_rounding(self.size_deviation)

    def _above_rounding(self, deviation: Tensor) -> Tensor:
        return deviation > ROUNDING * len(self.samples) * torch.finfo(deviation.dtype).eps * self.mean_size


def _mean(samples: Tensor) -> Tensor:
    """Return the mean over the samples, `(weights,)`."""
    return samples.new_full((len(samples),), 1 / len(samples)) @ samples


def _accumulated(s: Spread) -> Tensor:
    sums = s.samples.clone()
    # Row by row, which takes less time than a product with a triangular matrix.
    for before, own in itertools.pairwise(sums):
        own += before
    mean = _mean(sums)
    return mean.square() / (_mean(sums.sub_(mean).square_()) + XI)


MEASURES: dict[str, Callable[[Spread], Tensor]] = {
    "zico": lambda s: torch.where(s.size_varies, s.mean_size / s.size_deviation, 0),
    "zico_signed": lambda s: torch.where(s.varies, s.mean_size / s.deviation, 0),
    "gsnr": lambda s: torch.where(s.varies, s.mean.square() / s.variance, 0),
    "xi_gsnr": lambda s: s.mean.square() / (s.variance + XI),
    "gsnr_mean": lambda s: s.mean.square(),
    "gsnr_variance": lambda s: torch.where(s.varies, 1 / s.variance, 0),
    "xi_gsnr_variance": lambda s: 1 / (s.variance + XI),
    "xi_gsnr_accumulated": _accumulated,
    "gradsign": lambda s: s.samples.sign().sum(0).abs_(),
}
"""What is summed over the weights of a node, by the name of the proxy that reads it; weights whose gradient does not
vary have no ratio of their own and are left out."""


@dataclass(frozen=True)
class Samples:
    """Moments of the gradients of `n` samples.

    Args:
        n: number of samples.
        sums: for each of `MEASURES` its value at each node, `(nodes,)`.
        kernel: `(nodes, n, n)`, the neural tangent kernel of each node: scalar products of the gradients of the summed
            logits of two inputs; empty where it was not asked for, and where the samples are batches.
    """

    n: int
    sums: dict[str, NDArray[np.float64]]
    kernel: NDArray[np.float64]


def of_inputs(nodes: Sequence[Node], batch: int, kernel: bool) -> Samples | None:
    """Measure the gradients of the single inputs of a batch; `None` where a node does not keep the inputs apart.

    Args:
        nodes: recorded nodes, with the gradients of the mean loss and, for the kernel, of the summed logits at their
            outputs.
        batch: number of inputs.
        kernel: whether to measure the kernel, too.
    """
    totals, kernels = _Totals(len(nodes)), []
    for i, node in enumerate(nodes):
        size = batch if kernel else 0
        products = torch.zeros(size, size, dtype=torch.float64, device=node.weight.device)
        views = [_View.of(call, batch, kernel) for call in node.calls]
        kept = [view for view in views if view is not None]
        if len(kept) < len(views):
            return None
        for rows in _slices(node, batch):
            of_loss, *of_logits = map(_sum, zip(*[view.weight_gradients(rows) for view in kept], strict=True))
            totals.add(i, of_loss)
            for gradients in of_logits:
                products += (gradients @ gradients.T).double()
        kernels.append(products)
    return Samples(batch, totals.by_measure(), torch.stack(kernels).cpu().numpy())


def of_batches(gradients: Sequence[Sequence[Tensor]]) -> Samples:
    """Measure gradients of whole batches.

    Args:
        gradients: for each batch the gradient at each node.
    """
    totals = _Totals(len(gradients[0]))
    for i, node in enumerate(zip(*gradients, strict=True)):
        totals.add(i, torch.stack([g.flatten() for g in node]))
    return Samples(len(gradients), totals.by_measure(), np.zeros((len(gradients[0]), 0, 0)))


class _Totals:
    """The sums of all measures over the weights of each node; weights of several nodes are measured at once.

    Args:
        nodes: number of nodes.
    """

    def __init__(self, nodes: int) -> None:
        self._sums: list[list[Tensor]] = [[] for _ in range(nodes)]
        self._waiting: list[tuple[int, Tensor]] = []
        self._width = 0

    def add(self, node: int, samples: Tensor) -> None:
        """Take in samples of the gradient of some weights of a node, `(n, weights)`."""
        most = max(CACHED // len(samples), 1)
        for part in torch.split(samples, most, 1):
            if self._width + part.shape[1] > most or not self._like_those_waiting(part):
                self._measure()
            self._waiting.append((node, part))
            self._width += part.shape[1]

    def _like_those_waiting(self, part: Tensor) -> bool:
        return all((part.dtype, part.device) == (own.dtype, own.device) for _, own in self._waiting[-1:])

    def by_measure(self) -> dict[str, NDArray[np.float64]]:
        """Return the sums at each node, `(nodes,)`, by the name of the measure."""
        self._measure()
        found = torch.stack([torch.stack(own).sum(0).cpu() for own in self._sums]).numpy()
        return dict(zip(MEASURES, found.T, strict=True))

    def _measure(self) -> None:
        if not self._waiting:
            return
        nodes, parts = zip(*self._waiting, strict=True)
        spread = Spread(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        values = torch.stack([measure(spread) for measure in MEASURES.values()])
        for node, own in zip(nodes, torch.split(values, [part.shape[1] for part in parts], 1), strict=True):
            self._sums[node].append(own.sum(1).double())
        self._waiting, self._width = [], 0


def _slices(node: Node, batch: int) -> list[slice]:
    """Cut the output channels of a node so that the gradients of one part fit into a buffer."""
    rows, width = node.weight.shape[0], node.weight[0].numel()
    step = max(BUFFER // (2 * batch * width), 1)
    if any(call.geometry is not None and call.geometry.groups > 1 for call in node.calls):
        step = rows
    return [slice(start, start + step) for start in range(0, rows, step)]


def _sum(gradients: Sequence[Tensor]) -> Tensor:
    return gradients[0] if len(gradients) == 1 else torch.stack(list(gradients)).sum(0)


@dataclass(frozen=True)
class _View:
    """The inputs of a call, `(batch, parts, ...)`, and the gradients at its output.

    Args:
        call: what was recorded.
        inputs: of the call.
        gradients: those of the loss, times the batch, and those of the summed logits if the kernel is measured. Each in
            the shape of the output where the weight is one matrix, applied at each position; else all as one
            convolution takes them, which needs less time than one for each:
            `(batch, parts, groups, gradients, channels of a group, ...)`.
    """

    call: Call
    inputs: Tensor
    gradients: Sequence[Tensor] | Tensor

    @classmethod
    def of(cls, call: Call, batch: int, kernel: bool) -> "_View | None":
        recorded = (call.output_grad, call.logit_grad)[: 1 + kernel]
        gradients = [torch.zeros_like(call.output) if g is None else g for g in recorded]
        arranged = [call.by_sample(t, batch) for t in (call.inputs.detach(), *gradients)]
        # In the format of the weight: a network may run some of its operations in a shorter one.
        kept = [t.to(call.weight.dtype) for t in arranged if t is not None]
        if len(kept) < len(arranged):
            return None
        (inputs, *gradients), geometry = kept, call.geometry
        loss = gradients[0]
        alone = geometry is not None and geometry.groups == 1 and call.weight[0, 0].numel() == 1
        if geometry is None or (alone and inputs.shape[3:] == loss.shape[3:]):
            return cls(call, inputs, [loss * batch, *gradients[1:]])
        apart = [t.reshape(*t.shape[:2], geometry.groups, -1, *t.shape[3:]) for t in gradients]
        joined = loss.new_empty(*apart[0].shape[:3], len(apart), *apart[0].shape[3:])
        for place, gradient in enumerate(apart):
            torch.mul(gradient, 1 if place else batch, out=joined[:, :, :, place])
        return cls(call, inputs.contiguous(), joined)

    def weight_gradients(self, rows: slice) -> list[Tensor]:
        """Return the gradients of some output channels (input channels of a transposed convolution) for each input.

        Args:
            rows: of the weight; all of them where there are groups.

        Returns:
            For each of `gradients`, `(batch, weights of those rows)`.
        """
        call, x, joined, geometry = self.call, self.inputs, self.gradients, self.call.geometry
        transposed = call.kind.startswith("conv_transpose")
        if geometry is None or not isinstance(joined, Tensor):
            return [_of_matrix(x, gradient, rows, transposed, geometry) for gradient in joined]
        whole, n = slice(None) if geometry.groups > 1 else rows, joined.shape[3]
        if transposed:
            # Input and gradient change places: the weight slides over the gradient.
            inputs, gradients = joined.flatten(2, 4), x[:, :, whole]
        else:
            inputs, gradients = x, joined[:, :, :, :, whole].flatten(2, 4)
        found = _convolution(inputs, gradients, call.weight, geometry)
        found = found.reshape(len(x), gradients.shape[2] if transposed else geometry.groups, n, -1)
        return [found[:, :, place].flatten(1) for place in range(n)]


def _of_matrix(inputs: Tensor, gradient: Tensor, rows: slice, transposed: bool, geometry: Geometry | None) -> Tensor:
    """Return the gradients of some rows of a matrix that is applied at each position, `(batch, weights)`."""
    if geometry is None:
        left, right = gradient.flatten(1, -2)[..., rows].transpose(1, 2), inputs.flatten(1, -2)
        return (left @ right).flatten(1)
    left, right = (inputs, gradient) if transposed else (gradient, inputs)
    left, right = (t.transpose(1, 2).flatten(2) for t in (left[:, :, rows], right))
    return (left @ right.transpose(1, 2)).flatten(1)


def _convolution(inputs: Tensor, gradients: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the weight gradients of a convolution for each input, `(batch * output channels, ...)`.

    One grouped convolution has a weight of its own for each input, so that its weight gradient is that of all inputs.

    Args:
        inputs: `(batch, parts, channels, ...)`.
        gradients: at the output, `(batch, parts, channels, ...)`.
        weight: of the convolution.
        geometry: of the convolution.
    """
    groups = len(inputs) * geometry.groups
    x, side = (t.transpose(0, 1).flatten(1, 2) for t in (inputs, gradients))
    padding = [min(pair) for pair in geometry.padding]
    extra = [p - low for pair, low in zip(geometry.padding[::-1], padding[::-1], strict=True) for p in pair]
    x = F.pad(x, extra) if any(extra) else x
    size = [side.shape[1], x.shape[1] // groups, *weight.shape[2:]]
    derive = (grad.conv1d_weight, grad.conv2d_weight, grad.conv3d_weight)[len(padding) - 1]
    found: Tensor = derive(  # type: ignore[no-untyped-call]
        x, size, side, geometry.stride, padding, geometry.dilation, groups
    )
    return found
