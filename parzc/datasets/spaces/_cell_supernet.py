"""The supernet of DARTS: each node reads from all nodes before it, over a weighted sum of operations."""

import itertools
from collections.abc import Mapping
from functools import partial as bound
from types import MappingProxyType

import torch
from torch import Tensor, nn

from parzc.datasets.spaces._base import initialise
from parzc.datasets.spaces._cell_costs import KINDS, Family
from parzc.datasets.spaces._cells import CellModule, CellNetwork, operation_module
from parzc.datasets.spaces._decisions import Choice
from parzc.datasets.spaces._genotype import Cell, Genotype
from parzc.datasets.spaces._supernet import Partial, Size, Supernet, weighted


class SupernetCell(CellModule):
    """One cell whose edges are weighted sums; see `CellModule` for the arguments behind the partial architecture."""

    def __init__(
        self,
        partial: Partial,
        cell: Cell,
        before: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__(cell, before, channels, reduction, after_reduction)
        kind = KINDS[reduction]
        self.weights: dict[str, dict[str, float]] = {}
        self.sources = range(2 + len(cell.concat))
        for edge, operations in partial.items():
            of, _, name = edge.partition(" ")
            alive = {op: weight for op, weight in operations.items() if weight and op != "none"}
            if of == kind and alive:
                self.weights[name] = alive
        self.edges = nn.ModuleDict({name: self._edge(name) for name in self.weights})

    def _edge(self, name: str) -> nn.ModuleDict:
        stride = 2 if self.reduction and int(name.partition("-")[0]) < 2 else 1
        return nn.ModuleDict({op: operation_module(op, self.channels, stride) for op in self.weights[name]})

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Map the outputs of the two cells before to `(batch, channels * nodes, height, width)`."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        step = 2 if self.reduction else 1
        zeros = torch.zeros_like(states[1][:, :, ::step, ::step])
        for node in self.sources[2:]:
            terms = [term for source in range(node) for term in self._terms(f"{source}-{node}", states[source])]
            states.append(sum(terms[1:], terms[0]) if terms else zeros)
        return torch.cat(states[2:], 1)

    def _terms(self, edge: str, x: Tensor) -> list[Tensor]:
        operations = self.weights.get(edge, {})
        return [weighted(self.edges[edge][op](x), weight) for op, weight in operations.items()]  # type: ignore[index]


class CellSupernet(Supernet):
    """The supernet of a family whose cells put out all of their nodes, and whose nodes read from two others.

    The stem is that for CIFAR, for all tasks.

    Args:
        family: of the space.
    """

    inputs = 2

    def __init__(self, family: Family) -> None:
        self.family, numbers = family, range(2, 2 + family.nodes)
        self.nodes = MappingProxyType(
            {
                f"{kind} {node}": tuple(f"{kind} {source}-{node}" for source in range(node))
                for kind, node in itertools.product(KINDS, numbers)
            }
        )
        self.cells = tuple(tuple(edge for node in numbers for edge in self.nodes[f"{kind} {node}"]) for kind in KINDS)
        self.edges = MappingProxyType({edge: family.operations for cell in self.cells for edge in cell})
        # Of three cells the second and the third reduce; fewer would hold no normal cell. One channel cannot be halved.
        width, depth = family.default or (family.widths[0], family.depths[0])
        self.sizes = MappingProxyType({"whole": Size(width, depth), "small": Size(2, 3), "thin": Size(2, 3)})

    def build(self, partial: Partial, classes: int, size: Size, seed: int) -> nn.Module:
        """Build the network of a partial architecture."""
        empty = Cell((), tuple(range(2, 2 + self.family.nodes)))
        genotype = Genotype(empty, empty, size.width, size.depth)
        make = bound(SupernetCell, partial)
        return initialise(lambda: CellNetwork(genotype, classes, make=make), seed)

    def choices(self, chosen: Mapping[str, str]) -> Mapping[str, Choice]:
        """Return operation and source of both edges of each node."""
        found: dict[str, Choice] = {}
        for node, edges in self.nodes.items():
            for letter, edge in zip("ab", (edge for edge in edges if edge in chosen), strict=True):
                found[f"{node}{letter} operation"] = chosen[edge]
                found[f"{node}{letter} source"] = int(edge.partition(" ")[2].partition("-")[0])
        return found
