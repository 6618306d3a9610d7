"""Metrics against hand-computed cases, enumeration of all tie orders, and scikit-learn's NDCG."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from parzc.errors import InputError
from parzc.evaluation import metrics

# First calls of torch and scipy take longer than the deadline of hypothesis.
RELAXED = settings(deadline=None)
# Whole numbers in a narrow range: many ties, exact arithmetic.
PAIRS = st.integers(2, 7).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n)] * 2))
PAIRS_AND_K = PAIRS.flatmap(lambda pair: st.tuples(st.just(pair), st.integers(1, len(pair[0]))))
CORRELATIONS = [metrics.kendall_tau, metrics.spearman, metrics.pearson]
AT_K = [metrics.precision_at_k, metrics.ndcg_at_k, metrics.regret_at_k]


def tau_b_by_pairs(x, y):
    pairs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)]
    untied = math.prod(sum(pair[side] != 0 for pair in pairs) for side in (0, 1))
    return sum(a * b for a, b in pairs) / math.sqrt(untied) if untied else math.nan


def mean_over_tie_orders(value, scores, k):
    """Mean of `value(chosen)` over every order of the items that puts higher scores first."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return float(np.mean([value(list(order[:k])) for order in orders]))


@RELAXED
@given(PAIRS)
def test_kendall_is_tau_b_over_pairs(pair):
    assert metrics.kendall_tau(*pair) == pytest.approx(tau_b_by_pairs(*pair), nan_ok=True)


def test_correlations_by_hand():
    x, y = [1, 2, 3, 4], [1, 3, 2, 10]
    assert metrics.kendall_tau(x, y) == pytest.approx(4 / 6)
    assert metrics.spearman(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert metrics.pearson(x, y) == pytest.approx(13 / math.sqrt(5 * 50))


@pytest.mark.parametrize("correlation", CORRELATIONS)
@RELAXED
@given(pair=PAIRS, data=st.data())
def test_correlations_range_sign_and_order(correlation, pair, data):
    x, y = map(np.array, pair)
    value = correlation(x, y)
    order = data.draw(st.permutations(range(len(x))))
    assert math.isnan(value) == (len(set(x)) == 1 or len(set(y)) == 1)
    assert math.isnan(value) or -1 <= value <= 1
    assert correlation(-x, y) == pytest.approx(-value, nan_ok=True)
    assert correlation(y, x) == pytest.approx(value, nan_ok=True)
    assert correlation(x[order], y[order]) == pytest.approx(value, nan_ok=True)


@RELAXED
@given(PAIRS)
def test_rank_correlations_do_not_see_monotone_maps(pair):
    x, y = map(np.array, pair)
    for correlation in (metrics.kendall_tau, metrics.spearman):
        assert correlation(np.exp(5 * x), y**3) == pytest.approx(correlation(x, y), nan_ok=True)


def test_pearson_of_nearly_constant_scores_does_not_warn():
    assert metrics.pearson([1.0, 1.0, 1.0 + 1e-13], [0.0, 0.0, 1.0]) == pytest.approx(1.0, abs=0.01)


@RELAXED
@given(PAIRS_AND_K)
def test_precision_is_mean_over_tie_orders(case):
    (scores, labels), k = case
    cut = sorted(labels)[-k]
    expected = mean_over_tie_orders(lambda chosen: np.mean([labels[i] >= cut for i in chosen]), scores, k)
    assert metrics.precision_at_k(scores, labels, k) == pytest.approx(expected)


@RELAXED
@given(PAIRS_AND_K)
def test_regret_is_mean_over_tie_orders(case):
    (scores, labels), k = case
    best = max(labels)
    expected = mean_over_tie_orders(lambda chosen: best - max(labels[i] for i in chosen), scores, k)
    assert metrics.regret_at_k(scores, labels, k) == pytest.approx(expected, abs=1e-12)


@RELAXED
@given(PAIRS_AND_K)
def test_ndcg_equals_scikit_learn_on_scaled_labels(case):
    (scores, labels), k = case
    y = np.array(labels, dtype=float)
    value = metrics.ndcg_at_k(scores, labels, k)
    if len(set(labels)) == 1:
        assert math.isnan(value)
        return
    scaled = (y - y.min()) / (y.max() - y.min())
    assert value == pytest.approx(ndcg_score([scaled], [scores], k=k))
    assert metrics.ndcg_at_k(scores, 100 + 3 * y, k) == pytest.approx(value)


def test_top_metrics_by_hand():
    scores, labels = [5.0, 4.0, 3.0, 2.0], [70.0, 94.0, 93.0, 90.0]
    assert metrics.precision_at_k(scores, labels, 2) == 0.5
    assert metrics.regret_at_k(scores, labels, 1) == pytest.approx(24)
    assert metrics.regret_at_k(scores, labels, 2) == 0
    found = 0 + 1 / math.log2(3)
    assert metrics.ndcg_at_k(scores, labels, 2) == pytest.approx(found / (1 + (23 / 24) / math.log2(3)))


@pytest.mark.parametrize("metric", AT_K)
@RELAXED
@given(case=PAIRS_AND_K, data=st.data())
def test_top_metrics_do_not_depend_on_order_of_rows(metric, case, data):
    pair, k = case
    x, y = map(np.array, pair)
    order = data.draw(st.permutations(range(len(x))))
    value = metric(x, y, k)
    assert metric(x[order], y[order], k) == pytest.approx(value, nan_ok=True, abs=1e-12)
    assert metric(x * 2 + 9, y, k) == pytest.approx(value, nan_ok=True, abs=1e-12)


@RELAXED
@given(PAIRS_AND_K)
def test_labels_as_scores_are_perfect(case):
    (_, labels), k = case
    assert metrics.precision_at_k(labels, labels, k) == pytest.approx(1)
    assert metrics.regret_at_k(labels, labels, k) == pytest.approx(0, abs=1e-12)
    perfect = 1.0 if len(set(labels)) > 1 else math.nan
    assert metrics.ndcg_at_k(labels, labels, k) == pytest.approx(perfect, nan_ok=True)


def test_constant_scores_gain_nothing_from_sorted_rows():
    labels = np.arange(1000.0)[::-1]
    assert metrics.precision_at_k(np.zeros(1000), labels, 50) == pytest.approx(0.05)
    # The mean of the maximum of 10 of 0..999 without replacement is 10 * 1001 / 11 - 1.
    assert metrics.regret_at_k(np.zeros(1000), labels) == pytest.approx(999 - (10 * 1001 / 11 - 1))


@pytest.mark.parametrize(("n", "fraction", "k"), [(100, 0.05, 5), (78, 0.05, 4), (5, 0.05, 1), (4, 1.0, 4)])
def test_precision_at_fraction_rounds_to_a_count(n, fraction, k):
    scores, labels = np.random.default_rng(0).normal(size=(2, n))
    labels += scores
    expected = len(set(np.argsort(-scores)[:k]) & set(np.argsort(-labels)[:k])) / k
    assert metrics.precision_at_fraction(scores, labels, fraction) == pytest.approx(expected)


def test_fill_missing_ranks_last_and_tied():
    scores = np.array([3.0, np.nan, -1e30, np.inf, 5.0, -np.inf])
    filled = metrics.fill_missing(scores)
    assert filled[[0, 2, 4]].tolist() == [3.0, -1e30, 5.0]
    assert filled[1] == filled[3] == filled[5] < -1e30
    assert np.isnan(scores[1]), "the input stays as it was"
    assert metrics.fill_missing([np.nan, np.nan]).tolist() == [0.0, 0.0]


@RELAXED
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8), st.integers(1, 3))
def test_fill_missing_keeps_finite_scores(scores, missing):
    filled = metrics.fill_missing([np.nan] * missing + scores)
    assert filled[missing:].tolist() == scores
    assert set(filled[:missing]) == {filled[0]}
    assert filled[0] < min(scores)


def test_bootstrap_of_mean_matches_normal_theory():
    values = np.random.default_rng(5).normal(loc=2.0, size=400)
    low, high = metrics.bootstrap_interval(values, level=0.9, resamples=4000)
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.645 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.645 * error, abs=0.1 * error)


def test_bootstrap_of_two_values_by_hand():
    # Resample means are 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    assert metrics.bootstrap_interval([0.0, 1.0], level=0.95) == (0.0, 1.0)
    assert metrics.bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)
    assert metrics.bootstrap_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)


@pytest.mark.parametrize(("n", "resamples"), [(2, 3), (10, 1000), (31, 777), (3000, 400)])
def test_the_mean_is_bootstrapped_as_one_resample_after_the_other(n, resamples):
    values = np.random.default_rng(n).normal(size=n)
    expected = metrics.bootstrap_interval(values, lambda sample: np.mean(sample), resamples=resamples, seed=4)
    assert metrics.bootstrap_interval(values, resamples=resamples, seed=4) == expected


def test_bootstrap_repeats_by_seed_and_leaves_global_state():
    values = [1.0, 5.0, 2.0, 8.0]
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = metrics.bootstrap_interval(values, np.median, resamples=40, seed=1)
    assert first == metrics.bootstrap_interval(values, np.median, resamples=40, seed=1)
    assert first[0] <= np.median(values) <= first[1]
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("metric", [*CORRELATIONS, *[lambda x, y, m=m: m(x, y, 1) for m in AT_K]])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2, 3], [1, 2], "same length"),
        ([1], [1], "at least two"),
        ([[1, 2]], [[1, 2]], "one-dimensional"),
        ([1, np.nan], [1, 2], "scores hold 1 missing"),
        ([1, 2], [np.inf, 2], "labels hold 1 missing"),
    ],
)
def test_bad_input_is_named(metric, scores, labels, message):
    with pytest.raises(InputError, match=message):
        metric(scores, labels)


@pytest.mark.parametrize("metric", AT_K)
@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range_is_refused(metric, k):
    with pytest.raises(InputError, match="k must be between 1 and the number of scores"):
        metric([1, 2, 3], [1, 2, 3], k)


def test_other_options_out_of_range_are_refused():
    with pytest.raises(InputError, match="fraction"):
        metrics.precision_at_fraction([1, 2], [1, 2], 0.0)
    with pytest.raises(InputError, match="level"):
        metrics.bootstrap_interval([1, 2], level=1.0)
    with pytest.raises(InputError, match="at least two"):
        metrics.bootstrap_interval([1.0])
