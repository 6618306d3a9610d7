"""Every proxy on eight small networks of different styles: a number, or a reason that is known beforehand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.features import extract, list_proxies, list_statistics, proxy_info

BATCH, CLASSES = 6, 5


class Head(nn.Sequential):
    """Global average pooling and a classifier."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def conv_bn(c_in: int, c_out: int, kernel: int = 3, **options) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False, **options), nn.BatchNorm2d(c_out)]


class PlainCNN(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(*conv_bn(3, 8), nn.ReLU(), nn.MaxPool2d(2), *conv_bn(8, 8), nn.ReLU(), Head(8))


class Residual(nn.Module):
    """Two convolutions with in-place ReLU, added to the shortcut in place."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_bn(c_in, c_out, stride=stride))
        self.second = nn.Sequential(*conv_bn(c_out, c_out))
        self.shortcut = nn.Sequential(*conv_bn(c_in, c_out, 1, stride=stride)) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.first(x)))
        out += self.shortcut(x)
        return self.relu(out)


class ResNet(nn.Sequential):
    def __init__(self) -> None:
        stem = nn.Sequential(*conv_bn(3, 8), nn.ReLU(inplace=True))
        super().__init__(stem, Residual(8, 8, 1), Residual(8, 12, 2), Head(12))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.relu(self.reduce(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * F.hardsigmoid(self.expand(scale), inplace=True)


class InvertedResidual(nn.Module):
    """The block of MobileNetV3."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(*conv_bn(channels, hidden, 1), nn.Hardswish(inplace=True))
        self.depthwise = nn.Sequential(*conv_bn(hidden, hidden, 5, groups=hidden), nn.Hardswish(inplace=True))
        self.excite, self.project = SqueezeExcite(hidden), nn.Sequential(*conv_bn(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.excite(self.depthwise(self.expand(x))))


class MobileNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Sequential(*conv_bn(3, 6, stride=2)), InvertedResidual(6, 12), Head(6))


class DenseNet(nn.Module):
    """Norm, ReLU, convolution; each layer reads all features before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(6 + 4 * i), nn.ReLU(inplace=True), nn.Conv2d(6 + 4 * i, 4, 3, padding=1))
            for i in range(3)
        )
        self.head = Head(18)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.head(torch.cat(features, 1))


class WithoutNorm(nn.Sequential):
    """Activations overwrite what convolutions put out."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.LeakyReLU(0.1, inplace=True), Head(8)
        )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.attention, self.norm_2 = nn.LayerNorm(width), Attention(width, 2), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.blocks, self.norm = nn.Sequential(Block(8), Block(8)), nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class MLP(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(7, 12),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Linear(12, 12),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Linear(12, CLASSES),
        )


class Waves(nn.Sequential):
    """One-dimensional, for sound or sensors."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 6, 5, padding=2),
            nn.BatchNorm1d(6),
            nn.ELU(inplace=True),
            nn.Conv1d(6, 8, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        )


RESIDUAL_NODES = ["2.first.0", "2.second.0", "2.shortcut.0"]
BLOCK_NODES = ["attention.qkv", "attention.out", "mlp.0", "mlp.3"]
GALLERY = {
    "plain cnn": (PlainCNN, (3, 8, 8), ["0", "4", "7.2"]),
    "resnet": (ResNet, (3, 8, 8), ["0.0", "1.first.0", "1.second.0", *RESIDUAL_NODES, "3.2"]),
    "mobilenet": (
        MobileNet,
        (3, 8, 8),
        ["0.0", "1.expand.0", "1.depthwise.0", "1.excite.reduce", "1.excite.expand", "1.project.0", "2.2"],
    ),
    "densenet": (DenseNet, (3, 8, 8), ["stem", "layers.0.2", "layers.1.2", "layers.2.2", "head.2"]),
    "without norm": (WithoutNorm, (3, 8, 8), ["0", "2", "4.2"]),
    "vit": (ViT, (3, 8, 8), ["patches", *(f"blocks.{i}.{node}" for i in (0, 1) for node in BLOCK_NODES), "head"]),
    "mlp": (MLP, (7,), ["0", "3", "6"]),
    "one-dimensional cnn": (Waves, (2, 16), ["0", "3", "7"]),
}
ONE_VALUE = "Expected more than 1 value per channel when training"
WITHOUT_A_VALUE = {
    # Batch norm of vectors cannot normalise a single input.
    ("mlp", "synflow_bn"): ONE_VALUE,
    ("mlp", "meco"): ONE_VALUE,
    ("mlp", "meco_opt"): ONE_VALUE,
    ("mlp", "meco_modules"): ONE_VALUE,
    # Nothing nonlinear follows the last batch norm, so that the shares of the inputs cancel.
    ("mobilenet", "ntk"): "linearly dependent",
    ("mobilenet", "grasp"): "derivative for aten::hardsigmoid_backward is not implemented",
    **{(network, "dss"): "the network has no attention" for network in GALLERY if network != "vit"},
}
"""The proxies without a value, and why."""

WITHOUT_FLOW = {("mobilenet", "synflow"): ["1.excite.reduce", "1.excite.expand"]}
"""With absolute weights and without batch norm the hard sigmoid of the gate is saturated."""

every_network = pytest.mark.parametrize("name", GALLERY)


def features_of(name: str, proxies=None, seed: int = 0):
    build, shape, _ = GALLERY[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, x, labels = build(), torch.randn(BATCH, *shape), torch.randint(CLASSES, (BATCH,))
    return extract(network, x, labels, proxies)


@every_network
def test_every_proxy_gives_a_number_or_the_expected_reason(name):
    features = features_of(name)
    assert list(features.scores) == list_proxies()
    assert list(features.statistics) == list_statistics()
    expected = {proxy: why for (network, proxy), why in WITHOUT_A_VALUE.items() if network == name}
    assert features.reasons.keys() == expected.keys()
    for proxy, value in features.scores.items():
        if proxy in expected:
            assert math.isnan(value)
            assert expected[proxy] in features.reasons[proxy]
            assert np.isnan(features.statistics.get(proxy, np.nan)).all()
        else:
            assert math.isfinite(value), proxy
            statistic = features.statistics.get(proxy, np.zeros(len(features)))
            without_flow = [node for node, v in zip(features.nodes, statistic, strict=True) if v == -np.inf]
            assert without_flow == WITHOUT_FLOW.get((name, proxy), []), proxy
            assert np.isfinite(statistic).sum() == len(features) - len(without_flow), proxy


@every_network
def test_every_weight_is_a_node_in_its_place(name):
    features = features_of(name, ["n_layers"])
    assert list(features.nodes) == GALLERY[name][2]
    assert features.scores["n_layers"] == len(GALLERY[name][2])


@every_network
def test_every_node_takes_part(name):
    """The networks have no dead parts, so that no saliency is zero."""
    features = features_of(name, ["grad_norm", "snip", "fisher", "l2_norm"])
    for statistic, values in features.statistics.items():
        assert (values > 1e-9).all(), statistic


@every_network
def test_another_initialisation_has_other_values(name):
    one, other = features_of(name), features_of(name, seed=1)
    for proxy in list_proxies():
        if proxy in ("swap", "swap_regularised", "ncd_swap", "linear_regions"):
            continue  # counts that small batches saturate, whatever the weights
        if one.scores[proxy] == other.scores[proxy] == 0:
            assert (name, proxy) in {("vit", "meco"), ("vit", "meco_opt")}  # five tokens of eight channels
            continue
        redrawn = proxy_info(proxy).initialisation in ("kaiming", "normal")
        static = proxy in ("params", "flops", "n_layers") or proxy in one.reasons or redrawn
        assert (one.scores[proxy] == pytest.approx(other.scores[proxy], rel=1e-6, nan_ok=True)) == static, proxy


def test_depths_follow_the_longest_path():
    depth = {}
    for name in GALLERY:
        features = features_of(name, ["params"])
        depth[name] = dict(zip(features.nodes, features.fields[:, 0].tolist(), strict=True))
    assert list(depth["densenet"].values()) == [0, 1, 2, 3, 4]
    assert [depth["resnet"][node] for node in RESIDUAL_NODES] == [3, 4, 3]
    assert depth["resnet"]["3.2"] == 5
    # Both the gated features and the gate reach the projection; the gate is the longer way.
    assert [depth["mobilenet"][f"1.{node}"] for node in ("depthwise.0", "excite.expand", "project.0")] == [2, 4, 5]
    assert list(depth["vit"].values()) == list(range(10))
