"""Supernets: networks in which the edges of a cell are weighted sums of several operations.

A space that has one defines `supernet`; searches that remove operations one after another need nothing else of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from parzc.datasets.spaces._decisions import Choice

Partial = Mapping[str, Mapping[str, float]]
"""A partial architecture: for each edge its operations that are alive, each with its weight in their sum.

An edge without operations is cut. Operations of weight 0 are not built.
"""


@dataclass(frozen=True)
class Size:
    """How large a supernet is.

    Args:
        width: channels of the first cell.
        depth: cells, as the space counts them.
        stem: whether the network begins with its stem; otherwise its inputs have `width` channels.
    """

    width: int
    depth: int
    stem: bool = True


class Supernet(ABC):
    """Builds the networks of partial architectures.

    A place holds the same weights in all networks of one seed where it holds the same operation, so that two of them
    differ by their operations alone.

    Attributes:
        edges: each edge of the cells, by a name of its own, with the operations that it may have.
        cells: the edges of each sort of cell, which are decided in turn.
        nodes: for nodes that read from a few of their edges alone, the names of all these edges; empty if each edge
            stays.
        inputs: how many edges such a node keeps.
        sizes: `whole`, as the space builds networks; `small` and `thin`, those of TE-NAS for the condition number of
            the tangent kernel and for linear regions.
    """

    edges: Mapping[str, tuple[str, ...]]
    cells: tuple[tuple[str, ...], ...]
    nodes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    inputs: int = 0
    sizes: Mapping[str, Size]

    @abstractmethod
    def build(self, partial: Partial, classes: int, size: Size, seed: int) -> nn.Module:
        """Build the network of a partial architecture, its weights drawn from `seed`."""

    @abstractmethod
    def choices(self, chosen: Mapping[str, str]) -> Mapping[str, Choice]:
        """Return the decisions of the architecture with these operations; edges that are not named are cut."""


def weighted(value: Tensor, weight: float) -> Tensor:
    """Return a term of a sum; with weight 1 it is the value itself, so that nothing is rounded or copied."""
    return value if weight == 1 else weight * value
