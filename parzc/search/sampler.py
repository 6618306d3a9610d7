"""An Optuna sampler, for people who stay in their own `study.optimize`."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from parzc.datasets import Space, get_space
from parzc.errors import InputError
from parzc.search.algorithms import Algorithm, get_algorithm
from parzc.search.board import parameters_of, plain
from parzc.search.budgets import Budget, Given, Measure
from parzc.search.evaluator import Evaluator
from parzc.search.history import COMPLETE, FAILED, LABEL, RUNNING, History, Trial
from parzc.search.identity import check_objectives
from parzc.search.start import candidates
from parzc.tuning.owners import Watch, owner_of_process

WAIT_SECONDS = 0.05
"""Between two looks at earlier trials that have no architecture yet."""

FIXED = "fixed_params"
"""Where Optuna keeps the parameters of a trial that was queued with them."""


class Sampler(BaseSampler):
    """Chooses an architecture for each trial of an Optuna study, within a budget and none twice.

    The architecture is `trial.user_attrs["arch"]`. Its decisions are parameters: `trial.suggest_categorical(name,
    choices)` gives the choice that was made, if name and choices are those of the space; other parameters are drawn at
    random. The study may have several objectives, and be shared by threads, processes and machines: they choose one
    after another, in the order of their trials.

    Args:
        space: search space, or its name or file as `parzc.datasets.get_space` takes it.
        budget: hard bounds, see `Budget.parse`.
        algorithm: name in `parzc.search.algorithms.ALGORITHMS`, or an algorithm.
        seed: of everything that is drawn.
        task: of the space, for costs and features; its first if empty.
        archs: the candidates, where not the whole space is searched.
        costs: further quantities, by name, as functions of an arch.
        objectives: what the values of the study are: `accuracy` first (or an error, if the study minimises it), and
            names of costs if there are several.
        folder: keeps what is measured; nothing is kept if empty.
        features: a feature store that is read instead of the one that comes with the space, if any does.
        workers: processes that measure features; all cores if None.
        settings: of the algorithm.

    Raises:
        InputError: as `Search`; from `study.optimize` if no candidate is left.

    Example:
        >>> study = optuna.create_study(direction="maximize", sampler=Sampler("nb201", budget={"params": 5e5}))
        >>> study.optimize(lambda trial: train(trial.user_attrs["arch"]), n_trials=30)
    """

    def __init__(
        self,
        space: str | Path | Space,
        *,
        budget: Given | Budget = None,
        algorithm: str | Algorithm = "guided",
        seed: int = 0,
        task: str = "",
        archs: Sequence[str] | None = None,
        costs: Mapping[str, Measure] | None = None,
        objectives: Sequence[str] = (LABEL,),
        folder: str | Path = "",
        features: str | Path = "",
        workers: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.space, self.seed, self.objectives = get_space(space), seed, tuple(objectives)
        if isinstance(algorithm, str):
            algorithm = get_algorithm(algorithm, self.objectives, **(settings or {}))
        self.algorithm = algorithm
        kept = Path(folder) if folder else None
        evaluator = Evaluator(self.space, task, kept, features, self.algorithm.proxies(self.space), workers)
        self._pool, _ = candidates(self.space, budget, costs, task, archs, evaluator, False)
        check_objectives(self.objectives, self._pool.budget)
        self._others, self._watch = RandomSampler(seed=seed), Watch()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the architecture of a trial, after those of all earlier ones."""
        # So that others do not wait for it if the process dies.
        study._storage.set_trial_user_attr(trial._trial_id, "owner", owner_of_process())
        self._await_turn(study, trial)
        with self._lock:
            arch = self._given(trial) or self._chosen(study, trial)
            study._storage.set_trial_user_attr(trial._trial_id, "arch", arch)
        trial.user_attrs["arch"] = arch  # this is what the trial of the objective shows

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,
    ) -> dict[str, BaseDistribution]:
        """Return the decisions of the architecture of a trial."""
        return dict(parameters_of(self.space, trial.user_attrs["arch"])[1])

    def sample_relative(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return the choices of the architecture of a trial."""
        chosen = parameters_of(self.space, trial.user_attrs["arch"])[0]
        return {name: chosen[name] for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that is no decision of the space."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def _await_turn(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Wait until each earlier trial has its architecture, or its process is gone."""

        def blocks(other: FrozenTrial) -> bool:
            waiting = other.state == TrialState.RUNNING and other.number < trial.number
            return waiting and not other.params and "arch" not in other.user_attrs and not self._watch.is_dead(other)

        while any(blocks(other) for other in study._storage.get_all_trials(study._study_id, deepcopy=False)):
            time.sleep(WAIT_SECONDS)

    def _given(self, trial: FrozenTrial) -> str:
        """Return the architecture that a trial was queued with; empty if with none."""
        if "arch" in trial.user_attrs:
            return str(trial.user_attrs["arch"])
        return self._composed(trial.system_attrs.get(FIXED, {}))

    def _composed(self, parameters: Mapping[str, Any]) -> str:
        """Return the architecture of Optuna's parameters; empty if they make none."""
        choices = {d.name: {plain(choice): choice for choice in d.choices} for d in self.space.decisions}
        try:
            return self.space.compose({n: choices[n][v] for n, v in parameters.items() if n in choices})
        except (InputError, KeyError):
            return ""

    def _chosen(self, study: optuna.Study, trial: FrozenTrial) -> str:
        history = self.history(study)
        rng = np.random.default_rng([self.seed, len(history)])
        pool = self._pool.without(history.functions)
        archs = self.algorithm.ask(history, pool, 1, rng)
        if not archs:
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            raise InputError(f"all architectures of {self.space.name} within the budget were asked for; stop the study")
        if not pool.is_new(archs[0]) or not pool.budget.allows(archs[0]):
            raise RuntimeError(f"the algorithm {self.algorithm.name} chose '{archs[0]}', which is no candidate")
        return archs[0]

    def history(self, study: optuna.Study) -> History:
        """Return the trials of a study that have an architecture, each function once, the first one.

        Trials of other samplers count if their parameters make an architecture. A pruned trial is a training of as many
        epochs as its last step.
        """
        found: dict[str, Trial] = {}
        for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
            arch = trial.user_attrs.get("arch") or self._composed(trial.params)
            if arch:
                function = self.space.canonical(arch)
                found.setdefault(function, self._read(len(found), arch, function, trial, study.directions[0]))
        return History(list(found.values()))

    def _read(self, number: int, arch: str, function: str, trial: FrozenTrial, direction: StudyDirection) -> Trial:
        state, value, epochs = RUNNING, float("nan"), 0.0
        if trial.state == TrialState.COMPLETE:
            state, value = COMPLETE, trial.values[0]
        elif trial.state == TrialState.PRUNED and trial.intermediate_values:
            last = max(trial.intermediate_values)
            state, value, epochs = COMPLETE, trial.intermediate_values[last], float(max(last, 1))
        elif trial.state.is_finished():
            state = FAILED
        if direction == StudyDirection.MINIMIZE:
            value = -value
        costs, feasible = self._pool.budget.costs(arch), self._pool.budget.allows(arch)
        return Trial(
            number, arch, function, state, value, epochs, seconds=_seconds(trial), costs=costs, feasible=feasible
        )


def _seconds(trial: FrozenTrial) -> float:
    if trial.datetime_start is None or trial.datetime_complete is None:
        return float("nan")
    return (trial.datetime_complete - trial.datetime_start).total_seconds()
