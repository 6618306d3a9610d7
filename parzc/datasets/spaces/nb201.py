"""NAS-Bench-201: 15,625 cells of four nodes and six edges (Dong and Yang, ICLR 2020, arXiv:2001.00326).

A cell is written as in the official benchmark, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: one group for each of the nodes
1, 2 and 3, one `op~source` for each earlier node. The network is the official macro skeleton with C=16 and N=5 and
PyTorch's default initialisation; parameter and multiply-accumulate counts equal the published ones.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.errors import InputError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5
EXAMPLE = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"

Cell = tuple[str, ...]
"""The operations of the six edges, in the order of `EDGES` (the order in which the string names them)."""


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias that keeps the resolution when `stride` is 1, batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)


def _operation(name: str, channels: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReLUConvBN(channels, channels, 3 if name == "nor_conv_3x3" else 1)


class CellNetwork(nn.Module):
    """One cell: each node is the sum of its incoming edges, zero where nothing comes in."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{i}-{j}": _operation(op, channels) for (i, j), op in zip(EDGES, cell, strict=True) if op != "none"}
        )
        self._read = {3, *(i for (i, _), op in zip(EDGES, cell, strict=True) if op != "none")}

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        nodes = {0: x}
        for j in range(1, 4):
            terms = [self.edges[f"{i}-{j}"](nodes[i]) for i in range(j) if f"{i}-{j}" in self.edges]
            if terms:
                nodes[j] = sum(terms[1:], terms[0])
            elif j in self._read:
                nodes[j] = torch.zeros_like(x)
        return nodes[3]


class ReductionBlock(nn.Module):
    """The residual block with stride 2 that doubles the channels between two stages."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, stride=2)
        self.conv_b = ReLUConvBN(c_out, c_out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / 2, width / 2)`."""
        out: Tensor = self.shortcut(x) + self.conv_b(self.conv_a(x))
        return out


class NB201Network(nn.Module):
    """Stem, three stages of five cells with a reduction block between them, global pooling, classifier."""

    def __init__(self, cell: Cell, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS[0]))
        blocks: list[nn.Module] = []
        for stage, channels in enumerate(CHANNELS):
            if stage:
                blocks.append(ReductionBlock(CHANNELS[stage - 1], channels))
            blocks += [CellNetwork(cell, channels) for _ in range(CELLS_PER_STAGE)]
        self.cells = nn.Sequential(*blocks)
        self.lastact = nn.Sequential(nn.BatchNorm2d(CHANNELS[-1]), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        features = self.lastact(self.cells(self.stem(x)))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


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
        return initialise(lambda: NB201Network(cell, classes), seed)

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
