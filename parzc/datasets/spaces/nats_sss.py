"""The size space of NATS-Bench: 32,768 choices of channels (Dong et al., TPAMI 2021, arXiv:2009.00437).

An arch is written as in the official benchmark, the channels of five layers from 8 to 64 in steps of 8, for example
`8:16:24:32:64`. The network is the skeleton of NAS-Bench-201 with one cell in each stage: stem and cell with the first
channels, reduction block, cell, reduction block, cell. The cell is the same in all of them,
`|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|` in the notation of
NAS-Bench-201.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor, nn

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, initialise
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator, checked_choices
from parzc.datasets.spaces._nb201_networks import EDGES, ReductionBlock, ReLUConvBN
from parzc.datasets.spaces.nb201 import NB201
from parzc.errors import InputError

CHOICES = tuple(range(8, 65, 8))
LAYERS = 5
REDUCTIONS = (1, 3)
EXAMPLE = "8:16:24:32:64"


class ConvBN(nn.Sequential):
    """1x1 convolution without bias, batch norm: the skip of a cell that changes the number of channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)


class SizedCell(nn.Module):
    """The cell, whose edges from the input change the number of channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        skip = nn.Identity() if c_in == c_out else ConvBN(c_in, c_out)
        convolutions = {f"{i}-{j}": ReLUConvBN(c_out if i else c_in, c_out, 3) for i, j in EDGES if (i, j) != (0, 3)}
        self.edges = nn.ModuleDict({**convolutions, "0-3": skip})

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height, width)`."""
        nodes = [x]
        for j in range(1, 4):
            nodes.append(sum((self.edges[f"{i}-{j}"](nodes[i]) for i in range(1, j)), self.edges[f"0-{j}"](x)))
        return nodes[3]


class SizedNetwork(nn.Module):
    """Stem, three cells with a reduction block between them, global pooling, classifier."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]))
        shapes = itertools.pairwise((channels[0], *channels))
        self.cells = nn.Sequential(
            *((ReductionBlock if index in REDUCTIONS else SizedCell)(*shape) for index, shape in enumerate(shapes))
        )
        self.lastact = nn.Sequential(nn.BatchNorm2d(channels[-1]), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        logits: Tensor = self.classifier(self.lastact(self.cells(self.stem(x))).mean((2, 3)))
        return logits


def _slots() -> tuple[Slot, ...]:
    slots, stage = [Slot("stem.0", "stem", 0, 0, False)], 0
    for index in range(LAYERS):
        if index in REDUCTIONS:
            stage += 1
            names = {"conv_a.conv": "reduction_a", "conv_b.conv": "reduction_b", "shortcut.1": "reduction_shortcut"}
        else:
            # The first cell is as wide as the stem, so that its skip has no weights.
            names = {f"edges.{i}-{j}.conv": f"{i}-{j}" for i, j in EDGES if index or (i, j) != (0, 3)}
        slots += [Slot(f"cells.{index}.{name}", place, stage, index) for name, place in names.items()]
    return (*slots, Slot("classifier", "classifier", stage, LAYERS, False))


class NATSSize(Space):
    """The size space of NATS-Bench with the tasks CIFAR-10, CIFAR-100 and ImageNet16-120."""

    name = "nats-sss"
    citation = "Dong et al., NATS-Bench, TPAMI 2021"
    tasks = NB201.tasks
    operations = ("input", *map(str, CHOICES), "output")
    slots = _slots()
    decisions = tuple(Decision(f"layer {i}", CHOICES) for i in range(LAYERS))

    @property
    def size(self) -> int:
        """32,768."""
        return len(self.archs())

    def archs(self) -> Sequence[str]:
        """Return the 32,768 strings in the official order."""
        return _all_strings()

    def parse(self, arch: str) -> tuple[int, ...]:
        """Return the channels of the five layers.

        Raises:
            InputError: if `arch` is not written as the official benchmark writes it.
        """
        parts = arch.split(":") if isinstance(arch, str) else []
        if len(parts) != LAYERS or not set(parts) <= set(map(str, CHOICES)):
            raise InputError(
                f"'{str(arch)[:200]}' is not a nats-sss arch; write it like '{EXAMPLE}', five of the numbers "
                f"{', '.join(map(str, CHOICES))}"
            )
        return tuple(map(int, parts))

    def network(self, arch: str, task: str = "", seed: int = 0) -> nn.Module:
        """Build the network of `arch` as published, its weights drawn from `seed`."""
        channels, classes = self.parse(arch), self.task(task).classes
        return initialise(lambda: SizedNetwork(channels, classes), seed)

    def graph(self, arch: str) -> Graph:
        """Return the chain of the five layers, each labelled with its channels."""
        channels = self.parse(arch)
        return Graph(("input", *map(str, channels), "output"), np.eye(LAYERS + 2, k=1, dtype=np.bool_))

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the network with these channels of its five layers."""
        return ":".join(map(str, checked_choices(choices, self.decisions, self.name).values()))

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return the channels of each layer."""
        return {f"layer {i}": channels for i, channels in enumerate(self.parse(arch))}

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return the network with other channels in one layer."""
        channels, generator = list(self.parse(arch)), as_generator(seed)
        layer = int(generator.integers(LAYERS))
        others = [choice for choice in CHOICES if choice != channels[layer]]
        channels[layer] = others[generator.integers(len(others))]
        return ":".join(map(str, channels))

    def canonical(self, arch: str) -> str:
        """Return `arch`: different channels make different functions."""
        self.parse(arch)
        return arch

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the published counts, counted on the network: a bias counts one addition for each output."""
        channels, target = self.parse(arch), self.task(task)
        return count_cost(lambda: SizedNetwork(channels, target.classes), target)


@lru_cache(maxsize=1)
def _all_strings() -> tuple[str, ...]:
    return tuple(":".join(map(str, channels)) for channels in itertools.product(CHOICES, repeat=LAYERS))
