"""A random forest on the architecture encoding alone, which finds out whether the states help."""

from typing import Self

from torch import Tensor

from parzc.encoding.inputs import ARCH_PARTS, Inputs, Shapes
from parzc.models.trees import RandomForest, RandomForestConfig


class ArchitectureForest(RandomForest):
    """A random forest on the architecture encoding, with the states or without.

    States (`parzc.encoding.architecture`) say what stands before a vertex. They help where the effect of an operation
    depends on that; elsewhere they are columns that hide the informative ones from the splits. So one forest is fitted
    with and one without them, and the one whose out-of-bag predictions have the smaller squared error is kept.
    (Out-of-bag: each label is predicted by the trees that were grown without it.)

    Args:
        labelled: number of labels, which bounds the size of the trees.
        shapes: of the rows of the inputs.
        config: settings.
    """

    reads = ARCH_PARTS

    def __init__(self, labelled: int, shapes: Shapes, config: RandomForestConfig | None = None) -> None:
        super().__init__(labelled, shapes, config, ARCH_PARTS)

    def fit(self, inputs: Inputs, targets: Tensor, pool: Inputs, seed: int) -> Self:
        """Learn `(n,)` targets from the architecture encoding."""
        super().fit(inputs, targets, pool, seed)
        shapes = inputs.shapes
        if shapes["states"] != (0,):
            # States come last, so that the columns of the others are where they are with them.
            without = RandomForest(len(targets), shapes, self.config, ARCH_PARTS[:2]).fit(inputs, targets, pool, seed)
            if (without.out_of_bag - targets).square().mean() <= (self.out_of_bag - targets).square().mean():
                self.load_state_dict(without.state_dict())
                self.out_of_bag = without.out_of_bag
        return self
