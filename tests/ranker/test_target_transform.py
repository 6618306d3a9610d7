"""The target transform: standard errors against resampling, and choices whose answer is known."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.ranker.target_transform import TransformConfig, ranks_better, standard_scores

SURE, FEW = 1.28, 20


def predictions_of(labels, error, seed):
    """Predictions of labels, with an error as large as `error` times their spread."""
    return labels + error * labels.std() * np.random.default_rng(seed).normal(size=len(labels))


def test_standard_scores_have_mean_zero_and_spread_one_and_keep_distances():
    labels = np.array([70.0, 71.0, 75.0, 90.0])
    scores = standard_scores(labels)
    assert scores.mean() == pytest.approx(0) and scores.std() == pytest.approx(1)
    assert (scores[3] - scores[2]) / (scores[1] - scores[0]) == pytest.approx(15)


@pytest.mark.parametrize("labels", [[90.1] * 4, [0.0, 0.0], [1e-300, 1e-300]])
def test_labels_that_are_all_alike_are_zero(labels):
    np.testing.assert_array_equal(standard_scores(np.array(labels)), 0)


def test_better_predictions_are_found_and_worse_ones_are_not():
    labels = np.random.default_rng(0).normal(size=100)
    good, bad = predictions_of(labels, 0.2, 1), predictions_of(labels, 1.0, 2)
    assert ranks_better(good, bad, labels)
    assert not ranks_better(bad, good, labels)


def test_the_same_order_is_not_better():
    labels = np.random.default_rng(0).normal(size=30)
    predictions = predictions_of(labels, 0.5, 1)
    assert not ranks_better(predictions, 2 * predictions + 3, labels)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_labels_are_enough_to_ask(n):
    labels = np.arange(n, dtype=float)
    assert not ranks_better(labels, labels, labels)
    assert ranks_better(labels, -labels, labels) in (True, False)


def test_equal_predictions_do_as_well_as_chance():
    labels, alike = np.random.default_rng(0).normal(size=50), np.zeros(50)
    assert ranks_better(predictions_of(labels, 0.3, 1), alike, labels)
    assert not ranks_better(alike, predictions_of(labels, 0.3, 1), labels)


def test_of_predictions_that_are_as_good_one_in_ten_seems_better():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(1000):
        labels = rng.normal(size=FEW)
        found += ranks_better(labels + rng.normal(size=FEW), labels + rng.normal(size=FEW), labels)
    # One-sided, at 1.28 standard errors; .1 with a standard deviation of .0095 over 1,000 draws.
    assert 0.07 < found / 1000 < 0.13


@pytest.mark.parametrize("n", [10, FEW, 45])
def test_the_more_labels_the_less_counts_the_prior(n):
    """The standard errors that are asked for fall with the root of the number of labels, as they themselves do."""
    rng, agreed, certain = np.random.default_rng(n), [], []
    for _ in range(60):
        labels, *errors = rng.normal(size=(3, n))
        ahead, behind = labels + 0.5 * errors[0], labels + 0.6 * errors[1]
        own = np.zeros(n)
        for i, j in itertools.permutations(range(n), 2):
            right = [(p[i] - p[j]) * (labels[i] - labels[j]) > 0 for p in (ahead, behind)]
            own[i] += 2 * (int(right[0]) - int(right[1])) / (n - 1)
        agreed.append(ranks_better(ahead, behind, labels))
        certain.append(own.mean() / (2 * own.std(ddof=1) / np.sqrt(n)))
    np.testing.assert_array_equal(agreed, np.array(certain) > SURE * np.sqrt(FEW / n))
    assert {True, False} <= set(agreed)


def test_the_bar_is_that_many_standard_errors_over_redrawn_labels():
    """The difference of two correlations, drawn anew many times, spreads as the one standard error says."""
    rng = np.random.default_rng(1)

    def draw():
        labels = rng.normal(size=80)
        return labels + 0.4 * rng.normal(size=80), labels + 0.6 * rng.normal(size=80), labels

    drawn = [draw() for _ in range(400)]
    gains = [kendall_tau(ahead, labels) - kendall_tau(behind, labels) for ahead, behind, labels in drawn]
    agreed = np.mean([ranks_better(*three) for three in drawn])
    assert 0.2 < agreed < 0.99
    assert agreed == pytest.approx(np.mean(np.array(gains) > SURE * np.sqrt(FEW / 80) * np.std(gains)), abs=0.08)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10**6), st.floats(0.1, 100), st.floats(-50, 50))
def test_units_do_not_matter(n, seed, factor, offset):
    rng = np.random.default_rng(seed)
    labels, ahead, behind = rng.normal(size=(3, n))
    expected = ranks_better(ahead, behind, labels)
    assert ranks_better(factor * ahead + offset, behind, factor * labels + offset) == expected


def test_ties_count_as_in_tau_a():
    labels = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    ahead, behind = np.array([1.0, 0.0, 2.0, 3.0, 4.0, 5.0]), np.array([0.0, 0.0, 0.0, 1.0, 5.0, 2.0])
    pairs = [(i, j) for i in range(6) for j in range(i)]
    gain = np.mean(
        [
            np.sign(labels[i] - labels[j]) * (np.sign(ahead[i] - ahead[j]) - np.sign(behind[i] - behind[j]))
            for i, j in pairs
        ]
    )
    own = [
        np.mean([np.sign(labels[i] - labels[j]) * (np.sign(ahead[i] - ahead[j]) - np.sign(behind[i] - behind[j]))
                 for j in range(6) if j != i])
        for i in range(6)
    ]  # fmt: skip
    error = 2 * np.std(own, ddof=1) / np.sqrt(6)
    assert gain > 0 and ranks_better(ahead, behind, labels) == (gain > SURE * np.sqrt(FEW / 6) * error)


def test_normal_scores_bend_a_sum_that_standard_scores_keep():
    """Two groups far apart, as of networks with 12 and with 14 layers: a line predicts the labels only as they are."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 2, size=(200, 6)).astype(float)
    labels = parts @ np.array([8.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    design = torch.from_numpy(np.column_stack([parts, np.ones(200)]))
    fit = {}
    for scale in (standard_scores, normal_scores):
        targets = torch.from_numpy(scale(labels))
        fit[scale] = (design @ torch.linalg.lstsq(design, targets).solution - targets).square().mean().item()
    assert fit[standard_scores] < 1e-20 < 1e-3 < fit[normal_scores]
    assert kendalltau(standard_scores(labels), labels).statistic == pytest.approx(1)


def test_the_evidence_asked_for_is_a_setting():
    labels = np.random.default_rng(0).normal(size=40)
    first, second = predictions_of(labels, 0.5, 1), predictions_of(labels, 0.6, 2)
    least = [ranks_better(first, second, labels, TransformConfig(sure / 10, 20)) for sure in range(1, 200)]
    # Standard errors and the root of labels enter as a product.
    assert least == [ranks_better(first, second, labels, TransformConfig(sure / 20, 80)) for sure in range(1, 200)]
    assert least == sorted(least, reverse=True) and {True, False} == set(least)
    with pytest.raises(InputError, match=r"^prior_labels cannot be -1; set it to 0 or more$"):
        TransformConfig(prior_labels=-1)
