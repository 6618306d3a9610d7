"""Activation patterns with masked activations and layer norm for batch norm, against networks written out by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.features import score
from parzc.features.passes.masked import RATE, masked_patterns
from parzc.features.passes.passes import Passes

NAMES = ["ncd_nwot", "ncd_swap"]


class Net(nn.Module):
    """Batch norm of images and of vectors, and rectifiers as modules, functions and methods."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3, stride=2)
        self.third, self.plain = nn.Linear(6, 9), nn.BatchNorm1d(9, affine=False)
        self.head, self.act = nn.Linear(9, 3), nn.ReLU(inplace=True)
        nn.init.uniform_(self.norm.weight, -1, 2)
        nn.init.uniform_(self.norm.bias, -1, 1)

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        x = F.gelu(self.second(x)).mean((2, 3))
        return self.head(self.plain(self.third(x)).relu())


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Net().train()


@pytest.fixture
def inputs():
    return torch.randn(6, 2, 7, 7, generator=torch.Generator().manual_seed(1))


def by_hand(net, x, layer_norm=False):
    """Which units of the three rectifiers are active; layer norm is over all axes but that of the batch."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        a = net.first(x)
        a = F.group_norm(a, 1, net.norm.weight, net.norm.bias) if layer_norm else net.norm(a)
        b = net.second(a.relu())
        c = net.third(F.gelu(b).mean((2, 3)))
        c = F.group_norm(c, 1) if layer_norm else net.plain(c)
    return [t.flatten(1) > 0 for t in (a, b, c)]


def states(packed, batch):
    """The states `(batch, units)` of packed patterns, one bit at a time."""
    return [torch.stack([part[i // 8] >> (i % 8) & 1 for i in range(batch)]).bool() for part in packed]


def same(found, expected):
    """Whether each rectifier shows the same patterns; the order of the units means nothing."""
    return [sorted(a.T.tolist()) == sorted(b.T.tolist()) for a, b in zip(found, expected, strict=True)]


def test_without_masks_and_layer_norm_patterns_are_the_plain_ones(network, inputs):
    plain = Passes(network, inputs).patterns
    found = masked_patterns(copy.deepcopy(network), inputs, 0, rate=0.0, norm=False)
    assert same(found, plain) == [True] * 3
    assert same(states(found, 6), by_hand(network, inputs)) == [True] * 3


def test_layer_norm_takes_the_place_of_batch_norm(network, inputs):
    found = states(masked_patterns(network, inputs, 0, rate=0.0), 6)
    assert same(found, by_hand(network, inputs, layer_norm=True)) == [True] * 3
    assert same(found, by_hand(network, inputs)) == [False] * 3


@pytest.mark.parametrize("rate", [0.0, RATE])
def test_inputs_do_not_mix_and_share_their_masks(network, inputs, rate):
    together = states(masked_patterns(network, inputs, 0, rate=rate), 6)
    for i in range(6):
        alone = states(masked_patterns(network, inputs[i : i + 1], 0, rate=rate), 1)
        assert same(alone, [part[i : i + 1] for part in together]) == [True] * 3


def test_options_of_batch_norm_are_those_of_layer_norm():
    class Options(nn.Module):
        def __init__(self, run):
            super().__init__()
            self.head, self.run = nn.Linear(6, 2), run

        def forward(self, x):
            return self.head(F.relu(self.run(x)))

    x, weight, bias = torch.randn(9, 6), torch.randn(6), torch.randn(6)
    norm = nn.BatchNorm1d(6, eps=3.0)
    norm.weight.data, norm.bias.data = weight, bias
    calls = [
        norm,
        lambda x: F.batch_norm(x, None, None, weight, bias, True, 0.1, 3.0),
        lambda x: F.batch_norm(x, None, None, weight=weight, bias=bias, training=True, eps=3.0),
        lambda x: F.batch_norm(x, running_mean=None, running_var=None, bias=bias, weight=weight, training=True, eps=3),
    ]
    expected = F.group_norm(x, 1, weight, bias, 3.0) > 0
    for run in calls:
        (found,) = states(masked_patterns(Options(run), x, 0, rate=0.0), 9)
        assert torch.equal(found, expected)


class Probe(nn.Module):
    """Keeps what comes in."""

    def forward(self, x):
        self.seen = x.clone()
        return x


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.SiLU(inplace=True)])
def test_the_share_of_masked_activations_is_the_rate_and_the_others_are_kept(act, rate):
    network = nn.Sequential(act, Probe(), nn.Flatten(), nn.Linear(16000, 2))
    x = torch.rand(5, 40, 20, 20, generator=torch.Generator().manual_seed(0)) + 0.5
    (active,) = states(masked_patterns(network, x, 0, rate=rate), 5)
    seen, full = network[1].seen, act(x.clone())
    zero = seen == 0
    assert torch.equal(seen[~zero], full[~zero])
    assert same([active], [~zero.flatten(1)]) == [True]
    assert (zero == zero[:1]).all()
    assert zero.double().mean() == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / 16000) + 1e-4)
    # Each place has a mask of its own.
    for axis in (1, 2, 3):
        both = (zero & zero.roll(1, axis)).double().mean()
        assert both == pytest.approx(rate**2, abs=5 * rate * math.sqrt((1 - rate) / 16000) + 1e-4)


@pytest.mark.parametrize("norm", [False, True])
def test_a_rate_of_one_masks_everything(network, inputs, norm):
    found = states(masked_patterns(network, inputs, 0, rate=1.0, norm=norm), 6)
    assert len(found) == 3 and not any(part.any() for part in found)


def test_zeros_are_passed_on_to_what_follows():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 5, 3), nn.ReLU(), Probe(), nn.Conv2d(5, 6, 3), nn.LeakyReLU(), Probe()]
    network, x = nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 2)), torch.randn(6, 2, 7, 7)
    found = states(masked_patterns(network, x, 0), 6)
    with torch.no_grad():
        one, two = network[2].seen, network[5].seen
        before = network[3](one)
    assert ((one == network[0](x).relu()) | (one == 0)).all()
    torch.testing.assert_close(two, F.leaky_relu(before) * (two != 0))
    assert same(found, [one.flatten(1) > 0, ((before > 0) & (two != 0)).flatten(1)]) == [True] * 2
    # Each rectifier has masks of its own.
    assert 0.3 < (two[0] == 0).double().mean() < 0.7
    assert not torch.equal((one[0, 0, :3, :3] == 0), (two[0, 0] == 0))


def test_masks_follow_the_seed(network, inputs):
    run = [masked_patterns(network, inputs, seed) for seed in (3, 3, 4)]
    torch.manual_seed(9)
    again = masked_patterns(network, inputs, 3)
    assert same(run[0], run[1]) == same(run[0], again) == [True] * 3
    assert not all(same(run[0], run[2]))
    assert not all(same(run[0], masked_patterns(network, inputs, 3, rate=0.0)))


def test_the_inputs_are_left_alone():
    x = torch.randn(4, 6)
    kept = x.clone()
    masked_patterns(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2)), x, 0)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("layout", ["channels_last", "part", "transposed", "expanded"])
def test_activations_may_lie_in_memory_in_any_way(layout):
    """In-place rectifiers put out what they were given, parts of tensors included."""

    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.probe, self.head = Probe(), nn.Linear(8, 2)

        def forward(self, x):
            if layout == "channels_last":
                x = F.relu(x.to(memory_format=torch.channels_last))
            elif layout == "part":
                x = x.repeat(1, 2, 1, 1)
                x = F.relu(x[:, 8:], inplace=True)
            elif layout == "transposed":
                x = F.relu(x.transpose(1, 3), inplace=True).transpose(1, 3)
            else:
                x = F.relu(x[:, :, :, :1].expand(-1, -1, -1, 10))
            return self.head(self.probe(x).mean((2, 3)))

    network = Split()
    (active,) = states(masked_patterns(network, torch.ones(6, 8, 10, 10), 0), 6)
    seen = network.probe.seen
    assert set(seen.unique().tolist()) == {0.0, 1.0} and seen.mean() == pytest.approx(0.5, abs=0.1)
    assert same([active], [seen.flatten(1) > 0]) == [True]


@pytest.mark.parametrize("seed", [0, 5])
def test_the_proxies_are_those_of_the_masked_patterns(network, inputs, seed):
    parts = states(Passes(network, inputs, seed=seed).masked, 6)
    # Before the first rectifier nothing is masked: each unit is what it would be without masks, or inactive.
    first = by_hand(network, inputs, layer_norm=True)[0]
    assert {tuple(column) for column in parts[0].T.tolist()} <= {(False,) * 6, *map(tuple, first.T.tolist())}
    assert parts[0].sum() / first.sum() == pytest.approx(1 - RATE, abs=0.15)
    rows = torch.cat(parts, 1).tolist()
    kernel = np.array([[sum(p == q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows], dtype=float)
    found = score(network.eval(), inputs, NAMES, seed=seed)
    assert found["ncd_nwot"] == pytest.approx(math.log(np.linalg.det(kernel)), rel=1e-6)
    assert found["ncd_swap"] == len(set(zip(*rows, strict=True)))
    plain = score(network, inputs, ["nwot", "swap"], seed=seed)
    assert found["ncd_nwot"] != plain["nwot"]


def test_a_network_without_rectifiers_has_a_reason(inputs):
    network = nn.Sequential(nn.Flatten(), nn.Linear(98, 4), nn.Sigmoid(), nn.Linear(4, 2))
    found = score(network, inputs, NAMES)
    assert all(math.isnan(found[name]) and "no rectifier" in found.reasons[name] for name in NAMES)


def test_scores_of_growing_networks_do_not_fall_any_more():
    """Larger kernels: plain scores fall with every step, those of NCD rise from the first to the last."""

    def grown(kernel, seed):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        for _ in range(8):
            conv = nn.Conv2d(16, 16, kernel, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(16), nn.ReLU()]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
        found = score(network, torch.randn(16, 3, 32, 32), ["nwot", "ncd_nwot", "ncd_swap"], seed=seed)
        return [found[name] for name in ("nwot", "ncd_nwot", "ncd_swap")]

    with torch.random.fork_rng(devices=[]):
        nwot, ncd_nwot, ncd_swap = np.array([[grown(k, seed) for k in (1, 5, 9)] for seed in range(4)]).transpose(
            2, 0, 1
        )
    assert (np.diff(nwot) < 0).all()
    assert ncd_nwot[:, 2].mean() > ncd_nwot[:, 0].mean()
    assert ncd_swap[:, 2].mean() > ncd_swap[:, 0].mean()


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU()])
def test_masks_do_not_depend_on_how_images_are_laid_out(act):
    network = nn.Sequential(act, nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(90, 2))
    x = torch.randn(9, 4, 5, 6)
    plain = states(masked_patterns(network, x, 0), 9)
    last = states(masked_patterns(network, x.contiguous(memory_format=torch.channels_last), 0), 9)
    assert same(plain, last) == [True] * 2
    assert not torch.equal(plain[0], last[0])  # the units lie in another order
