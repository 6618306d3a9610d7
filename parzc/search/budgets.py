"""Hard bounds on what an architecture costs, which hold before anything is proposed or trained.

Quantities are `params` (parameters), `flops` (multiply-accumulates for one input, as `Space.cost` counts them),
`n_layers` (weight layers), and functions of one's own, `arch -> number`, for example a latency in milliseconds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any

from parzc.datasets import Space
from parzc.errors import InputError

Measure = Callable[[str], float]
Given = Mapping[str, Any] | Sequence[str] | None
"""How people give a budget: see `Budget.parse`."""

STATIC = ("params", "flops", "n_layers")
"""Quantities that every space can count."""

EXAMPLES = "such as 5e6, (1e6, 5e6), '50%' or (function, 20)"


@dataclass(frozen=True)
class Bound:
    """What one quantity may be, both ends included.

    Args:
        quantity: `params`, `flops`, `n_layers`, or a name of one's own.
        lower: smallest value allowed.
        upper: largest value allowed.
        relative: whether `lower` and `upper` are fractions of the largest value in the space.
        measure: gives the quantity of an architecture, for one of one's own.
    """

    quantity: str
    lower: float = -math.inf
    upper: float = math.inf
    relative: bool = False
    measure: Measure | None = None

    def excess(self, value: float) -> float:
        """Return 0 where a value is allowed, and otherwise how far it is away, as a fraction of the bound it breaks."""
        if math.isnan(value):
            return math.inf
        if value > self.upper:
            return (value - self.upper) / (abs(self.upper) or 1.0)
        return (self.lower - value) / (abs(self.lower) or 1.0) if value < self.lower else 0.0

    def __str__(self) -> str:
        if self.lower == -math.inf:
            return f"{self.quantity} of at most {number_text(self.upper)}"
        if self.upper == math.inf:
            return f"{self.quantity} of at least {number_text(self.lower)}"
        return f"{self.quantity} from {number_text(self.lower)} to {number_text(self.upper)}"


class Budget:
    """The bounds of a search, and the costs of architectures, each counted once.

    Args:
        space: the search space.
        bounds: no quantity twice; relative ones are made absolute by `feasibility.resolved`.
        task: of the space, for which costs are counted; its first if empty.
        recorded: further quantities that every trial is to record, by name, without a bound.
    """

    def __init__(
        self,
        space: Space,
        bounds: Sequence[Bound] = (),
        task: str = "",
        recorded: Mapping[str, Measure] = MappingProxyType({}),
    ) -> None:
        self.space, self.bounds, self.task = space, tuple(bounds), task
        self._measures = dict(recorded) | {b.quantity: b.measure for b in bounds if b.measure is not None}
        self._static: dict[str, dict[str, float]] = {}
        self._own: dict[tuple[str, str], float] = {}

    @classmethod
    def parse(cls, space: Space, given: "Given | Budget", task: str = "") -> "Budget":
        """Return the budget that a dictionary, or texts of a command line, give.

        Args:
            space: the search space.
            given: name of a quantity to its bound: the most it may be, a pair (least, most) in which either may be
                None, a percentage of the largest in the space (`"50%"`, or a pair of these), or a pair (function, any
                of these) for a quantity of one's own. Texts are `flops=600e6`, `params=1e6:5e6`, `flops=50%`. A budget
                is returned as it is.
            task: of the space, for which costs are counted.

        Raises:
            InputError: for an unknown quantity, or a bound that cannot be read; the quantity is named.
        """
        if isinstance(given, Budget):
            return given
        if given is None:
            return cls(space, (), task)
        if not isinstance(given, Mapping):
            given = _read_texts([given] if isinstance(given, str) else given)
        return cls(space, [_read_bound(name, bound) for name, bound in given.items()], task)

    def recording(self, measures: Mapping[str, Measure]) -> "Budget":
        """Return a budget of the same bounds that records further quantities, by name.

        Raises:
            InputError: if a quantity is counted already, or not given by a function.
        """
        for name, measure in measures.items():
            if name in self.quantities or not callable(measure):
                raise InputError(
                    f"the cost '{name}' is counted already, or no function; give another name and a function"
                )
        return self._like(self.bounds, {**self._measures, **measures})

    def with_bounds(self, bounds: Sequence[Bound]) -> "Budget":
        """Return a budget of other bounds for the same quantities; what was counted is shared."""
        return self._like(bounds, self._measures)

    def _like(self, bounds: Sequence[Bound], measures: Mapping[str, Measure]) -> "Budget":
        other = Budget(self.space, bounds, self.task, measures)
        other._static, other._own = self._static, self._own
        return other

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of everything that is recorded of an architecture."""
        return (*STATIC, *self._measures)

    def costs(self, arch: str) -> dict[str, float]:
        """Return every quantity of an architecture, by name.

        Raises:
            InputError: if a function of one's own raises an error, or returns no number.
        """
        return {name: self.cost(arch, name) for name in self.quantities}

    def cost(self, arch: str, quantity: str) -> float:
        """Return one quantity of an architecture, counted once for each architecture; see `costs`."""
        if quantity in self._measures:
            if (arch, quantity) not in self._own:
                self._own[arch, quantity] = _measured(quantity, self._measures[quantity], arch)
            return self._own[arch, quantity]
        if arch not in self._static:
            cost = self.space.cost(arch, self.task)
            counted = (float(cost.params), float(cost.macs), float(cost.n_layers))
            self._static[arch] = dict(zip(STATIC, counted, strict=True))
        return self._static[arch][quantity]

    def excess(self, arch: str) -> float:
        """Return 0 for an architecture that keeps the budget, and otherwise the sum of `Bound.excess`."""
        return sum(bound.excess(self.cost(arch, bound.quantity)) for bound in self.bounds)

    def allows(self, arch: str) -> bool:
        """Return whether an architecture keeps all bounds."""
        return all(bound.excess(self.cost(arch, bound.quantity)) == 0 for bound in self.bounds)

    def record(self) -> dict[str, str]:
        """Return the bounds in words, by quantity: what a study remembers, so that it is resumed with the same ones."""
        named = {bound.quantity: getattr(bound.measure, "__qualname__", "") for bound in self.bounds}
        return {b.quantity: f"{b}" + (f" by {named[b.quantity]}" if named[b.quantity] else "") for b in self.bounds}


def _measured(quantity: str, measure: Measure, arch: str) -> float:
    try:
        value: Any = measure(arch)
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the function for '{quantity}' raises {why} for '{arch[:200]}'; correct it") from error
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise InputError(f"the function for '{quantity}' returns {value!r:.100} for '{arch[:200]}'; return a number")
    return float(value)


def _read_texts(texts: Sequence[str]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for text in texts:
        name, equals, bound = str(text).partition("=")
        if not equals or not name.strip() or name.strip() in bounds:
            raise InputError(
                f"'{str(text)[:100]}' is no bound, or the second of its quantity; write it like flops=600e6"
            )
        ends = [end.strip() or None for end in bound.split(":")]
        bounds[name.strip()] = ends[0] if len(ends) == 1 else tuple(ends)
    return bounds


def _read_bound(name: str, given: Any) -> Bound:
    measure, bound = None, given
    if isinstance(given, tuple | list) and len(given) == 2 and callable(given[0]):
        measure, bound = given
    if measure is None and name not in STATIC:
        raise InputError(
            f"'{str(name)[:100]}' is not counted by search spaces; bound {', '.join(STATIC)}, or give a function of an "
            f"arch with it: (function, 20)"
        )
    if measure is not None and name in STATIC:
        raise InputError(f"'{name}' is counted by the search space; give your function another name")
    ends = tuple(bound) if isinstance(bound, tuple | list) else (None, bound)
    if len(ends) != 2 or ends == (None, None):
        raise InputError(f"{bound!r:.100} is no bound of '{name}'; give one {EXAMPLES}")
    read = [_read_end(name, end) for end in ends]
    if len({percent for value, percent in read if value is not None}) > 1:
        raise InputError(f"the bound of '{name}' mixes a number and a percentage; give two of one sort")
    (lower, least_percent), (upper, percent) = read
    low, high = -math.inf if lower is None else lower, math.inf if upper is None else upper
    if low > high:
        raise InputError(
            f"the bound of '{name}' ends at {number_text(high)}, below its start at {number_text(low)}; swap them"
        )
    return Bound(name, low, high, percent or least_percent, measure)


def _read_end(name: str, end: Any) -> tuple[float | None, bool]:
    """Return one end of a bound as a number, or as a fraction, and whether it is a percentage."""
    if end is None:
        return None, False
    percent = isinstance(end, str) and end.strip().endswith("%")
    try:
        value = float(end.strip().removesuffix("%") if isinstance(end, str) else end) / (100 if percent else 1)
    except (TypeError, ValueError):
        value = math.nan
    if (
        isinstance(end, bool)
        or (isinstance(end, str) and "_" in end)
        or math.isnan(value)
        or (percent and not 0 <= value <= 1)
    ):
        raise InputError(f"{end!r:.100} is no bound of '{name}'; give one {EXAMPLES}")
    return value, percent


def number_text(value: float) -> str:
    """Return a number as people read it in a sentence."""
    return f"{value:,.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.6g}"
