"""Optuna over a ranker's settings, by cross-validation inside the labelled networks; no other label is seen."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.model_selection import KFold

from parzc.errors import InputError
from parzc.features import FeatureTable
from parzc.metrics import kendall_tau
from parzc.ranker import Ranker

Suggest = Callable[[optuna.Trial], dict[str, Any]]


def _paper_space(trial: optuna.Trial) -> dict[str, Any]:
    # Table 10 of the ParZC paper. Its dimension goes to 4096 and its batch to 128 on a GPU; those ends are cut.
    return {
        "model.dim": trial.suggest_int("model.dim", 128, 512, step=128),
        "model.depth": trial.suggest_int("model.depth", 2, 8),
        "model.dropout": trial.suggest_float("model.dropout", 0.1, 0.5),
        "training.batch": trial.suggest_int("training.batch", 16, 128, log=True),
        "training.epochs": trial.suggest_int("training.epochs", 50, 300, step=50),
        "training.learning_rate": trial.suggest_float("training.learning_rate", 1e-4, 1e-2, log=True),
    }


def _default_space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "model.dim": trial.suggest_int("model.dim", 16, 128, log=True),
        "model.depth": trial.suggest_int("model.depth", 1, 4),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.4),
        "training.alpha": trial.suggest_float("training.alpha", 0.5, 8.0, log=True),
        "training.epochs": trial.suggest_int("training.epochs", 50, 400, step=50),
        "training.learning_rate": trial.suggest_float("training.learning_rate", 3e-4, 1e-2, log=True),
        "training.weight_decay": trial.suggest_float("training.weight_decay", 1e-4, 0.3, log=True),
        "pretraining.steps": trial.suggest_int("pretraining.steps", 0, 1500, step=500),
    }


def _gcn_space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "graph.dim": trial.suggest_int("graph.dim", 32, 128, log=True),
        "graph.depth": trial.suggest_int("graph.depth", 2, 5),
        "graph.dropout": trial.suggest_float("graph.dropout", 0.01, 0.5),
    }


def _pinat_space(trial: optuna.Trial) -> dict[str, Any]:
    # Section A.4 of the ParZC paper; its epochs are among the settings of the preset. Sizes are cut to what one core
    # trains: there d_word_model and d_inner are 256 to 1024, d_kv is 32 to 128 and pine_hidden goes to 128.
    return {
        "graph.n_layers": trial.suggest_int("graph.n_layers", 2, 5),
        "graph.n_head": trial.suggest_int("graph.n_head", 3, 8),
        "graph.pine_hidden": trial.suggest_int("graph.pine_hidden", 8, 32, log=True),
        "graph.d_word_model": trial.suggest_int("graph.d_word_model", 32, 128, log=True),
        "graph.d_kv": trial.suggest_int("graph.d_kv", 8, 32, log=True),
        "graph.d_inner": trial.suggest_int("graph.d_inner", 64, 256, log=True),
        "graph.dropout": trial.suggest_float("graph.dropout", 0.01, 0.5),
    }


SEARCH_SPACES: Mapping[str, Suggest] = {"default": _default_space, "paper": _paper_space}
"""Preset to its settings."""
GRAPH_SPACES: Mapping[str, Suggest] = {"gcn": _gcn_space, "pinat": _pinat_space}
"""Encoder of architectures to its settings."""


@dataclass(frozen=True)
class Tuned:
    """What a study found.

    Args:
        settings: the best settings, for `Ranker(settings=...)`.
        kendall: their mean Kendall tau over the folds.
        trials: number of trials that have finished, pruned ones included.
    """

    settings: dict[str, Any]
    kendall: float
    trials: int


def tune(
    features: FeatureTable,
    accuracies: NDArray[np.float64],
    *,
    preset: str,
    space: str,
    trials: int,
    unlabelled: FeatureTable | None = None,
    journal: Path | None = None,
    folds: int = 3,
    seed: int = 0,
    encoder: str = "none",
) -> Tuned:
    """Search a preset's settings by cross-validated Kendall tau inside the labelled networks.

    Args:
        features: of the labelled networks, `n` rows.
        accuracies: `(n,)`.
        preset: whose settings and search space.
        space: name of the search space of the networks.
        trials: how many trials the study should hold in the end; a resumed study does only those that are missing.
        unlabelled: features to fit scales on.
        journal: file that keeps the study; a study of the same labels, folds and seed that it already holds is resumed
            and ends as if it had never stopped.
        folds: of the cross-validation.
        seed: of folds, sampler and rankers.
        encoder: of architectures, which the ranker adds to the preset and whose settings are searched with it.

    Returns:
        The best settings.

    Raises:
        InputError: if there are fewer than two networks for each fold, or no trials.
    """
    if len(features) < 2 * folds or trials < 1:
        raise InputError(
            f"tuning needs at least {2 * folds} labelled networks and one trial, not {len(features)} and {trials}"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = None
    if journal is not None:
        storage = JournalStorage(JournalFileBackend(str(journal)))
    method = preset if encoder == "none" else f"{preset}-{encoder}"
    study = optuna.create_study(
        study_name=f"{space or 'networks'}-{method}-{_digest(features, accuracies, folds, seed)}",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    parts = list(KFold(folds, shuffle=True, random_state=seed).split(np.arange(len(features))))

    def objective(trial: optuna.Trial) -> float:
        settings = SEARCH_SPACES[preset](trial)
        if encoder != "none":
            settings |= {"graph": encoder, **GRAPH_SPACES[encoder](trial)}
        trial.set_user_attr("settings", settings)
        values: list[float] = []
        for fold, (train, test) in enumerate(parts):
            ranker = Ranker(preset, space, seed, settings).fit(features[train], accuracies[train], unlabelled)
            values.append(float(np.nan_to_num(kendall_tau(ranker.predict(features[test]), accuracies[test]), nan=-1.0)))
            trial.report(float(np.mean(values)), fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(values))

    for number in range(_finished(study), trials):
        # A sampler of its own for each trial: one that is made anew on resuming would draw the first trials again.
        study.sampler = optuna.samplers.TPESampler(seed=10_000 * seed + number)
        study.optimize(objective, n_trials=1)
    return Tuned(study.best_trial.user_attrs["settings"], study.best_value, _finished(study))


def _finished(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _digest(features: FeatureTable, accuracies: NDArray[np.float64], folds: int, seed: int) -> str:
    """Return what tells the studies of one journal apart."""
    record = "\n".join([*features.archs, *map(repr, np.asarray(accuracies).tolist()), str(folds), str(seed)])
    return hashlib.sha256(record.encode()).hexdigest()[:16]


class TunedRanker:
    """A ranker that tunes its preset inside the labels it is fitted on, whichever they are.

    Args:
        preset: whose settings to search.
        space: name of the search space of the networks.
        seed: of the study and the ranker.
        trials: see `tune`.
        folder: where the journal of the study is kept, one for each seed.
        encoder: see `tune`.
    """

    def __init__(self, preset: str, space: str, seed: int, trials: int, folder: Path, encoder: str = "none") -> None:
        self.preset, self.space, self.seed, self.trials, self.folder = preset, space, seed, trials, folder
        self.encoder = encoder

    def fit(
        self, features: FeatureTable, accuracies: NDArray[np.float64], unlabelled: FeatureTable | None = None
    ) -> "TunedRanker":
        """Tune by cross-validation inside the labels, then fit on all of them."""
        self.tuned_ = tune(
            features,
            accuracies,
            preset=self.preset,
            space=self.space,
            trials=self.trials,
            unlabelled=unlabelled,
            journal=self.folder / f"study-{self.seed}.journal",
            seed=self.seed,
            encoder=self.encoder,
        )
        self.ranker_ = Ranker(self.preset, self.space, self.seed, self.tuned_.settings)
        self.ranker_.fit(features, accuracies, unlabelled)
        return self

    def predict(self, features: FeatureTable) -> NDArray[np.float64]:
        """Return `(n,)` scores of the tuned ranker."""
        return self.ranker_.predict(features)
