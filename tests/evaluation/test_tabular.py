"""The tabular learners read what the ranker reads, and learn from it."""

import numpy as np
import pytest
from helpers import table
from sklearn.base import clone

from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.baselines import BASELINES
from parzc.evaluation.metrics import kendall_tau
from parzc.evaluation.tabular import TabularRanker, tabular_learners
from parzc.ranker import Ranker
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import PRESETS, get_preset
from parzc.ranker.target_transform import standard_scores

TABLE, LABELS = table(100)
every_method = pytest.mark.parametrize("method", BASELINES)


def fitted(method, preset="default", seed=0):
    return TabularRanker(method, preset, "nb201", seed).fit(TABLE[:50], LABELS[:50], TABLE)


@every_method
def test_each_learns(method):
    scores = fitted(method).predict(TABLE[50:])
    assert scores.shape == (50,) and kendall_tau(scores, LABELS[50:]) > 0.6


@every_method
def test_the_seed_decides(method):
    first = fitted(method).predict(TABLE[50:])
    np.testing.assert_array_equal(fitted(method).predict(TABLE[50:]), first)
    if method != "gaussian_process":
        assert (fitted(method, seed=1).predict(TABLE[50:]) != first).any()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_inputs_are_those_of_the_ranker(preset):
    learner = fitted("gaussian_process", preset)
    encoder = make_encoder(get_preset(preset), "nb201").fit(TABLE)
    expected = np.concatenate([x.reshape(50, -1) for x in encoder.transform(TABLE[50:]).parts.values()], axis=1)
    np.testing.assert_array_equal(learner._matrix(TABLE[50:]), expected)
    few = {"training.epochs": 1, "mixers": 1, "pretraining.steps": 1}
    ranker = Ranker(preset, "nb201", settings=few).fit(TABLE[:50], LABELS[:50], TABLE)
    sizes = [int(np.prod(shape)) for shape in ranker._inputs(TABLE[50:]).shapes.values()]
    assert learner._matrix(TABLE[50:]).shape == (50, sum(sizes))


def test_what_is_learned_is_the_estimator_on_these_inputs():
    learner = fitted("gradient_boosting", seed=3)
    matrix = learner._matrix(TABLE)
    estimator = clone(learner.estimator).fit(matrix[:50], normal_scores(LABELS[:50]))
    np.testing.assert_array_equal(learner.predict(TABLE[50:]), estimator.predict(matrix[50:]))
    assert estimator.random_state == 3


def test_scales_are_those_of_the_labelled_where_nothing_else_is_given():
    learner = TabularRanker("gaussian_process", "default", "nb201").fit(TABLE[:50], LABELS[:50])
    expected = make_encoder(get_preset("default"), "nb201").fit(TABLE[:50])
    for name, values in expected.arrays.items():
        np.testing.assert_array_equal(learner.encoder.arrays[name], values)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_method
def test_labels_are_learned_as_they_are_where_that_is_asked_for(method):
    learner = TabularRanker(method, space="nb201", plain=True).fit(TABLE[:50], LABELS[:50] ** 3, TABLE)
    cubed = (LABELS[:50] ** 3 - (LABELS[:50] ** 3).mean()) / (LABELS[:50] ** 3).std()
    expected = clone(BASELINES[method](0)).fit(learner._matrix(TABLE[:50]), cubed).predict(learner._matrix(TABLE[50:]))
    np.testing.assert_array_equal(learner.predict(TABLE[50:]), expected)
    assert (learner.predict(TABLE[50:]) != fitted(method).predict(TABLE[50:])).any()


@pytest.mark.parametrize(
    ("preset", "space", "with_arch"),
    [("default", "nb201", False), ("paper", "darts", False), ("default", "darts", True), ("default", "", False)],
)
def test_a_ranker_is_compared_with_every_learner_on_what_it_reads(preset, space, with_arch):
    learners = tabular_learners(preset, space)
    ends = ["", ", plain labels"] * (1 + 2 * with_arch)
    alone = [""] * 2 + (
        [", architecture encoding only"] * 2 + [", architecture encoding and states only"] * 2
    ) * with_arch
    assert list(learners) == [
        method + end + what for end, what in zip(ends, alone, strict=True) for method in BASELINES
    ]
    for name, learner in learners.items():
        made = learner(5)
        assert made.transform is (standard_scores if "plain labels" in name else normal_scores)
        arch = ("places", "summary", "states")
        assert made.parts == (arch if "states only" in name else arch[:2] if "encoding only" in name else None)
        assert type(made.estimator) is type(BASELINES[name.split(",")[0]](0))
        assert made.encoder.statistics == get_preset(preset).statistics
    assert learners["random_forest"](5).estimator.random_state == 5


def test_where_a_preset_reads_no_architecture_encoding_nothing_learns_from_it_alone():
    with pytest.raises(InputError, match=r"^preset 'default' reads no architecture encoding of the space 'nb201' to"):
        TabularRanker("extra_trees", space="nb201", reads="architecture encoding")
