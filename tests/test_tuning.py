"""Tuning with a few tiny trials on synthetic networks."""

import hashlib

import numpy as np
import optuna
import pytest
from helpers import SMALL, SMALL_PAPER, table
from sklearn.model_selection import KFold

from parzc import tuning
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.metrics import kendall_tau
from parzc.models.fusion import GRAPHS, graph_encoder
from parzc.presets import PRESETS, get_preset
from parzc.ranker import Ranker
from parzc.tuning import GRAPH_SPACES, SEARCH_SPACES, tune

POOL, LABELS = table(40)
TRAIN, TARGETS = POOL[:24], LABELS[:24]
NB201 = get_space("nb201")
QUICK = SMALL | {"members": 1}


def tiny(trial):
    """One epoch of nothing, or many of learning, at one of a million rates."""
    return QUICK | {
        "training.epochs": trial.suggest_categorical("training.epochs", [1, 30]),
        "training.learning_rate": trial.suggest_float("training.learning_rate", 1e-3, 1e-2, log=True),
    }


@pytest.fixture(autouse=True)
def space(monkeypatch):
    monkeypatch.setattr(tuning, "SEARCH_SPACES", {"default": tiny})


@pytest.fixture(autouse=True)
def verbosity():
    """Optuna's, which `tune` lowers for the process."""
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)


def run(trials, **arguments):
    settings = {"preset": "default", "space": "nb201", "trials": trials} | arguments
    return tune(settings.pop("features", TRAIN), settings.pop("accuracies", TARGETS), **settings)


def read(journal):
    """The trials of the only study that a journal holds."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def test_the_best_settings_are_those_of_the_best_cross_validated_kendall(tmp_path):
    tuned = run(4, journal=tmp_path / "journal")
    trials = read(tmp_path / "journal")
    assert tuned.trials == len(trials) == 4
    assert tuned.kendall == max(trial.value for trial in trials)
    assert tuned.settings == max(trials, key=lambda trial: trial.value).user_attrs["settings"]
    assert tuned.settings["training.epochs"] == 30 and {trial.params["training.epochs"] for trial in trials} == {1, 30}


def test_the_value_of_a_trial_is_the_mean_over_the_folds():
    tuned = run(2, folds=3, seed=5)
    values = []
    for train, test in KFold(3, shuffle=True, random_state=5).split(np.arange(24)):
        ranker = Ranker("default", "nb201", 5, tuned.settings).fit(TRAIN[train], TARGETS[train])
        values.append(kendall_tau(ranker.predict(TRAIN[test]), TARGETS[test]))
    assert tuned.kendall == pytest.approx(np.mean(values))


def test_no_fold_is_fitted_on_what_it_is_tested_on(monkeypatch):
    fits = []

    class Spy(Ranker):
        def fit(self, features, accuracies, unlabelled=None):
            fits.append((features.archs, np.array(accuracies), unlabelled))
            return super().fit(features, accuracies, unlabelled)

        def predict(self, features):
            fits.append(features.archs)
            return super().predict(features)

    monkeypatch.setattr(tuning, "Ranker", Spy)
    run(1, unlabelled=POOL)
    label = dict(zip(TRAIN.archs, TARGETS, strict=True))
    tested = []
    for (archs, labels, unlabelled), test in zip(fits[::2], fits[1::2], strict=True):
        assert len(archs) == 16 and set(archs) | set(test) == set(TRAIN.archs) and not set(archs) & set(test)
        assert labels.tolist() == [label[arch] for arch in archs]
        assert unlabelled is POOL
        tested += test
    assert sorted(tested) == sorted(TRAIN.archs)


def test_unlabelled_features_set_the_scale():
    with_pool, alone = run(1, unlabelled=POOL), run(1)
    assert with_pool.settings == alone.settings and with_pool.kendall != alone.kendall


def test_the_same_seed_finds_the_same():
    assert run(3, seed=1) == run(3, seed=1)
    assert run(3, seed=2).settings != run(3, seed=1).settings


def test_a_study_is_resumed_as_if_it_had_never_stopped(tmp_path):
    first, whole = tmp_path / "stopped", tmp_path / "whole"
    run(2, journal=first)
    half = [(trial.params, trial.value) for trial in read(first)]
    assert len(half) == 2
    resumed = run(4, journal=first)
    trials = [(trial.params, trial.value) for trial in read(first)]
    assert len(trials) == resumed.trials == 4 and trials[:2] == half
    assert len({params["training.learning_rate"] for params, _ in trials}) == 4
    assert run(4, journal=whole) == resumed
    assert [(trial.params, trial.value) for trial in read(whole)] == trials


def test_a_study_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    done = run(3, journal=tmp_path / "journal")
    monkeypatch.setattr(tuning, "Ranker", None)
    assert run(3, journal=tmp_path / "journal") == done
    assert run(1, journal=tmp_path / "journal") == done


@pytest.mark.parametrize(
    "change", [{"accuracies": TARGETS[::-1]}, {"seed": 1}, {"folds": 4}, {"features": POOL[16:], "accuracies": TARGETS}]
)
def test_a_journal_keeps_the_studies_of_other_labels_apart(tmp_path, change):
    run(1, journal=tmp_path / "journal")
    assert run(1, journal=tmp_path / "journal", **change) == run(1, **change)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    assert len(optuna.get_all_study_names(storage)) == 2


def test_a_trial_that_was_killed_is_replaced(tmp_path):
    run(1, journal=tmp_path / "journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    (name,) = optuna.get_all_study_names(storage)
    optuna.load_study(study_name=name, storage=storage).ask()
    resumed = run(2, journal=tmp_path / "journal")
    states = [trial.state.name for trial in read(tmp_path / "journal")]
    assert states == ["COMPLETE", "RUNNING", "COMPLETE"] and resumed.trials == 2


def test_a_constant_prediction_counts_as_the_worst(monkeypatch):
    monkeypatch.setattr(tuning, "SEARCH_SPACES", {"default": lambda _: QUICK})
    monkeypatch.setattr(Ranker, "predict", lambda _, features: np.zeros(len(features)))
    assert run(1).kendall == -1


@pytest.mark.parametrize(("n", "trials"), [(5, 1), (24, 0), (24, -1)])
def test_too_little_is_refused(n, trials):
    sentence = f"^tuning needs at least 6 labelled networks and one trial, not {n} and {trials}$"
    with pytest.raises(InputError, match=sentence):
        run(trials, features=TRAIN[:n], accuracies=TARGETS[:n])


def test_six_networks_are_enough():
    assert -1 <= run(1, features=TRAIN[:6], accuracies=TARGETS[:6]).kendall <= 1


def test_a_random_state_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    run(1)
    assert np.random.get_state()[1].tolist() == before


def suggested(number):
    """Values for a trial: the lowest, the highest, or some in between."""

    class Trial:
        def suggest_int(self, _, low, high, **__):
            return [low, high, (low + high) // 2][number]

        def suggest_float(self, _, low, high, **__):
            return [low, high, (low + high) / 2][number]

        def suggest_categorical(self, name, choices):
            digest = hashlib.sha256(name.encode()).digest()[number]
            return [choices[0], choices[-1], choices[digest % len(choices)]][number]

    return Trial()


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("preset", SEARCH_SPACES)
def test_every_setting_that_is_searched_is_one_of_the_preset(preset, number):
    settings = SEARCH_SPACES[preset](suggested(number))
    changed = get_preset(preset).override(settings)
    for key, value in settings.items():
        part, name = key.split(".")
        assert (changed.model_args[name] if part == "model" else getattr(getattr(changed, part), name)) == value


@pytest.mark.parametrize("preset", SEARCH_SPACES)
def test_a_ranker_takes_the_settings_that_are_searched(preset):
    quick = {"training.epochs": 2, "model.dim": 16, "members": 1} | (SMALL_PAPER if preset == "paper" else {})
    settings = SEARCH_SPACES[preset](suggested(0)) | quick | {"training.epochs": 2}
    scores = Ranker(preset, "nb201", settings=settings).fit(TRAIN, TARGETS).predict(POOL)
    assert np.isfinite(scores).all() and len(np.unique(scores)) == 40


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("encoder", GRAPH_SPACES)
def test_every_setting_of_an_encoder_is_one_that_it_takes(encoder, number):
    settings = GRAPH_SPACES[encoder](suggested(number))
    assert all(key.startswith("graph.") for key in settings)
    model = graph_encoder(encoder, 7, **{key.removeprefix("graph."): value for key, value in settings.items()})
    assert model.dim in settings.values()


def test_the_settings_of_an_encoder_are_searched_with_those_of_the_preset(monkeypatch, tmp_path):
    quick = SMALL_PAPER | {"training.epochs": 2}
    monkeypatch.setattr(tuning, "SEARCH_SPACES", {"paper": lambda _: quick})
    archs = [NB201.canonical(arch) for arch in NB201.sample(12, 0)]
    named = {"features": TRAIN[:12].rename(archs), "accuracies": TARGETS[:12], "preset": "paper"}
    tuned = run(1, encoder="gcn", journal=tmp_path / "journal", **named)
    assert set(tuned.settings) == {*quick, "graph", "graph.dim", "graph.depth", "graph.dropout"}
    assert tuned.settings["graph"] == "gcn"
    run(1, journal=tmp_path / "journal", **named)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    names = [name.rpartition("-")[0] for name in optuna.get_all_study_names(storage)]
    assert names == ["nb201-paper-gcn", "nb201-paper"]


def test_every_encoder_can_be_tuned():
    assert set(GRAPH_SPACES) == set(GRAPHS)


def test_every_preset_can_be_tuned():
    assert set(SEARCH_SPACES) == set(PRESETS)


def test_the_best_settings_fit_a_ranker():
    tuned = run(3)
    ranker = Ranker("default", "nb201", settings=tuned.settings).fit(TRAIN, TARGETS)
    assert ranker.preset_.training.epochs == tuned.settings["training.epochs"]
    assert kendall_tau(ranker.predict(POOL[24:]), LABELS[24:]) > 0.3
