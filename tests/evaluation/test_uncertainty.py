"""What scores and deviations say of the order: closed forms, simulations, and the ends of the range."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from parzc.evaluation.uncertainty import probability_above, rank_intervals
from parzc.ranker.acquisition import q_expected_improvement

INF, NAN = math.inf, math.nan
numbers = st.floats(-50, 50)
spreads = st.floats(0, 20)


@pytest.mark.parametrize(
    ("score", "deviation", "other", "other_deviation", "expected"),
    [
        (1, 0.6, 0, 0.8, 0.8413447460685429),  # one standard deviation of the difference, sqrt(.36 + .64)
        (0, 3, 10, 4, 0.022750131948179195),  # two below
        (5, 1, 5, 2, 0.5),
        (2, 0, 1, 0, 1),
        (1, 0, 2, 0, 0),
        (2, 0, 2, 0, 0.5),
        (2, 0, 1, 1, 0.8413447460685429),
        (INF, 1, 0, 1, 1),
        (0, 1, 0, INF, 0.5),
    ],
)
def test_closed_forms(score, deviation, other, other_deviation, expected):
    assert probability_above(score, deviation, other, other_deviation) == pytest.approx(expected, rel=1e-12)


def test_it_is_how_often_a_draw_is_above():
    rng = np.random.default_rng(0)
    score, deviation = np.array([0.3, -1.0, 2.0]), np.array([1.0, 0.2, 3.0])
    draws = score + deviation * rng.normal(size=(40_000, 3))
    others = 0.1 + 0.7 * rng.normal(size=(40_000, 1))
    # Three standard errors of a share of 40,000 draws.
    np.testing.assert_allclose(probability_above(score, deviation, 0.1, 0.7), (draws > others).mean(0), atol=0.0075)


@given(numbers, spreads, numbers, spreads)
def test_one_of_two_is_above(score, deviation, other, other_deviation):
    p = probability_above(score, deviation, other, other_deviation)
    q = probability_above(other, other_deviation, score, deviation)
    assert p + q == pytest.approx(1, abs=1e-12) and 0 <= p <= 1


@given(numbers, numbers, spreads, spreads)
def test_more_deviation_says_less(score, other, deviation, more):
    p, q = (probability_above(score, d, other, 1.0) for d in (deviation, deviation + more))
    assert abs(q - 0.5) <= abs(p - 0.5) + 1e-12


def test_shapes_broadcast():
    scores, deviations = np.array([0.0, 1.0, 3.0]), np.array([1.0, 0.0, 2.0])
    got = probability_above(scores[:, None], deviations[:, None], scores, deviations)
    assert got.shape == (3, 3) and got.dtype == np.float64
    for i in range(3):
        for j in range(3):
            assert got[i, j] == probability_above(scores[i], deviations[i], scores[j], deviations[j])
    assert np.diag(got).tolist() == [0.5] * 3
    assert probability_above([1, 2], [0, 0], 0, 0).tolist() == [1, 1]


@pytest.mark.parametrize("place", range(4))
def test_what_is_missing_is_not_taken_for_a_tie(place):
    arguments = [1.0, 1.0, 0.0, 1.0]
    arguments[place] = NAN
    assert np.isnan(probability_above(*arguments))


# ranks


@pytest.mark.parametrize("level", [0.05, 0.5, 0.999])
def test_scores_without_deviation_have_one_rank(level):
    scores = [0.3, -2.0, 9.0, 0.4]
    got = rank_intervals(scores, np.zeros(4), level, draws=7)
    assert got.tolist() == [[3, 3], [4, 4], [1, 1], [2, 2]] and got.dtype == np.int64


def test_ties_take_the_order_of_a_stable_ranking():
    scores = np.repeat([1.0, 2.0, 0.0], 400)
    ranks = np.empty(1200, dtype=int)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, 1201)
    np.testing.assert_array_equal(rank_intervals(scores, np.zeros(1200), draws=3), np.stack([ranks, ranks], 1))


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_true_ranks_lie_within_as_often_as_said(level):
    rng = np.random.default_rng(1)
    inside = []
    for repeat in range(40):
        scores, deviations = rng.normal(size=60), rng.uniform(0.2, 0.8, size=60)
        truth = scores + deviations * rng.normal(size=60)
        rank = (truth[:, None] <= truth).sum(1)
        low, high = rank_intervals(scores, deviations, level, seed=repeat).T
        inside.append(((low <= rank) & (rank <= high)).mean())
    # Ranks are whole numbers: an interval holds what it says or a little more.
    assert level - 0.02 < np.mean(inside) < level + 0.06


def test_two_networks_by_hand():
    # The first is above the second with probability .841: its rank is 1 in 80 %, both ranks in 95 % of the draws.
    scores, deviations = [1.0, 0.0], [0.6, 0.8]
    assert rank_intervals(scores, deviations, 0.6).tolist() == [[1, 1], [2, 2]]
    assert rank_intervals(scores, deviations, 0.95).tolist() == [[1, 2], [1, 2]]


def test_higher_levels_are_wider():
    rng = np.random.default_rng(2)
    scores, deviations = rng.normal(size=50), rng.uniform(0, 1, size=50)
    intervals = [rank_intervals(scores, deviations, level) for level in (0.1, 0.5, 0.9, 0.99)]
    for inner, outer in itertools.pairwise(intervals):
        assert (outer[:, 0] <= inner[:, 0]).all() and (outer[:, 1] >= inner[:, 1]).all()
    assert all((low <= high).all() and low.min() >= 1 and high.max() <= 50 for low, high in (i.T for i in intervals))
    assert (intervals[3] != intervals[0]).any()


def test_the_interval_of_the_best_starts_at_the_top():
    rng = np.random.default_rng(3)
    scores, deviations = rng.normal(size=100), np.full(100, 0.3)
    low, high = rank_intervals(scores, deviations).T
    assert low[scores.argmax()] == 1 and high[scores.argmin()] == 100


def test_the_seed_decides_and_the_random_state_is_left_alone():
    scores, deviations = np.arange(30.0), np.full(30, 5.0)
    before = np.random.get_state()[1].tolist()
    first = rank_intervals(scores, deviations, seed=4, draws=50)
    np.testing.assert_array_equal(rank_intervals(scores, deviations, seed=4, draws=50), first)
    assert (rank_intervals(scores, deviations, seed=5, draws=50) != first).any()
    assert np.random.get_state()[1].tolist() == before


def test_what_is_certain_is_taken_in_the_order_of_the_scores():
    scores = np.array([0.3, 2.0, -1.0, 1.0, 1.5])
    assert q_expected_improvement(scores, np.zeros((5, 5)), 5) == [1, 4, 3, 0, 2]


def test_a_twin_of_a_chosen_one_adds_nothing():
    scores = np.array([1.0, 1.0, 0.5, 0.0])
    twins = np.array([[1.0, 1.0, 0, 0], [1.0, 1.0, 0, 0], [0, 0, 0.04, 0], [0, 0, 0, 0.01]])
    assert q_expected_improvement(scores, twins, 4)[:2] == [0, 2]
    assert sorted(q_expected_improvement(scores, twins, 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(8))
def test_the_second_one_makes_the_expected_maximum_largest(seed):
    rng = np.random.default_rng(seed)
    scores, root = rng.normal(size=6), rng.normal(size=(6, 6))
    covariance = root @ root.T / 4
    first, second = q_expected_improvement(scores, covariance, 2, seed, draws=40_000)
    assert first == scores.argmax()
    # Clark, "The greatest of a finite set of random variables", 1961: the expected maximum of two normal variables.
    spread = np.sqrt(np.diag(covariance) + covariance[first, first] - 2 * covariance[first]).clip(1e-12)
    gap = (scores - scores[first]) / spread
    gain = scores[first] * norm.cdf(-gap) + scores * norm.cdf(gap) + spread * norm.pdf(gap)
    gain[first] = -np.inf
    # Three standard errors of a mean of 40,000 draws.
    assert gain[second] >= gain.max() - 3 * spread.max() / 200


def test_the_same_seed_chooses_the_same():
    rng = np.random.default_rng(1)
    scores, root = rng.normal(size=30), rng.normal(size=(30, 3))
    chosen = q_expected_improvement(scores, root @ root.T, 8, seed=4)
    assert chosen == q_expected_improvement(scores, root @ root.T, 8, seed=4) and len(set(chosen)) == 8
    assert chosen[:3] == q_expected_improvement(scores, root @ root.T, 3, seed=4)
