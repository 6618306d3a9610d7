"""The trials of a search in an Optuna study, which several processes may share.

A trial is created with its architecture in one step, so that its number says who asked first. Optuna's parameters of a
trial are the decisions of the search space, so that the dashboard and other samplers read them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.search.history import LABEL, History
from parzc.search.replay import Places, counted, of_places
from parzc.tuning.owners import Beats, Watch, end
from parzc.tuning.storage import Direction, Location, open_storage, open_study

VOID = "another worker asked for it, or ended it, at the same time"
Parameters = tuple[dict[str, Any], dict[str, CategoricalDistribution]]


class Board:
    """Reads and writes the trials of one search.

    Args:
        study: the Optuna study.
        storage: of the study.
        space: the search space.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, space: Space) -> None:
        self.study, self.storage, self.space = study, storage, space
        self.study_id = storage.get_study_id_from_name(study.study_name)
        self._beats, self._watch = Beats(storage), Watch()
        self._own: dict[int, int] = {}
        self._places = Places()

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return Optuna's trials as they are now; not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    @property
    def history(self) -> History:
        """Return what the study holds now."""
        return of_places(self.places)

    @property
    def places(self) -> list[list[FrozenTrial]]:
        """Return the attempts at each place, in the order of the places."""
        return self._places.read(self.trials)

    @property
    def own(self) -> list[int]:
        """Return the numbers of the trials that this object has asked for and not ended."""
        return sorted(self._own)

    def add(self, arch: str, known: Mapping[str, Any]) -> int | None:
        """Ask for an architecture, and return its number; None if another worker did so at the same time."""
        return self._create(arch, {**known, "owner": self._beats.owner})

    def attach(self, arch: str, known: Mapping[str, Any], values: Sequence[float]) -> int | None:
        """Add a training that exists, and return its number; None if another worker was quicker."""
        return self._create(arch, {**known, "attached": True}, TrialState.COMPLETE, values)

    def _create(
        self,
        arch: str,
        known: Mapping[str, Any],
        state: TrialState = TrialState.RUNNING,
        values: Sequence[float] | None = None,
    ) -> int | None:
        parameters, distributions = parameters_of(self.space, arch)
        template = optuna.trial.create_trial(
            state=state,
            values=values,
            params=parameters,
            distributions=dict(distributions),
            user_attrs={**known, "arch": arch},
        )
        trial_id = self.storage.create_new_trial(self.study_id, template)
        known_places = self.places
        number = self._places.of.get(self.storage.get_trial_number_from_id(trial_id))
        trial = None if number is None else counted(known_places[number])
        if trial is not None and trial._trial_id == trial_id:
            if state == TrialState.RUNNING and number is not None:
                self._own[number] = trial_id
                self._beats.add(trial_id)
            return number
        if state == TrialState.RUNNING:
            self.storage.set_trial_user_attr(trial_id, "void", VOID)
            end(self.storage, trial_id, TrialState.FAIL)
        return None

    def reclaim(self, n: int) -> list[int]:
        """Ask again for up to `n` architectures whose workers died, and return their numbers."""
        claimed: list[int] = []
        for number, attempts in enumerate(self.places):
            trial = counted(attempts)
            if trial is not None and trial.state == TrialState.RUNNING and self._watch.is_dead(trial):
                self._lose(trial)
                trial = counted(self.places[number])
            if trial is None and len(claimed) < n and self._again(number, attempts[0]):
                claimed.append(number)
        return claimed

    def _lose(self, trial: FrozenTrial) -> None:
        """Give up a trial whose worker is gone."""
        try:
            self.storage.set_trial_user_attr(trial._trial_id, "lost", "its worker died")
        except optuna.exceptions.UpdateFinishedTrialError:
            return
        end(self.storage, trial._trial_id, TrialState.FAIL)

    def _again(self, number: int, first: FrozenTrial) -> bool:
        """Make another attempt at a place and return whether it is the one that counts."""
        kept = ("arch", "function", "costs", "feasible", "asked_epochs")
        known = {key: first.user_attrs[key] for key in kept if key in first.user_attrs}
        return self.add(known.pop("arch"), {**known, "place": number}) == number

    def left_over(self) -> list[str]:
        """Return architectures that were chosen in one go with the last trials, by a worker that died before it asked.

        They are asked for as if it had not.
        """
        trials = self.trials
        batches = [trial for trial in trials if "batch" in trial.user_attrs]
        if not batches:
            return []
        owner, last = batches[-1].user_attrs["owner"], batches[-1]
        if owner != self._beats.owner and not self._watch.is_dead(last):
            return []
        functions = {trial.user_attrs.get("function") for trial in trials}
        return [arch for arch in last.user_attrs["batch"] if self.space.canonical(arch) not in functions]

    def complete(self, number: int, values: Sequence[float], known: Mapping[str, Any]) -> None:
        """End a trial with its values, also where others have given it up.

        Raises:
            InputError: if there is no such trial, or it has ended.
        """
        trial_id = self._open(number)
        other = counted(self.places[number])
        if other is not None and other.state == TrialState.COMPLETE and trial_id is not None:
            # Another worker took over, and was quicker.
            self._close(number, trial_id, TrialState.FAIL, None, {"void": VOID, **known})
            return
        if trial_id is not None and self._close(number, trial_id, TrialState.COMPLETE, values, known):
            return
        # Others thought that its worker was dead, or it failed before: what was trained is kept.
        first = self.places[number][0]
        keys = ("function", "costs", "feasible", "asked_epochs")
        kept = {key: first.user_attrs[key] for key in keys if key in first.user_attrs}
        self._create(first.user_attrs["arch"], {**kept, **known, "place": number}, TrialState.COMPLETE, values)

    def fail(self, number: int, reason: str, seconds: float = math.nan) -> None:
        """End a trial without a value, after so many seconds if they are known.

        Raises:
            InputError: if there is no such trial, or it has ended.
        """
        trial_id = self._open(number)
        if trial_id is not None:
            known = {"reason": reason} | ({} if math.isnan(seconds) else {"seconds": seconds})
            self._close(number, trial_id, TrialState.FAIL, None, known)

    def _open(self, number: int) -> int | None:
        """Return the Optuna trial to end: of this process, else the one that counts; None if it was given up."""
        if number in self._own:
            return self._own[number]
        known = self.places
        if not 0 <= number < len(known):
            raise InputError(f"the search has no trial {number}; it has {len(known)}")
        trial = counted(known[number])
        if trial is not None and trial.state == TrialState.COMPLETE:
            raise InputError(f"trial {number} has the value {trial.values[0]:g} already; each is given once")
        return trial._trial_id if trial is not None and trial.state == TrialState.RUNNING else None

    def _close(
        self,
        number: int,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        known: Mapping[str, Any],
    ) -> bool:
        """End an Optuna trial and return whether it was still running."""
        try:
            for key, value in known.items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            ended = end(self.storage, trial_id, state, values)
        except optuna.exceptions.UpdateFinishedTrialError:
            ended = False
        self._beats.remove(trial_id)
        self._own.pop(number, None)
        return ended


def opened(space: Space, where: Location, name: str, record: dict[str, Any], objectives: Sequence[str]) -> Board:
    """Return the trials in a storage, of a study that is made if it is not there; see `open_study`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = open_storage(where)
    directions: list[Direction] = ["maximize" if objective == LABEL else "minimize" for objective in objectives]
    return Board(open_study(store, name, where, record, directions), store, space)


def parameters_of(space: Space, arch: str) -> Parameters:
    """Return the decisions of an architecture as parameters of an Optuna trial; none where the space has none."""
    if not space.decisions:
        return {}, {}
    try:
        chosen = space.decompose(arch)
    except InputError:  # a published architecture that the space would not draw
        return {}, {}
    distributions = {d.name: CategoricalDistribution([plain(c) for c in d.choices]) for d in space.decisions}
    return {name: plain(choice) for name, choice in chosen.items()}, {name: distributions[name] for name in chosen}


def plain(choice: Any) -> Any:
    """Return a choice as Optuna keeps it: tuples as text."""
    return str(choice) if isinstance(choice, tuple) else choice
