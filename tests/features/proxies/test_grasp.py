"""Grasp against finite differences of the gradient: -w * (H g), where H and g are those of the nodes' weights."""

import copy
import math

import numpy as np
import pytest
import torch
from sampled_networks import NETWORKS, Attention, Dead, Shared, WithNorm, chain
from slow_gradients import LABELS, seeded, weights
from torch import nn
from torch.nn import functional as F

from parzc.features import extract


def with_batch_norm():
    first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    return chain((3, 8, 7), *first, nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))


CASES = {"batch norm": (with_batch_norm, 3, 8, 7)} | {
    name: NETWORKS[name]
    for name in ("conv1d", "conv2d", "depthwise", "conv3d", "transposed 2d", "linear", "tokens", "windows", "embedding")
}


def slow_grasp(network, x, labels, nodes, seed=0, step=1e-6):
    """The sum of -w * (H g) and of its absolute values at each node, by central differences along g."""
    network = copy.deepcopy(network).double().train()
    found = list(weights(network, nodes))
    parameters = list({id(p): p for p, _ in found}.values())
    start = [p.detach().clone() for p in parameters]

    def gradient(along=None, by=0.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for i, (p, own) in enumerate(zip(parameters, start, strict=True)):
                p.data = own + by * along[i] if along else own.clone()
            loss = F.cross_entropy(network(x.double()), labels)
            return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)

    g = gradient()
    ahead, behind = gradient(g, step), gradient(g, -step)
    removal = {
        id(p): -own * (a - b) / (2 * step) for p, own, a, b in zip(parameters, start, ahead, behind, strict=True)
    }
    parts = [removal[id(p)][rows] for p, rows in found]
    return np.array([p.sum().item() for p in parts]), np.array([p.abs().sum().item() for p in parts])


def assert_grasp(network, x, tolerance=1e-5, **options):
    features = extract(network, x, LABELS, ["grasp"], **options)
    expected, scale = slow_grasp(network, x, LABELS, features.nodes, **options)
    assert features.reasons == {}
    # Not so where a rectifier changes sides between the two gradients.
    assert scale.max() < 10
    # A signed sum: what rounding leaves is relative to the sum of absolute values.
    assert (np.abs(features.statistics["grasp"] - expected) <= tolerance * scale).all()
    assert features.scores["grasp"] == pytest.approx(expected.sum(), rel=tolerance, abs=tolerance * scale.sum())
    return expected, scale


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grasp_is_its_formula(name, dtype):
    network, x = seeded(*CASES[name])
    _, scale = assert_grasp(network.to(dtype), x.to(dtype), 1e-4 if dtype is torch.float32 else 1e-6)
    assert (scale > 1e-6).all()


@pytest.mark.parametrize("case", [(Shared, 3, 5), (WithNorm, 3, 8, 7)])
def test_a_shared_weight_has_one_gradient(case):
    """Its gradient is the sum over its calls before the Hessian is applied to it."""
    assert_grasp(*seeded(*case))


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_weights_of_attention(need_weights):
    """Without its weights attention is fused, and torch cannot differentiate that twice."""
    assert_grasp(*seeded(lambda: Attention(False, need_weights), 4, 3))


def test_dropout_is_the_same_in_both_backward_passes():
    def build():
        return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 5))

    values = [assert_grasp(*seeded(build, 6), seed=seed)[0] for seed in (0, 1)]
    assert np.abs(values[0] - values[1]).max() > 1e-3


def test_grasp_by_hand():
    """Logits (w x, 0), label 0, one input: g = -(1 - s) x and H = s (1 - s) x^2 with s = sigmoid(w x)."""

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)

        def forward(self, x):
            x = self.layer(x)
            return torch.cat([x, torch.zeros_like(x)], 1)

    network = Tiny()
    nn.init.constant_(network.layer.weight, 0.5)
    s = 1 / (1 + math.exp(-0.5 * 3))
    expected = -0.5 * (s * (1 - s) * 9) * (-(1 - s) * 3)
    features = extract(network, torch.tensor([[3.0]]), torch.tensor([0]), ["grasp"])
    assert features.scores["grasp"] == pytest.approx(expected, rel=1e-5)


def test_a_node_that_the_loss_does_not_depend_on_has_the_value_zero():
    network, x = seeded(Dead, 4)
    features = extract(network, x, LABELS, ["grasp"])
    alone = extract(network.used, x, LABELS, ["grasp"]).scores["grasp"]
    assert dict(zip(features.nodes, features.statistics["grasp"], strict=True)) == {"dead": 0, "used": alone}
    assert abs(alone) > 1e-6


class Fused(nn.Linear):
    """Calls a fused kernel by name, which torch cannot differentiate twice."""

    def forward(self, x):
        x = super().forward(x)[:, None, :, None]
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0].flatten(1)


def test_a_network_that_has_no_second_derivative_lacks_only_this_value():
    network, x = seeded(lambda: Fused(4, 5), 4)
    features = extract(network, x, LABELS, ["grasp", "snip"])
    assert features.scores["snip"] > 0 and math.isnan(features.scores["grasp"])
    assert list(features.reasons) == ["grasp"]
    assert features.reasons["grasp"].startswith("the network has no second derivative")


def test_grasp_leaves_the_other_saliencies_alone():
    network, x = seeded(*CASES["batch norm"])
    names, state = ["grad_norm", "snip", "fisher"], copy.deepcopy(network.state_dict())
    before, with_grasp = (extract(network, x, LABELS, n) for n in (names, [*names, "grasp"]))
    assert all(before.scores[name] == with_grasp.scores[name] for name in names)
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
