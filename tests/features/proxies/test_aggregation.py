"""Rank aggregation against loops over architectures."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parzc.errors import InputError
from parzc.features import AZ_NAS, aggregate_ranks

NAN = math.nan


def slow_rank(values, i):
    """The mean of the places that the value shares, counted from the lowest; what is missing is lower than anything."""
    keys = [-math.inf if math.isnan(v) else v for v in values]
    below, equal = sum(k < keys[i] for k in keys), sum(k == keys[i] for k in keys)
    return below + (equal + 1) / 2


def slow(scores, method="log"):
    m = len(next(iter(scores.values())))
    totals = [0.0] * m
    for name, values in scores.items():
        signed = [-v for v in values] if name == "ntk" else list(values)
        for i in range(m):
            share = slow_rank(signed, i) / m
            totals[i] += math.log(share) if method == "log" else share
    return totals


@pytest.mark.parametrize("method", ["log", "linear"])
def test_az_nas_is_the_sum_over_its_four_proxies(method):
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=9) for name in AZ_NAS}
    found = aggregate_ranks(scores, method)
    assert AZ_NAS == ("expressivity", "progressivity", "trainability", "flops")
    assert found.shape == (9,) and found.dtype == np.float64
    np.testing.assert_allclose(found, slow(scores, method), rtol=1e-12)


def test_ranks_by_hand():
    scores = {"snip": [10, 30, 20, 40], "nwot": [1.0, 2.0, 3.0, 4.0]}
    expected = [math.log(1 / 4) * 2, math.log(3 / 4) + math.log(2 / 4), math.log(2 / 4) + math.log(3 / 4), 0.0]
    np.testing.assert_allclose(aggregate_ranks(scores), expected)
    np.testing.assert_allclose(aggregate_ranks(scores, "linear"), [0.5, 1.25, 1.25, 2.0])


def test_one_bad_rank_weighs_more_than_good_ones_in_log_only():
    scores = {"snip": [1, 5, 4, 3, 2], "nwot": [5, 1, 2, 3, 4], "flops": [5, 2, 1, 4, 3]}
    assert aggregate_ranks(scores, "linear")[0] == max(aggregate_ranks(scores, "linear"))
    assert aggregate_ranks(scores)[0] < aggregate_ranks(scores)[3]


def test_ties_share_their_mean_rank():
    np.testing.assert_allclose(aggregate_ranks({"snip": [7, 1, 7, 9, 7]}, "linear"), np.array([3, 1, 3, 5, 3]) / 5)


def test_what_has_no_value_shares_the_lowest_ranks():
    values = [NAN, -1e300, 5.0, NAN]
    np.testing.assert_allclose(aggregate_ranks({"snip": values}, "linear"), np.array([1.5, 3, 4, 1.5]) / 4)
    np.testing.assert_allclose(aggregate_ranks({"ntk": values}, "linear"), np.array([1.5, 4, 3, 1.5]) / 4)


def test_smaller_is_better_where_the_record_says_so():
    np.testing.assert_allclose(aggregate_ranks({"ntk": [3.0, 1.0, 2.0]}, "linear"), np.array([1, 3, 2]) / 3)
    both = {"ntk": [3.0, 1.0, 2.0], "snip": [-3.0, -1.0, -2.0]}
    np.testing.assert_allclose(aggregate_ranks(both), 2 * aggregate_ranks({"snip": both["snip"]}))


def test_the_scores_given_are_left_alone():
    values = np.array([3.0, NAN, 2.0])
    aggregate_ranks({"ntk": values})
    np.testing.assert_array_equal(values, [3.0, NAN, 2.0])


def test_one_architecture_and_none():
    assert aggregate_ranks({"snip": [3.0], "ntk": [NAN]}).tolist() == [0.0]
    assert aggregate_ranks({"snip": []}).tolist() == []


@pytest.mark.parametrize(
    ("scores", "method", "sentence"),
    [
        ({}, "log", "no proxies were given"),
        ({"no_such": [1.0]}, "log", "there is no proxy 'no_such'"),
        ({"snip": [1.0, 2.0], "nwot": [1.0]}, "log", r"snip \(2,\), nwot \(1,\)"),
        ({"snip": [[1.0, 2.0]]}, "log", r"one value for each architecture.*snip \(1, 2\)"),
        ({"snip": 1.0}, "log", r"one value for each architecture.*snip \(\)"),
        ({"snip": [1.0]}, "median", "there is no aggregation 'median'; choose log or linear"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, method, sentence):
    with pytest.raises(InputError, match=sentence):
        aggregate_ranks(scores, method)


VALUES = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6), st.just(NAN))
TABLES = st.integers(1, 12).flatmap(
    lambda m: st.fixed_dictionaries(
        {name: st.lists(VALUES, min_size=m, max_size=m) for name in ("snip", "ntk", "trainability")}
    )
)
METHODS = st.sampled_from(["log", "linear"])


@given(TABLES, METHODS)
@settings(deadline=None)
def test_any_table_is_aggregated_as_by_loops(scores, method):
    found = aggregate_ranks(scores, method)
    np.testing.assert_allclose(found, slow(scores, method), rtol=1e-12, atol=1e-12)
    assert ((found <= 0) if method == "log" else (found > 0) & (found <= 3 + 1e-12)).all()


@given(TABLES, METHODS, st.sampled_from([np.arctan, np.cbrt, lambda v: 3 * v - 7, lambda v: np.sign(v) * v**2]))
@settings(deadline=None)
def test_a_monotone_transformation_of_a_column_changes_nothing(scores, method, transform):
    for name, values in scores.items():
        column = np.array(values)
        moved = transform(column)
        # Only transformations that rounding keeps strict.
        assume(len(set(moved[~np.isnan(moved)])) == len(set(column[~np.isnan(column)])))
        np.testing.assert_array_equal(aggregate_ranks(scores | {name: moved}, method), aggregate_ranks(scores, method))


@given(TABLES, METHODS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_architectures_may_come_in_any_order(scores, method, chance):
    order = list(range(len(scores["snip"])))
    chance.shuffle(order)
    shuffled = {name: np.array(values)[order] for name, values in scores.items()}
    np.testing.assert_array_equal(aggregate_ranks(shuffled, method), aggregate_ranks(scores, method)[order])
