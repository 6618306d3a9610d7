"""Synaptic flow: against a plain computation on a modified copy, and its laws."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.features import extract

NAMES = ["synflow", "synflow_bn"]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return build()


def convolutional():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.BatchNorm2d(6),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    for norm in (network[1], network[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
    return network


def without_batch_norm():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3, stride=2), nn.Flatten(), nn.Linear(507, 5)
    )


class SharedUnderNorm(nn.Module):
    """One map applied twice, where layer norm gives its two gradients different signs."""

    def __init__(self):
        super().__init__()
        self.again, self.norm, self.head = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 5)
        self.register_buffer("offset", torch.randn(6))

    def forward(self, x):
        x = self.norm(self.again(x) * self.offset)
        return self.head(self.again(x) ** 2)


NETWORKS = {
    "convolutional": (convolutional, (3, 7, 7)),
    "without batch norm": (without_batch_norm, (3, 8, 8)),
    "shared weight": (SharedUnderNorm, (6,)),
}


def plain_pass(network, shape, keep_norms):
    """The layers of a copy in float64 with absolute weights after `.backward()` of R, by name, and R."""
    network = copy.deepcopy(network).double().train()
    for t in (*network.parameters(), *network.buffers()):
        t.data = t.data.abs()
    if not keep_norms:
        for name, module in list(network.named_modules()):
            if isinstance(module, NORMS):
                parent, _, child = name.rpartition(".")
                setattr(network.get_submodule(parent), child, nn.Identity())
    total = network(torch.ones(1, *shape, dtype=torch.float64)).sum()
    total.backward()
    layers = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return {name: module for name, module in network.named_modules() if isinstance(module, layers)}, total.item()


def slow(network, shape, keep_norms):
    """Node name to the log of the summed |w * dR/dw|, and R."""
    layers, total = plain_pass(network, shape, keep_norms)
    return {name: math.log((m.weight * m.weight.grad).abs().sum().item()) for name, m in layers.items()}, total


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("proxy", NAMES)
def test_it_equals_a_plain_computation_on_a_modified_copy(name, proxy):
    build, shape = NETWORKS[name]
    network = seeded(build)
    expected, _ = slow(network, shape, keep_norms=proxy == "synflow_bn")
    features = extract(network, torch.zeros(3, *shape), proxies=[proxy])
    assert dict(zip(features.nodes, features.statistics[proxy], strict=True)) == pytest.approx(expected, rel=1e-9)
    total = math.log(math.fsum(math.exp(v) for v in expected.values()))
    assert features.scores[proxy] == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", [*NETWORKS, "chain"])
def test_logsynflow_is_its_formula(name):
    build, shape = NETWORKS.get(name, (bias_free_chain, (3, 8, 8)))
    layers, _ = plain_pass(seeded(build), shape, keep_norms=False)
    expected = {}
    for node, layer in layers.items():
        weights, gradients = (t.detach().flatten().tolist() for t in (layer.weight, layer.weight.grad))
        expected[node] = math.fsum(w * math.log(1 + abs(g)) for w, g in zip(weights, gradients, strict=True))
    features = extract(seeded(build), torch.zeros(3, *shape), proxies=["logsynflow"])
    assert dict(zip(features.nodes, features.statistics["logsynflow"], strict=True)) == pytest.approx(
        expected, rel=1e-9
    )
    assert features.scores["logsynflow"] == pytest.approx(math.fsum(expected.values()), rel=1e-9)


def test_logsynflow_by_hand():
    """Batch norm goes; with weights |-2|, |3| and |1|, |-5| the output is 2 * 1 + 3 * 5, for an input of one."""
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1, bias=False))
    network[0].weight.data = torch.tensor([[-2.0], [3.0]])
    network[3].weight.data = torch.tensor([[1.0, -5.0]])
    features = extract(network, torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), ["logsynflow"])
    expected = [2 * math.log(1 + 1) + 3 * math.log(1 + 5), 1 * math.log(1 + 2) + 5 * math.log(1 + 3)]
    np.testing.assert_allclose(features.statistics["logsynflow"], expected, rtol=1e-12)


def test_logsynflow_without_flow_is_zero():
    network = seeded(bias_free_chain)
    nn.init.zeros_(network[9].weight)
    features = extract(network, torch.zeros(2, 3, 8, 8), proxies=["logsynflow"])
    assert features.statistics["logsynflow"].tolist() == [0] * 4
    assert features.scores["logsynflow"] == 0 and features.reasons == {}


def test_the_two_variants_differ_only_where_there_is_batch_norm():
    x = torch.zeros(2, 3, 8, 8)
    scores = extract(seeded(without_batch_norm), x, proxies=NAMES).scores
    assert scores["synflow"] == scores["synflow_bn"]
    scores = extract(seeded(convolutional), torch.zeros(2, 3, 7, 7), proxies=NAMES).scores
    assert abs(scores["synflow"] - scores["synflow_bn"]) > 0.1


def test_a_batch_norm_that_is_called_as_a_function_is_removed_too():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 5, bias=False)

        def forward(self, x):
            x = F.batch_norm(input=self.conv(x), running_mean=None, running_var=None, training=True)
            return self.head(x.mean((2, 3)))

    network = seeded(Functional)
    plain = nn.Sequential(network.conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.head)
    x = torch.zeros(2, 3, 5, 5)
    expected = extract(plain, x, proxies=["synflow"]).statistics["synflow"]
    features = extract(network, x, proxies=["synflow"])
    np.testing.assert_allclose(features.statistics["synflow"], expected, rtol=1e-12)


def bias_free_chain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, groups=4, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 7, bias=False),
        nn.ReLU(),
        nn.Linear(7, 5, bias=False),
    )


def test_flow_is_conserved():
    """In a chain without biases every layer passes on all of R (Tanaka et al. 2020, theorem 2)."""
    network = seeded(bias_free_chain)
    _, total = slow(network, (3, 8, 8), keep_norms=False)
    features = extract(network, torch.zeros(2, 3, 8, 8), proxies=["synflow"])
    np.testing.assert_allclose(features.statistics["synflow"], [math.log(total)] * 4, rtol=1e-12)
    assert features.scores["synflow"] == pytest.approx(math.log(total) + math.log(4), rel=1e-12)


def test_flow_is_conserved_over_a_cut_through_branches():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = (nn.Linear(4, 4, bias=False) for _ in range(3))

        def forward(self, x):
            return self.head(F.relu(self.a(x)) + F.relu(self.b(x)))

    values = extract(seeded(Branches), torch.zeros(2, 4), proxies=["synflow"])
    flow = dict(zip(values.nodes, values.statistics["synflow"], strict=True))
    assert np.logaddexp(flow["a"], flow["b"]) == pytest.approx(flow["head"], rel=1e-12)


@pytest.mark.parametrize("layer", [0, 3, 7, 9])
@pytest.mark.parametrize("factor", [-3.0, 1e-30])
def test_scaling_one_weight_adds_its_logarithm(layer, factor):
    network, x = seeded(bias_free_chain).double(), torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    before = extract(network, x, proxies=["synflow"])
    network[layer].weight.data *= factor
    after = extract(network, x, proxies=["synflow"])
    gain = math.log(abs(factor))
    np.testing.assert_allclose(after.statistics["synflow"] - before.statistics["synflow"], [gain] * 4, rtol=1e-9)
    assert after.scores["synflow"] - before.scores["synflow"] == pytest.approx(gain, rel=1e-9)


def ones_chain(layers, width=32):
    network = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    for layer in network:
        nn.init.ones_(layer.weight)
    return network


def test_a_flow_beyond_float32_is_exact():
    """Each of 60 layers of ones multiplies by its width: R = 32 ** 61, about 6.5e91."""
    features = extract(ones_chain(60), torch.zeros(2, 32), proxies=NAMES)
    expected = 61 * math.log(32)
    assert expected > math.log(torch.finfo(torch.float32).max)
    np.testing.assert_allclose(features.statistics["synflow"], [expected] * 60, rtol=1e-12)
    assert features.scores["synflow"] == pytest.approx(expected + math.log(60), rel=1e-12)
    assert features.reasons == {}


def test_a_flow_beyond_float64_has_no_value_and_says_so():
    features = extract(ones_chain(210), torch.zeros(2, 32), proxies=NAMES)
    assert features.reasons == dict.fromkeys(NAMES, "the synaptic flow is too large for float64")
    assert all(math.isnan(features.scores[name]) for name in NAMES)
    assert all(np.isnan(features.statistics[name]).all() for name in NAMES)


def test_a_dead_branch_has_no_flow():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.dead, self.zero, self.used = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x):
            self.dead(x)
            return self.used(x) + self.zero(x)

    network = seeded(Dead)
    nn.init.zeros_(network.zero.weight)
    features = extract(network, torch.zeros(2, 4), proxies=["synflow"])
    flow = dict(zip(features.nodes, features.statistics["synflow"], strict=True))
    expected = math.log(network.used.weight.detach().double().abs().sum())
    assert flow == {"dead": -np.inf, "zero": -np.inf, "used": pytest.approx(expected, rel=1e-12)}
    assert features.scores["synflow"] == pytest.approx(expected, rel=1e-12)
    assert features.reasons == {}


def test_a_network_that_nothing_flows_through_has_no_value_and_says_so():
    network = seeded(bias_free_chain)
    nn.init.zeros_(network[3].weight)
    features = extract(network, torch.zeros(2, 3, 8, 8), proxies=["synflow", "n_layers"])
    assert math.isnan(features.scores["synflow"])
    assert features.statistics["synflow"].tolist() == [-np.inf] * 4
    assert features.reasons == {"synflow": "nothing flows from the input to the output"}
    assert features.scores["n_layers"] == 4


def test_a_weight_that_is_not_a_number_gives_no_value_and_says_so():
    network = seeded(bias_free_chain)
    network[3].weight.data[0] = math.nan
    features = extract(network, torch.zeros(2, 3, 8, 8), proxies=["synflow"])
    assert features.reasons == {"synflow": "the synaptic flow is not a number"}


def test_it_does_not_depend_on_inputs_labels_or_seed():
    network = seeded(convolutional)
    first = extract(network, torch.zeros(3, 3, 7, 7), torch.tensor([0, 1, 2]), NAMES, seed=0)
    second = extract(network, torch.full((2, 3, 7, 7), math.nan), torch.tensor([4, 4]), NAMES, seed=1)
    for name in NAMES:
        np.testing.assert_array_equal(first.statistics[name], second.statistics[name])


class Squeezing(nn.Module):
    """Drops the batch axis where the batch is one."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(x.squeeze())


class SinglePrecision(nn.Module):
    """Insists on float32."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(x + torch.zeros(4)) if x.dtype is torch.float32 else self.head(x.float())


class Normalised(nn.Sequential):
    """Batch norm over one value for each channel, which is none where the batch is one."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))


@pytest.mark.parametrize(
    ("network_class", "missing", "why"),
    [
        (Squeezing, NAMES, "it returned (5,)"),
        (SinglePrecision, NAMES, "the same dtype"),
        (Normalised, ["synflow_bn"], "Expected more than 1 value per channel"),
    ],
)
def test_a_network_that_fails_on_the_input_of_ones_lacks_only_these_values(network_class, missing, why):
    network, x = seeded(network_class), torch.eye(3, 4)
    state = copy.deepcopy(network.state_dict())
    features = extract(network, x, proxies=[*NAMES, "snip", "params", "flops"])
    assert sorted(features.reasons) == sorted(missing)
    for name in missing:
        assert features.reasons[name].startswith("the network does not run on one input of ones in float64: ")
        assert why in features.reasons[name]
        assert math.isnan(features.scores[name])
        assert np.isnan(features.statistics[name]).all()
    assert all(math.isfinite(value) for name, value in features.scores.items() if name not in missing)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert network.training
