"""The Gaussian process of the default ranker, on everything that is known of a network."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from parzc.encoding.inputs import ARCH_PARTS, Shapes, TokenInputs
from parzc.models.process import Prior, Process, ProcessConfig, scaled

LINEAR = 2
"""Linear kernels."""
MEASURED = 2
"""Matern kernels, which compare what was measured."""

Compared = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class GaussianProcessConfig(ProcessConfig):
    """Settings of `GaussianProcess`.

    Args:
        amplitude: prior of the amplitude of each kernel on what was measured. Targets have variance 1; with an
            amplitude of a fifth each, none of the four kernels dominates before there are labels.
        arch_amplitude: prior of the amplitude of each kernel on the architecture encoding, which explains nearly all in
            one space and nearly nothing in another: it starts at exp(-4), next to nothing, and is wide enough to grow.
        length: prior of the length scales. Two unrelated networks have a distance of about the root of 2 (columns have
            variance 1, and distances are means over columns), which is about exp(.3).
    """

    amplitude: Prior = (-math.log(5), 0.7)
    arch_amplitude: Prior = (-4.0, 2.0)
    length: Prior = (0.3, 0.7)


class GaussianProcess(Process):
    """Gaussian process on tokens, proxies, block statistics and, where it enters, the architecture encoding.

    The kernel is a sum of four:

    - a linear one on the first principal component of the proxies: most proxies agree, more or less, and where labels
      are few their common order is the best guess;
    - a linear one on all proxies;
    - a Matern 3/2 kernel on the proxies and the block statistics;
    - a Matern 3/2 kernel on the tokens, which hold the node statistics.

    Where the architecture encoding enters, there are three more: on its places and summary, on its summary, which does
    not depend on the order of vertices, and on its states, by which networks that differ early are further apart. These
    are squared exponentials, which are smooth, because the effects of the parts of a network mostly add up.

    Args:
        labelled: number of labelled networks.
        shapes: of the rows of `TokenInputs`.
        config: settings.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 4.
    """

    Config = GaussianProcessConfig
    gives_variance: ClassVar[bool] = True
    direction: Tensor
    log_amplitude: Tensor
    log_length: Tensor
    origin: Tensor

    def __init__(self, labelled: int, shapes: Shapes, config: GaussianProcessConfig | None = None) -> None:
        config = config or GaussianProcessConfig()
        of_arch = sum(name in shapes for name in ARCH_PARTS)
        amplitudes = [config.amplitude] * (LINEAR + MEASURED) + [config.arch_amplitude] * of_arch
        priors = {"log_amplitude": amplitudes, "log_length": [config.length] * (MEASURED + of_arch)}
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        super().__init__(labelled, sum(self.sizes), config, priors)
        for name in ("direction", "origin"):
            self.register_buffer(name, torch.zeros(math.prod(shapes["scores"]), dtype=torch.float64))

    def fit(self, inputs: TokenInputs, targets: Tensor, pool: TokenInputs, seed: int) -> Self:
        """Learn from labelled networks; the principal component is that of the proxies of `pool`."""
        scores = pool.scores.double()
        self.origin = scores.mean(0)
        if scores.shape[1]:
            _, spread, directions = torch.linalg.svd(scores - self.origin, full_matrices=False)
            deviation = float(spread[0]) / math.sqrt(len(scores))
            # Scores that do not vary have no component, and a rounding error must not become one.
            self.direction = directions[0] / deviation if deviation > 1e-6 else torch.zeros_like(self.origin)
        return super().fit(inputs, targets, pool, seed)

    def _views(self, points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the columns that each linear and each stationary kernel reads, scaled."""
        tokens, scores, blocks, *arch = torch.split(points, self.sizes, dim=1)
        centred = scores - self.origin
        linear = [(centred @ self.direction)[:, None], centred]
        stationary = [torch.cat([scores, blocks], 1), tokens]
        if arch:
            places, summary, states = arch
            stationary += [torch.cat([places, summary], 1), summary, states]
        return [scaled(t) for t in linear], [scaled(t) for t in stationary]

    def _compare(self, left: Tensor, right: Tensor) -> Compared:
        """Return products for the linear kernels, and distances for the stationary ones."""
        (linear, stationary), (others, other_stationary) = self._views(left), self._views(right)
        products = [a @ b.T for a, b in zip(linear, others, strict=True)]
        # Without the matrix product, whose cancellation would make a point lie apart from itself.
        mode = "donot_use_mm_for_euclid_dist"
        apart = [torch.cdist(a, b, compute_mode=mode) for a, b in zip(stationary, other_stationary, strict=True)]
        return products, apart

    def _kernel(self, compared: Compared) -> Tensor:
        products, apart = compared
        amplitudes, lengths = self.log_amplitude.exp(), self.log_length.exp()
        total = torch.zeros_like(apart[0])
        for amplitude, product in zip(amplitudes[:LINEAR], products, strict=True):
            total = total + amplitude * product
        kernels = [_matern] * MEASURED + [_squared_exponential] * (len(apart) - MEASURED)
        for kernel, amplitude, length, distance in zip(kernels, amplitudes[LINEAR:], lengths, apart, strict=True):
            total = total + amplitude * kernel(distance / length)
        return total

    def _diagonal(self, points: Tensor) -> Tensor:
        linear, _ = self._views(points)
        amplitudes = self.log_amplitude.exp()
        total = amplitudes[LINEAR:].sum().expand(len(points))
        for amplitude, t in zip(amplitudes[:LINEAR], linear, strict=True):
            total = total + amplitude * t.square().sum(1)
        return total

    def _largest(self) -> Tensor:
        # The amplitudes of the kernels on the architecture encoding may grow large.
        return self.log_amplitude[LINEAR + MEASURED :].exp().sum()


def _matern(distance: Tensor) -> Tensor:
    at = math.sqrt(3) * distance
    return (1 + at) * torch.exp(-at)


def _squared_exponential(distance: Tensor) -> Tensor:
    return torch.exp(-distance.square() / 2)
