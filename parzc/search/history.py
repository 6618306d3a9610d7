"""What a search has asked for so far, and what came of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError

RUNNING, COMPLETE, FAILED = "running", "complete", "failed"
STATES = (RUNNING, COMPLETE, FAILED)
LABEL = "accuracy"
"""The objective that a trial's value is of; every other objective is a cost, and smaller is better."""


@dataclass(frozen=True)
class Trial:
    """One architecture that a search asked for, or a training that was attached to it.

    Args:
        number: order in which it was asked for, from 0; one that a dead worker left is asked for again with its number.
        arch: the architecture.
        function: its canonical form; no two trials of a search have the same, unless the later one was asked for at a
            higher fidelity.
        state: `running`, `complete` or `failed`.
        value: accuracy in any unit, bigger is better; NaN unless complete.
        epochs: fidelity of the value; 0 for the full training.
        asked_epochs: fidelity that was asked for; 0 for the full training.
        seconds: that the training took; NaN where nobody recorded them.
        costs: by name: `params`, `flops` (multiply-accumulates), `n_layers`, and the budgeted callables.
        attached: whether it is a training that existed before the search.
        feasible: whether it keeps the budget; only attached ones may not.
        reason: why it failed.
    """

    number: int
    arch: str
    function: str
    state: str
    value: float = math.nan
    epochs: float = 0.0
    asked_epochs: float = 0.0
    seconds: float = math.nan
    costs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    attached: bool = False
    feasible: bool = True
    reason: str = ""

    def objective(self, name: str) -> float:
        """Return the value for `accuracy`, and the cost of that name otherwise.

        Raises:
            InputError: if there is no such cost.
        """
        if name == LABEL:
            return self.value
        if name not in self.costs:
            raise InputError(
                f"no '{name[:100]}' is recorded of trial {self.number}; choose among {', '.join((LABEL, *self.costs))}"
            )
        return self.costs[name]


class History:
    """The trials of a search at one moment, in the order in which they were asked for; it does not change.

    Args:
        trials: in the order of their numbers.
    """

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self.trials = tuple(trials)

    def __len__(self) -> int:
        return len(self.trials)

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """Trials that have a value, of any fidelity, attached ones included."""
        return tuple(trial for trial in self.trials if trial.state == COMPLETE)

    @cached_property
    def pending(self) -> tuple[Trial, ...]:
        """Trials that were asked for and have no value yet."""
        return tuple(trial for trial in self.trials if trial.state == RUNNING)

    @cached_property
    def failed(self) -> tuple[Trial, ...]:
        """Trials that ended without a value."""
        return tuple(trial for trial in self.trials if trial.state == FAILED)

    @cached_property
    def functions(self) -> frozenset[str]:
        """Canonical forms of all trials that were asked for at full fidelity, whatever their state."""
        return self.functions_at(0)

    def functions_at(self, epochs: float) -> frozenset[str]:
        """Canonical forms that are not asked for again at a fidelity: they were at this or a higher one.

        Args:
            epochs: the fidelity; 0 for the full training.
        """
        level = fidelity(epochs)
        return frozenset(trial.function for trial in self.trials if fidelity(trial.asked_epochs) >= level)

    @property
    def best(self) -> Trial | None:
        """The complete trial of the highest value, the first of equals; None where there is none.

        Trials of few epochs, and those that do not keep the budget, do not count.
        """
        full = [trial for trial in self.complete if trial.feasible and not trial.epochs]
        return max(full, key=lambda trial: trial.value, default=None)

    def front(self, *objectives: str) -> list[Trial]:
        """Return the non-dominated complete trials, by the first objective from its best value on.

        A trial is dominated by one that is as good in each objective, and better in one. Of trials that are equal in
        all, the first is kept. Those of few epochs, or that do not keep the budget, do not count.

        Args:
            objectives: `accuracy` (bigger is better) and names of costs (smaller is better).

        Raises:
            InputError: for no objectives, or one that is not recorded.
        """
        if not objectives:
            raise InputError("a front needs objectives; give some, such as 'accuracy' and 'flops'")
        full = [trial for trial in self.complete if trial.feasible and not trial.epochs]
        signs = [-1.0 if name == LABEL else 1.0 for name in objectives]
        losses = np.array([[s * t.objective(n) for s, n in zip(signs, objectives, strict=True)] for t in full])
        return [full[i] for i in non_dominated(losses.reshape(len(full), len(objectives)))]


def fidelity(epochs: float) -> float:
    """Return a number that grows with the fidelity: infinity for the full training, which has 0 epochs."""
    return epochs or math.inf


def non_dominated(losses: NDArray[np.float64]) -> list[int]:
    """Return the rows of `(n, m)` losses, smaller is better, that no other row dominates, sorted by their losses.

    Of equal rows the first is kept; a row with a NaN is left out.
    """
    order = sorted((i for i in range(len(losses)) if not np.isnan(losses[i]).any()), key=lambda i: (*losses[i], i))
    kept: list[int] = []
    for i in order:
        # Sorted, no later row dominates an earlier one.
        if not kept or not (losses[kept] <= losses[i]).all(1).any():
            kept.append(i)
    return kept
