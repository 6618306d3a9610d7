"""Labels and pools that say nothing about an order are refused in one sentence."""

import numpy as np
import pytest
from helpers import LABELS, SMALL, TRAIN

from parzc.errors import InputError
from parzc.ranker import Ranker

FEW = SMALL | {"training.epochs": 1, "mixers": 1}


def ranker() -> Ranker:
    return Ranker("default", "nb201", settings=FEW)


@pytest.mark.parametrize("label", [0.0, 93.5, -1e9])
def test_labels_that_are_all_the_same_are_refused(label):
    with pytest.raises(InputError, match=r"^all 50 accuracies are .*, so that there is no order to learn; give"):
        ranker().fit(TRAIN, np.full(50, label))


def test_one_network_is_no_pool():
    with pytest.raises(InputError, match="there are 1; give the features of at least 2"):
        ranker().fit(TRAIN, LABELS[:50], unlabelled=TRAIN[[3]])
    with pytest.raises(InputError, match="there are 1; give the features of at least 2"):
        ranker().fit(TRAIN, LABELS[:50]).adapt(TRAIN[[3]])


def test_networks_that_are_all_the_same_are_no_pool():
    with pytest.raises(InputError, match="the 3 networks to be ranked do not differ in anything"):
        ranker().fit(TRAIN, LABELS[:50], unlabelled=TRAIN[[3, 3, 3]])


def test_two_labels_that_differ_and_two_networks_are_enough():
    fitted = ranker().fit(TRAIN[[0, 1]], [1.0, 2.0])
    np.testing.assert_allclose(sorted(fitted.predict(TRAIN[[0, 1]])), [-1, 1], rtol=1e-6)
    np.testing.assert_array_less(fitted.predict_dist(TRAIN[[0, 1]])[1], 1e3)
