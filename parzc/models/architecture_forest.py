"""A random forest on descriptions of architectures alone, which finds out whether their states help."""

from collections.abc import Sequence

from torch import Tensor

from parzc.models.architecture_process import MEASURED
from parzc.models.trees import RandomForest


class ArchitectureForest(RandomForest):
    """A random forest that reads what describes architectures, with the states or without.

    States tell much where parts before a place decide what it is worth, and where they do not they are columns among
    which a tree finds the telling ones more rarely. So a forest is fitted with and one without them, and the one that
    tells labels better that its trees have not seen is kept.

    Args:
        labelled: number of labels, which bounds the size of the trees.
    """

    def __init__(self, labelled: int) -> None:
        super().__init__(labelled, MEASURED)

    def fit(self, inputs: Sequence[Tensor], targets: Tensor, seed: int) -> "ArchitectureForest":
        """Learn `(n,)` targets from the parts of descriptions, which are the inputs behind `MEASURED`."""
        super().fit(inputs, targets, seed)
        *others, states = inputs
        if states.shape[1]:
            # States come last, so that the columns of the others are where they are with them.
            without = RandomForest(len(targets), MEASURED).fit(others, targets, seed)
            if (without.out_of_bag - targets).square().mean() <= (self.out_of_bag - targets).square().mean():
                self.load_state_dict(without.state_dict())
                self.out_of_bag = without.out_of_bag
        return self
