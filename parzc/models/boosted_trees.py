"""Boosted trees as tensors, so that they are saved and loaded without code."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor
from torch import Tensor, nn

TREES, DEPTH = 300, 3


class BoostedTrees(nn.Module):
    """Gradient boosting, fitted by scikit-learn and kept as arrays of the nodes of its trees.

    Each tree sees random shares of the labels and of the columns, which suits a few dozen labels.

    Source: Friedman, "Stochastic Gradient Boosting", 2002.
    """

    column: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor
    start: Tensor

    def __init__(self) -> None:
        super().__init__()
        nodes = (TREES, 2 ** (DEPTH + 1) - 1)
        self.register_buffer("column", torch.zeros(nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(nodes, dtype=torch.float64))
        self.register_buffer("child", torch.zeros(*nodes, 2, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(nodes, dtype=torch.float64))
        self.register_buffer("start", torch.zeros((), dtype=torch.float64))

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "BoostedTrees":
        """Learn `(n,)` targets from the columns of all inputs, `(n, ...)` each."""
        learner = GradientBoostingRegressor(
            n_estimators=TREES,
            learning_rate=0.05,
            max_depth=DEPTH,
            subsample=0.7,
            max_features=0.2,
            random_state=seed % 2**32,
        )
        learner.fit(_columns(inputs).numpy(), targets.double().numpy())
        self.start.fill_(float(learner.init_.constant_.item()))
        for index, (estimator,) in enumerate(learner.estimators_):
            tree = estimator.tree_
            nodes = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            # A leaf leads to itself, so that all paths have the same length.
            children = np.stack([tree.children_left, tree.children_right], 1)
            children = np.where(leaf[:, None], nodes[:, None], children)
            self.column[index, nodes] = torch.from_numpy(np.where(leaf, 0, tree.feature))
            self.threshold[index, nodes] = torch.from_numpy(tree.threshold)
            self.child[index, nodes] = torch.from_numpy(children)
            self.value[index, nodes] = torch.from_numpy(learner.learning_rate * tree.value[:, 0, 0])
        return self

    def check(self, columns: int) -> None:
        """Raise `ValueError` if a tree that was loaded leads out of its nodes or reads more than `columns` columns."""
        last = self.child.shape[1] - 1
        for what, values, most in (("child", self.child, last), ("column", self.column, columns - 1)):
            if values.min() < 0 or values.max() > most:
                raise ValueError(f"a tree has a {what} outside 0 to {most}")

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return predictions `(batch,)`."""
        columns = _columns(inputs)
        trees = torch.arange(TREES, device=columns.device)
        node = torch.zeros(len(columns), TREES, dtype=torch.int64, device=columns.device)
        for _ in range(DEPTH):
            right = columns.gather(1, self.column[trees, node]) > self.threshold[trees, node]
            node = self.child[trees, node, right.long()]
        return self.start + self.value[trees, node].sum(1)


def _columns(inputs: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.float().flatten(1) for t in inputs], 1)
