"""Tuning with a few tiny trials on synthetic networks."""

import numpy as np
import optuna
import pytest
from helpers import SMALL_PAPER
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from sklearn.model_selection import KFold
from studies import LABELS, POOL, QUICK, SEARCH, TARGETS, TRAIN, open_journal, read, run

from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.ranker import Ranker, pretraining
from parzc.tuning import TunedRanker, search, spaces
from parzc.tuning.storage import load_study

NB201 = get_space("nb201")


def test_the_best_settings_are_those_of_the_best_cross_validated_kendall(tmp_path):
    tuned = run(5, storage=tmp_path / "journal")
    trials = read(tmp_path / "journal")
    assert tuned.trials == len(trials) == 5
    best = max(trials, key=lambda trial: trial.value)
    assert tuned.kendall == best.value and tuned.settings == QUICK | best.params
    assert {trial.params["training.epochs"] for trial in trials} == {1, 12} and len({t.value for t in trials}) > 2


def test_the_first_trial_has_the_settings_of_the_preset(tmp_path):
    among = {"training.learning_rate": SEARCH["training.learning_rate"], "training.alpha": FloatDistribution(0.5, 2)}
    settings = {name: value for name, value in QUICK.items() if name != "training.alpha"} | {"training.epochs": 2}
    run(2, search=among, settings=settings, storage=tmp_path / "journal")
    first, second = read(tmp_path / "journal")
    # The steepness of the preset is 4: it is moved into the range.
    assert first.params == {"training.learning_rate": 3e-3, "training.alpha": 2.0} != second.params


def test_the_value_of_a_trial_is_the_mean_over_the_folds():
    tuned = run(2, folds=3, seed=5)
    values = []
    for train, test in KFold(3, shuffle=True, random_state=5).split(np.arange(24)):
        ranker = Ranker("default", "nb201", 5, tuned.settings).fit(TRAIN[train], TARGETS[train])
        values.append(kendall_tau(ranker.predict(TRAIN[test]), TARGETS[test]))
    assert tuned.kendall == pytest.approx(np.mean(values))
    reported = tuned.study.best_trial.intermediate_values
    assert [reported[fold] for fold in range(3)] == pytest.approx(np.cumsum(values) / [1, 2, 3])


@pytest.fixture
def fits(monkeypatch):
    """What every ranker is fitted on, and then predicts."""
    seen = []

    class Spy(Ranker):
        def fit(self, features, accuracies, unlabelled=None, warm_start=None):
            seen.append((features.archs, np.array(accuracies), unlabelled))
            return super().fit(features, accuracies, unlabelled, warm_start)

        def predict(self, features):
            seen.append(features.archs)
            return super().predict(features)

    monkeypatch.setattr(search, "Ranker", Spy)
    return seen


def test_the_folds_of_a_trial_share_a_pretraining(monkeypatch):
    begun = []
    monkeypatch.setattr(pretraining, "pretrain", lambda *args: begun.append(args))
    tuned = run(2, unlabelled=POOL, settings=QUICK | {"pretraining.steps": 2})
    # Neither of the settings that are searched changes a pre-training.
    assert len(begun) == 1 == len(tuned.warm_start.states)


def test_no_fold_is_fitted_on_what_it_is_tested_on(fits):
    run(1, unlabelled=POOL)
    label = dict(zip(TRAIN.archs, TARGETS, strict=True))
    tested = []
    for (archs, labels, unlabelled), test in zip(fits[::2], fits[1::2], strict=True):
        assert len(archs) == 16 and set(archs) | set(test) == set(TRAIN.archs) and not set(archs) & set(test)
        assert labels.tolist() == [label[arch] for arch in archs]
        assert unlabelled is POOL
        tested += test
    assert sorted(tested) == sorted(TRAIN.archs)


def test_networks_of_one_function_are_in_one_fold(fits):
    twins = POOL[[*range(12), *range(12)]]
    run(1, features=twins, accuracies=np.concatenate([LABELS[:12], LABELS[:12] + 0.1]))
    assert len(fits) == 6
    for (archs, _, _), test in zip(fits[::2], fits[1::2], strict=True):
        assert (len(archs), len(test)) == (16, 8) and not set(archs) & set(test)


def test_unlabelled_features_set_the_scale():
    with_pool, alone = run(1, unlabelled=POOL), run(1)
    assert with_pool.settings == alone.settings and with_pool.kendall != alone.kendall


def test_the_same_seed_finds_the_same():
    one, again, other = (run(3, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert [trial.params for trial in one.study.trials] != [trial.params for trial in other.study.trials]


def history(journal):
    """What counts of the trials of a journal."""
    return [(t.params, t.state, t.value) for t in read(journal) if t.state != TrialState.FAIL]


def test_a_study_is_resumed_as_if_it_had_never_stopped(tmp_path):
    first, whole = tmp_path / "stopped", tmp_path / "whole"
    run(5, storage=first)
    half = history(first)
    assert len(half) == 5
    # The sampler looks at the trials before from the eleventh on, the pruner from the sixth on.
    resumed = run(12, storage=first)
    trials = history(first)
    assert len(trials) == resumed.trials == 12 and trials[:5] == half
    assert len({params["training.learning_rate"] for params, *_ in trials}) == 12
    assert run(12, storage=whole) == resumed
    assert history(whole) == trials


def test_bad_first_folds_end_a_trial(tmp_path, monkeypatch):
    """The seventh trial, and those alone, predicts the reverse in its first fold."""
    predict, calls = Ranker.predict, []

    def reversed_once(self, features):
        calls.append(1)
        return predict(self, features) * (-1 if len(calls) == 19 else 1)

    monkeypatch.setattr(Ranker, "predict", reversed_once)
    only = {name: among for name, among in SEARCH.items() if name == "training.learning_rate"}
    arguments = {"settings": QUICK | {"training.epochs": 12}, "search": only, "storage": tmp_path / "journal"}
    assert run(7, **arguments).trials == 7
    *_, last = read(tmp_path / "journal")
    assert last.state == TrialState.PRUNED and list(last.intermediate_values) == [0] and len(calls) == 19
    assert last.value == last.intermediate_values[0] < 0


def test_a_study_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    done = run(3, storage=tmp_path / "journal")
    monkeypatch.setattr(search, "Ranker", None)
    assert run(3, storage=tmp_path / "journal") == done
    assert run(1, storage=tmp_path / "journal") == done


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"space": ""}, "space is nb201 there and none here"),
        ({"accuracies": TARGETS[::-1]}, r"labels is 24 networks \(\w{12}\) there and 24 networks \(\w{12}\) here"),
        ({"features": POOL[:22], "accuracies": LABELS[:22]}, r"labels is 24 networks \(.*\) there and 22 .* here"),
        ({"features": POOL[16:].rename(TRAIN.archs)}, r"features is \w{12} there and \w{12} here"),
        ({"unlabelled": POOL}, r"unlabelled is none there and 40 \(\w{12}\) here"),
        ({"folds": 4}, "folds is 3 there and 4 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"settings": QUICK | {"model.dim": 16}}, "setting model_args dim is 32 there and 16 here"),
        (
            {"search": {**SEARCH, "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True)}},
            "search training.learning_rate is 0.001 to 0.01 log there and 0.0001 to 0.01 log here",
        ),
        (
            {"search": {"training.epochs": CategoricalDistribution([1, 3])}},
            r"search training.epochs is one of \[1, 12\] there and one of \[1, 3\] here",
        ),
        (
            {"preset": "paper", "settings": SMALL_PAPER, "search": {"training.kl_weight": FloatDistribution(0, 1)}},
            "preset is default there and paper here",
        ),
    ],
)
def test_a_study_of_something_else_is_refused(tmp_path, change, difference):
    run(1, storage=tmp_path / "journal")
    sentence = f"journal holds a study 'parzc' of other trials: {difference}; repeat what it was made with, or name "
    with pytest.raises(InputError, match=sentence):
        run(1, storage=tmp_path / "journal", **change)
    assert len(read(tmp_path / "journal")) == 1


def test_a_storage_keeps_studies_of_other_names_apart(tmp_path):
    run(1, storage=tmp_path / "journal")
    assert run(1, storage=tmp_path / "journal", study="other", seed=1) == run(1, seed=1)
    assert optuna.get_all_study_names(open_journal(tmp_path / "journal")) == ["parzc", "other"]


def test_a_study_that_another_process_took_over_is_left(tmp_path, monkeypatch):
    """As if another had written what its own trials depend on at the same time."""
    path = tmp_path / "journal"

    class Other(Ranker):
        def fit(self, *arguments):
            study = load_study(path, "parzc")
            study.set_user_attr("identity", study.user_attrs["identity"] | {"seed": 9})
            return super().fit(*arguments)

    monkeypatch.setattr(search, "Ranker", Other)
    with pytest.raises(InputError, match="seed is 9 there and 0 here"):
        run(1, storage=path)
    assert [trial.state for trial in read(path)] == [TrialState.FAIL]


def test_a_database_keeps_a_study_too(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    half = run(2, storage=url)
    assert half == run(2)
    assert run(3, storage=url) == run(3)
    with pytest.raises(InputError, match=r"^sqlite:///.*study.db holds a study 'parzc' of other trials: folds is 3 "):
        run(3, storage=url, folds=4)


def test_a_constant_prediction_counts_as_the_worst(monkeypatch):
    monkeypatch.setattr(Ranker, "predict", lambda _, features: np.zeros(len(features)))
    assert run(1).kendall == -1


@pytest.mark.parametrize(("n", "trials", "folds"), [(5, 1, 3), (24, 0, 3), (24, -1, 3), (24, 1, 1)])
def test_too_little_is_refused(n, trials, folds):
    sentence = f"and one trial, not {folds} folds, {n} networks and {trials} trials$"
    with pytest.raises(InputError, match=sentence):
        run(trials, features=TRAIN[:n], accuracies=TARGETS[:n], folds=folds)


def test_twins_do_not_count_as_networks():
    with pytest.raises(InputError, match="not 3 folds, 5 networks and 1 trials"):
        run(1, features=POOL[[0, 1, 2, 3, 4, 4, 4]], accuracies=LABELS[:7])


@pytest.mark.parametrize("accuracies", [TARGETS[:23], np.full(24, np.nan)])
def test_labels_that_are_missing_are_refused(accuracies):
    with pytest.raises(InputError, match="tuning needs one finite accuracy for each of the 24 networks"):
        run(1, accuracies=accuracies)


def test_nothing_to_search_is_refused():
    with pytest.raises(InputError, match="all settings of the search are fixed"):
        run(1, search={"training.epochs": SEARCH["training.epochs"]}, settings=QUICK | {"training.epochs": 3})


def test_six_networks_are_enough():
    assert -1 <= run(1, features=TRAIN[:6], accuracies=TARGETS[:6]).kendall <= 1


def test_a_random_state_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    run(1)
    assert np.random.get_state()[1].tolist() == before


def test_an_error_ends_the_trial_and_the_search(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("nothing fits")

    with monkeypatch.context() as patch:
        patch.setattr(Ranker, "fit", broken)
        with pytest.raises(ZeroDivisionError, match="nothing fits"):
            run(2, storage=tmp_path / "journal")
    assert [trial.state for trial in read(tmp_path / "journal")] == [TrialState.FAIL]
    assert run(2, storage=tmp_path / "journal") == run(2)


def test_every_trial_is_announced():
    lines = []
    values = [trial.value for trial in run(3, progress=lines.append).study.trials]
    assert lines == [f"parzc: trial {i} of 3 complete at Kendall {v:.3f}" for i, v in enumerate(values, start=1)]


def test_the_settings_of_an_encoder_are_searched_with_those_of_the_preset():
    archs = [NB201.canonical(arch) for arch in NB201.sample(12, 0)]
    fixed = SMALL_PAPER | {"training.epochs": 2, "training.batch": 0, "graph": "gcn"}
    named = {"features": TRAIN[:12].rename(archs), "accuracies": TARGETS[:12], "preset": "paper"}
    tuned = run(1, settings=fixed, search=None, **named)
    assert set(tuned.settings) == {*fixed, "graph.dim", "graph.depth", "graph.dropout"}
    # Its own, but for the dropout of 0, which section A.4 leaves out.
    assert tuned.study.best_params == {"graph.dim": 64, "graph.depth": 3, "graph.dropout": 0.01}


def test_a_tuned_ranker_is_the_ranker_of_the_best_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(spaces, "SEARCH_SPACES", {("default", "none"): SEARCH})
    learner = TunedRanker("default", "nb201", 4, 3, tmp_path / "journal", "mine", QUICK).fit(TRAIN, TARGETS, POOL)
    assert optuna.get_all_study_names(open_journal(tmp_path / "journal")) == ["mine-seed-4"]
    assert learner.tuned_ == run(3, seed=4, unlabelled=POOL)
    ranker = Ranker("default", "nb201", 4, learner.tuned_.settings).fit(TRAIN, TARGETS, POOL)
    np.testing.assert_array_equal(learner.predict(POOL), ranker.predict(POOL))
    np.testing.assert_array_equal(learner.predict_dist(POOL)[1], ranker.predict_dist(POOL)[1])
    assert kendall_tau(learner.predict(POOL[24:]), LABELS[24:]) > 0.3
