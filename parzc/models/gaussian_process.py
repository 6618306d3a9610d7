"""The Gaussian process of the default ranker: what a label says of the networks that are like the labelled one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from parzc.models.process import Process, scaled

LINEAR = 2
AMPLITUDE, DESCRIBED = (-math.log(5), 0.7), (-4.0, 2.0)
"""Mean and deviation of the logarithm of an amplitude: of what was measured, and of descriptions of architectures,
which say nearly all in one space and nearly nothing in another."""
LENGTH = (0.3, 0.7)
"""Mean and deviation of the logarithm of a length scale."""

Compared = tuple[list[Tensor], list[Tensor]]


class GaussianProcess(Process):
    """Gaussian process on node statistics, network scores, block statistics and, where it enters, the description.

    The kernel is a sum: a linear one on the first principal component of the network scores (most proxies
    agree, more or less, and where labels are few their common order is the best guess), a linear one on all network
    scores, and a Matern 3/2 kernel each on the network scores with the block statistics and on the tokens. Where the
    description of the architecture enters, there are three more: on its places and summary, on its summary, which does
    not depend on the order of vertices, and on its states, by which networks that differ early are further apart. These
    are squared exponentials: what parts are worth adds up smoothly.

    Args:
        labelled: number of labelled networks.
        shapes: of one row of tokens, network scores, block statistics, and places, summary and states of the
            description if there is one.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 4.
    """

    direction: Tensor
    log_amplitude: Tensor
    log_length: Tensor
    origin: Tensor

    def __init__(self, labelled: int, shapes: Sequence[tuple[int, ...]]) -> None:
        described = len(shapes) - 3
        amplitudes = [AMPLITUDE] * (LINEAR + 2) + [DESCRIBED] * described
        sizes = [math.prod(shape) for shape in shapes]
        super().__init__(labelled, sum(sizes), {"log_amplitude": amplitudes, "log_length": [LENGTH] * (2 + described)})
        self.sizes = sizes
        for name in ("direction", "origin"):
            self.register_buffer(name, torch.zeros(sizes[1], dtype=torch.float64))

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, pool: Sequence[Tensor], seed: int) -> "GaussianProcess":
        """Learn from labelled networks.

        Args:
            inputs: tokens, network scores, block statistics and perhaps descriptions of the labelled networks.
            targets: `(labelled,)` their accuracies, scaled to mean 0 and spread 1 or to normal scores.
            pool: the same inputs of networks without labels, for the principal component.
            seed: of the labels that the kernel's parameters are fitted to, where there are more than `LABELS`.
        """
        scores = pool[1].double()
        self.origin = scores.mean(0)
        if scores.shape[1]:
            _, spread, directions = torch.linalg.svd(scores - self.origin, full_matrices=False)
            deviation = float(spread[0]) / math.sqrt(len(scores))
            # Scores that do not vary have no component, and a rounding error must not become one.
            self.direction = directions[0] / deviation if deviation > 1e-6 else torch.zeros_like(self.origin)
        self._learn(self._points(inputs), targets, seed)
        return self

    def _views(self, points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return what the linear and the stationary kernels see."""
        tokens, scores, blocks, *description = torch.split(points, self.sizes, dim=1)
        centred = scores - self.origin
        linear = [(centred @ self.direction)[:, None], centred]
        stationary = [torch.cat([scores, blocks], 1), tokens]
        if description:
            places, summary, states = description
            stationary += [torch.cat([places, summary], 1), summary, states]
        return [scaled(t) for t in linear], [scaled(t) for t in stationary]

    def _compare(self, left: Tensor, right: Tensor) -> Compared:
        """Return the products that the linear kernels see, and the distances that the stationary ones see."""
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
        kernels = [_matern] * 2 + [_squared_exponential] * (len(apart) - 2)
        for kernel, amplitude, length, distance in zip(kernels, amplitudes[LINEAR:], lengths, apart, strict=True):
            total = total + amplitude * kernel(distance / length)
        return total

    def _own(self, points: Tensor) -> Tensor:
        linear, _ = self._views(points)
        amplitudes = self.log_amplitude.exp()
        total = amplitudes[LINEAR:].sum().expand(len(points))
        for amplitude, t in zip(amplitudes[:LINEAR], linear, strict=True):
            total = total + amplitude * t.square().sum(1)
        return total

    def _largest(self) -> Tensor:
        # The amplitudes of descriptions may grow large.
        return self.log_amplitude[LINEAR + 2 :].exp().sum()


def _matern(distance: Tensor) -> Tensor:
    at = math.sqrt(3) * distance
    return (1 + at) * torch.exp(-at)


def _squared_exponential(distance: Tensor) -> Tensor:
    return torch.exp(-distance.square() / 2)
