"""Slots of a space whose networks are known only by building them: the layers of networks that cover its choices."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from parzc.datasets.spaces import _decisions
from parzc.datasets.spaces._base import Slot
from parzc.datasets.spaces._cost import WEIGHTED

if TYPE_CHECKING:
    from parzc.datasets.spaces._choices import Choices

ALL = 64
"""Spaces with at most so many architectures are traced whole."""

MOST = 400
"""Networks that are traced at most, where the pairs of choices are many."""

Shapes = dict[str, tuple[int, ...]]


def traced_slots(space: "Choices") -> tuple[Slot, ...]:
    """Return a slot for each layer with weights of networks that together make every two choices of the space.

    Each layer is a position (`edge`) of its own in one stage; its depth is its rank along the networks. A layer that
    all traced networks have, with weights of one shape, counts as a fixed part. What a network has only where three or
    more choices meet may be missed: `missing_slots`, the contract suite and the extraction name it.

    Raises:
        InputError: if a network cannot be built.
    """
    order: list[str] = []
    shapes: dict[str, set[tuple[int, ...]]] = {}
    times: dict[str, int] = {}
    members = list(dict.fromkeys(_members(space)))
    for arch in members:
        layers = _layers(space, arch)
        _merge(order, list(layers))
        for name, shape in layers.items():
            shapes.setdefault(name, set()).add(shape)
            times[name] = times.get(name, 0) + 1
    fixed = {name for name in order if times[name] == len(members) and len(shapes[name]) == 1}
    return tuple(Slot(name, name, 0, depth, name not in fixed) for depth, name in enumerate(order))


def _members(space: "Choices") -> Iterator[str]:
    """Yield architectures that together make every two choices that go together, or `MOST` of them.

    The same ones in every process, since a saved ranker relies on the order of the slots.
    """
    if space.size <= ALL:
        yield from space.archs()
        return
    rng = np.random.default_rng(0)
    made: set[tuple[tuple[str, _decisions.Choice], ...]] = set()
    for _ in range(MOST):
        chosen = _decisions.drawn({}, space.decisions, rng)
        pairs = set(itertools.combinations(chosen.items(), 2))
        if pairs - made:
            made |= pairs
            yield space.compose(chosen)
    for decision in space.decisions:
        for choice in decision.choices:
            yield space.compose(_with(space, decision, choice, rng))


def _with(
    space: "Choices", decision: _decisions.Decision, choice: _decisions.Choice, rng: np.random.Generator
) -> dict[str, _decisions.Choice]:
    """Return random choices among which is this one, with those of its parents that it needs."""
    known = {other.name: other for other in space.decisions}
    wanted = {decision.name: choice}
    while decision.parent:
        wanted[decision.parent] = decision.requires[int(rng.integers(len(decision.requires)))]
        decision = known[decision.parent]
    return _decisions.drawn(wanted, space.decisions, rng)


def _layers(space: "Choices", arch: str) -> Shapes:
    """Return the layers with weights of a network and the shapes of their weights, in the order in which they run.

    Layers that do not run stand where the network lists them.
    """
    ran: list[str] = []
    with torch.device("meta"):
        network = space.network(arch).eval()
        names = {name: m for name, m in network.named_modules() if isinstance(m, WEIGHTED)}
        for name, layer in names.items():
            layer.register_forward_hook(_noting(ran, name))
        with torch.no_grad():
            network(torch.empty(1, *space.task().input_shape))
    order = list(dict.fromkeys(ran))
    _merge(order, list(names))
    return {name: tuple(names[name].weight.shape) for name in order}


def _noting(ran: list[str], name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def note(_: nn.Module, _inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        ran.append(name)

    return note


def _merge(order: list[str], names: list[str]) -> None:
    """Put the names that `order` lacks into it, each behind the one before it in `names`."""
    place = 0
    for name in names:
        if name in order:
            place = order.index(name) + 1
        else:
            order.insert(place, name)
            place += 1
