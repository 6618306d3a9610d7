"""What every search space offers: notation, networks, graphs, slots, sampling."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parzc.datasets.spaces import _decisions
from parzc.datasets.spaces._decisions import LISTABLE, Choice, Decision, as_generator
from parzc.datasets.spaces._references import findable, reference_of
from parzc.datasets.spaces._supernet import Supernet
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
        edge: the position it belongs to, for example `0-1`; the name of the place for fixed parts. Nodes of slots with
            the same edge and stage are averaged by rankers that read one token for each edge.
        stage: index of the stage (resolution level), from 0.
        depth: index of the cell along the network, from 0; it orders the slots in figures.
        searchable: `False` for the fixed parts of all networks, such as stem and classifier, which figures of
            importance show in grey.
    """

    name: str
    edge: str
    stage: int
    depth: int
    searchable: bool = True


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
    raises `InputError` for a string that is not in the space. A space that defines `decisions`, `compose` and
    `decompose` gets `draw`, `mutate`, `neighbours`, `crossover` and, where it is small, `archs` from them.

    Attributes:
        name: what users call the space.
        tasks: by name; the first is the one that is meant where none is named.
        slots: the places of the macro skeleton, in network order.
        operations: the labels that vertices of graphs may have.
        preset_variant: variant of a ranker's preset that suits the space: `architecture` reads the architecture
            encoding next to what was measured, `measured` does not (`parzc.ranker.presets`).
        columns: of a table, which together spell an architecture where there is no column `arch`.
        citation: where the space was published.
        decisions: what may be chosen, each behind its parent; empty if the space has no decision view.
        supernet: networks of partial architectures, for searches that remove operations; None if there are none.
    """

    name: str
    citation: str = ""
    tasks: Mapping[str, Task] = MappingProxyType({})
    slots: tuple[Slot, ...] = ()
    operations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("arch",)
    preset_variant: str = "architecture"
    decisions: tuple[Decision, ...] = ()
    supernet: Supernet | None = None
    _reference: str = ""

    def __reduce__(self) -> tuple[Callable[[str], "Space"], tuple[str]]:
        # To other processes goes where the space is found, never its code.
        from parzc.datasets.spaces._registry import get_space

        return get_space, (findable(self),)

    def __deepcopy__(self, _: object) -> "Space":
        return self

    @property
    def reference(self) -> str:
        """The string by which `get_space` finds the space in another process; empty if none can find it.

        The name for spaces that come with an installed package, otherwise `/path/to/file.py:Name` or `module:Name`.
        """
        return reference_of(self)

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

    def compose(self, choices: Mapping[str, Choice]) -> str:  # noqa: ARG002
        """Return the architecture that has these choices: one for each decision that exists with the others.

        Raises:
            InputError: if they make no architecture of the space, or the space has no decision view.
        """
        raise self._no_decisions()

    def decompose(self, arch: str) -> dict[str, Choice]:  # noqa: ARG002
        """Return the choice of each decision that exists in `arch`, by name.

        Raises:
            InputError: if `arch` is not in the space, or the space has no decision view.
        """
        raise self._no_decisions()

    def mutate(self, arch: str, seed: np.random.Generator | int) -> str:
        """Return an architecture of the space that differs from `arch` in one decision.

        Args:
            arch: an architecture of the space.
            seed: of the draws, as `numpy.random.default_rng` takes it: a whole number from 0, or a generator.
        """
        self._check_decisions()
        return _decisions.mutate(self, arch, as_generator(seed))

    def neighbours(self, arch: str) -> list[str]:
        """Return every architecture of the space that differs from `arch` in one decision, each once.

        Decisions that come to exist by the change have all their choices.
        """
        self._check_decisions()
        return _decisions.neighbours(self, arch)

    def crossover(self, a: str, b: str, seed: np.random.Generator | int) -> str:
        """Return an architecture of the space that has each choice from `a` or from `b`, both equally likely."""
        self._check_decisions()
        return _decisions.crossover(self, a, b, as_generator(seed))

    def archs(self) -> Sequence[str]:
        """Return every architecture of the space, in a fixed order.

        Raises:
            InputError: if the space is too large to list.
        """
        if self.decisions and self.size <= LISTABLE:
            return _decisions.every(self)
        raise InputError(f"{self.name} has {self.size:,} architectures, too many to list; draw or name some of them")

    def draw(self, generator: np.random.Generator) -> str:
        """Return one architecture; spaces that are too large to list, and have no decision view, define this."""
        if type(self).archs is Space.archs and self.decisions:
            return _decisions.draw(self, generator)
        archs = self.archs()
        return archs[int(generator.integers(len(archs)))]

    def sample(self, n: int, seed: np.random.Generator | int) -> list[str]:
        """Return `n` different architectures: drawn uniformly where the space can be listed, else as `draw` does it.

        Args:
            n: how many.
            seed: of the draws, as `numpy.random.default_rng` takes it: a whole number from 0, or a generator.

        Raises:
            InputError: if the space holds fewer than `n` architectures.
        """
        if not 0 < n <= self.size:
            raise InputError(
                f"cannot draw {n} architectures from {self.name}: it holds {self.size}; ask for 1 to {self.size}"
            )
        generator = as_generator(seed)
        if type(self).draw is Space.draw and (type(self).archs is not Space.archs or self.size <= LISTABLE):
            archs = self.archs()
            return [archs[i] for i in generator.choice(len(archs), size=n, replace=False)]
        drawn: dict[str, None] = {}
        while len(drawn) < n:
            drawn[self.draw(generator)] = None
        return list(drawn)

    def spell(self, row: Mapping[str, str]) -> str:
        """Return the architecture that the `columns` of a table's row spell.

        Raises:
            InputError: if they spell none of this space.
        """
        return row["arch"]

    def task(self, name: str = "") -> Task:
        """Return the task called `name`, or the first task where no name is given.

        `name@size` is the task on inputs of another height and width, where its networks take them.

        Raises:
            InputError: if the space has no such task, or the task no such inputs.
        """
        if not self.tasks:
            raise InputError(
                f'{self.name} has no task; define at least one, like tasks = {{"a": Task("a", (3, 32, 32), 10)}}'
            )
        name, at, size = (name or next(iter(self.tasks))).partition("@")
        if name not in self.tasks:
            raise InputError(f"{self.name} has no task '{name}'; choose one of {', '.join(self.tasks)}")
        return self.tasks[name].resized(size) if at else self.tasks[name]

    def _no_decisions(self) -> InputError:
        return InputError(f"{self.name} has no decision view; define decisions, compose and decompose")

    def _check_decisions(self) -> None:
        if not self.decisions:
            raise self._no_decisions()


def missing_slots(space: Space, nodes: Iterable[str]) -> list[str]:
    """Return the names of nodes that fill no slot of a space, in their order; none for a space without slots.

    Rankers read a node's place in the network from its slot, so that each node of each network of a space needs one.
    """
    known = {slot.name for slot in space.slots}
    return [node for node in nodes if known and node not in known]
