"""What every search space offers: notation, networks, graphs, slots, sampling."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parzc.errors import InputError

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Task:
    """A data set as far as a network needs to know it.

    Args:
        name: for example `cifar10`.
        input_shape: `(channels, height, width)` of one input.
        classes: number of classes of the labels.
        step: inputs may have any multiple of this as height and width, so that measuring costs less; 0 if only their
            own.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    step: int = 0

    def resized(self, size: str) -> "Task":
        """Return the same task on square inputs of another height and width, called `name@size`.

        Raises:
            InputError: if the networks of the task do not take such inputs.
        """
        if not self.step:
            raise InputError(f"{self.name} takes inputs of its own size only; leave '@{size}' away")
        pixels = int(size) if size.isdecimal() and len(size) < 6 else 0
        if pixels <= 0 or pixels % self.step:
            raise InputError(f"{self.name} takes inputs of a multiple of {self.step} pixels, not of '{size}'")
        return replace(self, name=f"{self.name}@{pixels}", input_shape=(self.input_shape[0], pixels, pixels))


@dataclass(frozen=True)
class Slot:
    """A place in the macro skeleton of a space that may hold a weight-bearing node.

    The name of a slot is the name of the module that fills it, so one column of the `aligned` layout is one place.

    Args:
        name: qualified module name in the networks of the space.
        edge: which searchable position it fills, for example `0-1`; the name of the place for fixed parts.
        stage: index of the stage (resolution level), from 0.
        depth: index of the cell along the network, from 0.
    """

    name: str
    edge: str
    stage: int
    depth: int


@dataclass(frozen=True)
class Graph:
    """An architecture as a directed acyclic graph.

    Args:
        operations: label of each vertex, in topological order (`n` entries).
        adjacency: `(n, n)` booleans, true at `[i, j]` where vertex `j` reads from vertex `i`; upper triangular.
    """

    operations: tuple[str, ...]
    adjacency: NDArray[np.bool_]


@dataclass(frozen=True)
class Cost:
    """Static cost of a network as built, dead parts included.

    Args:
        params: number of parameters.
        macs: multiply-accumulate operations of convolutions and linear layers for one input.
        n_layers: number of convolution and linear layers.
    """

    params: int
    macs: int
    n_layers: int


def initialise(build: Callable[[], N], seed: int) -> N:
    """Build a network whose modules draw their own default initialisation from seeds made of `seed` and their names.

    So a place holds the same weights in every architecture where it holds the same operation, and statistics of two
    architectures differ by what differs between them, not by which random numbers were left for a module. The global
    random state is left alone. A network on the device `meta` has shapes alone, and nothing is drawn.
    """
    with torch.random.fork_rng(devices=[]):
        network = build()
        if any(parameter.is_meta for parameter in network.parameters()):
            return network
        for name, module in network.named_modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                # Not torch.manual_seed, which would keep a stack trace of each call for devices that are not there.
                torch.default_generator.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
                reset()
    return network


class Space(ABC):
    """A set of architectures with one way to write, build and draw each.

    Subclasses define the class attributes and the abstract methods; everything that takes an architecture string
    raises `InputError` for a string that is not in the space.

    Attributes:
        name: what users call the space.
        tasks: by name; the first is the one that is meant where none is named.
        slots: the places of the macro skeleton, in network order.
        operations: the labels that vertices of graphs may have.
        preset_variant: variant of a ranker's preset that suits the space: `architecture` reads the architecture
            encoding next to what was measured, `measured` does not (`parzc.ranker.presets`).
        columns: of a table, which together spell an architecture where there is no column `arch`.
        citation: where the space was published.
    """

    name: str
    citation: str = ""
    tasks: Mapping[str, Task] = MappingProxyType({})
    slots: tuple[Slot, ...] = ()
    operations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("arch",)
    preset_variant: str = "architecture"

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of architectures in the space."""

    @abstractmethod
    def network(self, arch: str, task: str = "", seed: int = 0) -> nn.Module:
        """Build the network of `arch` with weights drawn by `initialise` from `seed`."""

    @abstractmethod
    def graph(self, arch: str) -> Graph:
        """Return the operations of `arch` and how they are connected."""

    @abstractmethod
    def canonical(self, arch: str) -> str:
        """Return the representative of all architectures that compute the same function, without dead parts."""

    @abstractmethod
    def cost(self, arch: str, task: str = "") -> Cost:
        """Return parameters, multiply-accumulates and weight layers of the network of `arch` as built."""

    @abstractmethod
    def mutate(self, arch: str, seed: int) -> str:
        """Return an architecture of the space that differs from `arch` in one decision, drawn with `seed`."""

    def archs(self) -> Sequence[str]:
        """Return every architecture of the space, in a fixed order.

        Raises:
            InputError: if the space is too large to list.
        """
        raise InputError(f"{self.name} has {self.size:,} architectures, too many to list; draw or name some of them")

    def draw(self, generator: np.random.Generator) -> str:
        """Return one architecture; spaces that are too large to list define this."""
        archs = self.archs()
        return archs[int(generator.integers(len(archs)))]

    def sample(self, n: int, seed: int) -> list[str]:
        """Return `n` different architectures, drawn with `seed`: uniformly, or as `draw` does it.

        Raises:
            InputError: if the space holds fewer than `n` architectures.
        """
        if not 0 < n <= self.size:
            raise InputError(
                f"cannot draw {n} architectures from {self.name}: it holds {self.size}; ask for 1 to {self.size}"
            )
        generator = np.random.default_rng(seed)
        if type(self).draw is Space.draw:
            archs = self.archs()
            return [archs[i] for i in generator.choice(len(archs), size=n, replace=False)]
        drawn: dict[str, None] = {}
        while len(drawn) < n:
            drawn[self.draw(generator)] = None
        return list(drawn)

    def spell(self, row: Mapping[str, str]) -> str:
        """Return the architecture that the `columns` of a table's row say.

        Raises:
            InputError: if they say none of this space.
        """
        return row["arch"]

    def task(self, name: str = "") -> Task:
        """Return the task called `name`, or the first task where no name is given.

        `name@size` is the task on inputs of another height and width, where its networks take them.

        Raises:
            InputError: if the space has no such task, or the task no such inputs.
        """
        name, at, size = (name or next(iter(self.tasks))).partition("@")
        if name not in self.tasks:
            raise InputError(f"{self.name} has no task '{name}'; choose one of {', '.join(self.tasks)}")
        return self.tasks[name].resized(size) if at else self.tasks[name]
