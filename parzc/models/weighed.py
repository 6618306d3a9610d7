"""Several sorts of learners, each counting as much as it tells of labels that it has not seen."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.model_selection import KFold, ShuffleSplit
from torch import Tensor, nn

from parzc.models.description_process import DescriptionProcess
from parzc.models.trees import BoostedTrees, ExtraTrees, Trees

Rows = NDArray[np.int64]
T = TypeVar("T")
MEASURED = 3
"""Inputs before those that describe the architecture."""
FOLDS = 5
FEW = 400
"""Up to as many labels, each is held out once; of more, one part in `FOLDS`."""


def stacking_weights(told: Tensor, seen: Tensor) -> Tensor:
    """Return weights, none negative and with sum 1, with which predictions tell labels best; equal ones if none do.

    Args:
        told: `(n, parts)` predictions of labels that were held out.
        seen: `(n,)` these labels.
    """
    weights = nnls(told.numpy(), seen.numpy())[0] if len(seen) else np.zeros(told.shape[1])
    weights = weights if weights.sum() > 0 else np.ones(told.shape[1])
    return torch.from_numpy(weights / weights.sum())


def has_description(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether inputs with rows of `shapes` describe architectures; those that are all alike have no columns."""
    return any(math.prod(shape) for shape in shapes[MEASURED:])


class Weighed(nn.Module):
    """Boosted and extremely randomised trees on all inputs; boosted trees and a Gaussian process on descriptions alone.

    Where few columns of a description decide, trees that draw their columns from hundreds of measured ones seldom see
    them, and a process that reads everything believes too much of what was measured; in other spaces the description
    alone says little. The weights are those, none negative, with which the parts together tell held-out labels best,
    by cross-validation inside the labels ("stacking").

    Args:
        labelled: number of labelled networks.
        shapes: of one row of each input; those behind `MEASURED` are the description.

    Attributes:
        held_out: after `fit`, which targets were held out; none of fewer than ten.
        told: `(len(held_out),)` what was told of them.

    Source: Breiman, "Stacked Regressions", 1996.
    """

    weights: Tensor

    def __init__(self, labelled: int, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = list(shapes)
        self.parts = nn.ModuleList(self._fresh(labelled))
        equal = torch.full((len(self.parts),), 1 / len(self.parts), dtype=torch.float64)
        self.register_buffer("weights", equal)

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "Weighed":
        """Learn `(n,)` targets from inputs `(n, ...)`."""
        told, rows = [torch.zeros(0, len(self.parts))], [torch.zeros(0, dtype=torch.int64)]
        for train, test in self._folds(len(targets), seed):
            parts = self._fresh(len(train))
            self._fit_each(parts, [t[train] for t in inputs], targets[train], seed)
            told.append(self._tell(parts, [t[test] for t in inputs]))
            rows.append(torch.from_numpy(test))
        self.parts = nn.ModuleList(self._fresh(len(targets)))
        self.held_out, told_by_each = torch.cat(rows), torch.cat(told).double()
        self.weights = stacking_weights(told_by_each, targets[self.held_out].double())
        self.told = told_by_each @ self.weights
        self._fit_each(self.parts, inputs, targets, seed)
        return self

    def _fresh(self, labelled: int) -> list[nn.Module]:
        process = DescriptionProcess(labelled, self.shapes[MEASURED:])
        return [BoostedTrees(), ExtraTrees(labelled), BoostedTrees(), process]

    @staticmethod
    def _folds(labels: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
        if labels < 2 * FOLDS:
            return iter(())
        split = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        once = ShuffleSplit(1, test_size=1 / FOLDS, random_state=seed % 2**32)
        folds: Iterator[tuple[Rows, Rows]] = (split if labels <= FEW else once).split(np.arange(labels))
        return folds

    def _fit_each(self, parts: Iterable[nn.Module], inputs: Sequence[Tensor], targets: Tensor, seed: int) -> None:
        for part, read in zip(parts, self._read(inputs), strict=True):
            if isinstance(part, BoostedTrees | ExtraTrees | DescriptionProcess):
                part.fit(read, targets, seed)

    def _tell(self, parts: Iterable[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
        """Return predictions of each part, `(batch, parts)`."""
        return torch.stack([part(*read) for part, read in zip(parts, self._read(inputs), strict=True)], 1)

    @staticmethod
    def _read(inputs: Sequence[T]) -> list[Sequence[T]]:
        """Return what each part reads."""
        return [inputs, inputs, inputs[MEASURED:], inputs[MEASURED:]]

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise `ValueError` if what was loaded does not fit inputs with rows of `shapes`."""
        for part, read in zip(self.parts, self._read(shapes), strict=True):
            if isinstance(part, Trees):
                part.check(read)
        if not ((self.weights >= 0) & (self.weights <= 1)).all():
            raise ValueError("a weight of a part is outside 0 to 1")

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return predictions `(batch,)`."""
        return self._tell(self.parts, inputs) @ self.weights
