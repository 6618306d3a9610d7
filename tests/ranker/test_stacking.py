"""Weights from held-out predictions against a search for the most probable ones."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from parzc.errors import InputError
from parzc.ranker.stacking import StackingConfig, out_of_fold, stacking_weights


def noisy(targets, noises, seed=1):
    """Predictions of members that see the targets through noise of these deviations."""
    rng = np.random.default_rng(seed)
    return np.stack([targets + noise * rng.normal(size=len(targets)) for noise in noises], 1)


def labels(n, seed=0):
    values = np.random.default_rng(seed).normal(size=n)
    return values - values.mean()


@pytest.mark.parametrize(("n", "noises"), [(12, (0.5, 1, 2)), (60, (0.3, 0.3)), (60, (0.1, 3, 3, 3)), (30, (1,))])
def test_weights_are_the_most_probable_ones(n, noises):
    seen = labels(n)
    held_out = noisy(seen, noises)
    slopes = np.array([(column @ seen) / (column @ column) for column in held_out.T])
    assert (slopes > 0).all()
    calibrated = held_out * slopes
    precision = np.array([1 / np.mean((seen - column) ** 2) for column in calibrated.T])
    expected = precision**2 / (precision**2).sum()
    noise = np.mean((seen - calibrated @ expected) ** 2)

    def objective(weights):
        """Minus the logarithm of the posterior, with noise of a label known and a normal prior."""
        error = ((seen - calibrated @ weights) ** 2).sum() / (2 * noise)
        return error + ((weights - expected) ** 2).sum() / (2 * 0.1**2)

    best = minimize(objective, expected, bounds=[(0, None)] * len(noises), tol=1e-14).x
    np.testing.assert_allclose(stacking_weights(held_out, seen), best * slopes, atol=1e-6)


def test_the_scale_of_a_member_does_not_matter():
    seen = labels(25)
    held_out = noisy(seen, (0.5, 1))
    expected = stacking_weights(held_out, seen)
    np.testing.assert_allclose(stacking_weights(held_out * [10, 0.1], seen), expected / [10, 0.1])


def test_with_many_labels_what_is_expected_does_not_matter():
    seen = labels(5000)
    weights = stacking_weights(noisy(seen, (0.7, 1.0)), seen)
    # The best linear combination of the two takes them by the inverse of their noise.
    assert weights[0] / weights.sum() == pytest.approx(1 / 0.49 / (1 / 0.49 + 1), abs=0.03)


def test_few_labels_exclude_a_bad_member_but_no_good_one():
    for seed in range(10):
        seen = labels(20, seed)
        weights = stacking_weights(noisy(seen, (0.4, 0.5, 1.5), seed + 100), seen)
        assert weights[2] < 0.06 * weights.sum() and (weights[:2] > 0.1 * weights.sum()).all()


def test_what_predicts_nothing_or_the_opposite_does_not_count():
    seen = labels(40)
    held_out = np.stack([seen, -seen, np.zeros(40)], 1)
    weights = stacking_weights(held_out, seen)
    assert weights[0] > 0.5 and weights[1] == weights[2] == 0
    assert (stacking_weights(-held_out[:, :1], seen) == 0).all()
    assert (stacking_weights(np.ones((12, 2)), np.zeros(12)) == 0).all()


def test_with_fewer_than_ten_labels_there_are_no_weights():
    for n in (2, 9, 10):
        seen = labels(n)
        assert stacking_weights(noisy(seen, (0.1, 0.2)), seen).any() == (n == 10)


def test_out_of_fold_predictions_come_from_a_member_that_learned_the_other_folds():
    inputs, targets, seen = torch.arange(23.0), torch.randn(23, generator=torch.Generator().manual_seed(0)), []

    def fit(inputs, targets):
        """A member that predicts the mean of what it has learned, plus the input."""
        seen.append(inputs)
        mean = targets.mean()
        member = torch.nn.Module()
        member.forward = lambda x: x + mean
        return member

    predictions = out_of_fold(fit, inputs, targets, seed=1)
    assert [len(part) for part in seen] == [18, 18, 18, 19, 19]
    hidden = [np.setdiff1d(np.arange(23), part.numpy()) for part in seen]
    assert sorted(np.concatenate(hidden)) == list(range(23))
    for part, rest in zip(seen, hidden, strict=True):
        np.testing.assert_allclose(predictions[rest], rest + targets[part.long()].mean().item(), atol=1e-5)
    again = out_of_fold(fit, inputs, targets, seed=1)
    assert torch.equal(predictions, again)
    assert not torch.equal(predictions, out_of_fold(fit, inputs, targets, seed=-1))
    seen.clear()
    out_of_fold(fit, inputs, targets, seed=1, folds=2)
    assert [len(part) for part in seen] == [11, 12]


def test_the_prior_is_a_setting():
    seen = labels(30)
    held_out = noisy(seen, (0.5, 1.0))
    calibrated = held_out * [(column @ seen) / (column @ column) for column in held_out.T]
    precision = 1 / np.square(seen[:, None] - calibrated).mean(0)
    narrow = stacking_weights(held_out, seen, StackingConfig(sharpness=3.0, deviation=1e-6))
    np.testing.assert_allclose(
        narrow * held_out.std(0) / calibrated.std(0), precision**3 / (precision**3).sum(), atol=1e-4
    )
    assert not stacking_weights(held_out, seen, StackingConfig(fewest=31)).any()


@pytest.mark.parametrize("changes", [{"folds": 1}, {"folds": 11}, {"deviation": 0.0}])
def test_settings_that_cannot_be_are_refused(changes):
    with pytest.raises(InputError, match=r"^stacking cannot use .*; set folds to 2 or more"):
        StackingConfig(**changes)
