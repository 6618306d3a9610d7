"""The candidates of a search: architectures that keep its budget and whose function was not asked for yet."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.search.budgets import Budget
from parzc.search.feasibility import Source, repaired

if TYPE_CHECKING:
    from parzc.features import FeatureTable
    from parzc.search.evaluator import Evaluator

LISTED = 100_000
"""The most architectures of a space that are listed; among more, candidates are drawn. Given lists may be longer."""

LISTED_WITHIN = 20_000
"""The most that `archs` lists within a budget, because the cost of each has to be counted then."""

MISSES = 100
"""Draws that give nothing new, one after another, before the candidates are taken to be used up."""

RARE = 15
"""After so many draws in vain for each feasible one, infeasible ones are changed step by step until they are feasible.
"""


class Pool:
    """Feasible candidates of a space, without the functions that were asked for, pending ones included.

    Architectures come in their canonical form, so that what is counted and trained has no dead parts; of a given list
    they come as they are listed, one for each function.

    Args:
        space: the search space.
        budget: that every candidate keeps; none if not given.
        task: of the space; its first if empty.
        archs: the candidates, where not the whole space is searched.
        taken: functions that are no candidates any more.
        evaluator: measures features; `features` and `scores` need one.
    """

    def __init__(
        self,
        space: Space,
        budget: Budget | None = None,
        task: str = "",
        *,
        archs: Sequence[str] | None = None,
        taken: Iterable[str] = (),
        evaluator: "Evaluator | None" = None,
    ) -> None:
        self.space, self.task, self.evaluator = space, task, evaluator
        self.budget = Budget(space, (), task) if budget is None else budget
        self.taken = frozenset(taken)
        given = None if archs is None else _one_for_each_function(space, archs)
        self.source = Source(space, None if given is None else tuple(given.values()))
        # Shared by all pools that `without` makes of this one.
        self._lists: dict[str, dict[str, str]] = {} if given is None else {"given": given}

    def without(self, taken: Iterable[str]) -> "Pool":
        """Return the candidates that are left without these functions instead of `taken`; what was listed is shared."""
        other = object.__new__(Pool)
        other.__dict__.update(self.__dict__)
        other.taken = frozenset(taken)
        return other

    def within(self, budget: Budget) -> "Pool":
        """Return the candidates that keep another budget."""
        other = self.without(self.taken)
        other.budget, other._lists = budget, {k: v for k, v in self._lists.items() if k != "feasible"}
        return other

    @property
    def listed(self) -> bool:
        """Whether `archs` lists all candidates: those of a given list, or of a space that is small enough."""
        return "given" in self._lists or (
            self._listable and not (self.budget.bounds and self.space.size > LISTED_WITHIN)
        )

    @property
    def _listable(self) -> bool:
        """Whether the space can be listed, whatever the costs."""
        if "given" in self._lists or "every" in self._lists:
            return True
        if self.space.size > LISTED:
            return False
        try:
            return len(self.space.archs()) > 0
        except InputError:
            return False

    def archs(self) -> Sequence[str]:
        """Return all candidates, one for each function, in a fixed order.

        Raises:
            InputError: if they cannot be listed.
        """
        if not self.listed:
            raise InputError(f"the candidates among {self.space.size:,} architectures are too many to list; draw some")
        if self.budget.bounds and "feasible" not in self._lists:
            self._lists["feasible"] = {f: a for f, a in self._every().items() if self.budget.allows(a)}
        all_of_them = self._lists["feasible"] if self.budget.bounds else self._every()
        return [arch for function, arch in all_of_them.items() if self._is_free(function)]

    def _every(self) -> dict[str, str]:
        """Return all architectures by their functions, feasible or not, listed once."""
        if "given" in self._lists:
            return self._lists["given"]
        if "every" not in self._lists:
            self._lists["every"] = _one_for_each_function(self.space, self.space.archs())
        return self._lists["every"]

    def _is_free(self, function: str) -> bool:
        return function not in self.taken and (self.evaluator is None or function not in self.evaluator.failed)

    def is_new(self, arch: str) -> bool:
        """Return whether the function of an architecture was not asked for, and can be measured as far as is known."""
        return self._is_free(self.space.canonical(arch))

    def candidate(self, arch: str) -> str | None:
        """Return an architecture as it would be asked for; None unless it is new, feasible, and in the list if any."""
        found = self.source.representative(arch)
        return found if found is not None and self.is_new(found) and self.budget.allows(found) else None

    def draw(self, n: int, rng: np.random.Generator) -> list[str]:
        """Return `n` different candidates; fewer if there are no more, or no more are found.

        Uniform where the space or the list can be listed, otherwise as the space draws. Where few of its draws keep the
        budget, others are changed step by step until they do.
        """
        drawn: dict[str, str] = {}
        misses = 0
        for arch in self._permuted(rng) if self._listable else self._drawn(rng):
            function = None if arch is None else self.space.canonical(arch)
            if arch is not None and function is not None and function not in drawn and self._is_free(function):
                drawn[function], misses = arch, 0
            else:
                misses += 1
            if len(drawn) >= n or (misses >= MISSES and not self._listable):
                break
        return list(drawn.values())

    def _permuted(self, rng: np.random.Generator) -> Iterator[str]:
        """Yield all candidates in random order; costs are counted on the way."""
        every = self._every()
        functions = list(every)
        for i in rng.permutation(len(functions)):
            if self._is_free(functions[i]) and self.budget.allows(every[functions[i]]):
                yield every[functions[i]]

    def _drawn(self, rng: np.random.Generator) -> Iterator[str | None]:
        """Yield feasible architectures without end, and None for each draw that led to none."""
        tried = kept = 0
        while True:
            arch = self.source.draw(rng)
            allowed = self.budget.allows(arch)
            tried, kept = tried + 1, kept + allowed
            rare = tried > RARE * (kept + 1)
            if not allowed and rare:
                arch = repaired(self.source, self.budget, arch, rng, np.inf)
                allowed = self.budget.allows(arch)
            if allowed or rare:
                yield arch if allowed else None

    def neighbours(self, arch: str) -> list[str]:
        """Return the candidates that differ from `arch` in one decision, each function once, and not its own."""
        found = dict.fromkeys(self.candidate(near) for near in self.space.neighbours(arch))
        own = self.space.canonical(arch)
        return [near for near in found if near is not None and self.space.canonical(near) != own]

    def mutate(self, arch: str, rng: np.random.Generator, tries: int = MISSES) -> str | None:
        """Return a candidate that differs from `arch` in one decision; None if none is found in so many tries."""
        for _ in range(tries):
            if (found := self.candidate(self.space.mutate(arch, rng))) is not None:
                return found
        return None

    def crossover(self, a: str, b: str, rng: np.random.Generator, tries: int = MISSES) -> str | None:
        """Return a candidate with each choice from `a` or `b`; None if none is found in so many tries."""
        for _ in range(tries):
            if (found := self.candidate(self.space.crossover(a, b, rng))) is not None:
                return found
        return None

    def features(self, archs: Sequence[str]) -> "FeatureTable":
        """Return the features of architectures, in their order; measured where they are not kept yet.

        One that cannot be measured has no row, and is no candidate from then on: `archs` of the table names the rows.

        Raises:
            InputError: if there is no evaluator, or nothing could be measured.
        """
        return self._evaluator.features(archs)

    @property
    def _evaluator(self) -> "Evaluator":
        if self.evaluator is None:
            raise InputError("these candidates have no evaluator; give the pool one to measure features")
        return self.evaluator


def _one_for_each_function(space: Space, archs: Iterable[str]) -> dict[str, str]:
    """Return an architecture for each function: its canonical form where that is among them, else the first."""
    found: dict[str, str] = {}
    for arch in archs:
        function = space.canonical(arch)
        if function not in found or arch == function:
            found[function] = arch
    return found
