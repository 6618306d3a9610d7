"""Proxies of the input Jacobian against loops over inputs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from parzc.features import score
from parzc.features.passes.passes import Passes


def make(norm, classes=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(6, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, classes))


INPUTS = torch.randn(5, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def slow_jacobian(network, inputs):
    """Central differences of the summed logits in float64, one number at a time."""
    network, x, step = network.double().train(), inputs.double(), 1e-6
    rows = torch.zeros(len(x), x[0].numel(), dtype=torch.float64)
    with torch.no_grad():
        for i in range(len(x)):
            for j in range(x[0].numel()):
                moved = [x.clone() for _ in range(2)]
                for sign, there in zip((1, -1), moved, strict=True):
                    there.view(len(x), -1)[i, j] += sign * step
                rows[i, j] = (network(moved[0]).sum() - network(moved[1]).sum()) / (2 * step)
    return rows.numpy()


@pytest.mark.parametrize("norm", [False, True])
def test_jacobian_is_that_of_finite_differences(norm):
    found = Passes(make(norm), INPUTS).jacobian.numpy()
    np.testing.assert_allclose(found, slow_jacobian(make(norm), INPUTS), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_jacob_cov_is_its_formula(norm):
    rows = slow_jacobian(make(norm), INPUTS)
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in np.linalg.eigvalsh(np.corrcoef(rows)))
    assert score(make(norm), INPUTS, ["jacob_cov"])["jacob_cov"] == pytest.approx(expected, rel=1e-4)


def slow_epe_nas(rows, labels, classes):
    """Classes one after the other, pairs one after the other."""
    values = []
    for label in sorted(set(labels.tolist())):
        own = [row for row, its in zip(rows, labels.tolist(), strict=True) if its == label]
        logs = [math.log(abs(np.corrcoef(a, b)[0, 1]) + 1e-5) for a in own for b in own]
        values.append(math.fsum(logs) / (1 if classes <= 100 else len(logs)))
    if classes <= 100:
        return math.fsum(abs(v) for v in values)
    return math.fsum(abs(v - w) for i, v in enumerate(values) for w in values[i + 1 :]) / len(values)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("classes", [3, 100, 101, 120])
def test_epe_nas_is_its_formula(norm, classes):
    inputs = torch.randn(8, 2, 5, 5, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 2, 0, 1, 2, 0, 2, 2]) if classes == 3 else torch.tensor([0, 99, 0, 41, 99, 0, 99, 99])
    expected = slow_epe_nas(slow_jacobian(make(norm, classes), inputs), labels, classes)
    assert expected > 0.1
    assert score(make(norm, classes), inputs, ["epe_nas"], labels)["epe_nas"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("classes", "expected"), [(3, math.log(1 + 1e-5)), (101, 0)])
def test_epe_nas_of_a_single_input_compares_it_with_itself(classes, expected):
    found = score(make(False, classes), INPUTS[:1], ["epe_nas"], torch.tensor([2]))
    assert found["epe_nas"] == pytest.approx(expected, rel=1e-6)


def test_epe_nas_of_labels_that_are_not_given_is_that_of_the_drawn_ones():
    drawn = torch.randint(3, (5,), generator=torch.Generator().manual_seed(7))
    expected = score(make(True), INPUTS, ["epe_nas"], drawn)["epe_nas"]
    assert score(make(True), INPUTS, ["epe_nas"], seed=7)["epe_nas"] == expected
    others = {score(make(True), INPUTS, ["epe_nas"], labels)["epe_nas"] for labels in torch.eye(5).long()}
    assert len(others) > 1


def test_gradients_and_jacobian_do_not_disturb_each_other():
    alone = {name: score(make(True), INPUTS, [name])[name] for name in ("snip", "jacob_cov", "nwot")}
    together = score(make(True), INPUTS, list(alone))
    assert dict(together) == alone


def test_a_pass_that_was_not_announced_is_recorded_anew():
    passes = Passes(make(True), INPUTS, seed=0)
    before = [node.gradient.clone() for node in passes.gradients]
    assert passes.jacobian.shape == (5, 50) and len(passes.patterns) == 2
    for old, node in zip(before, passes.gradients, strict=True):
        torch.testing.assert_close(node.gradient, old, rtol=0, atol=0)


def test_an_output_that_ignores_the_input_has_a_reason():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(50, 3)

        def forward(self, x):
            return self.layer(torch.zeros_like(x).flatten(1))

    scores = score(Deaf(), INPUTS, ["jacob_cov", "epe_nas"])
    for name in ("jacob_cov", "epe_nas"):
        assert math.isnan(scores[name]) and "does not change" in scores.reasons[name]


def test_a_network_that_overwrites_its_input_is_measured_and_the_input_kept():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(50, 3))
    inputs = INPUTS.clone()
    assert math.isfinite(score(network, inputs, ["jacob_cov"])["jacob_cov"])
    assert torch.equal(inputs, INPUTS)
