"""Several sorts of trees, each counting as much as it tells of labels that it has not seen."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.model_selection import KFold, ShuffleSplit
from torch import Tensor, nn

from parzc.models.trees import BoostedTrees, ExtraTrees

Rows = NDArray[np.int64]
MEASURED = 3
"""Inputs before those that describe the architecture."""
FOLDS = 5
FEW = 400
"""Up to as many labels, each is held out once; of more, one part in `FOLDS`."""


class WeighedTrees(nn.Module):
    """Boosted and extremely randomised trees on all inputs, and boosted ones on the description of the architecture.

    Where few columns of a description decide, trees that draw their columns from hundreds of measured ones seldom see
    them; in other spaces the description alone says little. The weights are those, none negative, with which the trees
    together tell held-out labels best, by cross-validation inside the labels ("stacking").

    Args:
        labelled: number of labelled networks.

    Source: Breiman, "Stacked Regressions", 1996.
    """

    weights: Tensor

    def __init__(self, labelled: int) -> None:
        super().__init__()
        self.boosted, self.extra, self.described = BoostedTrees(), ExtraTrees(labelled), BoostedTrees()
        self.register_buffer("weights", torch.full((3,), 1 / 3, dtype=torch.float64))

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "WeighedTrees":
        """Learn `(n,)` targets from inputs `(n, ...)`, of which those behind `MEASURED` are the description."""
        self.weights.fill_(1 / 3)
        told, seen = [], []
        for train, test in self._folds(len(targets), seed):
            for trees, kept in self._parts(inputs):
                trees.fit([t[train] for t in kept], targets[train], seed)
            told.append(torch.stack([trees(*(t[test] for t in kept)) for trees, kept in self._parts(inputs)], 1))
            seen.append(targets[test].double())
        if told:
            weights, _ = nnls(torch.cat(told).numpy(), torch.cat(seen).numpy())
            if weights.sum() > 0:
                self.weights = torch.from_numpy(weights / weights.sum())
        for trees, kept in self._parts(inputs):
            trees.fit(kept, targets, seed)
        return self

    @staticmethod
    def _folds(labels: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
        if labels < 2 * FOLDS:
            return iter(())
        split = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        once = ShuffleSplit(1, test_size=1 / FOLDS, random_state=seed % 2**32)
        folds: Iterator[tuple[Rows, Rows]] = (split if labels <= FEW else once).split(np.arange(labels))
        return folds

    def _parts(self, inputs: Sequence[Tensor]) -> list[tuple[BoostedTrees | ExtraTrees, Sequence[Tensor]]]:
        return [(self.boosted, inputs), (self.extra, inputs), (self.described, inputs[MEASURED:])]

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise `ValueError` if what was loaded does not fit inputs with rows of `shapes`."""
        for trees, own in ((self.boosted, shapes), (self.extra, shapes), (self.described, shapes[MEASURED:])):
            trees.check(own)
        if not ((self.weights >= 0) & (self.weights <= 1)).all():
            raise ValueError("a weight of the trees is outside 0 to 1")

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return predictions `(batch,)`."""
        found: Tensor = torch.stack([trees(*kept) for trees, kept in self._parts(inputs)], 1) @ self.weights
        return found
