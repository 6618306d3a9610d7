"""From the trials of an Optuna study to the trials of a search.

Each Optuna trial has user attributes: `arch`, `function`, `costs`, and what else is known of it. The first trial of a
function opens a place, and the number of the place is that of the search's trial. Where two processes asked for one
function at the same time, the later trial is void, and so is one that is more than its `limit` allows. A trial that a
dead worker left is followed by another attempt, with the attribute `place`. So what a study means follows from the
order of its trials alone, the same for all processes.
"""

import math
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from parzc.search.history import COMPLETE, FAILED, RUNNING, History, Trial, fidelity

ATTEMPTS = 5
"""Workers that may die over one architecture before it counts as failed; some may only have been stopped."""


class Places:
    """Groups the trials of a study by place; what was grouped stays, so that a long study is read once."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}
        """Place of each trial that has one, by the trial's number; others are void, or not of a search."""
        self._attempts: list[list[int]] = []
        self._highest: dict[str, float] = {}
        self._asked = self._seen = 0

    def read(self, trials: Sequence[FrozenTrial]) -> list[list[FrozenTrial]]:
        """Return the attempts at each place, in the order of the places.

        Args:
            trials: all of the study, in the order of their numbers.
        """
        for trial in trials[self._seen :]:
            self._place(trial)
        self._seen = len(trials)
        return [[trials[number] for number in attempts] for attempts in self._attempts]

    def _place(self, trial: FrozenTrial) -> None:
        known, place = trial.user_attrs, -1
        if "place" in known:
            place = known["place"]
            self._attempts[place].append(trial.number)
        elif "function" in known:
            level = fidelity(known.get("asked_epochs", 0))
            if level > self._highest.get(known["function"], -math.inf) and self._asked < known.get("limit", math.inf):
                self._highest[known["function"]] = level
                self._asked += not known.get("attached", False)
                self._attempts.append([trial.number])
                place = len(self._attempts) - 1
        if place >= 0:
            self.of[trial.number] = place


def places(trials: Sequence[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Return the attempts at each place of a study, in the order of the places."""
    return Places().read(sorted(trials, key=lambda trial: trial.number))


def counted(attempts: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the attempt that counts: one with a value, or that failed, or that runs; None if the last worker died."""
    for wanted in (_is_complete, _has_failed, _is_running):
        found = next((trial for trial in attempts if wanted(trial)), None)
        if found is not None:
            return found
    dead = [trial for trial in attempts if "lost" in trial.user_attrs]
    return dead[-1] if len(dead) >= ATTEMPTS else None


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def _has_failed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not {"lost", "void"} & trial.user_attrs.keys()


def _is_running(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING


def history(trials: Sequence[FrozenTrial]) -> History:
    """Return what a study holds; a trial whose worker died is running until it is asked for again."""
    return of_places(places(trials))


def of_places(attempts: Sequence[Sequence[FrozenTrial]]) -> History:
    """Return what the attempts at each place mean."""
    return History([_trial(number, tries) for number, tries in enumerate(attempts)])


def _trial(number: int, attempts: Sequence[FrozenTrial]) -> Trial:
    trial = counted(attempts)
    known: dict[str, Any] = (trial or attempts[0]).user_attrs
    state, reason, value = RUNNING, "", math.nan
    if trial is not None and trial.state == TrialState.COMPLETE:
        state, value = COMPLETE, trial.values[0]
    elif trial is not None and trial.state == TrialState.FAIL:
        state, reason = FAILED, known.get("reason", "")
        if "lost" in known:
            reason = f"{ATTEMPTS} workers died over it"
    asked = known.get("asked_epochs", 0)
    return Trial(
        number,
        known["arch"],
        known["function"],
        state,
        value,
        known.get("epochs", asked),
        asked,
        known.get("seconds", math.nan),
        known.get("costs", {}),
        known.get("attached", False),
        known.get("feasible", True),
        reason,
    )
