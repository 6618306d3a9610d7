"""An architecture as choices for named decisions, and what a search does with them: draw, change, list, cross."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parzc.errors import InputError

if TYPE_CHECKING:
    from parzc.datasets.spaces._base import Space

Choice = bool | int | float | str | None | tuple[bool | int | float | str | None, ...]
"""What may be chosen. Choices of one decision are compared by `==`, so that no decision has both 1 and `True`."""

LISTABLE = 100_000
"""The most architectures of a space that are listed from its decisions."""

TRIES = 200
"""Draws that may give no architecture of the space, one after another, before the space is called too sparse."""


@dataclass(frozen=True)
class Decision:
    """One thing that may be chosen in a space.

    Args:
        name: unique in the space, for example `0-1` or `width`.
        choices: what may be chosen, two or more as a rule, all different.
        parent: name of another decision, if this one exists only where that one has one of certain choices.
        requires: these choices of the parent.
    """

    name: str
    choices: tuple[Choice, ...]
    parent: str = ""
    requires: tuple[Choice, ...] = ()

    def active(self, chosen: Mapping[str, Choice]) -> bool:
        """Return whether the decision exists where the choices `chosen` were made for the decisions before it."""
        return not self.parent or (self.parent in chosen and chosen[self.parent] in self.requires)


def as_generator(seed: np.random.Generator | int) -> np.random.Generator:
    """Return a generator of random numbers as it is, and a new one for a seed.

    Raises:
        InputError: for a seed that is negative or no whole number.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"{seed!r} is no seed; give a whole number from 0, or a numpy.random.Generator")
    return np.random.default_rng(int(seed))


def checked_choices(chosen: Mapping[str, Choice], decisions: Sequence[Decision], space: str) -> dict[str, Any]:
    """Return the choices in the order of the decisions, as these list them (16 for 16.0).

    Raises:
        InputError: unless there is one of the choices for each active decision, and nothing else.
    """
    missing = object()
    for decision in decisions:
        value = chosen.get(decision.name, missing)
        if not decision.active(chosen):
            if value is not missing:
                raise InputError(
                    f"'{decision.name}' of {space} exists only where '{decision.parent}' is "
                    f"{_listed(decision.requires)}; leave it out"
                )
        elif value is missing:
            raise InputError(f"no choice is made for '{decision.name}' of {space}; give {_listed(decision.choices)}")
        elif value not in decision.choices:
            text = repr(value)[:100]
            raise InputError(f"'{decision.name}' of {space} cannot be {text}; give {_listed(decision.choices)}")
    unknown = sorted(map(str, set(chosen) - {decision.name for decision in decisions}))
    if unknown:
        names = ", ".join(decision.name for decision in decisions)
        raise InputError(f"{space} has no decision '{unknown[0][:100]}'; there are {names}"[:800])
    active = [decision for decision in decisions if decision.name in chosen]
    return {d.name: d.choices[d.choices.index(chosen[d.name])] for d in active}


def _listed(choices: Sequence[Choice]) -> str:
    texts = [repr(choice) for choice in choices]
    return (", ".join(texts[:-1]) + " or " + texts[-1] if len(texts) > 1 else "".join(texts))[:400]


def completions(
    chosen: Mapping[str, Choice], decisions: Sequence[Decision], start: int = 0
) -> Iterator[dict[str, Choice]]:
    """Yield every way to choose for the active decisions from index `start` on that have no choice yet.

    Choices for decisions that do not exist there are dropped.
    """
    kept = dict(chosen)
    for index in range(start, len(decisions)):
        decision = decisions[index]
        if not decision.active(kept):
            kept.pop(decision.name, None)
        elif decision.name not in kept:
            for choice in decision.choices:
                yield from completions({**kept, decision.name: choice}, decisions, index + 1)
            return
    yield kept


def drawn(chosen: Mapping[str, Choice], decisions: Sequence[Decision], rng: np.random.Generator) -> dict[str, Choice]:
    """Return the choices, completed by random ones for the active decisions that have none."""
    kept = dict(chosen)
    for decision in decisions:
        if not decision.active(kept):
            kept.pop(decision.name, None)
        elif decision.name not in kept:
            kept[decision.name] = decision.choices[int(rng.integers(len(decision.choices)))]
    return kept


def _composed(space: "Space", chosen: Mapping[str, Choice]) -> str | None:
    try:
        return space.compose(chosen)
    except InputError:
        return None


def every(space: "Space") -> list[str]:
    """Return all architectures of a space, in the order of its decisions and their choices."""
    found = (_composed(space, chosen) for chosen in completions({}, space.decisions))
    return list(dict.fromkeys(arch for arch in found if arch is not None))


def draw(space: "Space", rng: np.random.Generator) -> str:
    """Return an architecture whose decisions are drawn uniformly, one after another.

    Raises:
        InputError: if hardly any choices make an architecture of the space.
    """
    for _ in range(TRIES):
        arch = _composed(space, drawn({}, space.decisions, rng))
        if arch is not None:
            return arch
    raise InputError(f"{TRIES} random choices made no arch of {space.name}; define draw(generator) for this space")


def mutate(space: "Space", arch: str, rng: np.random.Generator) -> str:
    """Return another architecture, which differs from `arch` in one decision.

    All changes of one decision are equally likely; decisions that come to exist by the change are drawn.

    Raises:
        InputError: if `arch` is not in the space, or no change of one decision leads to another architecture.
    """
    decisions, chosen = space.decisions, dict(space.decompose(arch))
    own = space.compose(chosen)
    changes = [(d.name, c) for d in decisions if d.name in chosen for c in d.choices if c != chosen[d.name]]
    for index in rng.permutation(len(changes)):
        name, choice = changes[index]
        other = _composed(space, drawn({**chosen, name: choice}, decisions, rng))
        if other is not None and other not in (arch, own):
            return other
    near = neighbours(space, arch)
    if not near:
        raise InputError(f"no change of one decision of '{arch[:200]}' gives another arch of {space.name}")
    return near[int(rng.integers(len(near)))]


def neighbours(space: "Space", arch: str) -> list[str]:
    """Return every architecture that differs from `arch` in one decision, each once.

    Where the change brings other decisions into existence, all their choices count.
    """
    decisions, chosen = space.decisions, dict(space.decompose(arch))
    own = space.compose(chosen)
    found: dict[str, None] = {}
    for decision in decisions:
        if decision.name not in chosen:
            continue
        for choice in decision.choices:
            if choice != chosen[decision.name]:
                for complete in completions({**chosen, decision.name: choice}, decisions):
                    if (other := _composed(space, complete)) is not None:
                        found[other] = None
    return [other for other in found if other not in (arch, own)]


def crossover(space: "Space", a: str, b: str, rng: np.random.Generator) -> str:
    """Return an architecture that has each choice from `a` or from `b`, both equally likely (uniform crossover).

    A decision that exists in one of them alone is taken from that one. Where the choices make no architecture of the
    space, others are drawn; where none of many do, it is `a` or `b`.
    """
    parents = space.decompose(a), space.decompose(b)
    for _ in range(TRIES):
        child: dict[str, Choice] = {}
        for decision in space.decisions:
            if decision.active(child):
                having = [parent for parent in parents if decision.name in parent]
                child[decision.name] = having[int(rng.integers(len(having)))][decision.name]
        arch = _composed(space, child)
        if arch is not None:
            return arch
    return (a, b)[int(rng.integers(2))]


def ways_below(decisions: Sequence[Decision], name: str, choice: Choice) -> int:
    """Return how many ways there are to choose for the decisions that exist only with a choice of decision `name`."""
    below = [d for d in decisions if d.parent == name and choice in d.requires]
    return math.prod(sum(ways_below(decisions, d.name, c) for c in d.choices) for d in below)


def count(decisions: Sequence[Decision]) -> int:
    """Return how many ways there are to choose, constraints of the space aside."""
    roots = [d for d in decisions if not d.parent]
    return math.prod(sum(ways_below(decisions, d.name, c) for c in d.choices) for d in roots)
