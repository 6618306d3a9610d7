"""Zen-score against two forward passes written out by hand."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space
from parzc.features import extract, score
from parzc.features.passes.state import Drawn

NAMES = ["zen", "zen_published"]
SEED = 3


class Excite(nn.Module):
    """Squeeze and excite: pools all positions and gives each channel a scale."""

    def __init__(self, channels, pool):
        super().__init__()
        self.reduce, self.expand, self.pool = nn.Conv2d(channels, 3, 1), nn.Conv2d(3, channels, 1), pool

    def forward(self, x):
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(self.pool(x)))))


class Net(nn.Module):
    """Two convolutions with batch norm, and a way from features to what the classifier reads."""

    def __init__(self, last, width=6, norm=True, excite=None):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, bias=False)
        # Neither the momentum nor what has been counted so far enters.
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, momentum=0.4) if norm else nn.Identity() for c in (5, 6))
        for module in self.norms if norm else ():
            nn.init.uniform_(module.running_var, 5, 6)
            nn.init.uniform_(module.weight, 2, 3)
        self.excite, self.last, self.head = excite or nn.Identity(), last, nn.Linear(width, 4)

    def features(self, x, outputs):
        """Return what is pooled, and add what enters the norms to `outputs`."""
        outputs.append(self.one(x))
        x = F.relu(self.norms[0](outputs[-1]))
        outputs.append(self.two(x))
        return self.excite(F.relu(self.norms[1](outputs[-1])))

    def forward(self, x):
        return self.head(self.last(self.features(x, [])))


class Last(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


POOLS = {
    "mean": lambda: Last(lambda x: x.mean((2, 3))),
    "torch.mean, kept axes": lambda: Last(lambda x: torch.mean(x, dim=[-2, -1], keepdim=True)[:, :, 0, 0]),
    "mean of tokens": lambda: Last(lambda x: x.flatten(2).mean(-1)),
    "maximum": lambda: Last(lambda x: x.amax((2, 3))),
    "modules": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "module and view": lambda: Last(lambda x: F.adaptive_avg_pool2d(x, 1).view(len(x), -1)),
    "a window of all positions": lambda: nn.Sequential(nn.AvgPool2d(6), nn.Flatten()),
    "maximum of a window": lambda: nn.Sequential(nn.MaxPool2d(6), nn.Flatten()),
    "adaptive maximum": lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "a convolution behind": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Flatten()),
}


def build(last, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net(last, **options)


def inputs(*shape):
    """Return the two inputs: half of a Gaussian batch, and a Gaussian step of .01 from it."""
    x, step = (torch.randn(shape, generator=torch.Generator().manual_seed(SEED + i)) for i in range(2))
    half = shape[0] // 2
    return x[:half], x[:half] + 0.01 * step[:half]


def redrawn(network):
    drawn, network = Drawn(network, SEED), copy.deepcopy(network).train()
    for name, p in network.named_parameters():
        p.data = drawn.normal(name, p)
    return network


def by_hand(network, shape=(7, 3, 8, 8)):
    """Zen and its published variant."""
    network, norms = redrawn(network), [nn.BatchNorm2d(c) for c in (5, 6)]
    features, variances = [], []
    with torch.no_grad():
        for x in inputs(*shape):
            outputs = []
            features.append(network.features(x, outputs).double())
            for norm, output in zip(norms, outputs, strict=True):
                norm(output)
                channels = [output[:, c].double() for c in range(output.shape[1])]
                variances.append(sum(((v - v.mean()) ** 2).mean().item() for v in channels) / len(channels))
    first, second = features
    euclidean = [math.sqrt(sum((a - b) ** 2 for a, b in pairs(x, y))) for x, y in zip(first, second, strict=True)]
    absolute = [sum(abs(a - b) for a, b in pairs(x, y)) for x, y in zip(first, second, strict=True)]
    zen, published = math.log(sum(euclidean) / len(first)), math.log(sum(absolute) / len(first))
    if isinstance(network.norms[0], nn.BatchNorm2d):
        zen += sum(math.log(math.sqrt(v)) for v in variances[:2])
        published += sum(math.log(math.sqrt(norm.running_var.mean())) for norm in norms)
    return zen, published


def pairs(x, y):
    return zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)


def check(network, expected, *shape):
    found = score(network, torch.zeros(shape), NAMES, seed=SEED)
    assert found.reasons == {}
    assert found["zen"] == pytest.approx(expected[0], rel=1e-4)
    assert found["zen_published"] == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.parametrize("pool", POOLS)
def test_features_are_what_enters_the_global_pooling(pool):
    network = build(POOLS[pool]())
    check(network, by_hand(network), 7, 3, 8, 8)


def test_without_pooling_features_are_what_is_flattened():
    network = build(nn.Flatten(), width=216)
    check(network, by_hand(network), 7, 3, 8, 8)


def test_without_batch_norm_only_the_distance_counts():
    network = build(POOLS["mean"](), norm=False)
    check(network, by_hand(network), 7, 3, 8, 8)


@pytest.mark.parametrize("squeeze", ["module", "mean"])
@pytest.mark.parametrize("last", ["mean", "flatten"])
def test_squeeze_and_excite_is_not_the_global_pooling(squeeze, last):
    pool = nn.AdaptiveAvgPool2d(1) if squeeze == "module" else Last(lambda x: x.mean((2, 3), keepdim=True))
    end, width = (nn.Flatten(), 216) if last == "flatten" else (POOLS["mean"](), 6)
    network = build(end, width=width, excite=Excite(6, pool))
    check(network, by_hand(network), 7, 3, 8, 8)


def test_features_of_an_mlp_are_what_enters_its_last_layer():
    network = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3))
    own, norm = redrawn(network), nn.BatchNorm1d(9)
    with torch.no_grad():
        before = [own[0](x) for x in inputs(20, 6)]
        moved = (own[:5](inputs(20, 6)[0]) - own[:5](inputs(20, 6)[1])).double()
        _ = [norm(x) for x in before]
    zen = moved.square().sum(1).sqrt().mean().log() + before[0].double().var(0, unbiased=False).mean().log() / 2
    published = moved.abs().sum(1).mean().log() + norm.running_var.mean().log() / 2
    check(network, (zen.item(), published.item()), 20, 6)
    flattened = nn.Sequential(nn.Flatten(), *network)
    flattened.load_state_dict({f"{int(k[0]) + 1}{k[1:]}": v for k, v in network.state_dict().items()})
    assert math.isfinite(score(flattened, torch.zeros(20, 2, 3), NAMES)["zen"])


def test_features_of_tokens_are_what_is_averaged():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix, self.head = nn.Linear(5, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 3)

        def features(self, x):
            x = F.gelu(self.embed(x))
            return x + self.mix(x)

        def forward(self, x):
            return self.head(self.features(x).mean(1))

    own = redrawn(Tokens())
    with torch.no_grad():
        moved = (own.features(inputs(6, 4, 5)[0]) - own.features(inputs(6, 4, 5)[1])).double().flatten(1)
    expected = moved.square().sum(1).sqrt().mean().log(), moved.abs().sum(1).mean().log()
    check(Tokens(), [v.item() for v in expected], 6, 4, 5)


def test_an_overwritten_input_of_the_pooling_is_read_in_time():
    network = build(POOLS["mean"]())
    overwriting = build(Last(lambda x: (x.mean((2, 3)), x.mul_(0))[0]))
    check(overwriting, by_hand(network), 7, 3, 8, 8)


def test_data_do_not_enter_but_the_seed_does_and_batches_give_the_mean():
    network = build(POOLS["mean"]())
    one, other = (score(network, torch.zeros(7, 3, 8, 8), NAMES, seed=seed) for seed in (0, 1))
    assert all(one[name] != other[name] for name in NAMES)
    assert dict(score(network, torch.ones(7, 3, 8, 8), NAMES, seed=0)) == dict(one)
    both = extract(network, torch.zeros(14, 3, 8, 8), proxies=NAMES, batches=2)
    assert all(both.scores[name] == pytest.approx((one[name] + other[name]) / 2) for name in NAMES)


def test_a_norm_that_meets_a_constant_has_no_scale_to_undo():
    class Constant(Net):
        def forward(self, x):
            self.norms[1](torch.full((len(x), 6, 4, 4), 2.0))
            return self.head(self.last(F.relu(self.norms[0](self.one(x))).repeat(1, 2, 1, 1)[:, :6]))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Constant(POOLS["mean"]())
    own = redrawn(network)
    with torch.no_grad():
        outputs = [own.one(x) for x in inputs(7, 3, 8, 8)]
        one, two = (F.relu(own.norms[0](x)).repeat(1, 2, 1, 1)[:, :6].double().flatten(1) for x in outputs)
    variance = outputs[0].double().transpose(0, 1).flatten(1).var(1, unbiased=False).mean()
    expected = (one - two).norm(dim=1).mean().log() + variance.log() / 2
    assert score(network, torch.zeros(7, 3, 8, 8), ["zen"], seed=SEED)["zen"] == pytest.approx(
        expected.item(), rel=1e-4
    )


def test_a_convolution_of_zeros_counts_as_none():
    """Nothing enters node 1 of the cells, so that the batch norm of edge 1-2 meets zeros."""
    space, cell = get_space("nb201"), "|none~0|+|skip_connect~0|{}~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|"
    networks = [space.network(cell.format(operation)) for operation in ("nor_conv_3x3", "none")]
    one, other = (score(network, torch.zeros(3, 3, 16, 16), ["zen"])["zen"] for network in networks)
    assert one == pytest.approx(other, rel=1e-4)


def test_a_network_that_does_not_move_has_a_reason():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.conv(x * 0).mean((2, 3)))

    found = score(Deaf(), torch.zeros(2, 3, 6, 6), NAMES)
    assert all(math.isnan(found[name]) and "do not move with the input" in found.reasons[name] for name in NAMES)


def test_features_that_are_not_finite_have_a_reason():
    class Log(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.conv(x).log().mean((2, 3)))

    found = score(Log(), torch.zeros(2, 3, 6, 6), NAMES)
    assert all(math.isnan(found[name]) and "not finite" in found.reasons[name] for name in NAMES)
