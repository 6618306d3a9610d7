"""Proxies of activation patterns against loops over inputs and units."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.features import score
from parzc.features.passes.bits import pack, unpack
from parzc.features.passes.passes import Passes

NAMES = ["nwot", "swap", "swap_regularised", "linear_regions"]


class Net(nn.Module):
    """A module ReLU, a functional one, a method one, and an in-place one."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3, stride=2)
        self.third = nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        x = F.gelu(self.second(x)).mean((2, 3))
        return self.head(self.third(x).relu())


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Net()


def batch(n):
    return torch.randn(n, 2, 7, 7, generator=torch.Generator().manual_seed(1))


def states(network, inputs):
    """The states of all units, `(batch, units)`, from a forward pass written out by hand."""
    net = copy.deepcopy(network).train()
    with torch.no_grad():
        a = net.norm(net.first(inputs))
        b = net.second(a.relu())
        c = net.third(F.gelu(b).mean((2, 3)))
    return [[bool(v > 0) for part in (a[i], b[i], c[i]) for v in part.flatten()] for i in range(len(inputs))]


def signs(rows):
    """Inputs whose own signs are the patterns of a network that begins with a rectifier."""
    return torch.tensor(np.array(rows), dtype=torch.float32) * 2 - 1


def rectifier(units):
    return nn.Sequential(nn.ReLU(), nn.Linear(units, 2))


# One byte for 8 inputs, two for 16; more than 62 and 64 do not fit into one integer.
@pytest.mark.parametrize("n", [1, 2, 6, 8, 9, 16, 17, 62, 63, 64, 65])
def test_every_proxy_is_its_count_for_batches_of(network, n):
    inputs = batch(n)
    rows = states(network, inputs)
    found = score(network, inputs, NAMES)
    kernel = np.array([[sum(p == q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows], dtype=float)
    assert found["nwot"] == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-6)
    assert found["swap"] == len(set(zip(*rows, strict=True)))
    assert found["linear_regions"] == len({tuple(row) for row in rows})
    thousands = (5 * 18 + 5 + 2 * 5 + 6 * 45 + 6 + 7 * 6 + 7 + 3 * 7 + 3) / 1000
    assert found["swap_regularised"] == pytest.approx(found["swap"] * math.exp(-((thousands - 1000) ** 2) / 1e6))
    assert found.reasons == {}


def test_nwot_is_the_log_of_the_determinant(network):
    rows = states(network, batch(3))
    kernel = [[sum(p == q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows]
    (a, b, c), (d, e, f), (g, h, i) = kernel
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    assert score(network, batch(3), ["nwot"])["nwot"] == pytest.approx(math.log(determinant))


def test_swap_reaches_every_pattern_of_a_small_batch():
    patterns = signs(list(itertools.product((0, 1), repeat=4))).T
    assert score(rectifier(16), patterns, ["swap"])["swap"] == 16


def test_equal_units_and_equal_inputs_count_once():
    rows = [[0, 1, 1, 0, 1], [0, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 1, 0, 1, 0]]
    found = score(rectifier(5), signs(rows), NAMES)
    assert (found["swap"], found["linear_regions"]) == (3, 3)
    many = score(rectifier(5), signs(rows * 20), NAMES)
    assert (many["swap"], many["linear_regions"]) == (3, 3)


def test_regularised_swap_prefers_a_million_parameters():
    """The bell of a million parameters is a million parameters wide."""
    patterns = signs(list(itertools.product((0, 1), repeat=3))).T
    for outputs, factor in ((111111, 1.0), (1, math.exp(-(0.999991**2))), (222222, math.exp(-0.999996))):
        network = nn.Sequential(nn.ReLU(), nn.Linear(8, outputs))
        assert sum(p.numel() for p in network.parameters()) == 9 * outputs
        found = score(network, patterns, ["swap", "swap_regularised"])
        assert found["swap_regularised"] == pytest.approx(8 * factor, rel=1e-5)


def test_two_equal_inputs_have_no_nwot(network):
    network.norm = nn.Identity()
    scores = score(network, torch.cat([batch(6), batch(6)[:1]]), NAMES)
    assert math.isnan(scores["nwot"]) and "same activation pattern" in scores.reasons["nwot"]
    assert scores["linear_regions"] == 6 and list(scores.reasons) == ["nwot"]


@pytest.mark.parametrize("n", [4, 9, 17, 64])
def test_two_equal_inputs_have_no_nwot_wherever_they_are(n):
    """Rounding must not make a large negative number of the logarithm of zero."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows, (i, j) = rng.integers(2, size=(n, 300)), rng.permutation(n)[:2]
        rows[i] = rows[j]
        scores = score(rectifier(300), signs(rows), ["nwot", "linear_regions"])
        assert scores["linear_regions"] == n - 1
        assert math.isnan(scores["nwot"]) and "same activation pattern" in scores.reasons["nwot"], seed


@pytest.mark.parametrize(("units", "n"), [(4, 16), (6, 10), (7, 30), (10, 20)])
def test_more_inputs_than_the_units_can_tell_apart_have_no_nwot(units, n):
    """All patterns differ, but the rank of the agreement is at most one more than the units."""
    for seed in range(20):
        chosen = np.random.default_rng(seed).permutation(2**units)[:n]
        rows = [[int(p >> i & 1) for i in range(units)] for p in chosen]
        scores = score(rectifier(units), signs(rows), ["nwot", "linear_regions"])
        assert scores["linear_regions"] == n
        assert math.isnan(scores["nwot"]), seed
        assert "two inputs have the same" not in scores.reasons["nwot"]


def test_a_network_without_rectifiers_has_a_reason():
    network = nn.Sequential(nn.Flatten(), nn.Linear(98, 4), nn.Sigmoid(), nn.Linear(4, 2))
    scores = score(network, batch(6), NAMES)
    assert all(math.isnan(scores[name]) and "no rectifier" in scores.reasons[name] for name in NAMES)


def columns(states):
    """The columns, sorted: the order of the units means nothing."""
    return sorted(states.bool().T.tolist())


def test_patterns_are_packed_for_each_application_of_a_rectifier(network):
    packed, rows = Passes(network, batch(11)).patterns, torch.tensor(states(network, batch(11)))
    assert [p.shape for p in packed] == [(2, 245), (2, 54), (2, 7)]
    for found, expected in zip(packed, rows.split([245, 54, 7], 1), strict=True):
        assert columns(unpack(found, 11)) == columns(expected)
        assert sorted(found.T.tolist()) == sorted(pack(expected).T.tolist())


def test_several_batches_give_the_mean(network):
    inputs = batch(12)
    parts = [score(network, part, NAMES) for part in inputs.chunk(2)]
    found = score(network, inputs, NAMES, batches=2)
    assert all(found[name] == pytest.approx((parts[0][name] + parts[1][name]) / 2) for name in NAMES)
