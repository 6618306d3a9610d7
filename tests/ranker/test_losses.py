"""Losses against slow loops over pairs, hand-computed cases and invariances."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.ranker.losses import LOSSES, diff_kendall, mse, pairwise

# First calls of torch and scipy take longer than the deadline of hypothesis.
RELAXED = settings(deadline=None)
# Small whole numbers, so that ties and equal sums are exact.
VECTORS = st.integers(2, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-5, 5), min_size=n, max_size=n)] * 2))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def loop_diff_kendall(scores, labels, alpha, label_alpha=None):
    """The equation of section 3.4, pair by pair."""
    total = weight = 0.0
    for i, j in itertools.permutations(range(len(scores)), 2):
        gap, label_gap = scores[i] - scores[j], labels[i] - labels[j]
        soft = 1 / (1 + math.exp(-alpha * gap)) - 1 / (1 + math.exp(alpha * gap))
        target = float(np.sign(label_gap))
        if label_alpha is not None:
            target = 1 / (1 + math.exp(-label_alpha * label_gap)) - 1 / (1 + math.exp(label_alpha * label_gap))
        total, weight = total - soft * target, weight + abs(target)
    return total / weight if weight else 0.0


@RELAXED
@given(VECTORS, st.sampled_from([0.1, 0.5, 3.0]), st.sampled_from([None, 0.5, 2.0]))
def test_diff_kendall_equals_loop_over_pairs(vectors, alpha, label_alpha):
    scores, labels = vectors
    loss = diff_kendall(tensor(scores), tensor(labels), alpha=alpha, label_alpha=label_alpha)
    assert loss.item() == pytest.approx(loop_diff_kendall(scores, labels, alpha, label_alpha), abs=1e-12)


def test_diff_kendall_of_two_samples_is_tanh_of_half_the_gap():
    assert diff_kendall(tensor([0.0, 3.0]), tensor([1.0, 2.0]), alpha=0.5).item() == pytest.approx(-math.tanh(0.75))


@pytest.mark.parametrize("label_alpha", [None, 0.5])
@pytest.mark.parametrize("labels", [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 4.0]])
def test_diff_kendall_of_perfect_order_tends_to_minus_one(labels, label_alpha):
    scores = tensor([-3.0, -1.0, 1.5, 2.0]) * 200
    assert diff_kendall(scores, tensor(labels), label_alpha=label_alpha).item() == pytest.approx(-1)
    assert diff_kendall(-scores, tensor(labels), label_alpha=label_alpha).item() == pytest.approx(1)


@RELAXED
@given(st.permutations(range(8)), st.permutations(range(8)))
def test_diff_kendall_tends_to_minus_tau(scores, labels):
    loss = diff_kendall(tensor(scores), tensor(labels), alpha=200.0)
    assert loss.item() == pytest.approx(-kendall_tau(scores, labels), abs=1e-9)


@RELAXED
@given(VECTORS, st.booleans())
def test_diff_kendall_is_bounded_antisymmetric_and_blind_to_monotone_labels(vectors, normalize):
    scores, labels = map(tensor, vectors)
    loss = diff_kendall(scores, labels, normalize=normalize)
    assert -1 <= loss <= 1
    torch.testing.assert_close(diff_kendall(-scores, labels, normalize=normalize), -loss)
    torch.testing.assert_close(diff_kendall(scores, -labels, normalize=normalize), -loss)
    torch.testing.assert_close(diff_kendall(scores, labels.exp(), normalize=normalize), loss)


@RELAXED
@given(VECTORS, st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_do_not_depend_on_order_of_samples(name, vectors, random):
    scores, labels = map(tensor, vectors)
    order = list(range(len(scores)))
    random.shuffle(order)
    loss = LOSSES[name]
    torch.testing.assert_close(loss(scores[order], labels[order]), loss(scores, labels))


def test_normalized_diff_kendall_ignores_scale_and_does_not_push_it():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 12, dtype=torch.float64, generator=generator)
    scores.requires_grad_()
    loss = diff_kendall(scores, labels, normalize=True)
    torch.testing.assert_close(diff_kendall(7 * scores + 3, labels, normalize=True), loss)
    standardised = (scores - scores.mean()) / scores.std(unbiased=False)
    torch.testing.assert_close(loss, diff_kendall(standardised, labels))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.norm() > 1e-3
    assert (gradient * scores).sum().abs() < 1e-10

    ordered = labels.clone().requires_grad_()
    (plain,) = torch.autograd.grad(diff_kendall(ordered, labels), ordered)
    assert (plain * ordered).sum() < -0.1, "without normalisation a right order asks for a bigger scale"


@pytest.mark.parametrize("loss", [diff_kendall, pairwise])
@pytest.mark.parametrize(("scores", "labels"), [([0.3], [1.0]), ([0.3, 0.1, -2.0], [5.0, 5.0, 5.0])])
def test_rank_losses_without_pairs_are_zero_with_zero_gradient(loss, scores, labels):
    scores = tensor(scores).requires_grad_()
    value = loss(scores, tensor(labels))
    value.backward()
    assert value.item() == 0
    assert scores.grad.tolist() == [0.0] * len(scores)


def test_pairwise_by_hand():
    # Untied pairs: (0, 1) with gap +1 in the right order, (1, 2) with gap 2 in the wrong order.
    scores, labels = tensor([1.0, 0.0, 2.0]), tensor([9.0, 4.0, 4.0])
    wrong = math.log1p(math.exp(1.0))
    right = math.log1p(math.exp(-1.0))
    assert pairwise(scores, labels).item() == pytest.approx((right + wrong) / 2)


@RELAXED
@given(VECTORS)
def test_pairwise_equals_loop_over_untied_pairs(vectors):
    scores, labels = vectors
    terms = [
        math.log1p(math.exp(-(scores[i] - scores[j])))
        for i, j in itertools.permutations(range(len(scores)), 2)
        if labels[i] > labels[j]
    ]
    expected = sum(terms) / len(terms) if terms else 0.0
    assert pairwise(tensor(scores), tensor(labels)).item() == pytest.approx(expected, abs=1e-12)


def test_pairwise_of_far_wrong_scores_stays_finite():
    assert pairwise(tensor([5000.0, 0.0]), tensor([0.0, 1.0])).item() == pytest.approx(5000)


def test_mse_by_hand():
    assert mse(tensor([1.0, 2.0, 4.0]), tensor([1.0, 0.0, 1.0])).item() == pytest.approx(13 / 3)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_leading_dimensions_give_the_mean_over_networks(name):
    loss = LOSSES[name]
    scores = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    cells = list(itertools.product(range(3), range(2)))
    shared = torch.stack([loss(scores[i, j], labels[0, 0]) for i, j in cells]).mean()
    torch.testing.assert_close(loss(scores, labels[0, 0]), shared)
    own = torch.stack([loss(scores[i, j], labels[i, j]) for i, j in cells]).mean()
    torch.testing.assert_close(loss(scores, labels), own)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_match_finite_differences(name):
    scores = torch.randn(5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = tensor([0.1, 0.4, 0.4, -1.0, 2.0])
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, labels), scores.requires_grad_())


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (4, 1)), ((4,), (3,)), ((), ())])
def test_shapes_that_would_broadcast_are_refused(name, shapes):
    with pytest.raises(InputError, match="do not match"):
        LOSSES[name](torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"label_alpha": -1.0}])
def test_alphas_must_be_positive(options):
    with pytest.raises(InputError, match="must be positive"):
        diff_kendall(torch.zeros(2), torch.zeros(2), **options)
