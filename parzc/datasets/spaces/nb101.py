"""NAS-Bench-101: cells of up to seven vertices and nine edges (Ying et al., ICML 2019, arXiv:1902.09635).

The official benchmark writes a cell as a list of operations and an upper triangular matrix. Here both are one string
of the vertices behind the input, in order: its operation, and one digit for each earlier vertex, 1 where it reads from
it. `conv3x3-bn-relu:1|maxpool3x3:01|output:101` is input, convolution of the input, pooling of the convolution, and an
output that reads from input and pooling. Vertices without a path from input to output are allowed and pruned, as the
official benchmark does; at most nine edges may be left.

The network is the official one: a stem of 128 channels, three stacks of three cells, doubled channels and halved
resolution between stacks, 1x1 projections wherever a vertex reads from the input of its cell.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.errors import InputError

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9
STEM_CHANNELS, STACKS, CELLS_PER_STACK = 128, 3, 3
CLASSES = (1, 6, 84, 2_441, 62_010, 359_082)
"""Published numbers of cells of two to seven vertices that are not isomorphic."""
SIZE = sum(CLASSES)
EXAMPLE = "conv3x3-bn-relu:1|maxpool3x3:01|output:101"

Cell = tuple[tuple[str, ...], tuple[tuple[bool, ...], ...]]
"""The operations of all vertices, `input` first and `output` last, and for each vertex which earlier ones it reads."""


class ConvBNReLU(nn.Sequential):
    """Convolution without bias that keeps the resolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU()


def vertex_channels(cell: Cell, c_in: int, c_out: int) -> list[int]:
    """Return the channels of each vertex of a pruned cell.

    The channels of the output are divided among the vertices it concatenates, the first ones taking one more where
    they do not divide evenly; any other vertex has as many as the widest that reads from it.
    """
    _, reads = cell
    last = len(reads) - 1
    channels = [c_in] + [0] * (last - 1) + [c_out]
    ends = [v for v in range(1, last) if reads[last][v]]
    for index, v in enumerate(ends):
        channels[v] = c_out // len(ends) + (index < c_out % len(ends))
    for v in reversed(range(1, last)):
        if v not in ends:
            channels[v] = max(channels[w] for w in range(v + 1, last) if reads[w][v])
    return channels


def _convolutions(cell: Cell, c_in: int, c_out: int) -> list[tuple[int, int, int]]:
    """Return input channels, output channels and kernel size of each convolution of a pruned cell."""
    (operations, reads), widths = cell, vertex_channels(cell, c_in, c_out)
    found = [(c_in, width, 1) for width, sources in zip(widths[1:], reads[1:], strict=True) if sources[0]]
    kernels = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}
    return found + [(w, w, kernels[op]) for op, w in zip(operations, widths, strict=True) if op in kernels]


class CellNetwork(nn.Module):
    """One cell: inner vertices sum what they read, the output concatenates; what comes from the input is projected."""

    def __init__(self, cell: Cell, c_in: int, c_out: int) -> None:
        super().__init__()
        self.operations_of, self.reads = cell
        self.channels = vertex_channels(cell, c_in, c_out)
        self.last = len(self.reads) - 1
        self.projections, self.operations = nn.ModuleDict(), nn.ModuleDict()
        for v in range(1, self.last + 1):
            name, width = str(v) if v < self.last else "output", self.channels[v]
            if self.reads[v][0]:
                self.projections[name] = ConvBNReLU(c_in, width, 1)
            if v < self.last:
                self.operations[name] = _operation(self.operations_of[v], width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height, width)`."""
        vertices = [x]
        for v in range(1, self.last):
            terms = [vertices[u][:, : self.channels[v]] for u in range(1, v) if self.reads[v][u]]
            if self.reads[v][0]:
                terms.append(self.projections[str(v)](x))
            vertices.append(self.operations[str(v)](sum(terms[1:], terms[0])))
        ends = [vertices[u] for u in range(1, self.last) if self.reads[self.last][u]]
        if not self.reads[self.last][0]:
            return torch.cat(ends, 1)
        projected: Tensor = self.projections["output"](x)
        return torch.cat(ends, 1) + projected if ends else projected


def _operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return ConvBNReLU(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)


class NB101Network(nn.Module):
    """Stem, three stacks of three cells with max pooling between them, global pooling, classifier."""

    def __init__(self, cell: Cell, classes: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(3, STEM_CHANNELS, 3)
        blocks: list[nn.Module] = []
        width = STEM_CHANNELS
        for stack in range(STACKS):
            if stack:
                blocks.append(nn.MaxPool2d(2, stride=2))
            c_out = STEM_CHANNELS << stack
            for _ in range(CELLS_PER_STACK):
                blocks.append(CellNetwork(cell, width, c_out))
                width = c_out
        self.cells = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        logits: Tensor = self.classifier(self.cells(self.stem(x)).mean((2, 3)))
        return logits


def _slots() -> tuple[Slot, ...]:
    slots, vertices = [Slot("stem.conv", "stem", 0, 0)], range(1, MAX_VERTICES - 1)
    per_stack = CELLS_PER_STACK + 1  # a pooling between two stacks has an index, too
    for stack, cell in itertools.product(range(STACKS), range(CELLS_PER_STACK)):
        index = stack * per_stack + cell
        places = [(f"{kind}s.{v}", f"{kind} {v}") for v in vertices for kind in ("projection", "operation")]
        places.append(("projections.output", "projection output"))
        slots += [Slot(f"cells.{index}.{name}.conv", place, stack, index) for name, place in places]
    return (*slots, Slot("classifier", "classifier", STACKS - 1, STACKS * per_stack - 1))


def _write(cell: Cell) -> str:
    operations, reads = cell
    return "|".join(f"{operations[v]}:{''.join('01'[bit] for bit in reads[v])}" for v in range(1, len(operations)))


def _subcell(cell: Cell, order: tuple[int, ...]) -> Cell:
    """Return the cell of the vertices `order`, in that order, with the edges between them."""
    operations, reads = cell
    matrix = [[(w < v and reads[v][w]) or (v < w and reads[w][v]) for w in order[:i]] for i, v in enumerate(order)]
    return tuple(operations[v] for v in order), tuple(tuple(bool(bit) for bit in row) for row in matrix)


def _pruned(cell: Cell) -> Cell | None:
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
    return _subcell(cell, tuple(sorted(ahead & behind))) if n - 1 in ahead else None


def _canonical(cell: Cell) -> Cell:
    """Return the cell with its inner vertices in the order that gives the smallest description."""
    return _subcell(cell, _smallest_orders(cell)[0])


def _smallest_orders(cell: Cell) -> list[tuple[int, ...]]:
    """Return the orders of the vertices that all give the one smallest description, the same for isomorphic cells.

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


def _topological_orders(reads: tuple[tuple[bool, ...], ...]) -> int:
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


def _edges(cell: Cell) -> int:
    return sum(map(sum, cell[1]))


class NB101(Space):
    """NAS-Bench-101 with the task CIFAR-10."""

    name = "nb101"
    citation = "Ying et al., NAS-Bench-101, ICML 2019"
    tasks = MappingProxyType({"cifar10": Task("cifar10", (3, 32, 32), 10, step=4)})
    operations = ("input", *OPERATIONS, "output")
    slots = _slots()
    columns = ("adjacency", "ops")

    @property
    def size(self) -> int:
        """423,624, the cells that differ by more than dead vertices and the order of vertices."""
        return SIZE

    def parse(self, arch: str) -> Cell:
        """Return the pruned cell that `arch` names.

        Raises:
            InputError: if `arch` is not in the notation, or what it names is not in the space.
        """
        if not isinstance(arch, str) or len(arch) > 500:
            raise _refused(arch, f"write it like '{EXAMPLE}'")
        return _parse(arch)

    def spell(self, row: Mapping[str, str]) -> str:
        """Return the arch of a row with the columns `ops` (comma-separated) and `adjacency` (row by row, digits).

        Leading zeros of the matrix may be missing, as where it was kept as a number.
        """
        operations = tuple(row["ops"].split(","))
        n = len(operations)
        digits = row["adjacency"].zfill(n * n)
        if len(digits) != n * n or set(digits) - set("01") or operations[0] != "input":
            raise _refused(row["adjacency"], f"the matrix of {n} operations has {n * n} digits 0 or 1")
        matrix = np.array(list(digits)).reshape(n, n) == "1"
        if np.tril(matrix).any():
            raise _refused(row["adjacency"], "the matrix must be upper triangular")
        arch = _write((operations, tuple(tuple(matrix[:v, v].tolist()) for v in range(n))))
        self.parse(arch)
        return arch

    def network(self, arch: str, task: str = "", seed: int = 0) -> nn.Module:
        """Build the network of `arch` as published, its weights drawn from `seed`."""
        cell, classes = self.parse(arch), self.task(task).classes
        return initialise(lambda: NB101Network(cell, classes), seed)

    def graph(self, arch: str) -> Graph:
        """Return the pruned cell: its vertices and edges are those of the graph."""
        operations, reads = self.parse(arch)
        adjacency = np.zeros((len(operations),) * 2, dtype=np.bool_)
        for v, sources in enumerate(reads):
            adjacency[:v, v] = sources
        return Graph(operations, adjacency)

    def canonical(self, arch: str) -> str:
        """Return the pruned cell with its vertices in a fixed order, the same for all isomorphic cells.

        These are the classes by which the official benchmark knows a cell. Where the channels of the output do not
        divide evenly, another order of the vertices may give the extra channel to another vertex.
        """
        return _write(_canonical(self.parse(arch)))

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of the network of `arch`, as it is written; parameters equal the published ones."""
        cell, target = self.parse(arch), self.task(task)
        pixels, width = target.input_shape[1] * target.input_shape[2], STEM_CHANNELS
        layers = [(3, width, 3, pixels)]
        for stack in range(STACKS):
            c_out, area = STEM_CHANNELS << stack, pixels >> 2 * stack
            for _ in range(CELLS_PER_STACK):
                layers += [(*layer, area) for layer in _convolutions(cell, width, c_out)]
                width = c_out
        weights = [c_in * c_out * kernel**2 for c_in, c_out, kernel, _ in layers]
        norms = sum(2 * c_out for _, c_out, _, _ in layers)
        macs = sum(count * area for count, (*_, area) in zip(weights, layers, strict=True))
        head = (width + 1) * target.classes
        return Cost(sum(weights) + norms + head, macs + head, len(layers) + 1)

    def draw(self, generator: np.random.Generator) -> str:
        """Return the canonical form of a cell, drawn uniformly from the classes of isomorphic cells.

        The number of vertices is drawn by the number of classes; then matrix and operations uniformly, until all
        vertices are alive, and one in as many is taken as there are ways to write its class.
        """
        n = int(generator.choice(range(2, MAX_VERTICES + 1), p=np.array(CLASSES) / SIZE))
        while True:
            bits: NDArray[np.bool_] = generator.random((n, n)) < 0.5
            if np.tril(bits, -1).sum() > MAX_EDGES:
                continue
            operations = ("input", *(OPERATIONS[i] for i in generator.integers(len(OPERATIONS), size=n - 2)), "output")
            cell = operations, tuple(tuple(row[:v]) for v, row in enumerate(bits.tolist()))
            if _pruned(cell) == cell:
                orders = _smallest_orders(cell)
                if generator.random() * _topological_orders(cell[1]) < len(orders):
                    return _write(_subcell(cell, orders[0]))

    def mutate(self, arch: str, seed: int) -> str:
        """Return the pruned cell with another operation, with or without one edge, or with one vertex more."""
        cell, generator = self.parse(arch), np.random.default_rng(seed)
        while True:
            changed = _pruned(_changed(cell, generator))
            if changed and _edges(changed) <= MAX_EDGES and _canonical(changed) != _canonical(cell):
                return _write(changed)


def _changed(cell: Cell, generator: np.random.Generator) -> Cell:
    operations, reads = list(cell[0]), [list(row) for row in cell[1]]
    n = len(operations)
    moves = ["edge"] + ["operation"] * (n > 2) + ["vertex"] * (n < MAX_VERTICES)
    move, operation = moves[generator.integers(len(moves))], OPERATIONS[generator.integers(len(OPERATIONS))]
    source, sink = sorted(generator.choice(n, size=2, replace=False).tolist())
    if move == "operation":
        operations[generator.integers(1, n - 1)] = operation
    elif move == "edge":
        reads[sink][source] = not reads[sink][source]
    else:  # a vertex between source and sink, put right before the sink
        for row in reads[sink:]:
            row.insert(sink, False)
        reads[sink][sink] = True
        reads.insert(sink, [u == source for u in range(sink)])
        operations.insert(sink, operation)
    return tuple(operations), tuple(map(tuple, reads))


def _refused(arch: object, reason: str) -> InputError:
    return InputError(f"'{str(arch)[:200]}' is not an nb101 arch; {reason}")


@lru_cache(maxsize=4096)
def _parse(arch: str) -> Cell:
    vertices = [vertex.partition(":") for vertex in arch.split("|")]
    operations = ("input", *(operation for operation, _, _ in vertices))
    if operations[-1] != "output" or not all(
        re.fullmatch(f"[01]{{{v}}}", bits) for v, (_, _, bits) in enumerate(vertices, start=1)
    ):
        raise _refused(arch, f"write it like '{EXAMPLE}'")
    unknown = [operation for operation in operations[1:-1] if operation not in OPERATIONS]
    if unknown:
        raise _refused(arch, f"'{unknown[0]}' is none of its operations {', '.join(OPERATIONS)}")
    if len(operations) > MAX_VERTICES:
        raise _refused(arch, f"it has {len(operations)} vertices, and {MAX_VERTICES} are allowed")
    cell = _pruned((operations, ((), *(tuple(bit == "1" for bit in bits) for _, _, bits in vertices))))
    if cell is None:
        raise _refused(arch, "no path leads from the input to the output")
    if _edges(cell) > MAX_EDGES:
        raise _refused(arch, f"it has {_edges(cell)} edges on paths to the output, and {MAX_EDGES} are allowed")
    return cell
