"""Cells of NAS-Bench-101: which vertices count, which cells are isomorphic, and what is one change away."""

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9
CLASSES = (1, 6, 84, 2_441, 62_010, 359_082)
"""Published numbers of cells of two to seven vertices that are not isomorphic."""
SIZE = sum(CLASSES)
Cell = tuple[tuple[str, ...], tuple[tuple[bool, ...], ...]]
"""The operations of all vertices, `input` first and `output` last, and for each vertex which earlier ones it reads."""


def write_cell(cell: Cell) -> str:
    operations, reads = cell
    return "|".join(f"{operations[v]}:{''.join('01'[bit] for bit in reads[v])}" for v in range(1, len(operations)))


def subcell(cell: Cell, order: tuple[int, ...]) -> Cell:
    """Return the cell of the vertices `order`, in that order, with the edges between them."""
    operations, reads = cell
    matrix = [[(w < v and reads[v][w]) or (v < w and reads[w][v]) for w in order[:i]] for i, v in enumerate(order)]
    return tuple(operations[v] for v in order), tuple(tuple(bool(bit) for bit in row) for row in matrix)


def pruned(cell: Cell) -> Cell | None:
    """Return the cell without vertices that are not on a path from input to output; none if there is no path."""
    _, reads = cell
    n = len(reads)
    ahead, behind = {0}, {n - 1}
    for v in range(1, n):
        if any(reads[v][u] for u in ahead if u < v):
            ahead.add(v)
    for v in reversed(range(n - 1)):
        if any(reads[w][v] for w in behind if w > v):
            behind.add(v)
    return subcell(cell, tuple(sorted(ahead & behind))) if n - 1 in ahead else None


def canonical_order(cell: Cell) -> Cell:
    """Return the cell with its inner vertices in the order that gives the smallest encoding."""
    return subcell(cell, smallest_orders(cell)[0])


def smallest_orders(cell: Cell) -> list[tuple[int, ...]]:
    """Return the orders of the vertices that all give the one smallest encoding, the same for isomorphic cells.

    Vertices are placed one after another, each time all those that give the smallest next entry (its operation, and
    which of the vertices already placed it reads). There are as many orders as the cell has automorphisms.
    """
    operations, reads = cell
    last = len(reads) - 1
    orders: list[tuple[int, ...]] = [(0,)]
    for _ in range(last):
        entries: dict[tuple[int, tuple[bool, ...]], list[tuple[int, ...]]] = {}
        for order in orders:
            placed = set(order)
            for v in set(range(1, last)) - placed or {last}:
                if placed.issuperset(u for u in range(v) if reads[v][u]):
                    label = OPERATIONS.index(operations[v]) if v < last else 0
                    entries.setdefault((label, tuple(u < v and reads[v][u] for u in order)), []).append((*order, v))
        orders = entries[min(entries)]
    return orders


def topological_orders(reads: tuple[tuple[bool, ...], ...]) -> int:
    """Return in how many orders the vertices may stand so that each comes after all those it reads."""
    counts = Counter({frozenset({0}): 1})
    for _ in reads[1:]:
        following: Counter[frozenset[int]] = Counter()
        for placed, count in counts.items():
            for v in set(range(len(reads))) - placed:
                if placed.issuperset(u for u in range(v) if reads[v][u]):
                    following[placed | {v}] += count
        counts = following
    return sum(counts.values())


def count_edges(cell: Cell) -> int:
    return sum(map(sum, cell[1]))


def changed(cell: Cell, generator: np.random.Generator) -> Cell:
    """Return the cell with another operation, with or without one edge, or with one vertex more, not pruned yet."""
    n = len(cell[0])
    moves = ["edge"] + ["operation"] * (n > 2) + ["vertex"] * (n < MAX_VERTICES)
    move, operation = moves[generator.integers(len(moves))], OPERATIONS[generator.integers(len(OPERATIONS))]
    source, sink = sorted(generator.choice(n, size=2, replace=False).tolist())
    if move == "operation":
        return _with_operation(cell, int(generator.integers(1, n - 1)), operation)
    return _with_edge_changed(cell, source, sink) if move == "edge" else _with_vertex(cell, source, sink, operation)


def all_changes(cell: Cell) -> Iterator[Cell]:
    """Yield every cell that `changed` may return."""
    n = len(cell[0])
    for vertex, operation in itertools.product(range(1, n - 1), OPERATIONS):
        yield _with_operation(cell, vertex, operation)
    for source, sink in itertools.combinations(range(n), 2):
        yield _with_edge_changed(cell, source, sink)
        if n < MAX_VERTICES:
            yield from (_with_vertex(cell, source, sink, operation) for operation in OPERATIONS)


def _with_operation(cell: Cell, vertex: int, operation: str) -> Cell:
    operations, reads = cell
    return (*operations[:vertex], operation, *operations[vertex + 1 :]), reads


def _with_edge_changed(cell: Cell, source: int, sink: int) -> Cell:
    operations, reads = cell
    row = tuple(bit != (u == source) for u, bit in enumerate(reads[sink]))
    return operations, (*reads[:sink], row, *reads[sink + 1 :])


def _with_vertex(cell: Cell, source: int, sink: int, operation: str) -> Cell:
    """Return the cell with a vertex between two others, right before the later one."""
    operations, reads = list(cell[0]), [list(row) for row in cell[1]]
    for row in reads[sink:]:
        row.insert(sink, False)
    reads[sink][sink] = True
    reads.insert(sink, [u == source for u in range(sink)])
    operations.insert(sink, operation)
    return tuple(operations), tuple(map(tuple, reads))
