"""The ranker on synthetic networks whose order is known."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import LABELS, PRESET_SETTINGS, SMALL, TABLE, TEST, TRAIN, fitted, networks, table
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold, cross_val_score
from torch import nn

import parzc
from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.evaluation.uncertainty import probability_above
from parzc.features import FeatureTable
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.trees import BoostedTrees
from parzc.ranker import Ranker, pretraining, training
from parzc.ranker.assembly import make_encoder
from parzc.ranker.networks import Network, make_network
from parzc.ranker.presets import PRESETS
from parzc.ranker.pretraining import WarmStart, continued, pretrain


def test_the_default_ranks_networks_it_has_not_seen(ranker):
    assert kendall_tau(ranker.predict(TEST), LABELS[50:]) > 0.65


def test_the_paper_preset_ranks_networks_it_has_not_seen(paper):
    # The range of each network is taken out, so that only the pattern of the nodes is left to see.
    assert kendall_tau(paper.predict(TEST), LABELS[50:]) > 0.6


def test_it_learns_from_the_labels_given(ranker):
    turned = Ranker(ranker.preset, ranker.space, settings=SMALL).fit(TRAIN, -LABELS[:50])
    assert kendall_tau(turned.predict(TEST), LABELS[50:]) < -0.6


def test_only_the_order_of_the_labels_enters_where_normal_scores_are_chosen():
    far, settings = np.exp(LABELS[:50]), SMALL | {"others": ("gaussian_process",)}
    first, other = (
        Ranker("default", "nb201", settings=settings).fit(TRAIN, labels) for labels in (far, far**2 / 7 + 90)
    )
    np.testing.assert_array_equal(other.predict(TEST), first.predict(TEST))


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if preset.mixers])
def test_the_seed_decides(preset):
    few = {"training.epochs": 3}
    first = fitted(preset, 1, **few).predict(TEST)
    np.testing.assert_array_equal(fitted(preset, 1, **few).predict(TEST), first)
    assert abs(fitted(preset, 2, **few).predict(TEST) - first).max() > 0.01


def test_the_members_of_one_ranker_differ_and_are_averaged():
    ranker = fitted(mixers=3, **{"training.epochs": 3})
    inputs = ranker._inputs(TEST)
    with torch.no_grad():
        raw = np.stack([member(inputs).double().numpy() for member in ranker.ensemble_.members_])
        pool = np.stack([member(ranker._inputs(TRAIN)).double().numpy() for member in ranker.ensemble_.members_])
    kinds = [type(member) for member in ranker.ensemble_.members_]
    assert kinds == [Network] * 3 + [GaussianProcess, BoostedTrees]
    assert len(np.unique(raw.round(6), axis=0)) == 5

    def mean(scores):
        """All mixers together weigh as much as the process, and as the trees."""
        network, process, trees = scores[:3].mean(0), scores[3], scores[4]
        return (network + process + trees) / 3

    standard = (raw - pool.mean(1)[:, None]) / pool.std(1)[:, None]
    of_pool = mean((pool - pool.mean(1)[:, None]) / pool.std(1)[:, None])
    expected = (mean(standard) - of_pool.mean()) / of_pool.std()
    np.testing.assert_allclose(ranker.predict(TEST), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ranker.ensemble_.offset_, [*pool.mean(1), of_pool.mean()], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ranker.ensemble_.scale_, [*pool.std(1), of_pool.std()], rtol=1e-5)


def test_networks_alone_are_averaged():
    ranker = fitted(mixers=2, others=(), **{"training.epochs": 3})
    inputs, pool = ranker._inputs(TEST), ranker._inputs(TRAIN)
    with torch.no_grad():
        raw, of_pool = (
            np.stack([model(x).double().numpy() for model in ranker.ensemble_.members_]) for x in (inputs, pool)
        )
    mean = ((raw - of_pool.mean(1)[:, None]) / of_pool.std(1)[:, None]).mean(0)
    spread = ((of_pool - of_pool.mean(1)[:, None]) / of_pool.std(1)[:, None]).mean(0).std()
    np.testing.assert_allclose(ranker.predict(TEST), mean / spread, rtol=1e-5, atol=1e-6)
    assert len(ranker.ensemble_.offset_) == len(ranker.ensemble_.scale_) == 3


def test_fitting_leaves_the_random_state_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    fitted(**{"training.epochs": 1}).predict_dist(TEST[:3])
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


def test_prediction_repeats_and_does_not_depend_on_the_other_rows(either):
    scores = either.predict(TEST)
    np.testing.assert_array_equal(either.predict(TEST), scores)
    rows = [7, 3, 3]
    np.testing.assert_allclose(either.predict(TEST[rows]), scores[rows], rtol=1e-5, atol=1e-6)


def test_scores_have_mean_zero_and_spread_one_where_the_scale_was_fitted():
    ranker = Ranker("default", "nb201", settings=SMALL).fit(TRAIN, LABELS[:50], TABLE)
    scores = ranker.predict(TABLE)
    assert scores.mean() == pytest.approx(0, abs=1e-6) and scores.std() == pytest.approx(1, abs=1e-6)


def test_the_scale_is_fitted_on_unlabelled_features_where_they_are_given():
    with_pool = Ranker("default", "nb201", settings=SMALL).fit(TRAIN, LABELS[:50], TABLE)
    expected = make_encoder(with_pool.preset_, "nb201").fit(TABLE)
    np.testing.assert_array_equal(with_pool.encoder_.arrays["scores"], expected.arrays["scores"])
    alone = make_encoder(with_pool.preset_, "nb201").fit(TRAIN)
    assert (with_pool.encoder_.arrays["scores"] != alone.arrays["scores"]).any()


def test_the_distribution_is_around_the_prediction(either):
    mean, deviation = either.predict_dist(TEST)
    np.testing.assert_array_equal(mean, either.predict(TEST))
    assert deviation.shape == (60,) and (deviation > 0).all() and np.isfinite(deviation).all()
    again = either.predict_dist(TEST)
    np.testing.assert_array_equal(again[1], deviation)


def test_the_deviation_grows_with_the_disagreement_of_the_members():
    ranker = fitted(mixers=2, others=(), **{"training.epochs": 2})
    _, before = ranker.predict_dist(TEST)
    ranker.ensemble_.offset_[1] += 100 * ranker.ensemble_.scale_[1]
    _, after = ranker.predict_dist(TEST)
    # Two members 100 apart have a standard deviation of 50.
    np.testing.assert_allclose(after, 50, rtol=0.2)
    assert (before < 10).all()


def test_the_deviation_is_that_of_the_gaussian_process_where_there_is_one(ranker):
    process, inputs = ranker.ensemble_.members_[2], ranker._inputs(TEST)
    with torch.no_grad():
        spread = process(ranker._inputs(TRAIN)).numpy().std()
        expected = process.posterior(inputs).label_variance.sqrt().numpy() / spread
    _, deviation = ranker.predict_dist(TEST)
    np.testing.assert_allclose(deviation, expected, rtol=1e-9)


def test_members_next_to_the_mixers_may_be_left_out():
    trees = fitted(others=("boosted_trees",), **{"training.epochs": 1})
    assert [type(member) for member in trees.ensemble_.members_] == [Network] * 2 + [BoostedTrees]
    assert (trees.predict_dist(TEST)[1] > 0).all()
    with pytest.raises(InputError, match=r"^there is no member 'forest'; choose among gaussian_process, .*_forest$"):
        fitted(others=("forest",), **{"training.epochs": 1})
    process = fitted(mixers=0, others=("gaussian_process",))
    assert [type(member) for member in process.ensemble_.members_] == [GaussianProcess]
    assert np.isfinite(process.predict(TEST)).all()


def test_of_labels_that_are_far_apart_the_process_learns_the_order_and_the_trees_the_labels():
    labels = np.exp(4 * LABELS[:50])
    ranker = Ranker("default", "nb201", settings=SMALL).fit(TRAIN, labels)
    inputs, order = ranker._inputs(TRAIN), torch.from_numpy(normal_scores(labels))
    process = GaussianProcess(50, inputs.shapes).fit(inputs, order, inputs, 0)
    plain = torch.from_numpy((labels - labels.mean()) / labels.std())
    trees = BoostedTrees(50, inputs.shapes).fit(inputs, plain, inputs, 0)
    for member, expected in zip(ranker.ensemble_.members_[2:], (process, trees), strict=True):
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(member.state_dict()[name], value)


def test_a_ranker_may_read_node_statistics_alone():
    ranker = fitted(scores=(), blocks=())
    assert ranker.ensemble_.shapes["scores"] == ranker.ensemble_.shapes["blocks"] == (0,)
    assert kendall_tau(ranker.predict(TEST), LABELS[50:]) > 0.5
    assert np.isfinite(ranker.predict_dist(TEST)[1]).all() and len(ranker.suggest(TEST, 3)) == 3


def test_a_warm_start_saves_the_pretraining_of_a_fit_with_other_labels_and_changes_nothing(monkeypatch):
    pretrainings, warm_start = [], WarmStart()
    monkeypatch.setattr(pretraining, "pretrain", lambda *args: [pretrainings.append(args), pretrain(*args)])
    settings = {"mixers": 1, "others": (), "pretraining.steps": 3, "training.epochs": 2}
    first, again, other = (
        Ranker("default", "nb201", seed, settings).fit(TABLE[:n], LABELS[:n], TABLE, warm_start)
        for seed, n in ((0, 20), (0, 30), (1, 30))
    )
    assert len(pretrainings) == 2 and first.warm_start_ is other.warm_start_ is warm_start
    anew = Ranker("default", "nb201", 0, settings).fit(TABLE[:30], LABELS[:30], TABLE)
    assert len(pretrainings) == 3
    Ranker("default", "nb201", 0, settings).fit(TABLE[:25], LABELS[:25], TABLE, anew.warm_start_)
    Ranker("default", "nb201", 0, settings).fit(TABLE[:25], LABELS[:25], TABLE[:90], anew.warm_start_)
    assert len(pretrainings) == 4
    np.testing.assert_array_equal(again.predict(TABLE), anew.predict(TABLE))
    assert len({tuple(ranker.predict(TABLE)) for ranker in (first, again, other)}) == 3


def test_pretraining_sees_the_unlabelled():
    few = {"training.epochs": 1, "others": (), "mixers": 1}
    alone, more = (Ranker("default", "nb201", settings=SMALL | few) for _ in range(2))
    alone.fit(TRAIN, LABELS[:50], TRAIN)
    more.fit(TRAIN, LABELS[:50], TABLE)
    expected = make_network(more.preset_, more.ensemble_.shapes, 0)
    pretrain(expected, more._inputs(TABLE), more.preset_.pretraining, 0)
    expected = continued(expected, 0)
    training.train(expected, more._inputs(TRAIN), torch.from_numpy(LABELS[:50]).float(), more.preset_.training, 0)
    for name, value in expected.state_dict().items():
        assert torch.equal(more.ensemble_.members_[0].network.state_dict()[name], value)
    networks = [ranker.ensemble_.members_[0].network for ranker in (alone, more)]
    assert not torch.equal(networks[0].place, networks[1].place)


def test_pairs_are_ordered_as_often_as_predicted():
    # Labels are a known function of the networks and noise; each half is ordered by a ranker that saw only the other.
    features, labels = table(500, seed=5)
    labels = labels + 0.8 * np.random.default_rng(5).normal(size=500)
    predicted, true = [], []
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(500)
        train, test = order[:60], order[60:]
        ranker = Ranker("default", "nb201", seed, SMALL | {"mixers": 1, "training.epochs": 30})
        scores, deviations = ranker.fit(features[train], labels[train], features).predict_dist(features[test])
        one, other = np.triu_indices(440, 1)
        predicted.append(probability_above(scores[one], deviations[one], scores[other], deviations[other]))
        true.append(labels[test][one] > labels[test][other])
    predicted, true = np.concatenate(predicted), np.concatenate(true)
    # Of each pair, the probability of the likelier order.
    predicted, true = np.maximum(predicted, 1 - predicted), np.where(predicted > 0.5, true, ~true)
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        chosen = (predicted >= low) & (predicted < low + 0.1)
        assert chosen.sum() > 1000
        assert true[chosen].mean() == pytest.approx(predicted[chosen].mean(), abs=0.04)


# scikit-learn


def test_parameters_are_kept_as_given():
    settings = {"training.epochs": 3}
    ranker = Ranker("paper", "nb201", 7, settings)
    assert ranker.get_params() == {"preset": "paper", "space": "nb201", "seed": 7, "settings": settings}
    assert ranker.settings is settings
    assert ranker.set_params(seed=9, settings=None) is ranker
    assert (ranker.seed, ranker.settings, ranker.preset) == (9, None, "paper")
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        ranker.set_params(epochs=3)


def test_a_clone_is_unfitted_and_fits_alike(ranker):
    copied = clone(ranker)
    assert copied.get_params() == ranker.get_params() and not hasattr(copied, "ensemble_")
    np.testing.assert_array_equal(copied.fit(TRAIN, LABELS[:50]).predict(TEST), ranker.predict(TEST))
    np.testing.assert_array_equal(copy.deepcopy(ranker).predict(TEST), ranker.predict(TEST))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ranker)).predict(TEST), ranker.predict(TEST))


@pytest.mark.parametrize("kind", ["table", "list"])
def test_scikit_learn_cross_validates_it(kind):
    features = TRAIN if kind == "table" else networks(110)[0][:50]
    ranker = Ranker(space="nb201", settings=SMALL | {"mixers": 1})
    folds = KFold(2, shuffle=True, random_state=0)
    scores = cross_val_score(ranker, features, LABELS[:50], scoring=make_scorer(kendall_tau), cv=folds)
    expected = []
    for train, test in folds.split(np.arange(50)):
        one = clone(ranker).fit(TRAIN[train], LABELS[train])
        expected.append(kendall_tau(one.predict(TRAIN[test]), LABELS[test]))
    assert scores.tolist() == pytest.approx(expected)
    assert min(expected) > 0.3


def test_score_is_that_of_a_regressor(ranker):
    residual = LABELS[50:] - ranker.predict(TEST)
    spread = LABELS[50:] - LABELS[50:].mean()
    assert ranker.score(TEST, LABELS[50:]) == pytest.approx(1 - (residual @ residual) / (spread @ spread))


# errors


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (LABELS[:49], r"50 networks came with accuracies of shape \(49,\), 49 of them finite$"),
        (LABELS[:50, None], r"of shape \(50, 1\)"),
        (np.where(np.arange(50) == 3, math.nan, LABELS[:50]), r"of shape \(50,\), 49 of them finite$"),
        (np.where(np.arange(50) < 2, math.inf, LABELS[:50]), r"of shape \(50,\), 48 of them finite$"),
        (0.5, r"of shape \(\), 1 of them finite$"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, sentence):
    with pytest.raises(InputError, match=r"^a ranker needs one finite accuracy for each .*" + sentence):
        Ranker(space="nb201", settings=SMALL).fit(TRAIN, labels)


def test_one_network_is_too_few():
    with pytest.raises(InputError, match=r"of at least 2 networks, but 1 networks came"):
        Ranker(space="nb201", settings=SMALL).fit(TRAIN[:1], LABELS[:1])


def test_two_networks_are_enough():
    ranker = Ranker(space="nb201", settings=SMALL).fit(TRAIN[:2], [1.0, 2.0])
    low, high = ranker.predict(TRAIN[:2])
    assert low < high


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"preset": "best"}, "there is no preset 'best'"),
        ({"space": "nb999"}, "there is no search space 'nb999'"),
        ({"settings": {"training.epoch": 3}}, "there is no setting 'training.epoch'"),
        ({"settings": {"training.loss": "hinge"}}, "there is no loss 'hinge'"),
        ({"settings": {"mixers": 0, "others": []}}, "needs at least one member; set mixers to 1 or more"),
    ],
)
def test_what_does_not_exist_is_named(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Ranker(**arguments).fit(TRAIN, LABELS[:50])


def test_features_of_other_definitions_are_refused(ranker):
    definitions = {name: {**definition, "task": "cifar100"} for name, definition in TEST.definitions.items()}
    other = FeatureTable(**{**TEST.__dict__, "definitions": definitions})
    for predict in (ranker.predict, ranker.predict_dist):
        with pytest.raises(InputError, match=r"has task 'cifar100', but the ranker was trained on 'cifar10'"):
            predict(other)
    with pytest.raises(InputError, match=r"has task 'cifar10', but the ranker was trained on 'cifar100'"):
        Ranker(space="nb201", settings=SMALL).fit(TRAIN, LABELS[:50], other)


def test_features_that_lack_a_statistic_are_refused(ranker):
    statistics = {name: values for name, values in TEST.statistics.items() if name != "snip"}
    with pytest.raises(InputError, match="the features lack the statistic 'snip'"):
        ranker.predict(FeatureTable(**{**TEST.__dict__, "statistics": statistics}))


# networks of no known space


class Tiny(nn.Module):
    """A perceptron of a given width and depth."""

    def __init__(self, width, depth):
        super().__init__()
        sizes = [4, *[width] * depth]
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)])
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.layers(x))


@pytest.fixture(scope="module")
def tiny():
    """Features of small perceptrons as `parzc.extract` gives them, and labels that grow with depth and width."""
    rng = np.random.default_rng(0)
    widths, depths = rng.integers(2, 40, 40), rng.integers(1, 5, 40)
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = [parzc.extract(Tiny(int(w), int(d)), inputs) for w, d in zip(widths, depths, strict=True)]
    return features, depths + widths / 40


@pytest.mark.parametrize("preset", PRESET_SETTINGS)
def test_networks_of_no_known_space_are_ranked(tiny, preset, tmp_path):
    features, labels = tiny
    ranker = Ranker(preset, settings=PRESET_SETTINGS[preset]).fit(features[:25], labels[:25])
    scores = ranker.predict(features[25:])
    assert kendall_tau(scores, labels[25:]) > 0.5
    np.testing.assert_array_equal(ranker.predict(FeatureTable.of(features[25:])), scores)
    ranker.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(features[25:]), scores)


def test_the_menu_leads_to_it():
    assert parzc.Ranker is Ranker


def test_models_are_initialised_from_their_seed_alone():
    preset = PRESETS["default"].override(SMALL)
    one, other = (make_network(preset, {"tokens": (11, 22), "scores": (10,)}, seed=5) for _ in range(2))
    third = make_network(preset, {"tokens": (11, 22), "scores": (10,)}, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.place, third.place)
