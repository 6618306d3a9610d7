"""A search space from a dictionary of choices and a function that builds a network of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from parzc.datasets.spaces import _decisions
from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._decisions import Choice, Decision, checked_choices, count
from parzc.datasets.spaces._notation import Choosable, read_arch, read_choice, read_choices, write_arch, written
from parzc.datasets.spaces._traced_slots import traced_slots
from parzc.errors import InputError

ABSENT = ("", "nan", "None", "<NA>")
"""What the cell of a table may hold where a decision does not exist."""


class Choices(Space):
    """A search space from a dictionary: `Choices(build, {"width": [16, 32], "kernel": [3, 5]})`.

    An architecture is written `width=16,kernel=3`, its network is `build(width=16, kernel=3)`. Drawing, mutation,
    crossover, neighbours and the size follow from the choices, cost and slots from networks that are built without
    memory (on the device `meta`). The graph is a chain with one vertex for each decision, labelled by its choice.

    A choice may bring decisions of its own: in `{"block": {"conv": {"kernel": [3, 5]}, "pool": {}}}` the decision
    `block.kernel` exists only where `block` is `conv`. Architectures are `block=conv,block.kernel=3` and `block=pool`,
    and networks `build(block="conv", block_kernel=3)` and `build(block="pool")`.

    Different choices are taken to make different functions: each architecture is canonical.

    Args:
        build: takes the choices of the active decisions as keyword arguments (with `_` for `.`), and returns a
            network that maps inputs `(batch, *input_shape)` to logits `(batch, classes)`.
        choices: name of each decision to its choices: numbers, booleans, texts, `None`, or tuples of these. In place
            of a list, a dictionary from each choice to a dictionary of the decisions that exist only with it.
        name: of the space; that of `build` if not given.
        input_shape: `(channels, height, width)` of one input.
        classes: number of logits.
        task: what to call the data.
        step: inputs may have any multiple of this as height and width; 0 if only those of `input_shape`.
        slots: the places of weights; found by building some networks if not given.
        citation: where the space was published.

    Raises:
        InputError: if a name or a choice cannot be used; the decision is named.

    Example:
        >>> space = Choices(make_network, {"width": [16, 32, 64], "kernel": [3, 5], "skip": [False, True]})
        >>> space.size, space.archs()[0]
        (12, 'width=16,kernel=3,skip=False')
    """

    def __init__(
        self,
        build: Callable[..., nn.Module],
        choices: Mapping[str, Choosable],
        *,
        name: str = "",
        input_shape: tuple[int, ...] = (3, 32, 32),
        classes: int = 10,
        task: str = "default",
        step: int = 0,
        slots: tuple[Slot, ...] = (),
        citation: str = "",
    ) -> None:
        if not callable(build):
            raise InputError(f"build is {build!r:.100}, and not a function that returns a network")
        self.build, self.decisions = build, read_choices(choices)
        self.name = name or _name_of(build)
        self.citation = citation or f"{self.name}, a space of choices"
        self.tasks = MappingProxyType({task: Task(task, tuple(input_shape), classes, step)})
        self.columns = tuple(decision.name for decision in self.decisions)
        labels = [_label(decision, choice) for decision in self.decisions for choice in decision.choices]
        absent = [_absent(decision) for decision in self.decisions if decision.parent]
        self.operations = ("input", *labels, *absent, "output")
        self._arguments = _arguments(self.decisions)
        self._slots = tuple(slots)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:  # type: ignore[override]  # found when they are first asked for
        """The places of weights: those given, or those of networks that together make every two choices."""
        return self._slots or traced_slots(self)

    @cached_property
    def size(self) -> int:
        """The number of different choices."""
        return count(self.decisions)

    def compose(self, choices: Mapping[str, Choice]) -> str:
        """Return the architecture that has these choices: one for each decision that exists with the others."""
        return write_arch(checked_choices(choices, self.decisions, self.name), self.decisions)

    def decompose(self, arch: str) -> dict[str, Choice]:
        """Return the choice of each decision that exists in `arch`, by name."""
        try:
            if not isinstance(arch, str) or len(arch) > 10_000:
                raise InputError("it is no text, or a very long one")
            return checked_choices(read_arch(arch, self.decisions), self.decisions, self.name)
        except InputError as reason:
            raise InputError(
                f"'{str(arch)[:200]}' is not an arch of {self.name}: {reason}; write it like '{self._example}'"
            ) from None

    def spell(self, row: Mapping[str, str]) -> str:
        """Return the architecture of a row with one column for each decision, empty where it does not exist."""
        chosen: dict[str, Choice] = {}
        for decision in self.decisions:
            text = row[decision.name].strip()
            if decision.active(chosen):
                chosen[decision.name] = read_choice(text, decision)
            elif text not in ABSENT:
                raise InputError(f"'{decision.name}' is '{text[:60]}', but does not exist in this arch; empty the cell")
        return self.compose(chosen)

    def network(self, arch: str, task: str = "", seed: int = 0) -> nn.Module:
        """Build the network of `arch`, its weights drawn from `seed`.

        Raises:
            InputError: if `build` raises an error, or returns no network; the arguments are named.
        """
        chosen = self.decompose(arch)
        self.task(task)

        def seeded() -> nn.Module:
            torch.default_generator.manual_seed(seed)
            return self._built(chosen)

        return initialise(seeded, seed)

    def _built(self, chosen: Mapping[str, Choice]) -> nn.Module:
        given = {self._arguments[name]: choice for name, choice in chosen.items()}
        called = f"build({', '.join(f'{name}={choice!r}' for name, choice in given.items())}) of {self.name}"
        try:
            network = self.build(**given)
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(f"{called} raises {why}; correct the function") from error
        if not isinstance(network, nn.Module):
            raise InputError(f"{called} returns {type(network).__name__}; return a torch.nn.Module")
        return network

    def graph(self, arch: str) -> Graph:
        """Return a chain: the input, one vertex for each decision (its choice, or that it is absent), the output."""
        chosen = self.decompose(arch)
        labels = [_label(d, chosen[d.name]) if d.name in chosen else _absent(d) for d in self.decisions]
        return Graph(("input", *labels, "output"), np.eye(len(labels) + 2, k=1, dtype=np.bool_))

    def canonical(self, arch: str) -> str:
        """Return `arch` with its decisions in the order of the space, written in one way."""
        return write_arch(self.decompose(arch), self.decisions)

    def cost(self, arch: str, task: str = "") -> Cost:
        """Return the counts of the network as built; see `count_cost`."""
        chosen, target = self.decompose(arch), self.task(task)
        return count_cost(lambda: self._built(chosen), target)

    def archs(self) -> Sequence[str]:
        """Return every architecture, in the order of the decisions and their choices."""
        return self._archs if self.size <= _decisions.LISTABLE else super().archs()

    @cached_property
    def _archs(self) -> tuple[str, ...]:
        return tuple(write_arch(chosen, self.decisions) for chosen in _decisions.completions({}, self.decisions))

    def draw(self, generator: np.random.Generator) -> str:
        """Return one architecture; all are equally likely."""
        chosen: dict[str, Choice] = {}
        for decision in self.decisions:
            if decision.active(chosen):
                weights = self._weights[decision.name]
                chosen[decision.name] = decision.choices[int(generator.choice(len(weights), p=weights))]
        return write_arch(chosen, self.decisions)

    def sample(self, n: int, seed: np.random.Generator | int) -> list[str]:
        """Return `n` different architectures, drawn uniformly with a generator or a seed."""
        if self.size > _decisions.LISTABLE or not 0 < n <= self.size:
            return super().sample(n, seed)
        archs = self.archs()
        return [archs[i] for i in _decisions.as_generator(seed).choice(len(archs), size=n, replace=False)]

    @cached_property
    def _weights(self) -> dict[str, list[float]]:
        """How likely each choice is where all architectures are: by the number of those that have it."""
        below = {
            decision.name: [_decisions.ways_below(self.decisions, decision.name, c) for c in decision.choices]
            for decision in self.decisions
        }
        return {name: [number / sum(numbers) for number in numbers] for name, numbers in below.items()}

    @cached_property
    def _example(self) -> str:
        return write_arch(next(_decisions.completions({}, self.decisions)), self.decisions)[:200]


def _name_of(build: Callable[..., nn.Module]) -> str:
    name = getattr(build, "__name__", type(build).__name__)
    return "choices" if name == "<lambda>" else name.replace("_", "-")


def _label(decision: Decision, choice: Choice) -> str:
    return f"{decision.name}={written(decision.name, choice)}"


def _absent(decision: Decision) -> str:
    return f"no {decision.name}"


def _arguments(decisions: tuple[Decision, ...]) -> dict[str, str]:
    """Return the keyword argument of `build` for each decision."""
    names: dict[str, str] = {}
    for decision in decisions:
        argument = decision.name.replace(".", "_")
        if argument in names:
            raise InputError(
                f"'{decision.name}' and '{names[argument]}' would both be the argument '{argument}' of the function; "
                "rename one"
            )
        names[argument] = decision.name
    return {name: argument for argument, name in names.items()}
