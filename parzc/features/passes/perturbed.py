"""How far the features of a network move when its input does: the two forward passes of ZenNAS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.features.passes.batch import Batch
from parzc.features.passes.state import Contents
from parzc.features.passes.trace import Recorder

STEP = 0.01
"""Size of the perturbation, the alpha of algorithm 1 of ZenNAS (published setting)."""
RESOLVED = 1e-6
"""Variances below this part of batch norm's epsilon cannot be distinguished from zero in single precision."""
MOMENTUM = 0.1
"""Momentum of the running variance that published code reads."""

_POOLS: tuple[Callable[..., Any], ...] = (
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d, F.max_pool1d, F.max_pool2d, F.max_pool3d),
    *(torch.mean, Tensor.mean, torch.amax, Tensor.amax, torch.flatten, Tensor.flatten, Tensor.reshape, Tensor.view),
)


@dataclass(frozen=True)
class Perturbed:
    """What two forward passes, on `x` and on `x + alpha * epsilon`, recorded.

    Args:
        moved: `(batch / 2, size)` differences between the features of both.
        variances: for each application of batch norm the mean over channels of the variance over batch and positions.
        running: the same for the running variance after both passes, from one, with momentum .1, as published code
            reads it.
    """

    moved: Tensor
    variances: list[float]
    running: list[float]


class _NormRecorder(Recorder):
    """Also records what entered the last pooling of all positions, and the variances that batch norm divides by."""

    def __init__(self, network: nn.Module, batch: int, contents: Contents | None) -> None:
        norms: dict[Callable[..., Any], Callable[..., Any]] = {F.batch_norm: self._norm}
        super().__init__(network, batch, norms | {pool: self._pool(pool) for pool in _POOLS}, contents=contents)
        self.batch = batch
        self.features: Tensor | None = None
        self.sizes: list[int] = []
        self._scales: list[Tensor] = []
        self._eps: list[float] = []

    def _norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        # The same operation, which also returns the statistics that it has used.
        found = torch.native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)
        output, _, scale = found
        self._scales.append(scale)
        self._eps.append(eps)
        self.sizes.append(input.numel() // input.shape[1])
        return output

    def variances(self) -> list[float]:
        """Return the mean over channels of the variances at each batch norm."""
        if not self._scales:
            return []
        widths = [len(scale) for scale in self._scales]
        eps = torch.tensor(self._eps, dtype=torch.float64).repeat_interleave(torch.tensor(widths))
        variances = torch.cat(self._scales).cpu().double() ** -2 - eps
        # What is left of a variance of zero is the rounding error of `eps`.
        kept = torch.where(variances > RESOLVED * eps, variances, 0)
        return [float(own.mean()) for own in torch.split(kept, widths)]

    def _pool(self, pool: Callable[..., Any]) -> Callable[..., Any]:
        def run(input: Tensor, *args: Any, **kwargs: Any) -> Any:
            output = pool(input, *args, **kwargs)
            if self.calls and isinstance(output, Tensor) and len(output) == len(input) == self.batch:
                several = input.ndim > 2 and input[0].numel() > input.shape[1]
                if several and (output.ndim == 2 or output[0].numel() == output.shape[1]):
                    self.features = input.flatten(1).clone()
            return output

        return run


def perturb(
    network: nn.Module, inputs: Tensor | Batch, noise: Tensor | Batch, contents: Contents | None = None
) -> Perturbed:
    """Run the network on half of `inputs` and on the same half plus `.01 * noise`, both `(batch, ...)`.

    Half, so that as many inputs pass through the network as the batch has.

    The features are what enters the last operation that leaves one position of several (global pooling, flattening
    after the first weight), or else what enters the last weight.
    """
    features, variances = [], []
    half = max(len(Batch.of(inputs)) // 2, 1)
    first = Batch.of(inputs).part(0, half)
    with torch.no_grad():
        for x in (first, first.moved(Batch.of(noise).part(0, half), STEP)):
            recorder = _NormRecorder(network, len(x), contents)
            with recorder:
                x.run(network)
            if recorder.features is None:
                recorder.features = recorder.calls[-1][1].inputs.flatten(1)
            features.append(recorder.features.double())
            variances.append(recorder.variances())
    return Perturbed(
        moved=features[0] - features[1],
        variances=variances[0],
        # A running variance is updated with the unbiased one.
        running=[
            _running(a * n / max(n - 1, 1), b * n / max(n - 1, 1))
            for a, b, n in zip(*variances, recorder.sizes, strict=True)
        ],
    )


def _running(first: float, second: float) -> float:
    return (1 - MOMENTUM) * ((1 - MOMENTUM) + MOMENTUM * first) + MOMENTUM * second
