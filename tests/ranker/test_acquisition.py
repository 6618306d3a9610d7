"""Expected improvement: the closed form against integrals, pending networks, the best one known."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from parzc.ranker.acquisition import log_expected_improvement, q_expected_improvement


@pytest.mark.parametrize(("mean", "deviation", "best"), [(0.0, 1.0, 0.0), (1.0, 0.5, 0.2), (-2.0, 0.7, 1.0)])
def test_expected_improvement_is_the_integral_over_the_normal_distribution(mean, deviation, best):
    integral, _ = quad(lambda x: (x - best) * norm.pdf(x, mean, deviation), best, mean + 12 * deviation)
    found = log_expected_improvement(np.array([mean]), np.array([deviation]), best)
    np.testing.assert_allclose(np.exp(found), [integral], rtol=1e-6)


def test_networks_that_are_hardly_ever_better_stay_in_order():
    found = log_expected_improvement(np.array([-29.9, -30.1, -60.0, -400.0]), np.ones(4), 0.0)
    assert np.isfinite(found).all() and (np.diff(found) < 0).all()
    # The first two terms of the tail: pdf(z) / z^2.
    np.testing.assert_allclose(found[2], norm.logpdf(60) - 2 * np.log(60), atol=1e-9)
    assert found[1] - found[0] == pytest.approx(norm.logpdf(30.1) - norm.logpdf(29.9), abs=0.1)


def test_what_is_not_better_than_the_best_known_one_adds_nothing():
    scores, covariance = np.array([1.0, 0.0]), np.diag([0.0, 1.0])
    assert q_expected_improvement(scores, covariance, 1) == [0]
    assert q_expected_improvement(scores, covariance, 1, best=1.0) == [1]


def test_pending_networks_count_as_chosen():
    root = np.random.default_rng(1).standard_normal((30, 30)) / 5
    scores, covariance = np.random.default_rng(2).standard_normal(30), root @ root.T
    first, second, third = q_expected_improvement(scores, covariance, 3, seed=4, best=0.5)
    assert q_expected_improvement(scores, covariance, 2, seed=4, best=0.5, pending=[first]) == [second, third]
    assert q_expected_improvement(scores, covariance, 1, seed=4, best=0.5, pending=[second, first]) == [third]


def test_the_twin_of_a_pending_network_is_not_chosen():
    # The first two always have equal scores.
    scores, covariance = np.array([2.0, 2.0, 1.0]), np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert q_expected_improvement(scores, covariance, 1, best=0.0) == [0]
    assert q_expected_improvement(scores, covariance, 1, best=0.0, pending=[0]) == [2]
