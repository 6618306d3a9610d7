"""Finds architectures that keep a budget, and says what can be reached where none does.

Random draws find those of a usual budget. Where they do not, an architecture is changed step by step, each step to a
neighbour that breaks the bounds by less.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.search.budgets import Budget, number_text

SECONDS = 4.0
"""How long an architecture that keeps the budget is looked for before the budget is refused."""

SHOWN = 200
"""Feasible draws that the overview of a budget is taken over, at most."""

STARTS = 40
"""Draws that the search for the largest and the smallest value of a quantity begins with the best of."""


MUTATIONS = 20
"""Random neighbours that are tried before all are listed, which takes longer in large spaces."""


@dataclass(frozen=True)
class Overview:
    """A budgeted quantity among feasible draws.

    Args:
        quantity: its name.
        smallest: value among the draws.
        median: of the values.
        largest: value among the draws.
        draws: how many there were.
    """

    quantity: str
    smallest: float
    median: float
    largest: float
    draws: int

    def __str__(self) -> str:
        low, middle, high = (number_text(value) for value in (self.smallest, self.median, self.largest))
        return f"{self.quantity} of {self.draws} architectures within the budget: {low} to {high}, median {middle}"


class Source:
    """Draws architectures of a space, or of a list, in their canonical form where that is one of them.

    Args:
        space: the search space.
        listed: architectures to draw from; the whole space if None.
    """

    def __init__(self, space: Space, listed: Sequence[str] | None = None) -> None:
        self.space, self.listed = space, listed
        self.among = None if listed is None else frozenset(listed)

    def draw(self, rng: np.random.Generator) -> str:
        """Return one architecture."""
        if self.listed is not None:
            return self.listed[int(rng.integers(len(self.listed)))]
        return self.space.canonical(self.space.draw(rng))

    def neighbours(self, arch: str) -> list[str]:
        """Return the functions that differ from `arch` in one decision; none where the space cannot list them."""
        if not self.space.decisions:
            return []
        found = dict.fromkeys(self.representative(near) for near in self.space.neighbours(arch))
        return [near for near in found if near is not None and near != arch]

    def representative(self, arch: str) -> str | None:
        """Return the canonical form of an architecture, itself where only it is in the list, None where neither is."""
        function = self.space.canonical(arch)
        if self.among is None or function in self.among:
            return function
        return arch if arch in self.among else None


def descend(
    source: Source, start: str, loss: Callable[[str], float], rng: np.random.Generator, until: float = -np.inf
) -> Iterator[str]:
    """Yield `start`, and then ever better architectures: each is a random neighbour with a lower loss.

    Ends once the loss is `until` or less, or where no neighbour has a lower one.
    """
    arch, value = start, loss(start)
    while True:
        yield arch
        if value <= until:
            return
        for near in _around(source, arch, rng):
            other = loss(near)
            if other < value:
                arch, value = near, other
                break
        else:
            return


def _around(source: Source, arch: str, rng: np.random.Generator) -> Iterator[str]:
    """Yield neighbours of an architecture: some mutations, and if these do not do, all in random order."""
    for _ in range(MUTATIONS if source.space.decisions else 0):
        near = source.representative(source.space.mutate(arch, rng))
        if near is not None:
            yield near
    every = source.neighbours(arch)
    yield from (every[i] for i in rng.permutation(len(every)))


def repaired(source: Source, budget: Budget, start: str, rng: np.random.Generator, deadline: float) -> str:
    """Return an architecture that keeps the budget, or the nearest to one that the descent from `start` came to."""
    return _last(descend(source, start, budget.excess, rng, 0.0), deadline)


def _last(steps: Iterator[str], deadline: float) -> str:
    """Return the last step, or that at the deadline."""
    arch = next(steps)
    while time.monotonic() < deadline and (better := next(steps, None)) is not None:
        arch = better
    return arch


def extreme(source: Source, budget: Budget, quantity: str, sign: float, deadline: float = np.inf) -> float:
    """Return the largest (`sign` 1) or smallest (-1) value of a quantity that draws and steps from the best lead to."""
    rng = np.random.default_rng(0)

    def loss(arch: str) -> float:
        return -sign * budget.cost(arch, quantity)

    drawn = [source.draw(rng)]
    while len(drawn) < STARTS and time.monotonic() < deadline:
        drawn.append(source.draw(rng))
    return -sign * loss(_last(descend(source, min(drawn, key=loss), loss, rng), deadline))


def resolved(source: Source, budget: Budget) -> Budget:
    """Return the budget with percentages turned into numbers: of the largest value that `extreme` finds."""
    bounds = []
    for bound in budget.bounds:
        if bound.relative:
            most = extreme(source, budget, bound.quantity, 1.0)
            bound = replace(bound, lower=bound.lower * most, upper=bound.upper * most, relative=False)
        bounds.append(bound)
    return budget.with_bounds(bounds)


def overview(source: Source, budget: Budget, seconds: float = SECONDS) -> list[Overview]:
    """Return smallest, median and largest of each budgeted quantity among feasible draws.

    Raises:
        InputError: if nothing that keeps the budget is found in `seconds`; the sentence has the nearest values.
    """
    if not budget.bounds:
        return []
    rng, begun = np.random.default_rng(0), time.monotonic()
    kept, missed = list[str](), list[str]()
    for _ in range(SHOWN):
        arch = source.draw(rng)
        (kept if budget.allows(arch) else missed).append(arch)
        if time.monotonic() - begun > seconds / 3:
            break
    if not kept:
        kept = _searched(source, budget, missed, rng, begun + seconds)
    columns = {b.quantity: np.array([budget.cost(arch, b.quantity) for arch in kept]) for b in budget.bounds}
    return [
        Overview(name, float(values.min()), float(np.median(values)), float(values.max()), len(kept))
        for name, values in columns.items()
    ]


def _searched(
    source: Source, budget: Budget, starts: Sequence[str], rng: np.random.Generator, deadline: float
) -> list[str]:
    """Return architectures that keep the budget, found step by step from the draws nearest to it."""
    kept, ends = list[str](), list[str]()
    for start in sorted(starts, key=budget.excess):
        end = repaired(source, budget, start, rng, deadline)
        (kept if budget.allows(end) else ends).append(end)
        if time.monotonic() > deadline or len(kept) >= 20:
            break
    if not kept:
        raise _refused(source, budget, min(ends, key=budget.excess))
    return kept


def _refused(source: Source, budget: Budget, nearest: str) -> InputError:
    """Say which bound cannot be kept, or that they cannot be kept together."""
    name = source.space.name
    for bound in budget.bounds:
        value = budget.cost(nearest, bound.quantity)
        if bound.excess(value):
            sign, word = (1.0, "largest") if value < bound.lower else (-1.0, "smallest")
            reached = extreme(source, budget, bound.quantity, sign, time.monotonic() + 1.0)
            if (reached < bound.lower) if sign > 0 else (reached > bound.upper):
                return InputError(
                    f"no architecture of {name} has {bound}: the {word} value that was reached is "
                    f"{number_text(reached)}; change the budget"
                )
    have = ", ".join(f"{b.quantity} {number_text(budget.cost(nearest, b.quantity))}" for b in budget.bounds)
    wanted = " and ".join(map(str, budget.bounds))
    return InputError(f"no architecture of {name} with {wanted} was found: the nearest has {have}; change the budget")
