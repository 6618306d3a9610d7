"""The joint posterior of a Gaussian process at given networks."""

from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]


class Posterior:
    """How far the targets of `n` networks are known to a Gaussian process that was fitted: variances and covariances.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.26.

    Args:
        points: `(n, columns)` what the kernel reads of the networks.
        white: `(labelled, n)` prior covariance of labelled networks with these, multiplied by the inverse of the
            Cholesky factor of the covariance of the labels ("whitened").
        diagonal: `(n,)` kernel diagonal, the prior variances.
        noise: variance of the noise of a label.
        mean: `(n,)` expected targets.
        kernel: prior covariance of two sets of points.
    """

    def __init__(
        self, points: Tensor, white: Tensor, diagonal: Tensor, noise: Tensor, mean: Tensor, kernel: Kernel
    ) -> None:
        self.points, self.white, self.noise, self.mean, self._kernel = points, white, noise, mean, kernel
        self.variance = diagonal - white.square().sum(0)

    def __len__(self) -> int:
        return len(self.points)

    def covariance(self, rows: Tensor | None = None) -> Tensor:
        """Return the covariance `(rows, n)` of some of the networks, or of all, with all; without label noise."""
        points, white = (self.points, self.white) if rows is None else (self.points[rows], self.white[:, rows])
        return self._kernel(points, self.points) - white.T @ self.white

    def covariance_of(self, index: int) -> Tensor:
        """Return the covariance `(n,)` of one network with all; without label noise."""
        return self._kernel(self.points[index : index + 1], self.points)[0] - self.white[:, index] @ self.white

    @property
    def label_variance(self) -> Tensor:
        """The variance `(n,)` of a label of each network, its noise included."""
        return torch.add(self.variance, self.noise)
