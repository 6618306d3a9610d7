"""The saliencies against slow, plain computations on the module itself: `.backward()`, hooks and loops."""

import copy
import math

import numpy as np
import pytest
import torch
from sampled_networks import Attention
from slow_gradients import LABELS, seeded
from torch import nn
from torch.nn import functional as F

from parzc.features import extract, score

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NAMES = ["grad_norm", "snip", "plain", "fisher", "l2_norm"]


class Tokens(nn.Module):
    """Linear maps of `(batch, tokens, channels)`."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(6, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 5)

    def forward(self, x):
        x = F.gelu(self.embed(x))
        return self.head((x + self.mix(x)).mean(1))


def with_batch_norm():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def without_batch_norm():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
    )


def mlp():
    return nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 5))


def one_dimensional():
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(16, 5))


NETWORKS = {
    "with batch norm": (with_batch_norm, (3, 7, 7)),
    "without batch norm": (without_batch_norm, (3, 6, 6)),
    "mlp": (mlp, (7,)),
    "one-dimensional": (one_dimensional, (2, 8)),
    "tokens": (Tokens, (4, 6)),
}


def case(name):
    build, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build()
        x = torch.randn(6, *shape)
        labels = torch.randint(5, (6,))
    return network, x, labels


def recorded(network, x, labels):
    """The layers, and their outputs with gradients of the mean loss, after `.backward()` in training mode."""
    network = copy.deepcopy(network).train()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, LAYERS)}
    outputs = {}

    def keep(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            outputs[name] = output

        return hook

    for name, layer in layers.items():
        layer.register_forward_hook(keep(name))
    F.cross_entropy(network(x), labels).backward()
    return layers, outputs


def slow_statistics(network, x, labels):
    layers, outputs = recorded(network, x, labels)
    values = {name: [] for name in NAMES}
    for name, layer in layers.items():
        weights = layer.weight.detach().double().flatten().tolist()
        gradients = layer.weight.grad.double().flatten().tolist()
        values["grad_norm"].append(math.sqrt(math.fsum(g * g for g in gradients)))
        values["snip"].append(math.fsum(abs(g * w) for g, w in zip(gradients, weights, strict=True)))
        values["plain"].append(math.fsum(g * w for g, w in zip(gradients, weights, strict=True)))
        values["l2_norm"].append(math.sqrt(math.fsum(w * w for w in weights)))
        values["fisher"].append(slow_fisher(outputs[name].detach(), outputs[name].grad, type(layer)))
    return list(layers), {name: np.array(v) for name, v in values.items()}


def slow_fisher(activations, gradients, layer_class):
    """Half the mean over samples, summed over channels, of the squared sum over positions."""
    batch = len(activations)
    if layer_class is nn.Linear:
        activations, gradients = activations.movedim(-1, 1), gradients.movedim(-1, 1)
    total = 0.0
    for n in range(batch):
        for c in range(activations.shape[1]):
            a, g = activations[n, c].flatten().tolist(), gradients[n, c].flatten().tolist()
            total += math.fsum(ai * gi * batch for ai, gi in zip(a, g, strict=True)) ** 2
    return total / (2 * batch)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_statistic_equals_its_slow_computation(name):
    network, x, labels = case(name)
    names, expected = slow_statistics(network, x, labels)
    features = extract(network, x, labels, NAMES)
    assert list(features.nodes) == names
    assert sorted(features.statistics) == sorted(NAMES)
    for statistic in NAMES:
        # `plain` is a signed sum, so what rounding leaves is relative to the sum of absolute values.
        scale = expected["snip"] if statistic == "plain" else np.abs(expected[statistic])
        assert (scale > 1e-4).all(), statistic
        error = np.abs(features.statistics[statistic] - expected[statistic]) / scale
        assert error.max() < 1e-4, statistic
        assert features.scores[statistic] == pytest.approx(expected[statistic].sum(), rel=1e-4, abs=1e-4 * scale.sum())
        assert features.statistics[statistic].dtype == np.float64


@pytest.mark.parametrize("name", NETWORKS)
def test_snip_mean_is_the_mean_over_nodes_of_the_mean_over_weights(name):
    network, x, labels = case(name)
    means = []
    for layer in recorded(network, x, labels)[0].values():
        pairs = zip(layer.weight.detach().flatten().tolist(), layer.weight.grad.flatten().tolist(), strict=True)
        means.append(math.fsum(abs(w * g) for w, g in pairs) / layer.weight.numel())
    scores = score(network, x, ["snip_mean"], labels)
    assert scores["snip_mean"] == pytest.approx(math.fsum(means) / len(means), rel=1e-4)


@pytest.mark.parametrize("name", ["without batch norm", "mlp", "tokens"])
def test_fisher_uses_the_gradient_of_each_samples_own_loss(name):
    """Without batch norm the samples do not meet, so each can be run alone."""
    network, x, labels = case(name)
    per_sample = []
    for n in range(len(x)):
        layers, outputs = recorded(network, x[n : n + 1], labels[n : n + 1])
        per_sample.append(
            [slow_fisher(outputs[k].detach(), outputs[k].grad, type(layer)) for k, layer in layers.items()]
        )
    expected = np.mean(per_sample, axis=0)
    assert (expected > 1e-6).all()
    np.testing.assert_allclose(extract(network, x, labels, ["fisher"]).statistics["fisher"], expected, rtol=1e-4)


def test_fisher_by_hand():
    """Two inputs, one output channel of two positions, and a second class that is always zero."""

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 1, bias=False)

        def forward(self, x):
            a = self.conv(x).sum(2)
            return torch.cat([a, torch.zeros_like(a)], 1)

    network = Tiny()
    nn.init.constant_(network.conv.weight, 2.0)
    x = torch.tensor([[[1.0, 2.0]], [[-1.0, 0.5]]])
    # Logits (6, 0) and (-1, 0), labels 1 and 0: dL_1/da = sigmoid(6), dL_2/da = sigmoid(-1) - 1 at each position.
    first = 6 * (1 / (1 + math.exp(-6)))
    second = -1 * (1 / (1 + math.exp(1)) - 1)
    expected = (first**2 + second**2) / (2 * 2)
    assert score(network, x, ["fisher"], torch.tensor([1, 0]))["fisher"] == pytest.approx(expected, rel=1e-5)


def test_fisher_of_folded_tokens_is_that_of_unfolded_ones():
    class Folded(Tokens):
        def forward(self, x):
            shape = x.shape[:2]
            x = F.gelu(self.embed(x.flatten(0, 1)))
            return self.head((x + self.mix(x)).unflatten(0, shape).mean(1))

    network, x, labels = case("tokens")
    folded = Folded()
    folded.load_state_dict(network.state_dict())
    expected = extract(network, x, labels, NAMES)
    features = extract(folded, x, labels, NAMES)
    for statistic in NAMES:
        np.testing.assert_allclose(features.statistics[statistic], expected.statistics[statistic], rtol=1e-5)
    assert features.fields.tolist() == expected.fields.tolist()


@pytest.mark.parametrize("batch_first", [True, False])
def test_fisher_of_attention_keeps_the_inputs_apart(batch_first):
    """What attention returns is the output of its last linear map."""
    network, x = seeded(lambda: Attention(batch_first), 4, 3)
    features, outputs = extract(network, x, LABELS, ["fisher"]), []
    network.attention.register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0]))
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), LABELS), outputs)
    by_input = [t.detach() if batch_first else t.detach().transpose(0, 1) for t in (outputs[0], gradient)]
    found = dict(zip(features.nodes, features.statistics["fisher"], strict=True))["attention.out_proj"]
    assert found == pytest.approx(slow_fisher(*by_input, nn.Linear), rel=1e-6)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Hardswish])
def test_fisher_with_an_in_place_activation_is_that_without(activation):
    """The activations are those before the function that overwrites them (with ReLU both would do)."""

    def build(inplace):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 4, 3),
                activation(inplace=inplace),
                nn.Conv2d(4, 5, 3),
                activation(inplace=inplace),
                nn.Flatten(),
                nn.Linear(20, 5),
            )

    x, labels = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    plain, overwriting = build(False), build(True)
    expected, features = extract(plain, x, labels, NAMES), extract(overwriting, x, labels, NAMES)
    for statistic in NAMES:
        np.testing.assert_array_equal(features.statistics[statistic], expected.statistics[statistic])
    slow = slow_statistics(plain, x, labels)[1]["fisher"]
    np.testing.assert_allclose(features.statistics["fisher"], slow, rtol=1e-4)


def test_a_dead_branch_has_the_value_zero_and_leaves_the_others_alone():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.dead = nn.Linear(7, 5), nn.Linear(7, 5)

        def forward(self, x):
            self.dead(x)
            return self.used(x)

    network, x = Dead(), torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    both, alone = extract(network, x, labels, NAMES), extract(network.used, x, labels, NAMES)
    assert both.nodes == ("dead", "used")
    for statistic in ("grad_norm", "snip", "plain", "fisher"):
        assert both.statistics[statistic][0] == 0
        assert both.statistics[statistic][1] == alone.scores[statistic] != 0
    assert both.statistics["l2_norm"][0] == pytest.approx(network.dead.weight.norm().item(), rel=1e-6)


def test_a_shared_weight_sums_its_gradients_before_the_absolute_value():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.again, self.head = nn.Linear(7, 7), nn.Linear(7, 5)

        def forward(self, x):
            return self.head(torch.tanh(self.again(torch.tanh(self.again(x)))))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, x, labels = Twice(), torch.randn(6, 7), torch.randint(5, (6,))
    features = extract(network, x, labels, NAMES)
    F.cross_entropy(network(x), labels).backward()
    weight, gradient = network.again.weight.detach(), network.again.weight.grad
    assert features.nodes == ("again", "head")
    expected = {
        "grad_norm": gradient.norm(),
        "snip": (weight * gradient).abs().sum(),
        "plain": (weight * gradient).sum(),
        "l2_norm": weight.norm(),
    }
    for statistic, value in expected.items():
        assert features.statistics[statistic][0] == pytest.approx(value.item(), rel=1e-4)


def test_an_overflow_gives_no_value_and_says_so():
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 5, bias=False))
    nn.init.constant_(network[0].weight, 1e25)
    nn.init.constant_(network[1].weight, 1e-25)
    network[1].weight.data[0] = 1e-4
    features = extract(network, torch.eye(4), torch.tensor([1, 1, 2, 3]), ["fisher", "n_layers"])
    assert math.isnan(features.scores["fisher"])
    assert np.isposinf(features.statistics["fisher"]).tolist() == [True, True]
    assert features.reasons == {"fisher": "the value is not finite in the network's number format"}
    assert features.scores["n_layers"] == 2
