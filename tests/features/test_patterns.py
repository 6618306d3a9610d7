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


@pytest.fixture
def inputs():
    return torch.randn(6, 2, 7, 7, generator=torch.Generator().manual_seed(1))


def states(network, inputs):
    """The states of all units, `(batch, units)`, from a forward pass written out by hand."""
    net = copy.deepcopy(network).train()
    with torch.no_grad():
        a = net.norm(net.first(inputs))
        b = net.second(a.relu())
        c = net.third(F.gelu(b).mean((2, 3)))
    return [[bool(v > 0) for part in (a[i], b[i], c[i]) for v in part.flatten()] for i in range(len(inputs))]


def test_nwot_is_the_log_determinant_of_agreements(network, inputs):
    rows = states(network, inputs)
    kernel = np.array([[sum(p == q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows], dtype=float)
    assert score(network, inputs, ["nwot"])["nwot"] == pytest.approx(math.log(np.linalg.det(kernel)), rel=1e-6)


def test_swap_counts_the_different_columns(network, inputs):
    columns = set(zip(*states(network, inputs), strict=True))
    assert 2 < len(columns) <= 2 ** len(inputs)
    assert score(network, inputs, ["swap"])["swap"] == len(columns)


def test_swap_reaches_every_pattern_of_a_small_batch():
    patterns = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4))).T
    network = nn.Sequential(nn.ReLU(), nn.Linear(16, 2))
    assert score(network, patterns, ["swap"])["swap"] == 16


def test_swap_of_a_large_batch_has_a_reason(network):
    scores = score(network, torch.randn(63, 2, 7, 7), ["swap", "nwot"])
    assert math.isnan(scores["swap"]) and "at most 62 inputs" in scores.reasons["swap"]
    assert math.isfinite(scores["nwot"])


def test_two_equal_inputs_have_no_nwot(network, inputs):
    network.norm = nn.Identity()
    scores = score(network, torch.cat([inputs, inputs[:1]]), ["nwot"])
    assert math.isnan(scores["nwot"]) and "same activation pattern" in scores.reasons["nwot"]


def test_a_network_without_rectifiers_has_a_reason(inputs):
    network = nn.Sequential(nn.Flatten(), nn.Linear(98, 4), nn.Sigmoid(), nn.Linear(4, 2))
    scores = score(network, inputs, ["nwot", "swap"])
    assert all(math.isnan(value) for value in scores.values())
    assert "no rectifier" in scores.reasons["nwot"] and "no rectifier" in scores.reasons["swap"]
