"""NAS-Bench-201: 15,625 cells of four nodes and six edges (Dong and Yang, ICLR 2020, arXiv:2001.00326).

A cell is written as in the official benchmark, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: one group for each of the nodes
1, 2 and 3, one `op~source` for each earlier node. The network is the official macro skeleton with C=16 and N=5 and
PyTorch's default initialisation; parameter and multiply-accumulate counts equal the published ones.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._nb201_networks import (
    CELLS_PER_STAGE,
    CHANNELS,
    EDGES,
    OPERATIONS,
    Cell,
    CellNetwork,
    NB201Network,
    NB201Supernet,
)
from parzc.errors import InputError

EXAMPLE = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


def _block_indices() -> list[tuple[int, int, bool]]:
    """Index in `cells`, stage, and whether it is a reduction block, for each block of the skeleton."""
    kinds = []
    for stage in range(len(CHANNELS)):
        kinds += [(stage, True)] * bool(stage) + [(stage, False)] * CELLS_PER_STAGE
    return [(index, stage, reduction) for index, (stage, reduction) in enumerate(kinds)]


def _slots() -> tuple[Slot, ...]:
    slots = [Slot("stem.0", "stem", 0, 0, False)]
    for index, stage, reduction in _block_indices():
        if reduction:
            names = {"conv_a.conv": "reduction_a", "conv_b.conv": "reduction_b", "shortcut.1": "reduction_shortcut"}
            slots += [Slot(f"cells.{index}.{name}", place, stage, index, False) for name, place in names.items()]
        else:
            slots += [Slot(f"cells.{index}.edges.{i}-{j}.conv", f"{i}-{j}", stage, index) for i, j in EDGES]
    return (*slots, Slot("classifier", "classifier", len(CHANNELS) - 1, len(_block_indices()), False))


def _write(cell: Cell) -> str:
    groups = []
    for j in range(1, 4):
        terms = [f"{op}~{i}" for (i, k), op in zip(EDGES, cell, strict=True) if k == j]
        groups.append("|" + "|".join(terms) + "|")
    return "+".join(groups)


_NOTATION = re.compile(re.escape(_write(("#",) * len(EDGES))).replace(re.escape("#"), f"({'|'.join(OPERATIONS)})"))


def function_of(cell: Cell, copies_input: bool = True) -> tuple[str, ...]:
    """Return the function of a cell as the sorted terms of its output.

    Zero terms vanish, a convolution or pooling of zero is zero, skips flatten sums, and what does not reach the output
    is not in it. Cells with equal terms compute the same function of their (randomly drawn) weights.

    Args:
        cell: the operations of its six edges.
        copies_input: whether a skip from the input is the identity; otherwise it has weights, as in cells that change
            the shape.
    """
    nodes: list[tuple[str, ...]] = [("x",)]
    for j in range(1, 4):
        terms: list[str] = []
        for (i, k), op in zip(EDGES, cell, strict=True):
            if k != j or op == "none" or not nodes[i]:
                continue
            copies = op == "skip_connect" and (i > 0 or copies_input)
            terms += nodes[i] if copies else [f"{op}({'+'.join(nodes[i])})"]
        nodes.append(tuple(sorted(terms)))
    return nodes[3]


def _simplicity(cell: Cell) -> tuple[int, int, tuple[int, ...]]:
    """Sort key of the cells of one function: fewest operations, then fewest skips, then the order of the space."""
    return (
        6 - cell.count("none"),
        cell.count("skip_connect"),
        tuple(OPERATIONS.index(op) for op in cell),
    )


@lru_cache
def representatives(operations: tuple[str, ...] = OPERATIONS, copies_input: bool = True) -> dict[Cell, Cell]:
    """Return the simplest cell of the same function (see `function_of`) for each cell of these operations."""
    cells = itertools.product(operations, repeat=len(EDGES))
    functions = {cell: function_of(cell, copies_input) for cell in cells}
    simplest = {functions[cell]: cell for cell in sorted(functions, key=_simplicity, reverse=True)}
    return {cell: simplest[function] for cell, function in functions.items()}


def cell_graph(cell: Cell) -> Graph:
    """Return a cell with one vertex for the input, one for each edge's operation and one for the output.

    The operation of edge `(i, j)` reads from the operations of all edges into node `i` (from the input where `i` is 0);
    the output reads from those into node 3.
    """
    adjacency = np.zeros((8, 8), dtype=np.bool_)
    for v, (i, _) in enumerate(EDGES, start=1):
        sources = [0] if i == 0 else [u for u, (_, k) in enumerate(EDGES, start=1) if k == i]
        adjacency[sources, v] = True
    adjacency[[v for v, (_, j) in enumerate(EDGES, start=1) if j == 3], 7] = True
    return Graph(("input", *cell, "output"), adjacency)


def mutated(cell: Cell, operations: tuple[str, ...], generator: np.random.Generator) -> Cell:
    """Return the cell with another one of `operations` at one edge."""
    changed = list(cell)
    edge = int(generator.integers(len(cell)))
    others = [op for op in operations if op != cell[edge]]
    changed[edge] = others[int(generator.integers(len(others)))]
    return tuple(changed)


def edge_decisions(operations: tuple[str, ...]) -> tuple[Decision, ...]:
    """Return the decisions of a cell: the operation of each edge, in the order of `EDGES`."""
    return tuple(Decision(f"{i}-{j}", operations) for i, j in EDGES)


class NB201(Space):
    """NAS-Bench-201 with the tasks CIFAR-10, CIFAR-100 and ImageNet16-120."""

    name = "nb201"
    citation = "Dong and Yang, NAS-Bench-201, ICLR 2020"
    preset_variant = "measured"  # the architecture encoding did not help on its CIFAR-100 validation accuracies
    tasks = MappingProxyType(
        {
            "cifar10": Task("cifar10", (3, 32, 32), 10),
            "cifar100": Task("cifar100", (3, 32, 32), 100),
            "imagenet16": Task("imagenet16", (3, 16, 16), 120),
        }
    )
    operations = ("input", *OPERATIONS, "output")
    slots = _slots()
    decisions = edge_decisions(OPERATIONS)
    supernet = NB201Supernet()

    @property
    def size(self) -> int:
        """15,625."""
        return len(_all_strings())

    def archs(self) -> Sequence[str]:
        """Return the 15,625 strings in lexicographic order of `OPERATIONS`."""
        return _all_strings()

    def parse(self, arch: str) -> Cell:
        """Return the six operations that `arch` names.

        Raises:
            InputError: if `arch` is not written as the official benchmark writes it.
        """
        found = _NOTATION.fullmatch(arch) if isinstance(arch, str) else None
        if found is None:
            raise InputError(
                f"'{str(arch)[:200]}' is not an nb201 arch; write it like '{EXAMPLE}' with the operations "
                f"{', '.join(OPERATIONS)}"
            )
        return found.groups()

    def network(self, arch: str, task: str = "", seed: int = 0) -> NB201Network:
        """Build the network of `arch` as published (C=16, N=5), its weights drawn from `seed`."""
        cell, classes = self.parse(arch), self.task(task).classes
        return initialise(lambda: NB201Network(partial(CellNetwork, cell), classes), seed)

    def graph(self, arch: str) -> Graph:
        """Return the graph of the cell; see `cell_graph`."""
        return cell_graph(self.parse(arch))

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the cell with these operations, one for each edge `source-node`."""
        return _write(tuple(checked_choices(choices, self.decisions, self.name).values()))

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return the operation of each edge `source-node`."""
        return dict(zip((decision.name for decision in self.decisions), self.parse(arch), strict=True))

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the cell with another operation at one edge."""
        return _write(mutated(self.parse(arch), OPERATIONS, as_generator(seed)))

    def canonical(self, arch: str) -> str:
        """Return the simplest of the cells that compute the same function: 4,930 different strings in all."""
        return _write(representatives()[self.parse(arch)])

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the published counts: biases count one addition each, batch norm and pooling count no operations."""
        cell, target = self.parse(arch), self.task(task)
        pixels = target.input_shape[1] * target.input_shape[2]
        taps = 9 * cell.count("nor_conv_3x3") + cell.count("nor_conv_1x1")
        convs = cell.count("nor_conv_3x3") + cell.count("nor_conv_1x1")
        params = macs = 0
        weights, norms = 27 * CHANNELS[0], 2 * CHANNELS[0]
        for stage, c in enumerate(CHANNELS):
            if stage:
                previous, pixels = CHANNELS[stage - 1], pixels // 4
                weights = 9 * previous * c + 9 * c * c + previous * c
                norms = 4 * c
            params += weights + norms + CELLS_PER_STAGE * (taps * c * c + convs * 2 * c)
            macs += (weights + CELLS_PER_STAGE * taps * c * c) * pixels
        head = (CHANNELS[-1] + 1) * target.classes
        return Cost(params + 2 * CHANNELS[-1] + head, macs + head, 8 + 3 * CELLS_PER_STAGE * convs)


@lru_cache(maxsize=1)
def _all_strings() -> tuple[str, ...]:
    return tuple(_write(cell) for cell in itertools.product(OPERATIONS, repeat=6))
