"""RankGauss against the closed form of the normal scores of ranks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest

from parzc.encoding.scaling import RankGauss, normal_scores
from parzc.errors import InputError

INF, NAN = math.inf, math.nan
EDGE = ndtri(0.5 / 257)
"""Where the smallest value goes; the largest goes to its opposite."""

columns = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40)


def scaled(fitted, values=None):
    """Fit one column, and map another (the same if not given)."""
    fitted = np.array(fitted, dtype=np.float64)[:, None]
    values = fitted if values is None else np.array(values, dtype=np.float64)[:, None]
    return RankGauss().fit(fitted).transform(values)[:, 0]


def test_distinct_values_get_the_normal_scores_of_their_ranks():
    # The ranks of 5 values lie at the fractions 0, 1/4, 1/2, 3/4 and 1; the ends are drawn in.
    quarter = ndtri(0.25)
    np.testing.assert_allclose(scaled([7, -3, 1e9, 0, 2]), [-quarter, EDGE, -EDGE, quarter, 0], atol=1e-12)


def test_many_distinct_values_become_standard_normal():
    values = np.random.default_rng(0).lognormal(sigma=8, size=2000)
    out = scaled(values)
    assert abs(out.mean()) < 0.005
    assert out.std() == pytest.approx(1, abs=0.01)
    assert kstest(out, "norm").statistic < 0.01


def test_values_between_are_interpolated():
    np.testing.assert_allclose(scaled([0, 1, 2, 3, 4], [0.5, 3.5]), [ndtri(0.125), ndtri(0.875)], atol=1e-12)


def test_values_beyond_the_fitted_range_go_to_its_ends():
    np.testing.assert_allclose(scaled([0, 1, 2], [-5, 9]), [EDGE, -EDGE])


@pytest.mark.parametrize(
    ("column", "fractions"),
    [
        # Three equal values hold the ranks 0 to 2 of 0 to 4: their middle is a quarter of the way.
        ([1, 1, 1, 2, 3], [1 / 4, 1 / 4, 1 / 4, 3 / 4, 1]),
        ([0, 5, 5, 5, 9], [0, 1 / 2, 1 / 2, 1 / 2, 1]),
        ([0, 1, 4, 4, 4], [0, 1 / 4, 3 / 4, 3 / 4, 3 / 4]),
        ([6, 6, 6, 6, 6], [1 / 2] * 5),
        ([6], [1 / 2]),
    ],
)
def test_ties_get_the_middle_of_their_ranks(column, fractions):
    np.testing.assert_allclose(scaled(column), ndtri(np.clip(fractions, 0.5 / 257, 1 - 0.5 / 257)), atol=1e-12)


def test_missing_values_and_minus_infinity_are_the_smallest():
    assert scaled([0, 1, 2, 3, 4], [NAN, -INF, 0, 1]) == pytest.approx([EDGE, EDGE, EDGE, ndtri(0.25)])


def test_infinity_is_the_largest():
    assert scaled([0, 1, 2, 3, 4], [INF, 4, 3]) == pytest.approx([-EDGE, -EDGE, ndtri(0.75)])


def test_values_that_are_not_finite_leave_the_scale_of_the_others_alone():
    assert scaled([0, NAN, 1, -INF, 2, INF, 3, 4], [1, 2]) == pytest.approx(list(scaled([0, 1, 2, 3, 4], [1, 2])))


@pytest.mark.parametrize("column", [[NAN, NAN], [-INF, NAN], [INF, -INF]])
def test_a_column_without_finite_values_is_zero(column):
    assert scaled(column).tolist() == [0, 0]
    assert scaled(column, [-5, 0, 5, INF, -INF, NAN]).tolist() == [0] * 6


def test_only_what_is_present_enters_the_scale():
    values = np.array([[0.0, 1], [1, 2], [2, 3], [100, 4], [100, 5]])
    present = np.array([[True, False], [True, False], [True, False], [False, False], [False, False]])
    out = RankGauss().fit(values, present).transform(values)
    np.testing.assert_allclose(out[:, 0], [EDGE, 0, -EDGE, -EDGE, -EDGE], atol=1e-12)
    assert out[:, 1].tolist() == [0] * 5


def test_columns_are_scaled_each_by_itself():
    values = np.random.default_rng(0).normal(size=(30, 3)) * [1, 1e12, 1e-12]
    together = RankGauss().fit(values).transform(values)
    alone = [RankGauss().fit(values[:, [j]]).transform(values[:, [j]])[:, 0] for j in range(3)]
    np.testing.assert_array_equal(together, np.stack(alone, axis=1))


def test_other_columns_are_refused():
    scaling = RankGauss().fit(np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"^2 columns of features, but scaling was fitted on 3$"):
        scaling.transform(np.zeros((4, 2)))


@settings(deadline=None)
@given(columns, columns)
def test_the_order_is_kept(fitted, values):
    out = scaled(fitted, sorted(values))
    assert (np.diff(out) >= 0).all()
    assert np.isfinite(out).all() and abs(out).max() <= -EDGE + 1e-9


@settings(deadline=None)
@given(columns, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(column, random):
    shuffled = random.sample(column, len(column))
    np.testing.assert_array_equal(scaled(shuffled, column), scaled(column))


@settings(deadline=None)
@given(columns, st.data())
def test_a_subset_is_mapped_as_within_the_whole(column, data):
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), max_size=5))
    whole = scaled(column)
    np.testing.assert_array_equal(scaled(column, np.array(column)[rows]), whole[rows])


@settings(deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40, unique=True))
def test_only_the_order_enters(column):
    # Cubes are in the same order, and between the values nothing is looked up when the knots are the values.
    scaling = RankGauss(knots=len(column))
    values = np.array(column, dtype=np.float64)[:, None]
    np.testing.assert_allclose(
        scaling.fit(values).transform(values), scaling.fit(values**3).transform(values**3), atol=1e-9
    )


# labels


@pytest.mark.parametrize(
    ("values", "fractions"),
    [
        ([7.0], [1 / 2]),
        ([1.0, 2.0], [1 / 4, 3 / 4]),
        ([93.1, 10.0, 94.2, 90.0], [5 / 8, 1 / 8, 7 / 8, 3 / 8]),
        # Two equal values have the ranks 2 and 3 of 4: 2.5 each.
        ([5.0, 0.0, 5.0, 9.0], [1 / 2, 1 / 8, 1 / 2, 7 / 8]),
        ([3.0, 3.0, 3.0], [1 / 2] * 3),
    ],
)
def test_labels_get_the_normal_scores_of_their_ranks(values, fractions):
    np.testing.assert_allclose(normal_scores(np.array(values)), ndtri(fractions), atol=1e-12)


def test_normal_scores_of_two_labels_by_hand():
    # The quartiles of the standard normal distribution.
    np.testing.assert_allclose(normal_scores(np.array([3.0, -8.0])), [0.6744897501960817, -0.6744897501960817])


@given(columns)
def test_normal_scores_keep_the_order_and_nothing_else(column):
    values = np.array(column, dtype=np.float64)
    scores = normal_scores(values)
    assert (np.sign(np.subtract.outer(scores, scores)) == np.sign(np.subtract.outer(values, values))).all()
    np.testing.assert_array_equal(normal_scores(3 * values), scores)
    np.testing.assert_allclose(normal_scores(-values), -scores, atol=1e-12)


def test_many_normal_scores_are_standard_normal():
    scores = normal_scores(np.random.default_rng(0).lognormal(size=5000))
    assert scores.mean() == pytest.approx(0, abs=1e-12) and scores.std() == pytest.approx(1, abs=2e-3)
    assert kstest(scores, "norm").statistic < 2e-4


def test_numbers_next_to_zero_have_finite_scores_in_order():
    column = np.array([0.0, 9.5e-322, 5.3e-313, 5e-317, 1e-299, 2e-81, 3e-75, 1.0] * 40)
    scores = scaled(column)[:8]
    assert np.isfinite(scores).all()
    assert len(set(scores[:5])) == 1 and (np.diff(scores[4:]) > 0).all()
