"""Weighed learners: the weights from held-out predictions, computed independently, and what they favour."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
from sklearn.model_selection import KFold, ShuffleSplit

from parzc.models import trees as trees_module
from parzc.models import weighed
from parzc.models.description_process import DescriptionProcess
from parzc.models.weighed import Weighed

SHAPES = ((3, 4), (5,), (2,), (6,), (4,))
MEASURED, COLUMNS = 19, 29
FEWER = 40
"""Trees of each sort in these tests, so that a fit takes a fraction of a second."""


@pytest.fixture(scope="module", autouse=True)
def fewer_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees_module, "TREES", FEWER)
        yield


def rows(n, seed):
    generator = torch.Generator().manual_seed(seed)
    measured = [torch.randn(n, *shape, generator=generator) for shape in SHAPES[:3]]
    return [*measured, *(torch.randint(0, 3, (n, *shape), generator=generator).float() for shape in SHAPES[3:])]


def of_description(inputs):
    return (inputs[3][:, 0] * inputs[4][:, 1] + inputs[3][:, 2]).double()


def of_measured(inputs):
    return inputs[1].double().sum(1) + inputs[0][:, 0, 0].double()


def of_both(inputs):
    return 3 * of_description(inputs) + of_measured(inputs)


def matrix(inputs):
    return np.concatenate([t.numpy().reshape(len(t), -1) for t in inputs], axis=1)


def learners(labelled, seed):
    """The sorts of learners, and the columns that each of them sees."""

    def boosted():
        return GradientBoostingRegressor(
            n_estimators=FEWER, learning_rate=0.05, max_depth=3, subsample=0.7, max_features=0.2, random_state=seed
        )

    extra = ExtraTreesRegressor(
        n_estimators=FEWER, max_features=0.3, max_depth=24, max_leaf_nodes=labelled, random_state=seed
    )
    everything, description = np.arange(COLUMNS), np.arange(MEASURED, COLUMNS)
    return [(boosted(), everything), (extra, everything), (boosted(), description), (OnDescription(seed), description)]


class OnDescription:
    """The process of the description, with the interface of the others."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, x, y):
        process = DescriptionProcess(len(y), SHAPES[3:])
        self.process = process.fit(parts_of(x), torch.from_numpy(y), self.seed)
        return self

    def predict(self, x):
        return self.process(*parts_of(x)).numpy()


def parts_of(x):
    return [torch.from_numpy(part) for part in np.split(x, [SHAPES[3][0]], 1)]


def least_squares_without_negatives(told, seen):
    """The best of all solutions in which some weights are 0 and no other is negative."""
    best, error = np.zeros(4), (seen**2).sum()
    for kept in itertools.chain(*(itertools.combinations(range(4), n) for n in (1, 2, 3, 4))):
        weights = np.zeros(4)
        weights[list(kept)] = np.linalg.lstsq(told[:, kept], seen, rcond=None)[0]
        left = ((told @ weights - seen) ** 2).sum()
        if weights.min() >= 0 and left < error:
            best, error = weights, left
    return best / best.sum()


def expected_weights(inputs, labels, folds, seed):
    x, y = matrix(inputs), labels.numpy()
    told, seen = [], []
    for train, test in folds.split(x):
        sorts = learners(len(y), seed)
        told.append([s.fit(x[train][:, own], y[train]).predict(x[test][:, own]) for s, own in sorts])
        seen.append(y[test])
    return least_squares_without_negatives(np.concatenate(told, 1).T, np.concatenate(seen))


@pytest.fixture(scope="module")
def both():
    inputs = rows(40, 0)
    return Weighed(40, SHAPES).fit(inputs, of_both(inputs), 3), inputs, of_both(inputs)


def test_weights_are_the_least_squares_of_labels_that_were_held_out(both):
    trees, inputs, labels = both
    expected = expected_weights(inputs, labels, KFold(5, shuffle=True, random_state=3), 3)
    np.testing.assert_allclose(trees.weights.numpy(), expected, atol=1e-9)
    assert (expected > 0.05).sum() >= 2 and expected.sum() == pytest.approx(1)


def test_what_was_told_of_held_out_labels_is_kept(both):
    weighed_parts, inputs, labels = both
    assert sorted(weighed_parts.held_out.tolist()) == list(range(40))
    x, y = matrix(inputs), labels.numpy()
    for train, test in KFold(5, shuffle=True, random_state=3).split(x):
        each = [s.fit(x[train][:, own], y[train]).predict(x[test][:, own]) for s, own in learners(40, 3)]
        places = [weighed_parts.held_out.tolist().index(row) for row in test]
        np.testing.assert_allclose(weighed_parts.told[places].numpy(), weighed_parts.weights.numpy() @ each, atol=1e-9)


def test_predictions_are_the_weighed_ones_of_trees_on_all_labels(both):
    trees, inputs, labels = both
    others = rows(30, 1)
    alone = [
        s.fit(matrix(inputs)[:, own], labels.numpy()).predict(matrix(others)[:, own]) for s, own in learners(40, 3)
    ]
    expected = trees.weights.numpy() @ np.array(alone)
    np.testing.assert_allclose(trees(*others).numpy(), expected, atol=1e-12)
    assert trees(*others).dtype == torch.float64


def test_of_many_labels_one_part_is_held_out(monkeypatch):
    monkeypatch.setattr(weighed, "FEW", 39)
    inputs = rows(40, 0)
    trees = Weighed(40, SHAPES).fit(inputs, of_both(inputs), 3)
    expected = expected_weights(inputs, of_both(inputs), ShuffleSplit(1, test_size=8, random_state=3), 3)
    np.testing.assert_allclose(trees.weights.numpy(), expected, atol=1e-9)


@pytest.fixture
def more_trees(monkeypatch):
    monkeypatch.setattr(trees_module, "TREES", 150)


@pytest.mark.usefixtures("more_trees")
def test_what_the_description_decides_is_left_to_the_description():
    inputs = rows(60, 0)
    trees = Weighed(60, SHAPES).fit(inputs, of_description(inputs), 0)
    assert trees.weights[2:].sum() > 0.7


@pytest.mark.usefixtures("more_trees")
def test_what_was_measured_decides_leaves_little_to_the_description():
    inputs = rows(60, 0)
    trees = Weighed(60, SHAPES).fit(inputs, of_measured(inputs), 0)
    assert trees.weights[2:].sum() < 0.1


@pytest.mark.parametrize("n", [2, 9])
def test_few_labels_leave_the_weights_equal(n):
    inputs, others = rows(n, 0), rows(5, 1)
    trees = Weighed(n, SHAPES).fit(inputs, of_both(inputs), 0)
    assert trees.weights.tolist() == [1 / 4] * 4 and len(trees.held_out) == len(trees.told) == 0
    boosted, extra, described, process = trees.parts
    alone = torch.stack([boosted(*others), extra(*others), described(*others[3:]), process(*others[3:])])
    torch.testing.assert_close(trees(*others), alone.mean(0))
    assert not torch.equal(alone[0], alone[1]) and not torch.equal(alone[1], alone[2])


def test_from_ten_labels_on_the_weights_are_fitted():
    inputs = rows(10, 0)
    trees = Weighed(10, SHAPES).fit(inputs, of_both(inputs), 0)
    assert trees.weights.tolist() != [1 / 4] * 4 and float(trees.weights.sum()) == pytest.approx(1)


def test_where_nothing_tells_anything_the_weights_stay_equal():
    # Equal labels of 0: no weight is better than another.
    inputs = rows(12, 0)
    trees = Weighed(12, SHAPES).fit(inputs, torch.zeros(12, dtype=torch.float64), 0)
    assert trees.weights.tolist() == [1 / 4] * 4 and trees(*rows(5, 1)).tolist() == [0] * 5


def test_fitting_again_forgets_the_first_fit():
    inputs, others = rows(12, 0), rows(5, 1)
    trees = Weighed(12, SHAPES).fit(inputs, of_both(inputs), 0)
    few = [t[:9] for t in inputs]
    expected = Weighed(12, SHAPES).fit(few, of_both(few), 0)
    assert torch.equal(trees.fit(few, of_both(few), 0)(*others), expected(*others))


def test_the_seed_decides_and_the_random_state_is_left_alone():
    inputs, others = rows(12, 0), rows(30, 1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, again, other = (Weighed(12, SHAPES).fit(inputs, of_both(inputs), seed) for seed in (3, 3, -1))
    assert torch.equal(first(*others), again(*others)) and torch.equal(first.weights, again.weights)
    assert not torch.equal(first(*others), other(*others))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


def test_the_state_is_all_there_is_to_save(both):
    trees, *_ = both
    loaded, others = Weighed(40, SHAPES), rows(30, 1)
    loaded.load_state_dict(trees.state_dict())
    loaded.check(SHAPES)
    assert torch.equal(loaded(*others), trees(*others))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("parts.0.child", 15, "a tree has a child outside 0 to 14"),
        ("parts.1.child", 79, "a tree has a child outside 0 to 78"),
        ("parts.2.child", -1, "a tree has a child outside 0 to 14"),
        ("parts.0.column", COLUMNS, "a tree has a column outside 0 to 28"),
        ("parts.1.column", COLUMNS, "a tree has a column outside 0 to 28"),
        ("parts.2.column", COLUMNS - MEASURED, "a tree has a column outside 0 to 9"),
        ("weights", 1.01, "a weight of a part is outside 0 to 1"),
        ("weights", -0.01, "a weight of a part is outside 0 to 1"),
        ("weights", float("nan"), "a weight of a part is outside 0 to 1"),
    ],
)
def test_trees_that_do_not_fit_are_refused(both, name, value, sentence):
    loaded = Weighed(40, SHAPES)
    loaded.load_state_dict(both[0].state_dict())
    loaded.state_dict()[name].view(-1)[2] = value
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        loaded.check(SHAPES)
