"""Trees as tensors, so that they are saved and loaded without code; fitted by scikit-learn."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from torch import Tensor, nn

TREES = 300


class Trees(nn.Module):
    """A sum of regression trees, kept as arrays of their nodes.

    Args:
        nodes: most nodes of a tree.
        depth: most splits on a way from the root to a leaf.
        first: the first of the inputs that is read; earlier ones are left aside.
    """

    column: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor
    start: Tensor

    def __init__(self, nodes: int, depth: int, first: int = 0) -> None:
        super().__init__()
        self.depth, self.first = depth, first
        self.register_buffer("column", torch.zeros(TREES, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(TREES, nodes, dtype=torch.float64))
        self.register_buffer("child", torch.zeros(TREES, nodes, 2, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(TREES, nodes, dtype=torch.float64))
        self.register_buffer("start", torch.zeros((), dtype=torch.float64))

    def take(self, estimators: Iterable[Any], start: float, weight: float) -> None:
        """Take fitted trees of scikit-learn, whose predictions times `weight` are added to `start`."""
        self.start.fill_(start)
        for index, estimator in enumerate(estimators):
            tree = estimator.tree_
            nodes = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            # A leaf leads to itself, so that all paths have the same length.
            children = np.stack([tree.children_left, tree.children_right], 1)
            children = np.where(leaf[:, None], nodes[:, None], children)
            self.column[index, nodes] = torch.from_numpy(np.where(leaf, 0, tree.feature))
            self.threshold[index, nodes] = torch.from_numpy(tree.threshold)
            self.child[index, nodes] = torch.from_numpy(children)
            self.value[index, nodes] = torch.from_numpy(weight * tree.value[:, 0, 0])

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise `ValueError` if a tree that was loaded leads out of its nodes or of inputs with rows of `shapes`."""
        last, columns = self.child.shape[1] - 1, sum(math.prod(shape) for shape in shapes[self.first :])
        for what, values, most in (("child", self.child, last), ("column", self.column, columns - 1)):
            if values.min() < 0 or values.max() > most:
                raise ValueError(f"a tree has a {what} outside 0 to {most}")

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return predictions `(batch,)`."""
        columns = self._columns(inputs)
        trees = torch.arange(TREES, device=columns.device)
        node = torch.zeros(len(columns), TREES, dtype=torch.int64, device=columns.device)
        for _ in range(self.depth):
            right = columns.gather(1, self.column[trees, node]) > self.threshold[trees, node]
            node = self.child[trees, node, right.long()]
        return self.start + self.value[trees, node].sum(1)

    def _columns(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.cat([t.float().flatten(1) for t in inputs[self.first :]], 1)


class BoostedTrees(Trees):
    """Gradient boosting. Each tree sees random shares of the labels and of the columns, which suits few labels.

    Source: Friedman, "Stochastic Gradient Boosting", 2002.
    """

    def __init__(self) -> None:
        super().__init__(nodes=15, depth=3)

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "BoostedTrees":
        """Learn `(n,)` targets from the columns of the inputs, `(n, ...)` each."""
        learner = GradientBoostingRegressor(
            n_estimators=TREES,
            learning_rate=0.05,
            max_depth=self.depth,
            subsample=0.7,
            max_features=0.2,
            random_state=seed % 2**32,
        )
        learner.fit(self._columns(inputs).numpy(), targets.double().numpy())
        estimators = (estimator for (estimator,) in learner.estimators_)
        self.take(estimators, float(learner.init_.constant_.item()), learner.learning_rate)
        return self


class RandomForest(Trees):
    """Trees that are grown on labels drawn with replacement, and whose mean is predicted.

    Args:
        labelled: number of labels, which bounds the size of the trees.
        first: the first of the inputs that is read; earlier ones are left aside.

    Attributes:
        out_of_bag: `(n,)` what the trees that have not seen it tell of each target of the last `fit`.

    Source: Breiman, "Random Forests", 2001, section 3.1 for `out_of_bag`.
    """

    def __init__(self, labelled: int, first: int = 0) -> None:
        leaves = min(labelled, 256)
        super().__init__(2 * leaves - 1, min(leaves, 24), first)
        self.leaves = leaves
        self.out_of_bag = torch.zeros(labelled, dtype=torch.float64)

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "RandomForest":
        """Learn `(n,)` targets from the columns of the inputs, `(n, ...)` each."""
        learner = RandomForestRegressor(
            n_estimators=TREES,
            max_features=0.3,
            max_depth=self.depth,
            max_leaf_nodes=max(self.leaves, 2),
            oob_score=True,
            random_state=seed % 2**32,
        )
        learner.fit(self._columns(inputs).numpy(), targets.double().numpy())
        self.take(learner.estimators_, 0.0, 1 / TREES)
        self.out_of_bag = torch.from_numpy(learner.oob_prediction_)
        return self
