"""Weights from held-out predictions against a search for the most probable ones."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from parzc.ranker.stacking import cross_validated, stacking_weights


def told_of(seen, noises, seed=1):
    """What members tell that see the labels through noise of these deviations."""
    rng = np.random.default_rng(seed)
    return np.stack([seen + noise * rng.normal(size=len(seen)) for noise in noises], 1)


def labels(n, seed=0):
    values = np.random.default_rng(seed).normal(size=n)
    return values - values.mean()


@pytest.mark.parametrize(("n", "noises"), [(12, (0.5, 1, 2)), (60, (0.3, 0.3)), (60, (0.1, 3, 3, 3)), (30, (1,))])
def test_weights_are_the_most_probable_ones(n, noises):
    seen = labels(n)
    told = told_of(seen, noises)
    slopes = np.array([(column @ seen) / (column @ column) for column in told.T])
    assert (slopes > 0).all()
    calibrated = told * slopes
    precision = np.array([1 / np.mean((seen - column) ** 2) for column in calibrated.T])
    expected = precision**2 / (precision**2).sum()
    noise = np.mean((seen - calibrated @ expected) ** 2)

    def objective(weights):
        """Minus the logarithm of the posterior, with noise of a label known and a normal prior."""
        error = ((seen - calibrated @ weights) ** 2).sum() / (2 * noise)
        return error + ((weights - expected) ** 2).sum() / (2 * 0.1**2)

    best = minimize(objective, expected, bounds=[(0, None)] * len(noises), tol=1e-14).x
    np.testing.assert_allclose(stacking_weights(told, seen), best * slopes, atol=1e-6)


def test_the_scale_of_a_member_does_not_matter():
    seen = labels(25)
    told = told_of(seen, (0.5, 1))
    expected = stacking_weights(told, seen)
    np.testing.assert_allclose(stacking_weights(told * [10, 0.1], seen), expected / [10, 0.1])


def test_with_many_labels_what_is_expected_does_not_matter():
    seen = labels(5000)
    weights = stacking_weights(told_of(seen, (0.7, 1.0)), seen)
    # The best linear combination of the two takes them by the inverse of their noise.
    assert weights[0] / weights.sum() == pytest.approx(1 / 0.49 / (1 / 0.49 + 1), abs=0.03)


def test_few_labels_tell_a_bad_member_from_good_ones():
    for seed in range(10):
        seen = labels(20, seed)
        shares = stacking_weights(told_of(seen, (0.4, 0.5, 1.5), seed + 100), seen)
        assert shares[2] < 0.06 * shares.sum() and (shares[:2] > 0.1 * shares.sum()).all()


def test_what_tells_nothing_or_the_opposite_does_not_count():
    seen = labels(40)
    told = np.stack([seen, -seen, np.zeros(40)], 1)
    weights = stacking_weights(told, seen)
    assert weights[0] > 0.5 and weights[1] == weights[2] == 0
    assert (stacking_weights(-told[:, :1], seen) == 0).all()
    assert (stacking_weights(np.ones((12, 2)), np.zeros(12)) == 0).all()


def test_with_fewer_than_ten_labels_there_are_no_weights():
    for n in (2, 9, 10):
        seen = labels(n)
        assert stacking_weights(told_of(seen, (0.1, 0.2)), seen).any() == (n == 10)


def test_each_label_is_told_by_a_member_that_has_learned_four_fifths_of_the_others():
    inputs, targets, seen = [torch.arange(23.0)], torch.randn(23, generator=torch.Generator().manual_seed(0)), []

    def fit(inputs, targets):
        """A member that tells the mean of what it has learned, plus the input."""
        seen.append(inputs[0])
        mean = targets.mean()
        member = torch.nn.Module()
        member.forward = lambda x: x + mean
        return member

    told = cross_validated(fit, inputs, targets, seed=1)
    assert [len(part) for part in seen] == [18, 18, 18, 19, 19]
    hidden = [np.setdiff1d(np.arange(23), part.numpy()) for part in seen]
    assert sorted(np.concatenate(hidden)) == list(range(23))
    for part, rest in zip(seen, hidden, strict=True):
        np.testing.assert_allclose(told[rest], rest + targets[part.long()].mean().item(), atol=1e-5)
    again = cross_validated(fit, inputs, targets, seed=1)
    assert torch.equal(told, again) and not torch.equal(told, cross_validated(fit, inputs, targets, seed=-1))
