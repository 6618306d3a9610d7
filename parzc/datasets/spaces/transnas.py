"""TransNAS-Bench-101: two spaces of backbones, seven tasks of Taskonomy (Duan et al., CVPR 2021, arXiv:2105.11871).

An arch is written as in the official benchmark, `channels-layers-cell`: 64 channels behind the stem, one digit for each
layer, and the cell. A layer is two cells, of which the first changes the shape: 1 keeps it, 2 doubles the channels, 3
halves the resolution, 4 does both.

* `transnas-micro`, for example `64-41414-1_02_333`: the layers are fixed, the cell has four nodes and six edges as in
  NAS-Bench-201, one group of digits for each of the nodes 1, 2 and 3, with the operations 0 none, 1 skip, 2
  convolution 1x1, 3 convolution 3x3. In a cell that changes the shape, a skip from its input is a factorised reduction,
  which has weights.
* `transnas-macro`, for example `64-1234-basic`: the cell is a residual block, there are four to six layers, of which
  one to three double the channels and one to four halve the resolution.

Of the networks, backbones are the official ones. Their head is global pooling and a linear layer for every task, with
the official number of outputs: the official decoders of the three tasks that predict images (`autoencoder`, `normal`,
`segmentsemantic`) are the same for all backbones that halve the resolution as often, and a linear map of each position,
averaged over all positions, stands for them. `jigsaw` takes its nine tiles of 64 x 64 pixels side by side.
"""

import itertools
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from torch import nn

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._nb201_networks import EDGES, Cell
from parzc.datasets.spaces._transnas_costs import Shape, cost_of, residual_block
from parzc.datasets.spaces._transnas_costs import cell as cell_cost
from parzc.datasets.spaces._transnas_networks import (
    BLOCKS_PER_LAYER,
    CHANNELS,
    MicroCell,
    ResidualBlock,
    TransNASNetwork,
)
from parzc.datasets.spaces.nb201 import cell_graph, edge_decisions, mutated, representatives
from parzc.errors import InputError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
MICRO_LAYERS = "41414"
LAYERS = ("keep", "double_channels", "halve_resolution", "double_channels_halve_resolution")
FEWEST_LAYERS, MOST_LAYERS = 4, 6
TASKS = MappingProxyType(
    {
        "class_scene": Task("class_scene", (3, 256, 256), 47, step=32),
        "class_object": Task("class_object", (3, 256, 256), 75, step=32),
        "autoencoder": Task("autoencoder", (3, 256, 256), 3, step=32),
        "normal": Task("normal", (3, 256, 256), 3, step=32),
        "jigsaw": Task("jigsaw", (3, 192, 192), 1000, step=96),
        "room_layout": Task("room_layout", (3, 256, 256), 9, step=32),
        "segmentsemantic": Task("segmentsemantic", (3, 256, 256), 17, step=32),
    }
)
"""As classes stand the outputs of each head."""
TILES = {"jigsaw": 3}


class TransNAS(Space):
    """What the two spaces share: tasks, networks, cost."""

    tasks = TASKS
    citation = "Duan et al., TransNAS-Bench-101, CVPR 2021"
    example: str

    @abstractmethod
    def _parts(self, arch: str) -> tuple[str, Callable[[Shape], Cost]]:
        """Return the types of the layers, and what gives the cost of a block."""

    @abstractmethod
    def _build(self, arch: str, outputs: int, tiles: int) -> TransNASNetwork: ...

    def network(self, arch: str, task: str = "", seed: int = 0) -> nn.Module:
        """Build the backbone of `arch` as published and the head of the task, weights drawn from `seed`."""
        target = self.task(task)
        return initialise(lambda: self._build(arch, target.classes, _tiles(target)), seed)

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of backbone and head, counted on their parts; published models hold decoders, too."""
        target = self.task(task)
        return cost_of(*self._parts(arch), target, _tiles(target))

    def _refused(self, arch: object) -> InputError:
        return InputError(f"'{str(arch)[:200]}' is not an arch of {self.name}; write it like '{self.example}'")


def _tiles(task: Task) -> int:
    return TILES.get(task.name.partition("@")[0], 1)


def _micro_slots() -> tuple[Slot, ...]:
    slots, stage = [Slot("stem.0", "stem 0", 0, 0, False), Slot("stem.2.conv", "stem 1", 0, 0, False)], -1
    for layer, kind in enumerate(MICRO_LAYERS):
        stage += kind in "34"
        for block, (i, j) in itertools.product(range(BLOCKS_PER_LAYER), EDGES):
            reduces = i == 0 and block == 0 and kind != "1"
            names = ("conv", "convs.0", "convs.1") if reduces else ("conv",)
            path, depth = f"layers.{layer}.{block}.edges.{i}-{j}", layer * BLOCKS_PER_LAYER + block
            slots += [Slot(f"{path}.{name}", f"{i}-{j}", stage, depth) for name in names]
    return (*slots, Slot("classifier", "classifier", stage, len(MICRO_LAYERS) * BLOCKS_PER_LAYER, False))


class TransNASMicro(TransNAS):
    """The cell space of TransNAS-Bench-101: 4,096 cells."""

    name = "transnas-micro"
    operations = ("input", *OPERATIONS, "output")
    slots = _micro_slots()
    decisions = edge_decisions(OPERATIONS)
    example = "64-41414-1_02_333"

    @property
    def size(self) -> int:
        """4,096."""
        return len(self.archs())

    def archs(self) -> Sequence[str]:
        """Return the 4,096 strings in lexicographic order."""
        return _micro_strings()

    def parse(self, arch: str) -> Cell:
        """Return the six operations that `arch` names, in the order of `nb201.EDGES`.

        Raises:
            InputError: if `arch` is not written as the official benchmark writes it.
        """
        digits = isinstance(arch, str) and re.fullmatch(r"64-41414-([0-3])_([0-3]{2})_([0-3]{3})", arch)
        if not digits:
            raise self._refused(arch)
        return tuple(OPERATIONS[int(digit)] for digit in "".join(digits.groups()))

    def graph(self, arch: str) -> Graph:
        """Return the graph of the cell; see `nb201.cell_graph`."""
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
        """Return the simplest of the cells that compute the same function in every layer.

        A skip from the input of a cell counts as an operation of its own, because it has weights where the shape
        changes.
        """
        return _write(representatives(OPERATIONS, copies_input=False)[self.parse(arch)])

    def _parts(self, arch: str) -> tuple[str, Callable[[Shape], Cost]]:
        return MICRO_LAYERS, cell_cost(self.parse(arch))

    def _build(self, arch: str, outputs: int, tiles: int) -> TransNASNetwork:
        cell = self.parse(arch)
        return TransNASNetwork(MICRO_LAYERS, lambda *shape: MicroCell(cell, *shape), outputs, tiles)


def _write(cell: Cell) -> str:
    digits = "".join(str(OPERATIONS.index(op)) for op in cell)
    return f"{CHANNELS}-{MICRO_LAYERS}-{digits[0]}_{digits[1:3]}_{digits[3:]}"


@lru_cache(maxsize=1)
def _micro_strings() -> tuple[str, ...]:
    return tuple(_write(cell) for cell in itertools.product(OPERATIONS, repeat=len(EDGES)))


def _macro_slots() -> tuple[Slot, ...]:
    slots = [Slot("stem.0", "stem 0", 0, 0, False), Slot("stem.2.conv", "stem 1", 0, 0, False)]
    for layer, block in itertools.product(range(MOST_LAYERS), range(BLOCKS_PER_LAYER)):
        names = {"conv_a.conv": "conv_a", "conv_b.conv": "conv_b"} | ({} if block else {"downsample.0": "downsample"})
        path, depth = f"layers.{layer}.{block}", layer * BLOCKS_PER_LAYER + block
        slots += [Slot(f"{path}.{name}", f"{place} {block}", layer, depth) for name, place in names.items()]
    return (*slots, Slot("classifier", "classifier", MOST_LAYERS - 1, MOST_LAYERS * BLOCKS_PER_LAYER, False))


def _macro_decisions() -> tuple[Decision, ...]:
    lengths = tuple(range(FEWEST_LAYERS, MOST_LAYERS + 1))
    layers = [
        Decision(f"layer {i}", LAYERS)
        if i < FEWEST_LAYERS
        else Decision(f"layer {i}", LAYERS, "layers", tuple(n for n in lengths if n > i))
        for i in range(MOST_LAYERS)
    ]
    return (Decision("layers", lengths), *layers)


class TransNASMacro(TransNAS):
    """The skeleton space of TransNAS-Bench-101: 3,256 sequences of layers; its slots have one stage for each layer."""

    name = "transnas-macro"
    operations = ("input", *LAYERS, "output")
    slots = _macro_slots()
    decisions = _macro_decisions()
    example = "64-1234-basic"

    @property
    def size(self) -> int:
        """3,256."""
        return len(self.archs())

    def archs(self) -> Sequence[str]:
        """Return the 3,256 strings, shorter ones first."""
        return _macro_strings()

    def parse(self, arch: str) -> str:
        """Return the digits of the layers of `arch`.

        Raises:
            InputError: if `arch` is not in the space.
        """
        found = isinstance(arch, str) and re.fullmatch(r"64-([1-4]{4,6})-basic", arch)
        if not found:
            raise self._refused(arch)
        layers = str(found[1])
        if not _is_macro(layers):
            raise InputError(
                f"'{arch}' is not an arch of {self.name}; one to three of its layers must double the channels "
                "(2 or 4), and one to four halve the resolution (3 or 4)"
            )
        return layers

    def graph(self, arch: str) -> Graph:
        """Return the chain of layers."""
        layers = [LAYERS[int(digit) - 1] for digit in self.parse(arch)]
        return Graph(("input", *layers, "output"), np.eye(len(layers) + 2, k=1, dtype=np.bool_))

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the backbone with so many layers of these types.

        Raises:
            InputError: if they are no backbone, or double the channels or halve the resolution too often or never.
        """
        _, *kinds = checked_choices(choices, self.decisions, self.name).values()
        arch = f"{CHANNELS}-{''.join(str(LAYERS.index(kind) + 1) for kind in kinds)}-basic"
        self.parse(arch)
        return arch

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return the number of layers and the type of each."""
        kinds = [LAYERS[int(digit) - 1] for digit in self.parse(arch)]
        return {"layers": len(kinds)} | {f"layer {i}": kind for i, kind in enumerate(kinds)}

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the backbone with one layer changed, left out or put in."""
        layers = self.parse(arch)
        cuts = [(layers[:i], layers[i:]) for i in range(len(layers) + 1)]
        neighbours = {head + digit + tail[drop:] for head, tail in cuts for digit in "1234" for drop in (0, 1)}
        neighbours |= {head + tail[1:] for head, tail in cuts}
        allowed = sorted(near for near in neighbours - {layers} if _is_macro(near))
        return f"{CHANNELS}-{allowed[as_generator(seed).integers(len(allowed))]}-basic"

    def canonical(self, arch: str) -> str:
        """Return `arch`: different sequences of layers compute different functions."""
        self.parse(arch)
        return arch

    def _parts(self, arch: str) -> tuple[str, Callable[[Shape], Cost]]:
        return self.parse(arch), residual_block

    def _build(self, arch: str, outputs: int, tiles: int) -> TransNASNetwork:
        return TransNASNetwork(self.parse(arch), ResidualBlock, outputs, tiles)


def _is_macro(layers: str) -> bool:
    doubled, halved = (sum(map(layers.count, digits)) for digits in ("24", "34"))
    return FEWEST_LAYERS <= len(layers) <= MOST_LAYERS and 1 <= doubled <= 3 and 1 <= halved <= 4


@lru_cache(maxsize=1)
def _macro_strings() -> tuple[str, ...]:
    lengths = range(FEWEST_LAYERS, MOST_LAYERS + 1)
    sequences = ("".join(layers) for n in lengths for layers in itertools.product("1234", repeat=n))
    return tuple(f"{CHANNELS}-{layers}-basic" for layers in sequences if _is_macro(layers))
