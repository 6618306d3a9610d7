"""A ranker that ranks another population of networks than the one that it was trained on."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import LABELS, TABLE, TEST, TRAIN, fitted

from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.features import proxy_info
from parzc.ranker import Ranker


def elsewhere(table, task="jigsaw"):
    """Return the same networks measured elsewhere: other units for everything, in the same order."""

    def stretched(values, log):
        return values + 5 if log else 150 * values

    return replace(
        table,
        statistics={n: stretched(v, proxy_info(n).scale == "log") for n, v in table.statistics.items()},
        scores={name: np.sinh(values / 1e5) + 7 for name, values in table.scores.items()},
        block_statistics={name: 2 * values - 3 for name, values in table.block_statistics.items()},
        definitions={name: {**known, "task": task} for name, known in table.definitions.items()},
    )


@pytest.mark.parametrize("space", ["", "nb201"])
def test_only_the_order_of_what_was_measured_enters(space):
    ranker = fitted(space=space)
    expected = ranker.predict(TRAIN)
    with pytest.raises(InputError, match="has task 'jigsaw', but the ranker was trained on 'cifar10'"):
        ranker.predict(elsewhere(TRAIN))
    assert ranker.adapt(elsewhere(TRAIN)) is ranker
    np.testing.assert_allclose(ranker.predict(elsewhere(TRAIN)), expected, atol=1e-4)
    with pytest.raises(InputError, match="has task 'cifar10', but the ranker was trained on 'jigsaw'"):
        ranker.predict(TRAIN)


def test_a_population_that_is_better_throughout_is_ranked_by_its_own_order():
    ranker, others = fitted(space=""), elsewhere(TEST)
    before = kendall_tau(ranker.predict(TEST), LABELS[50:])
    scores = ranker.adapt(others).predict(others)
    assert kendall_tau(scores, LABELS[50:]) == pytest.approx(before, abs=0.05) and before > 0.4
    assert scores.mean() == pytest.approx(0, abs=1e-6) and scores.std() == pytest.approx(1, abs=1e-6)


def test_shapes_stay_where_networks_have_other_blocks():
    ranker, shapes = fitted(space=""), fitted(space="").ensemble_.shapes
    one = np.arange(len(TEST) + 1)
    kept = TEST.block_offsets[:-1]
    fewer = replace(
        TEST,
        block_offsets=one,
        blocks=TEST.blocks[kept],
        block_statistics={name: values[kept] for name, values in TEST.block_statistics.items()},
    )
    ranker.adapt(fewer)
    assert ranker._inputs(fewer).shapes == shapes
    assert np.isfinite(ranker.predict(fewer)).all()


def test_a_ranker_that_was_adapted_is_saved_as_it_is(tmp_path):
    ranker, others = fitted(space=""), elsewhere(TEST)
    ranker.adapt(others).save(tmp_path)
    loaded = Ranker.load(tmp_path)
    for one, other in zip(loaded.predict_dist(others), ranker.predict_dist(others), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_features_that_it_was_fitted_on_are_left_alone():
    ranker = fitted(space="")
    encoder = ranker.encoder_
    arrays = {name: values.copy() for name, values in encoder.arrays.items()}
    ranker.adapt(elsewhere(TEST))
    assert ranker.encoder_ is not encoder
    for name, values in arrays.items():
        np.testing.assert_array_equal(encoder.arrays[name], values)


def test_the_preset_of_the_paper_scales_each_network_by_itself():
    ranker = fitted("paper", space="")
    before = ranker.predict(TEST)
    others = replace(TEST, definitions={name: {**d, "task": "jigsaw"} for name, d in TEST.definitions.items()})
    after = ranker.adapt(others).predict(others)
    np.testing.assert_allclose(after, (before - before.mean()) / before.std(), atol=1e-5)


def test_nodes_of_another_space_are_refused():
    strangers = replace(TABLE, names=tuple(f"blocks.{i}" for i in range(len(TABLE.names))))
    with pytest.raises(InputError, match=r"^node 'blocks\.\d+' fills no slot of this space"):
        fitted(space="nb201").adapt(strangers)


def test_features_that_lack_a_statistic_are_refused():
    without = {name: values for name, values in TABLE.statistics.items() if name != "snip"}
    with pytest.raises(InputError, match="the features lack the statistic 'snip'"):
        fitted(space="").adapt(replace(TABLE, statistics=without))
