"""What a search did, as plain data for a page, a file or a plot."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from parzc.search.history import History, Trial

if TYPE_CHECKING:
    from parzc.search.search import Search


def trial_record(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON values; numbers that are not known are None."""
    return {
        "number": trial.number,
        "arch": trial.arch,
        "value": _known(trial.value),
        "state": trial.state,
        "costs": {name: _known(cost) for name, cost in trial.costs.items()},
        "seconds": _known(trial.seconds),
        "epochs": trial.epochs,
        "attached": trial.attached,
        "feasible": trial.feasible,
        "reason": trial.reason,
    }


def report(search: "Search") -> dict[str, Any]:
    """Return what a search is and what it did so far, see `Search.report`."""
    history = search.history
    best = history.best
    return {
        "space": search.space.name,
        "task": search.task,
        "algorithm": search.algorithm.name,
        "objectives": list(search.objectives),
        "budget": search.budget.record(),
        "seed": search.seed,
        "trainings": {
            "complete": len(history.complete),
            "failed": len(history.failed),
            "running": len(history.pending),
            "attached": sum(trial.attached for trial in history.trials),
        },
        "seconds": _known(sum(trial.seconds for trial in history.trials if trial.state != "running")),
        "best": None if best is None else trial_record(best),
        "best_so_far": best_so_far(history.trials),
        "front": [trial.number for trial in search.front()] if len(search.objectives) > 1 else None,
        "expected_improvement_left": _known(search.expected_improvement_left()),
        "trials": [trial_record(trial) for trial in history.trials],
    }


def best_so_far(trials: Iterable[Trial]) -> list[float | None]:
    """Return the best value among the first 1, 2, ... trials as `History.best` counts it; None before the first."""
    found, best = [], None
    for trial in trials:
        first = History([trial]).best
        if first is not None and (best is None or first.value > best):
            best = first.value
        found.append(best)
    return found


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
