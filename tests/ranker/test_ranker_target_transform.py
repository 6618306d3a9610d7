"""Which target transform the members of a ranker learn."""

import numpy as np
import pytest
import torch
from helpers import LABELS, SMALL, TABLE

from parzc.encoding.scaling import normal_scores
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.trees import BoostedTrees
from parzc.ranker import Ranker, training
from parzc.ranker.networks import make_network
from parzc.ranker.target_transform import ranks_better, standard_scores


def test_the_process_learns_the_transform_that_ranks_left_out_labels_better_and_the_trees_learn_plain_labels():
    chosen = []
    for seed in range(2):
        rows = np.random.default_rng(seed).permutation(110)[:60]
        ranker = Ranker("default", "nb201", seed, {**SMALL, "mixers": 0}).fit(TABLE[rows], LABELS[rows], TABLE)
        inputs, pool = ranker._inputs(TABLE[rows]), ranker._inputs(TABLE)
        means, fits = {}, {}
        for scale in (normal_scores, standard_scores):
            targets = torch.from_numpy(scale(LABELS[rows]))
            process = GaussianProcess(60, inputs.shapes).fit(inputs, targets, pool, seed)
            means[scale] = process.leave_one_out_mean(targets).numpy()
            fits[scale] = process(pool)
        plain = ranks_better(means[standard_scores], means[normal_scores], LABELS[rows])
        process, trees = (member(pool) for member in ranker.ensemble_.members_)
        torch.testing.assert_close(process, fits[standard_scores if plain else normal_scores])
        as_they_are = torch.from_numpy(standard_scores(LABELS[rows]))
        torch.testing.assert_close(trees, BoostedTrees(60, inputs.shapes).fit(inputs, as_they_are, inputs, seed)(pool))
        chosen.append(plain)
    assert chosen == [False, True]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_networks_learn_the_order_of_the_labels_whatever_the_others_learn(seed):
    rows = np.random.default_rng(seed).permutation(110)[:60]
    few = {**SMALL, "mixers": 1, "pretraining.steps": 0, "training.epochs": 5}
    ranker = Ranker("default", "nb201", seed, few).fit(TABLE[rows], LABELS[rows], TABLE)
    expected, config = make_network(ranker.preset_, ranker.ensemble_.shapes, 1000 * seed), ranker.preset_.training
    assert config.loss == "diff_kendall"
    training.train(expected, ranker._inputs(TABLE[rows]), torch.from_numpy(LABELS[rows]).float(), config, 1000 * seed)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(ranker.ensemble_.members_[0].network.state_dict()[name], value)
