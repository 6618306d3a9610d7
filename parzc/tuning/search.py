"""The search itself: each trial is a ranker's cross-validated Kendall tau inside the labelled networks."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning, TrialPruned, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.trial import TrialState
from sklearn.model_selection import KFold

from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.features import FeatureTable
from parzc.ranker.estimator import Ranker
from parzc.ranker.presets import get_preset
from parzc.ranker.pretraining import WarmStart
from parzc.tuning.identity import identity
from parzc.tuning.sharing import Worker
from parzc.tuning.spaces import Search, own_settings, search_space, suggest
from parzc.tuning.storage import Location, check_identity, open_storage, open_study

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Tuned:
    """What a study found.

    Args:
        settings: the fixed settings and the best of those searched, for `Ranker(settings=...)`.
        kendall: their mean Kendall tau over the folds.
        trials: number of trials that have finished, pruned ones included.
        study: the study itself.
        warm_start: mixers that trials of this process have pre-trained, for `Ranker.fit`.
    """

    settings: dict[str, Any]
    kendall: float
    trials: int
    study: optuna.Study = field(compare=False, repr=False)
    warm_start: WarmStart = field(default_factory=WarmStart, compare=False, repr=False)


def tune(
    features: FeatureTable,
    accuracies: NDArray[np.float64],
    *,
    preset: str,
    space: str,
    trials: int,
    settings: Mapping[str, Any] | None = None,
    search: Search | None = None,
    unlabelled: FeatureTable | None = None,
    storage: Location = None,
    study: str = "parzc",
    folds: int = 3,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Search a preset's settings by cross-validated Kendall tau inside the labelled networks.

    The first trial has the preset's own settings. A trial is pruned after a fold where the mean so far is below the
    median of the others. Processes that call this alike on one storage share its trials and all return the same; one
    process alone, interrupted or not, repeats itself exactly.

    Args:
        features: of the labelled networks, `n` rows. Rows of one name, which compute the same function, are never
            apart: what is fitted does not know them when they are tested.
        accuracies: `(n,)`.
        preset: whose settings are searched.
        space: name of the search space of the networks.
        trials: how many trials the study should hold in the end, whoever runs them; a resumed study does only those
            that are missing.
        settings: of the ranker that are fixed and not searched, an encoder of architectures (`graph`) among them.
        search: settings to search, by name, with their distributions; `search_space(preset, encoder)` if not given.
        unlabelled: features to fit scales on and to pre-train with.
        storage: journal file, or URL of a database, that keeps the study; it lives in memory if not given.
        study: name of the study in its storage.
        folds: of the cross-validation.
        seed: of folds, sampler and rankers.
        progress: called with one line after each trial of this process.

    Returns:
        The best settings.

    Raises:
        InputError: if there are fewer than two different networks for each fold, or no trials, if nothing is left to
            search, or if the storage is damaged or holds a study of this name that was made with something else.
    """
    fixed = dict(settings or {})
    search = search or search_space(preset, fixed.get("graph", "none"))
    search = {name: among for name, among in search.items() if name not in fixed}
    _check(features, accuracies, trials, folds, search)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = open_storage(storage)
    depends = identity(features, accuracies, unlabelled, preset, space, fixed, search, folds, seed)
    worker = Worker(open_study(store, study, storage, depends), store, trials)
    validate = _CrossValidation(features, accuracies, unlabelled, preset, space, folds, seed)
    own = own_settings(get_preset(preset, space).override(fixed), search)

    def evaluate(trial: optuna.Trial) -> float:
        value = validate(trial, fixed | suggest(trial, search))
        check_identity(worker.study, storage, depends)
        return value

    for place, trial_id in iter(worker.claim, None):
        # A sampler of its own for each place: one that is made anew on resuming would draw the first trials again.
        worker.study.sampler = _sampler(10_000 * seed + place, own if place == 0 else {})
        _run(worker, trial_id, evaluate)
        progress(_line(worker.study, store.get_trial(trial_id), place, trials))
    check_identity(worker.study, storage, depends)
    best = max(_complete(worker), key=lambda trial: trial.value)
    return Tuned(fixed | best.params, best.value, len(worker.finished()), worker.study, validate.warm_start)


@dataclass(frozen=True, eq=False)
class _CrossValidation:
    """The mean Kendall tau over the folds of a ranker with the settings of a trial, reported after each fold."""

    features: FeatureTable
    accuracies: NDArray[np.float64]
    unlabelled: FeatureTable | None
    preset: str
    space: str
    folds: int
    seed: int
    warm_start: WarmStart = field(default_factory=WarmStart)

    def __call__(self, trial: optuna.Trial, settings: Mapping[str, Any]) -> float:
        features, accuracies, values = self.features, self.accuracies, list[float]()
        for fold, (train, test) in enumerate(_folds(features, self.folds, self.seed)):
            ranker = Ranker(self.preset, self.space, self.seed, settings)
            ranker.fit(features[train], accuracies[train], self.unlabelled, self.warm_start)
            values.append(float(np.nan_to_num(kendall_tau(ranker.predict(features[test]), accuracies[test]), nan=-1.0)))
            trial.report(float(np.mean(values)), fold)
            if fold < self.folds - 1 and trial.should_prune():
                raise TrialPruned
        return float(np.mean(values))


def _check(features: FeatureTable, accuracies: NDArray[np.float64], trials: int, folds: int, search: Search) -> None:
    different = len(set(features.archs))
    if folds < 2 or different < 2 * folds or trials < 1:
        raise InputError(
            f"tuning needs 2 folds or more, at least 2 different labelled networks for each, and one trial, not "
            f"{folds} folds, {different} networks and {trials} trials"
        )
    if np.shape(accuracies) != (len(features),) or not np.isfinite(accuracies).all():
        raise InputError(
            f"tuning needs one finite accuracy for each of the {len(features)} networks, but they are of shape "
            f"{np.shape(accuracies)}, {np.isfinite(accuracies).sum()} of them finite"
        )
    if not search:
        raise InputError("all settings of the search are fixed; leave some out of settings")


def _folds(features: FeatureTable, folds: int, seed: int) -> list[Fold]:
    """Return training and test rows of each fold, with all rows of one name on the same side."""
    function, names = pd.factorize(np.asarray(features.archs, dtype=object))
    split = KFold(folds, shuffle=True, random_state=seed).split(np.arange(len(names)))
    return [
        (np.flatnonzero(np.isin(function, train)), np.flatnonzero(np.isin(function, test))) for train, test in split
    ]


def _sampler(seed: int, fixed: Mapping[str, Any]) -> BaseSampler:
    sampler = TPESampler(seed=seed)
    if not fixed:
        return sampler
    with warnings.catch_warnings():
        # To queue these settings instead would queue them twice where two processes begin at a time.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(dict(fixed), sampler)


def _run(worker: Worker, trial_id: int, evaluate: Callable[[optuna.Trial], float]) -> None:
    """Evaluate a trial of this process and end it; one that another process has given up is left alone."""
    with worker.beating(trial_id):
        try:
            value = evaluate(optuna.Trial(worker.study, trial_id))
        except TrialPruned:
            reported = worker.storage.get_trial(trial_id).intermediate_values
            worker.finish(trial_id, TrialState.PRUNED, reported[max(reported)])
        except UpdateFinishedTrialError:
            pass
        except BaseException:
            # Whoever goes on need not wait to find out.
            worker.finish(trial_id, TrialState.FAIL)
            raise
        else:
            worker.finish(trial_id, TrialState.COMPLETE, value)


def _complete(worker: Worker) -> list[Any]:
    return [trial for trial in worker.finished() if trial.state == TrialState.COMPLETE]


def _line(study: optuna.Study, trial: optuna.trial.FrozenTrial, place: int, trials: int) -> str:
    value = "" if trial.value is None else f" at Kendall {trial.value:.3f}"
    return f"{study.study_name}: trial {place + 1} of {trials} {trial.state.name.lower()}{value}"


class TunedRanker:
    """A ranker that tunes its preset inside the labels it is fitted on, whichever they are.

    Args:
        preset: whose settings to search.
        space: name of the search space of the networks.
        seed: of the study and the ranker.
        trials: see `tune`.
        storage: see `tune`.
        study: start of the name of the study, which ends with the seed.
        settings: fixed settings, see `tune`.
        ranges: see `search_space`.
        progress: see `tune`.
    """

    def __init__(
        self,
        preset: str,
        space: str,
        seed: int,
        trials: int,
        storage: str | Path,
        study: str = "parzc",
        settings: Mapping[str, Any] | None = None,
        ranges: str = "cut",
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.preset, self.space, self.seed, self.trials = preset, space, seed, trials
        self.storage, self.study, self.settings, self.ranges = storage, study_name(study, seed), settings, ranges
        self.progress = progress

    def fit(
        self, features: FeatureTable, accuracies: NDArray[np.float64], unlabelled: FeatureTable | None = None
    ) -> "TunedRanker":
        """Tune by cross-validation inside the labels, then fit on all of them."""
        encoder = (self.settings or {}).get("graph", "none")
        self.tuned_ = tune(
            features,
            accuracies,
            preset=self.preset,
            space=self.space,
            trials=self.trials,
            settings=self.settings,
            search=search_space(self.preset, encoder, self.ranges),
            unlabelled=unlabelled,
            storage=self.storage,
            study=self.study,
            seed=self.seed,
            progress=self.progress,
        )
        self.ranker_ = Ranker(self.preset, self.space, self.seed, self.tuned_.settings)
        self.ranker_.fit(features, accuracies, unlabelled, self.tuned_.warm_start)
        return self

    def predict(self, features: FeatureTable) -> NDArray[np.float64]:
        """Return `(n,)` scores of the tuned ranker."""
        return self.ranker_.predict(features)

    def predict_dist(self, features: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `(n,)` scores of the tuned ranker and their standard deviations, see `Ranker.predict_dist`."""
        return self.ranker_.predict_dist(features)


def study_name(study: str, seed: int) -> str:
    """Return the name of the study that `TunedRanker` makes with a seed."""
    return f"{study}-seed-{seed}"
