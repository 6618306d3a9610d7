"""The notation of cell-based spaces: a normal and a reduction cell, in which each node sums two operations.

A cell is written as in DARTS (Liu et al. 2019, arXiv:1806.09055): two pairs `(operation, source)` for each node, where
sources 0 and 1 are the outputs of the cell before the last and of the last one and `i + 2` is node `i`; `concat` names
the nodes whose outputs are concatenated. Width (channels of the first cell) and depth (cells) may stand behind.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6), width=32, depth=8)"
)

Edge = tuple[str, int]
"""Operation and source."""


@dataclass(frozen=True)
class Cell:
    """One kind of cell.

    Args:
        edges: two for each node, in the order of the nodes.
        concat: the nodes (from 2) that make the output.
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    @property
    def nodes(self) -> range:
        """The numbers of the nodes: behind the two inputs."""
        return range(2, 2 + len(self.edges) // 2)

    def into(self, node: int) -> tuple[Edge, ...]:
        """Return the two edges into a node."""
        return self.edges[2 * (node - 2) : 2 * (node - 1)]

    def loose_ends(self) -> tuple[int, ...]:
        """Return the nodes that no other node reads."""
        read = {source for _, source in self.edges}
        return tuple(node for node in self.nodes if node not in read)


@dataclass(frozen=True)
class Genotype:
    """An architecture of a cell-based space; `width` and `depth` are 0 where they are not said."""

    normal: Cell
    reduce: Cell
    width: int = 0
    depth: int = 0

    def __str__(self) -> str:
        """Return the genotype as DARTS prints it, with width and depth behind."""
        cells = ", ".join(
            f"{name}={list(cell.edges)}, {name}_concat={list(cell.concat)}"
            for name, cell in (("normal", self.normal), ("reduce", self.reduce))
        )
        return f"Genotype({cells}, width={self.width}, depth={self.depth})"


_PAIRS = r"\[((?:\('\w+',\d{1,2}\),?)*)\]"
_CONCAT = r"(range\(\d{1,2},\d{1,2}\)|\[(?:\d{1,2},?)*\])"
_SIZE = r"(?:,width=(\d{1,4}),depth=(\d{1,3}))?"
_GENOTYPE = re.compile(
    rf"Genotype\(normal={_PAIRS},normal_concat={_CONCAT},reduce={_PAIRS},reduce_concat={_CONCAT}{_SIZE}\)"
)
_INDICES = re.compile(r"[\[(]{2}((?:\(\d,\d\),?)+)[\])],[\[(]((?:\(\d,\d\),?)+)[\])]{2}")


def read_genotype(text: str) -> Genotype | None:
    """Return the genotype that a text in the notation of DARTS says, `None` for any other text."""
    found = _GENOTYPE.fullmatch("".join(text.split()).replace('"', "'"))
    if found is None:
        return None
    normal, normal_concat, reduce, reduce_concat, width, depth = found.groups()
    return Genotype(
        Cell(_pairs(normal), _numbers(normal_concat)),
        Cell(_pairs(reduce), _numbers(reduce_concat)),
        int(width or 0),
        int(depth or 0),
    )


def read_indices(text: str, operations: Sequence[str]) -> Genotype | None:
    """Return the genotype that pairs `(source, index of the operation)` say, `None` for any other text.

    The normal cell stands before the reduction cell and all nodes are concatenated, as in NASLib's tables of
    NAS-Bench-301.
    """
    found = _INDICES.fullmatch("".join(text.split()))
    if found is None:
        return None
    cells = []
    for cell in found.groups():
        pairs = [(int(source), int(index)) for source, index in re.findall(r"\((\d),(\d)\)", cell)]
        if any(index >= len(operations) for _, index in pairs):
            return None
        edges = tuple((operations[index], source) for source, index in pairs)
        cells.append(Cell(edges, tuple(range(2, 2 + len(edges) // 2))))
    return Genotype(cells[0], cells[1])


def _pairs(text: str) -> tuple[Edge, ...]:
    return tuple((operation, int(source)) for operation, source in re.findall(r"\('(\w+)',(\d+)\)", text))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in re.findall(r"\d+", text))
    return tuple(range(*numbers)) if text.startswith("range") else numbers


def ordered(cell: Cell) -> Cell:
    """Return the cell with the two edges of each node in order of their sources, and the output in order of nodes."""
    edges = tuple(edge for node in cell.nodes for edge in _in_order(cell.into(node)))
    return Cell(edges, tuple(sorted(cell.concat)))


def canonical_cell(cell: Cell) -> Cell:
    """Return the representative of all cells that compute the same function of their weights.

    What `none` or an operation on zero contributes is written as `none` from source 0. Nodes are numbered such that the
    edges, in order, are smallest; that permutes the channels of the output at most.
    """
    cell = _without_zeros(cell)
    orders: list[tuple[int, ...]] = [()]
    edges: tuple[Edge, ...] = ()
    for _ in cell.nodes:
        # All ways to continue the orders of nodes that write the smallest beginning.
        found = [(_renumbered(cell, node, order), (*order, node)) for order in orders for node in _ready(cell, order)]
        smallest = min(pair for pair, _ in found)
        orders = [order for pair, order in found if pair == smallest]
        edges += tuple((operation, source) for source, operation in smallest)
    return Cell(edges, min(tuple(sorted(2 + order.index(node) for node in cell.concat)) for order in orders))


def _in_order(edges: Sequence[Edge]) -> list[Edge]:
    return sorted(edges, key=lambda edge: (edge[1], edge[0]))


def _without_zeros(cell: Cell) -> Cell:
    zero: set[int] = set()
    edges: list[Edge] = []
    for node in cell.nodes:
        into = [("none", 0) if op == "none" or source in zero else (op, source) for op, source in cell.into(node)]
        if all(op == "none" for op, _ in into):
            zero.add(node)
        edges += into
    return Cell(tuple(edges), cell.concat)


def _ready(cell: Cell, order: tuple[int, ...]) -> Iterator[int]:
    """Yield the nodes that are not in `order` but read from those in it alone."""
    known = {0, 1, *order}
    for node in cell.nodes:
        if node not in known and all(source in known for _, source in cell.into(node)):
            yield node


def _renumbered(cell: Cell, node: int, order: tuple[int, ...]) -> list[tuple[int, str]]:
    """Return the edges into a node, source first, where `order[i]` is called `i + 2`."""
    numbers = {0: 0, 1: 1} | {old: new for new, old in enumerate(order, start=2)}
    return sorted((numbers[source], operation) for operation, source in cell.into(node))
