"""A Gaussian process on the architecture encoding alone, which finds out which of its columns matter."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from parzc.encoding.inputs import ARCH_PARTS, Shapes, TokenInputs
from parzc.models.process import Prior, Process, ProcessConfig, scaled

Compared = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ArchitectureProcessConfig(ProcessConfig):
    """Settings of `ArchitectureProcess`.

    Args:
        amplitude: prior of the amplitude of each kernel; wide, because spaces differ in how much of the accuracy their
            architectures alone explain.
        length: prior of the length scale of each kernel; longer than the distance of two unrelated networks (about the
            root of 2), because effects that add up look nearly linear over such distances.
        column: prior of the length scale of one column over that of its kernel: most of a hundred columns are alike.
        summary_column: the same of a column of the summary; wider, because these are few and matter more or less.
    """

    amplitude: Prior = (0.0, 2.0)
    length: Prior = (1.0, 0.5)
    column: Prior = (0.0, 0.5)
    summary_column: Prior = (0.0, 1.0)


class ArchitectureProcess(Process):
    """Gaussian process with three squared exponentials: on places and summary, on the summary, and on the states.

    Places, summary and states are the parts of the architecture encoding (`parzc.encoding.architecture`). In each
    kernel each column has a length scale of its own ("automatic relevance determination"), because of a hundred columns
    that say which operation is where, few decide. Length scales of the summary, which has few columns and counts how
    often an operation occurs at all, may differ more.

    Args:
        labelled: number of labelled networks.
        shapes: of the rows of `TokenInputs` with an architecture encoding, which is all that is read.
        config: settings.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 5.1.
    """

    Config = ArchitectureProcessConfig
    reads = ARCH_PARTS
    log_amplitude: Tensor
    log_length: Tensor
    log_column: Tensor

    def __init__(self, labelled: int, shapes: Shapes, config: ArchitectureProcessConfig | None = None) -> None:
        config = config or ArchitectureProcessConfig()
        places, summary, states = (math.prod(shapes[name]) for name in ARCH_PARTS)
        self.columns = [places + summary, summary, states]
        column, summed = config.column, config.summary_column
        priors = {
            "log_amplitude": [config.amplitude] * 3,
            "log_length": [config.length] * 3,
            "log_column": [column] * self.columns[0] + [summed] * summary + [column] * states,
        }
        super().__init__(labelled, places + summary + states, config, priors)

    def _points(self, inputs: TokenInputs) -> Tensor:
        return inputs.columns(ARCH_PARTS, torch.float64)

    def _compare(self, left: Tensor, right: Tensor) -> Compared:
        """Return the columns of both that each kernel reads."""
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

    def _diagonal(self, points: Tensor) -> Tensor:
        return self._largest().expand(len(points))

    def _largest(self) -> Tensor:
        return self.log_amplitude.exp().sum()
