"""NAS-Bench-101: cells of up to seven vertices and nine edges (Ying et al., ICML 2019, arXiv:1902.09635).

The official benchmark writes a cell as a list of operations and an upper triangular matrix. Here both are one string
of the vertices behind the input, in order: its operation, and one digit for each earlier vertex, 1 where it reads from
it. `conv3x3-bn-relu:1|maxpool3x3:01|output:101` is input, convolution of the input, pooling of the convolution, and an
output that reads from input and pooling. Vertices without a path from input to output are allowed and pruned, as the
official benchmark does; at most nine edges may be left.

The network is the official one: a stem of 128 channels, three stacks of three cells, doubled channels and halved
resolution between stacks, 1x1 projections wherever a vertex reads from the input of its cell.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import nn

from parzc.datasets.spaces._base import Cost, Graph, Space, Task, initialise
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._nb101_cells import (
    CLASSES,
    MAX_EDGES,
    MAX_VERTICES,
    OPERATIONS,
    SIZE,
    Cell,
    all_changes,
    canonical_order,
    changed,
    count_edges,
    pruned,
    smallest_orders,
    subcell,
    topological_orders,
    write_cell,
)
from parzc.datasets.spaces._nb101_networks import (
    CELLS_PER_STACK,
    STACKS,
    STEM_CHANNELS,
    NB101Network,
    convolutions,
    nb101_slots,
)
from parzc.errors import InputError

EXAMPLE = "conv3x3-bn-relu:1|maxpool3x3:01|output:101"


def _decisions() -> tuple[Decision, ...]:
    """Return the decisions of the official matrix: the operation of each inner vertex, and each edge."""
    operations = (Decision(f"operation {v}", OPERATIONS) for v in range(1, MAX_VERTICES - 1))
    edges = (Decision(f"{u}-{v}", (False, True)) for v in range(1, MAX_VERTICES) for u in range(v))
    return (*operations, *edges)


class NB101(Space):
    """NAS-Bench-101 with the task CIFAR-10."""

    name = "nb101"
    citation = "Ying et al., NAS-Bench-101, ICML 2019"
    tasks = MappingProxyType({"cifar10": Task("cifar10", (3, 32, 32), 10, step=4)})
    operations = ("input", *OPERATIONS, "output")
    slots = nb101_slots()
    decisions = _decisions()
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
        unknown = [name for name in operations if name not in self.operations]
        if unknown:
            reason = f"'{unknown[0]}' is none of {', '.join(self.operations)}; write ops like {OPS_EXAMPLE}"
            raise _refused(row["ops"], reason)
        n = len(operations)
        digits = row["adjacency"].zfill(n * n)
        if len(digits) != n * n or set(digits) - set("01") or operations[0] != "input":
            raise _refused(row["adjacency"], f"the matrix of {n} operations has {n * n} digits 0 or 1")
        matrix = np.array(list(digits)).reshape(n, n) == "1"
        if np.tril(matrix).any():
            raise _refused(row["adjacency"], "the matrix must be upper triangular")
        arch = write_cell((operations, tuple(tuple(matrix[:v, v].tolist()) for v in range(n))))
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
        return write_cell(canonical_order(self.parse(arch)))

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of the network of `arch`, as it is written; parameters equal the published ones."""
        cell, target = self.parse(arch), self.task(task)
        pixels, width = target.input_shape[1] * target.input_shape[2], STEM_CHANNELS
        layers = [(3, width, 3, pixels)]
        for stack in range(STACKS):
            c_out, area = STEM_CHANNELS << stack, pixels >> 2 * stack
            for _ in range(CELLS_PER_STACK):
                layers += [(*layer, area) for layer in convolutions(cell, width, c_out)]
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
            if pruned(cell) == cell:
                orders = smallest_orders(cell)
                if generator.random() * topological_orders(cell[1]) < len(orders):
                    return write_cell(subcell(cell, orders[0]))

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the pruned cell of a matrix of seven vertices: each edge `u-v`, and the operations of the inner ones.

        Raises:
            InputError: if no path leads from input to output, or more than nine edges are left.
        """
        chosen = checked_choices(choices, self.decisions, self.name)
        operations = ("input", *(chosen[f"operation {v}"] for v in range(1, MAX_VERTICES - 1)), "output")
        reads = tuple(tuple(chosen[f"{u}-{v}"] for u in range(v)) for v in range(MAX_VERTICES))
        return write_cell(self.parse(write_cell((operations, reads))))

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return the matrix of seven vertices: the pruned cell, and before its output vertices without edges."""
        operations, reads = self.parse(arch)
        inner = len(operations) - 2
        places = [*range(inner + 1), MAX_VERTICES - 1]
        chosen: dict[str, Choice] = {decision.name: decision.choices[0] for decision in self.decisions}
        chosen |= {f"operation {v}": operations[v] for v in range(1, inner + 1)}
        for v, sources in enumerate(reads):
            chosen |= {f"{places[u]}-{places[v]}": bit for u, bit in enumerate(sources)}
        return chosen

    def neighbours(self, arch: str) -> list[str]:
        """Return every pruned cell that `mutate` may return, each once.

        A cell with one vertex more is among them, though it takes two edges to bring a vertex to life.
        """
        cell = self.parse(arch)
        found = dict.fromkeys(pruned(change) for change in all_changes(cell))
        own = canonical_order(cell)
        near = [cell for cell in found if cell and count_edges(cell) <= MAX_EDGES]
        return [write_cell(cell) for cell in near if canonical_order(cell) != own]

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the pruned cell with another operation, with or without one edge, or with one vertex more."""
        cell, generator = self.parse(arch), as_generator(seed)
        while True:
            found = pruned(changed(cell, generator))
            if found and count_edges(found) <= MAX_EDGES and canonical_order(found) != canonical_order(cell):
                return write_cell(found)


OPS_EXAMPLE = "input,conv3x3-bn-relu,output"
"""How the column `ops` of a table is written."""


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
    cell = pruned((operations, ((), *(tuple(bit == "1" for bit in bits) for _, _, bits in vertices))))
    if cell is None:
        raise _refused(arch, "no path leads from the input to the output")
    if count_edges(cell) > MAX_EDGES:
        raise _refused(arch, f"it has {count_edges(cell)} edges on paths to the output, and {MAX_EDGES} are allowed")
    return cell
