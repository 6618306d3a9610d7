"""Trees as tensors against the estimators that they come from."""

import numpy as np
import pytest
import torch
from made_inputs import random_inputs, shapes_of, token_inputs
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

from parzc.errors import InputError
from parzc.models.trees import BoostedTrees, BoostedTreesConfig, RandomForest, RandomForestConfig

SIZES = ((3, 4), (5,), (2,))
SHAPES = shapes_of(SIZES)
COLUMNS = 19


def rows(n, seed, sizes=SIZES):
    return random_inputs(n, seed, sizes)


def boosted(inputs, labels, seed):
    return BoostedTrees(len(labels), inputs.shapes).fit(inputs, labels, inputs, seed)


def forest_of(inputs, labels, seed, labelled=None):
    return RandomForest(labelled or len(labels), inputs.shapes).fit(inputs, labels, inputs, seed)


def matrix(inputs):
    return np.concatenate([t.numpy().reshape(len(t), -1) for t in inputs.parts.values()], axis=1)


def labels_of(inputs):
    return inputs.scores.double().sum(1) + inputs.tokens[:, 0, 0].double() ** 2


def estimator(inputs, labels, seed):
    learner = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, max_features=0.2, random_state=seed
    )
    return learner.fit(matrix(inputs), labels.numpy())


@pytest.mark.parametrize(("n", "seed"), [(40, 0), (40, 7), (3, 1), (2, 0)])
def test_predictions_are_those_of_the_estimator(n, seed):
    inputs, others = rows(n, seed), rows(50, 90)
    labels = labels_of(inputs)
    trees, learner = boosted(inputs, labels, seed), estimator(inputs, labels, seed)
    for given in (inputs, others):
        np.testing.assert_allclose(trees(given).numpy(), learner.predict(matrix(given)), rtol=0, atol=1e-12)
    assert trees(others).dtype == torch.float64
    assert trees(inputs).std() > 0 or n == 2


@pytest.mark.parametrize("shapes", [((3, 4), (0,), (0,)), ((1, 1), (0,), (0,)), ((2, 2), (3,), (0,))])
def test_inputs_may_be_without_columns(shapes):
    inputs = rows(20, 0, shapes)
    labels = inputs.tokens[:, 0, 0].double()
    trees, learner = boosted(inputs, labels, 0), estimator(inputs, labels, 0)
    np.testing.assert_allclose(trees(inputs).numpy(), learner.predict(matrix(inputs)), rtol=0, atol=1e-12)


def test_values_at_a_threshold_go_the_way_of_the_estimator():
    # Few different values: splits lie between them, and what is asked for lies on the splits.
    inputs = token_inputs([torch.round(t) for t in rows(40, 0).parts.values()])
    labels = labels_of(inputs)
    trees, learner = boosted(inputs, labels, 0), estimator(inputs, labels, 0)
    thresholds = set(trees.threshold.flatten().tolist())
    halves = token_inputs([torch.floor(t) + 0.5 for t in inputs.parts.values()])
    assert set(halves.scores.flatten().tolist()) & thresholds
    np.testing.assert_allclose(trees(halves).numpy(), learner.predict(matrix(halves)), rtol=0, atol=1e-12)


def test_equal_labels_are_predicted():
    inputs = rows(12, 0)
    trees = boosted(inputs, torch.full((12,), 0.7, dtype=torch.float64), 0)
    torch.testing.assert_close(trees(rows(5, 1)), torch.full((5,), 0.7, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_seed_decides_and_the_random_state_is_left_alone():
    inputs, others = rows(20, 0), rows(30, 1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, again, other = (boosted(inputs, labels_of(inputs), seed)(others) for seed in (3, 3, -1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


def test_the_state_is_all_there_is_to_save():
    inputs, others = rows(20, 0), rows(30, 1)
    trees = boosted(inputs, labels_of(inputs), 0)
    loaded = BoostedTrees(20, SHAPES)
    loaded.load_state_dict(trees.state_dict())
    loaded.check(SHAPES)
    assert torch.equal(loaded(others), trees(others))


def test_fitting_again_forgets_the_first_fit():
    inputs, others = rows(40, 0), rows(30, 1)
    trees = boosted(inputs, labels_of(inputs), 0)
    few = inputs[:3]
    expected = boosted(few, labels_of(few), 0)
    assert torch.equal(trees.fit(few, labels_of(few), few, 0)(others), expected(others))


def test_each_row_is_predicted_by_itself():
    inputs, others = rows(20, 0), rows(9, 1)
    trees = boosted(inputs, labels_of(inputs), 0)
    alone = torch.cat([trees(others[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(alone, trees(others), atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("child", 15, "a tree has a child outside 0 to 14"),
        ("child", -1, "a tree has a child outside 0 to 14"),
        ("child", 2**62, "a tree has a child outside 0 to 14"),
        ("column", COLUMNS, "a tree has a column outside 0 to 18"),
        ("column", -1, "a tree has a column outside 0 to 18"),
    ],
)
def test_trees_that_lead_elsewhere_are_refused(name, value, sentence):
    inputs = rows(20, 0)
    trees = boosted(inputs, labels_of(inputs), 0)
    trees.check(SHAPES)
    getattr(trees, name).view(-1)[77] = value
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        trees.check(SHAPES)


def test_trees_that_lead_in_circles_come_to_an_end():
    trees = BoostedTrees(20, SHAPES)
    trees.child.fill_(0)
    trees.value[:, 0] = 0.25
    trees.check(SHAPES)
    assert trees(rows(2, 0)).tolist() == [75.0, 75.0]


# random forests


def forest_estimator(inputs, labels, seed, depth, leaves):
    learner = RandomForestRegressor(
        n_estimators=300, max_features=0.3, max_depth=depth, max_leaf_nodes=leaves, random_state=seed
    )
    return learner.fit(matrix(inputs), labels.numpy())


@pytest.mark.parametrize(
    ("n", "seed", "depth", "leaves"), [(2, 0, 2, 2), (3, 1, 3, 3), (40, 7, 24, 40), (600, 0, 24, 256)]
)
def test_predictions_of_a_forest_are_those_of_the_estimator(n, seed, depth, leaves):
    inputs, others = rows(n, seed), rows(50, 90)
    labels = labels_of(inputs)
    trees, learner = forest_of(inputs, labels, seed), forest_estimator(inputs, labels, seed, depth, leaves)
    for given in (inputs, others):
        np.testing.assert_allclose(trees(given).numpy(), learner.predict(matrix(given)), rtol=0, atol=1e-12)
    assert trees(others).dtype == torch.float64 and trees(others).std() > 0
    assert trees.child.shape == (300, 2 * leaves - 1, 2)


def test_no_tree_of_a_forest_has_more_than_256_leaves():
    inputs = rows(600, 0)
    trees = forest_of(inputs, labels_of(inputs), 0)
    leaves = (trees.child[:, :, 0] == torch.arange(511)).sum(1)
    assert (leaves == 256).any() and leaves.max() == 256


def test_a_forest_learns_from_fewer_labels_than_it_has_place_for():
    inputs, others = rows(40, 0), rows(30, 1)
    few = inputs[:32]
    found = forest_of(few, labels_of(few), 0, 40)(others)
    learner = forest_estimator(few, labels_of(few), 0, 24, 40)
    np.testing.assert_allclose(found.numpy(), learner.predict(matrix(others)), rtol=0, atol=1e-12)


def test_the_state_of_a_forest_is_all_there_is_to_save():
    inputs, others = rows(20, 0), rows(30, 1)
    trees, loaded = forest_of(inputs, labels_of(inputs), 0), RandomForest(20, SHAPES)
    loaded.load_state_dict(trees.state_dict())
    loaded.check(SHAPES)
    assert torch.equal(loaded(others), trees(others))
    loaded.child.view(-1)[5] = 39
    with pytest.raises(ValueError, match=r"^a tree has a child outside 0 to 38$"):
        loaded.check(SHAPES)


def test_out_of_bag_predictions_are_those_of_the_trees_whose_sample_left_the_label_out():
    inputs = rows(30, 0)
    labels = labels_of(inputs)
    forest = forest_of(inputs, labels, 3)
    learner = forest_estimator(inputs, labels, 3, 24, 30)
    expected = np.zeros(30)
    for row in range(30):
        unseen = [tree for tree, drawn in zip(learner.estimators_, learner.estimators_samples_, strict=True)
                  if row not in drawn]  # fmt: skip
        assert 60 < len(unseen) < 160
        expected[row] = np.mean([tree.predict(matrix(inputs)[row : row + 1])[0] for tree in unseen])
    np.testing.assert_allclose(forest.out_of_bag.numpy(), expected, rtol=0, atol=1e-12)


def test_a_forest_may_read_some_parts_alone():
    inputs, others = rows(40, 0), rows(30, 1)
    labels, parts = inputs.scores.double().sum(1), ("scores", "blocks")
    trees = RandomForest(40, SHAPES, parts=parts).fit(inputs, labels, inputs, 0)
    learner = RandomForestRegressor(n_estimators=300, max_features=0.3, max_depth=24, max_leaf_nodes=40, random_state=0)
    learner.fit(inputs.columns(parts).numpy(), labels.numpy())
    expected = learner.predict(others.columns(parts).numpy())
    np.testing.assert_allclose(trees(others).numpy(), expected, rtol=0, atol=1e-12)
    trees.check(SHAPES)
    trees.column[0, 0] = 7
    with pytest.raises(ValueError, match=r"^a tree has a column outside 0 to 6$"):
        trees.check(SHAPES)


def test_the_settings_are_those_of_the_estimators():
    inputs, others = rows(30, 0), rows(20, 1)
    labels = labels_of(inputs)
    config = BoostedTreesConfig(trees=7, learning_rate=0.3, depth=2, rows=0.9, columns=0.5)
    trees = BoostedTrees(30, SHAPES, config).fit(inputs, labels, inputs, 0)
    learner = GradientBoostingRegressor(
        n_estimators=7, learning_rate=0.3, max_depth=2, subsample=0.9, max_features=0.5, random_state=0
    ).fit(matrix(inputs), labels.numpy())
    np.testing.assert_allclose(trees(others).numpy(), learner.predict(matrix(others)), rtol=0, atol=1e-12)
    assert trees.child.shape == (7, 7, 2)
    forest = RandomForest(30, SHAPES, RandomForestConfig(trees=80, columns=0.9, leaves=6, depth=4))
    learner = RandomForestRegressor(n_estimators=80, max_features=0.9, max_depth=4, max_leaf_nodes=6, random_state=0)
    learner.fit(matrix(inputs), labels.numpy())
    found = forest.fit(inputs, labels, inputs, 0)(others).numpy()
    np.testing.assert_allclose(found, learner.predict(matrix(others)), rtol=0, atol=1e-12)
    assert forest.child.shape == (80, 11, 2)


@pytest.mark.parametrize("config", [BoostedTreesConfig, RandomForestConfig])
@pytest.mark.parametrize("sizes", [{"trees": 0}, {"depth": 0}, {"depth": 33}])
def test_sizes_that_cannot_be_are_refused(config, sizes):
    with pytest.raises(
        InputError, match=r"^there are no .* trees of depth .*; set trees to 1 or more, depth to 1 to 32$"
    ):
        config(**sizes)
