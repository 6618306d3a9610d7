"""Regression trees as tensors, so that they are saved and loaded without code; fitted by scikit-learn."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from torch import Tensor

from parzc.encoding.inputs import Inputs, Shapes
from parzc.errors import InputError
from parzc.models._member import HeldOut, Member

DEEPEST = 32
"""Splits on a way from the root to a leaf; the room for a boosted tree doubles with each."""


@dataclass(frozen=True)
class BoostedTreesConfig:
    """Settings of `BoostedTrees`, which suit a few dozen labels.

    Args:
        trees: number of trees; with this learning rate more change little.
        learning_rate: factor on what each tree adds; small, so that no tree decides alone.
        depth: splits on a way from the root to a leaf: effects of up to three columns together.
        rows: fraction of the labelled networks that each tree is grown on, so that trees differ.
        columns: fraction of the columns among which each split is sought; columns are many, and many of them agree.
    """

    trees: int = 300
    learning_rate: float = 0.05
    depth: int = 3
    rows: float = 0.7
    columns: float = 0.2

    def __post_init__(self) -> None:
        _check_sizes(self.trees, self.depth)


@dataclass(frozen=True)
class RandomForestConfig:
    """Settings of `RandomForest` and `ArchitectureForest`, which suit a few dozen labels.

    Args:
        trees: number of trees. Each label is left out by a third of them, whose mean over a hundred is steady.
        columns: fraction of the columns among which each split is sought; columns are many, and many of them agree.
        leaves: most leaves of a tree. Trees grow until each leaf holds one label, so that this bounds the size of a
            saved forest where labels are many.
        depth: most splits on a way from the root to a leaf, for the same reason.
    """

    trees: int = 300
    columns: float = 0.3
    leaves: int = 256
    depth: int = 24

    def __post_init__(self) -> None:
        _check_sizes(self.trees, self.depth)


def _check_sizes(trees: int, depth: int) -> None:
    if not (trees >= 1 and 1 <= depth <= DEEPEST):
        raise InputError(
            f"there are no {trees} trees of depth {depth}; set trees to 1 or more, depth to 1 to {DEEPEST}"
        )


class Trees(Member[Inputs]):
    """A sum of regression trees, kept as arrays of their nodes.

    Args:
        trees: how many.
        nodes: most nodes of a tree.
        depth: most splits on a way from the root to a leaf.
        parts: names of the input parts whose columns are read; all if not given.
    """

    column: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor
    start: Tensor

    def __init__(self, trees: int, nodes: int, depth: int, parts: Sequence[str] | None = None) -> None:
        super().__init__()
        self.depth, self.parts = depth, parts
        self.register_buffer("column", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, nodes, dtype=torch.float64))
        self.register_buffer("child", torch.zeros(trees, nodes, 2, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(trees, nodes, dtype=torch.float64))
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

    def check(self, shapes: Shapes) -> None:
        """Raise `ValueError` if a tree that was loaded leads out of its nodes or of inputs with rows of `shapes`."""
        read = shapes if self.parts is None else self.parts
        last, columns = self.child.shape[1] - 1, sum(math.prod(shapes[name]) for name in read)
        for what, values, most in (("child", self.child, last), ("column", self.column, columns - 1)):
            if values.min() < 0 or values.max() > most:
                raise ValueError(f"a tree has a {what} outside 0 to {most}")

    def forward(self, inputs: Inputs) -> Tensor:
        """Return predictions `(n,)`."""
        columns = inputs.columns(self.parts)
        trees = torch.arange(len(self.column), device=columns.device)
        node = torch.zeros(len(columns), len(trees), dtype=torch.int64, device=columns.device)
        for _ in range(self.depth):
            right = columns.gather(1, self.column[trees, node]) > self.threshold[trees, node]
            node = self.child[trees, node, right.long()]
        return self.start + self.value[trees, node].sum(1)


class BoostedTrees(Trees):
    """Gradient boosting. Each tree is grown on random fractions of the labels and columns, which suits few labels.

    They learn the labels as they are, never normal scores: one split sets apart networks that cannot be trained, whose
    low accuracies would take up most of the range for a Gaussian process.

    Args:
        labelled: number of labelled networks; the size of these trees does not depend on it.
        shapes: of the rows of the inputs; neither does it depend on these.
        config: settings.

    Source: Friedman, "Stochastic Gradient Boosting", 2002.
    """

    Config = BoostedTreesConfig
    plain_targets: ClassVar[bool] = True

    def __init__(self, labelled: int, shapes: Shapes, config: BoostedTreesConfig | None = None) -> None:  # noqa: ARG002
        self.config = config or BoostedTreesConfig()
        super().__init__(self.config.trees, 2 ** (self.config.depth + 1) - 1, self.config.depth)

    def fit(self, inputs: Inputs, targets: Tensor, pool: Inputs, seed: int) -> Self:  # noqa: ARG002
        """Learn `(n,)` targets from the columns of the inputs."""
        learner = GradientBoostingRegressor(
            n_estimators=self.config.trees,
            learning_rate=self.config.learning_rate,
            max_depth=self.depth,
            subsample=self.config.rows,
            max_features=self.config.columns,
            random_state=seed % 2**32,
        )
        learner.fit(inputs.columns(self.parts).numpy(), targets.double().numpy())
        estimators = (estimator for (estimator,) in learner.estimators_)
        self.take(estimators, float(learner.init_.constant_.item()), learner.learning_rate)
        return self


class RandomForest(Trees):
    """Trees that are each grown on labels drawn with replacement (a bootstrap sample); their mean is predicted.

    Args:
        labelled: number of labels, which bounds the size of the trees.
        shapes: of the rows of the inputs; the size of the trees does not depend on these.
        config: settings.
        parts: names of the input parts whose columns are read; all if not given.

    Attributes:
        out_of_bag: `(labelled,)` each target of the last `fit` as predicted by the trees whose sample left it out.

    Source: Breiman, "Random Forests", 2001, section 3.1 for `out_of_bag`.
    """

    Config = RandomForestConfig
    held_out: ClassVar[HeldOut] = "out_of_bag"

    def __init__(
        self,
        labelled: int,
        shapes: Shapes,  # noqa: ARG002
        config: RandomForestConfig | None = None,
        parts: Sequence[str] | None = None,
    ) -> None:
        self.config = config or RandomForestConfig()
        leaves = min(labelled, self.config.leaves)
        super().__init__(self.config.trees, 2 * leaves - 1, min(leaves, self.config.depth), parts)
        self.leaves = leaves
        self.out_of_bag = torch.zeros(labelled, dtype=torch.float64)

    def fit(self, inputs: Inputs, targets: Tensor, pool: Inputs, seed: int) -> Self:  # noqa: ARG002
        """Learn `(n,)` targets from the columns of the inputs."""
        learner = RandomForestRegressor(
            n_estimators=self.config.trees,
            max_features=self.config.columns,
            max_depth=self.depth,
            max_leaf_nodes=max(self.leaves, 2),
            oob_score=True,
            random_state=seed % 2**32,
        )
        learner.fit(inputs.columns(self.parts).numpy(), targets.double().numpy())
        self.take(learner.estimators_, 0.0, 1 / self.config.trees)
        self.out_of_bag = torch.from_numpy(learner.oob_prediction_)
        return self
