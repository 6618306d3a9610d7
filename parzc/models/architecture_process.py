"""A Gaussian process on descriptions of architectures alone, which finds out which of their columns matter."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from parzc.models.process import Prior, Process, flat, scaled

MEASURED = 3
"""Inputs of a ranker before those that describe the architecture."""
AMPLITUDE, LENGTH = (0.0, 2.0), (1.0, 0.5)
"""Mean and deviation of the logarithms of amplitude and length scale of a kernel; parts that add up have a long one."""
PLACE, SUMMED = (0.0, 0.5), (0.0, 1.0)
"""The same of what the length scale of one column is times that of its kernel: of all columns, and of the summary's."""

Compared = list[tuple[Tensor, Tensor]]


class ArchitectureProcess(Process):
    """Gaussian process with three squared exponentials: on places and summary, on the summary, and on the states.

    Each column of any has a length scale of its own ("automatic relevance determination"): among a hundred columns
    that say which part is where, few decide. Those of the summary, which are few and say how often a part occurs at
    all, may differ more.

    Args:
        labelled: number of labelled networks.
        shapes: of one row of each input of a ranker; those behind `MEASURED` are the three parts of
            `parzc.encoding.architecture.encode_archs`, and all that is read.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 5.1.
    """

    log_amplitude: Tensor
    log_length: Tensor
    log_column: Tensor

    def __init__(self, labelled: int, shapes: Sequence[tuple[int, ...]]) -> None:
        places, summary, states = (math.prod(shape) for shape in shapes[MEASURED:])
        self.columns = [places + summary, summary, states]
        priors: dict[str, Sequence[Prior]] = {
            "log_amplitude": [AMPLITUDE] * 3,
            "log_length": [LENGTH] * 3,
            "log_column": [PLACE] * self.columns[0] + [SUMMED] * summary + [PLACE] * states,
        }
        super().__init__(labelled, places + summary + states, priors)

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "ArchitectureProcess":
        """Learn from labelled networks.

        Args:
            inputs: of these, as a ranker has them.
            targets: `(labelled,)` their accuracies, scaled to mean 0 and spread 1 or to normal scores.
            seed: of the labels that the kernel's parameters are fitted to, where there are more than `LABELS`.
        """
        self._learn(self._points(inputs), targets, seed)
        return self

    def _points(self, inputs: Sequence[Tensor]) -> Tensor:
        return flat(inputs[MEASURED:])

    def _compare(self, left: Tensor, right: Tensor) -> Compared:
        """Return the columns that each kernel sees of both."""
        return list(zip(self._views(left), self._views(right), strict=True))

    def _views(self, points: Tensor) -> list[Tensor]:
        both, summary, states = self.columns
        views = points[:, :both], points[:, both - summary : both], points[:, both : both + states]
        return [scaled(view) for view in views]

    def _kernel(self, compared: Compared) -> Tensor:
        total = torch.zeros(())
        columns = torch.split(self.log_column, self.columns)
        parts = zip(self.log_amplitude.exp(), self.log_length, columns, compared, strict=True)
        for amplitude, log_length, log_column, (left, right) in parts:
            squares = torch.exp(-2 * (log_length + log_column))
            # By a matrix product, whose cancellation leaves errors that matter only where length scales are tiny.
            apart = (left.square() @ squares)[:, None] + right.square() @ squares - 2 * (left * squares) @ right.T
            total = total + amplitude * torch.exp(-apart.clamp_min(0) / 2)
        return total

    def _own(self, points: Tensor) -> Tensor:
        return self._largest().expand(len(points))

    def _largest(self) -> Tensor:
        return self.log_amplitude.exp().sum()
