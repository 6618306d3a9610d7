"""How processes share the trials of a study, so that all of them together finish as many as are wanted.

A study has places, numbered from 0 as its trials are added. Each place is to end with one finished trial: completed or
pruned. A trial that is wanted is queued as a waiting one; only one process can turn it into a running one, whatever the
storage. Where the process of a running trial is gone (`owners`), another one fails the trial and queues another attempt
at the same place, with the same settings. A process that was only slow finds out at its next report, and turns
to another place. If two processes queue the same thing at a time, the first in the order of the storage counts, and
what is left over is the next place.

What Optuna (5.0) has for this purpose promises less, so that it is used for the waiting trials and their settings only:

- Trial caps (`n_trials`, `MaxTrialsCallback`) stop a process when enough trials are finished. What others are running
  then is finished on top, and nobody waits for it. Places make the number exact: all processes end with the same best.
- Heartbeats (`heartbeat_interval`, `fail_stale_trials`) are those of databases, not of journals, the storage that
  tuning uses by default. They beat inside `Study.optimize` only, end with the first error of the storage, and wait out
  their grace period also where the process is known to be gone.
- `RetryHeartbeatStaleTrialCallback` queues again what a heartbeat gave up, not what ended with an error. Places know
  which attempts belong together also then, and seed the sampler by their number, so that a study that was interrupted
  ends as one that was not.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from parzc.tuning.owners import Watch, beating, end, owner_of_process

POLL_SECONDS = 1.0
"""Between two looks at the trials of others."""


def places(trials: Sequence[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Return the attempts at each place, in order."""
    attempts: list[list[FrozenTrial]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        place = trial.user_attrs.get("place")
        if place is None:
            attempts.append([trial])
        else:
            attempts[place].append(trial)
    return attempts


def valid(attempts: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the attempt that counts: the first that has not failed, if there is one."""
    return next((trial for trial in attempts if trial.state != TrialState.FAIL), None)


class Worker:
    """A process's part in a study.

    Args:
        study: which may be shared.
        storage: of the study.
        trials: number of places to fill.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, trials: int) -> None:
        self.study, self.storage, self.trials = study, storage, trials
        self.study_id = storage.get_study_id_from_name(study.study_name)
        self._watch = Watch()

    def places(self) -> list[list[FrozenTrial]]:
        """Return the attempts at each place that is there, also beyond those wanted."""
        return places(self.storage.get_all_trials(self.study_id, deepcopy=False))

    def finished(self) -> list[FrozenTrial]:
        """Return the completed and pruned trials in the order of their places."""
        counted = [valid(attempts) for attempts in self.places()]
        return [trial for trial in counted if trial is not None and trial.state.is_finished()]

    def claim(self) -> tuple[int, int] | None:
        """Return place and id of a trial that now belongs to this process, or nothing once all are finished.

        Waits while every place is taken and some are not finished.
        """
        while True:
            known = self.places()[: self.trials]
            for place, attempts in enumerate(known):
                trial = valid(attempts)
                if trial is not None and trial.state == TrialState.WAITING and self._start(trial):
                    return place, self._id(trial)
                if self._changed(place, attempts, trial):
                    break
            else:
                if len(known) < self.trials:
                    self.study.enqueue_trial({})
                elif all(trial.state.is_finished() for trial in map(valid, known) if trial is not None):
                    return None
                else:
                    time.sleep(POLL_SECONDS)

    def _changed(self, place: int, attempts: Sequence[FrozenTrial], trial: FrozenTrial | None) -> bool:
        """Give up a dead trial, queue another attempt where none counts, and return whether to look again."""
        if trial is None:
            self.study.enqueue_trial(attempts[-1].params, user_attrs={"place": place})
        elif trial.state == TrialState.RUNNING and self._watch.is_dead(trial):
            self.finish(self._id(trial), TrialState.FAIL)
        else:
            return trial.state == TrialState.WAITING
        return True

    def finish(self, trial_id: int, state: TrialState, value: float | None = None) -> bool:
        """End a trial and return whether it was still running."""
        return end(self.storage, trial_id, state, None if value is None else [value])

    def beating(self, trial_id: int) -> AbstractContextManager[None]:
        """Show that a trial of this process is being worked on."""
        return beating(self.storage, trial_id)

    def _start(self, trial: FrozenTrial) -> bool:
        try:
            if not self.storage.set_trial_state_values(self._id(trial), TrialState.RUNNING):
                return False
            self.storage.set_trial_user_attr(self._id(trial), "owner", owner_of_process())
        except UpdateFinishedTrialError:
            return False
        return True

    def _id(self, trial: FrozenTrial) -> int:
        return int(self.storage.get_trial_id_from_study_id_trial_number(self.study_id, trial.number))
