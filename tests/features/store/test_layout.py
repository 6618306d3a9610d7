"""How a network is run: memory layout of images, number format, frozen weights, token ids."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import NO_ATTENTION
from sampled_networks import NETWORKS, WithNorm
from slow_gradients import LABELS, seeded
from torch import nn
from torch.nn import functional as F

from parzc.features import extract, list_proxies, list_statistics, score

COUNTS = {"swap", "swap_regularised", "ncd_swap", "linear_regions", "gradsign", "gradsign_mean"}
even = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def assert_close(one, other, rtol):
    """Whether two extractions agree wherever both have a value, and lack the same values."""
    assert one.nodes == other.nodes and one.blocks == other.blocks
    assert set(one.reasons) == set(other.reasons)
    for name, value in one.scores.items():
        tolerance = 1e-9 if name.startswith("meco") else 0
        np.testing.assert_allclose(other.scores[name], value, rtol=rtol, atol=tolerance, err_msg=name)


class Images(nn.Module):
    """Convolutions whose end, and middle, reshape activations in a way of their own."""

    def __init__(self, end, middle):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.body, self.head = nn.Conv2d(6, 4, 3), nn.Linear(36, 5)
        self.end, self.middle = end, middle
        self.last = []

    def forward(self, x):
        self.last.append(x.is_contiguous(memory_format=torch.channels_last))
        x = self.middle(F.relu(self.norm(self.stem(x))))
        return self.head(self.end(F.relu(self.body(x), inplace=True)))


END = {
    "flatten": lambda x: x.flatten(1),
    "reshape": lambda x: x.reshape(len(x), -1),
    "view": lambda x: x.view(x.size(0), -1),
    "view of a copy": lambda x: x.contiguous().view(x.size(0), -1),
}
MIDDLE = {
    "flatten": lambda x: x.flatten(2).unflatten(2, (5, 5)),
    "view": lambda x: x.view(-1).view(x.shape),
    "shuffle": lambda x: x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2),
    "shuffle of views": lambda x: x.view(len(x), 2, 3, 5, 5).transpose(1, 2).contiguous().view(x.shape),
}


def images(end="flatten", middle="flatten", single=True):
    network, x = seeded(lambda: Images(END[end], MIDDLE[middle]), 3, 7, 7)
    return (network.float(), x.float()) if single else (network, x)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("end", "middle", "contiguous"),
    [
        ("reshape", "flatten", "flatten"),
        ("view", "flatten", "flatten"),
        ("flatten", "view", "flatten"),
        ("view", "view", "flatten"),
        ("view of a copy", "shuffle", "shuffle"),
        ("view", "shuffle of views", "shuffle"),
    ],
)
def test_views_give_the_values_of_flatten(end, middle, contiguous, single):
    (plain, x), (network, _) = images("flatten", contiguous, single), images(end, middle, single)
    one, other = extract(plain, x, LABELS), extract(network, x, LABELS)
    assert one.reasons == NO_ATTENTION
    rtol = 1e-3 if single else 1e-7
    assert_close(one, other, rtol)
    for name in list_statistics():
        expected = one.statistics[name]
        np.testing.assert_allclose(other.statistics[name], expected, rtol=rtol, atol=1e-5, err_msg=name)


def test_images_are_laid_out_with_channels_last_unless_the_network_cannot():
    (network, x), (viewing, _) = images(), images("view")
    names = ["snip", "zen", "meco", "ncd_nwot"]
    score(network, x, names, LABELS)
    assert network.last == [True] * 5
    score(viewing, x, names, LABELS)
    assert viewing.last == [True] + [False] * 5
    assert x.is_contiguous() and torch.equal(x, images()[1])


def test_the_layout_of_the_inputs_does_not_matter():
    network, x = images("view")
    expected = extract(network, x, LABELS)
    turned = x.contiguous(memory_format=torch.channels_last)
    apart = torch.stack([x, x + 1], -1)[..., 0]
    for other in (turned, apart):
        assert not other.is_contiguous()
        assert_close(extract(network, other, LABELS), expected, 1e-9)
    assert not turned.is_contiguous()


class Views(torch.autograd.Function):
    """The identity; its gradient is looked at as one row for each input."""

    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, gradient):
        return gradient.view(len(gradient), -1).view(gradient.shape)


@pytest.mark.parametrize("name", ["snip", "zico", "jacob_cov", "trainability", "grasp", "nwot", "synflow_bn"])
def test_a_view_in_a_backward_pass_gives_the_values_of_flatten(name):
    (network, x), (viewing, _) = images(), images()
    viewing.middle = lambda x: Views.apply(network.middle(x))
    viewing(x).sum().backward()
    assert viewing.stem.weight.grad.any()
    assert_close(extract(network, x, LABELS, [name]), extract(viewing, x, LABELS, [name]), 1e-3)


def test_a_network_that_overwrites_its_input_has_every_value():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5)]
    x = torch.randn(6, 3, 6, 6, dtype=torch.float64)
    expected, found = (extract(nn.Sequential(nn.ReLU(i), *body).double(), x, LABELS) for i in (False, True))
    assert expected.reasons == found.reasons == NO_ATTENTION
    assert_close(found, expected, 1e-9)


class Failing(nn.Module):
    """Fails behind its first layer, for a reason of its own."""

    def __init__(self, layer, error):
        super().__init__()
        self.layer, self.norm, self.head = layer, nn.BatchNorm1d(4), nn.Linear(4, 5)
        self.error, self.runs = error, 0

    def forward(self, x):
        self.runs += 1
        self.norm(self.layer(x).flatten(2).mean(2))
        raise self.error


SHAPES = {
    "vectors": (lambda: nn.Linear(3, 4), (6, 3, 1), 1),
    "one row": (lambda: nn.Conv1d(3, 4, 3), (6, 3, 7), 1),
    "one pixel": (lambda: nn.Conv2d(3, 4, 1), (6, 3, 1, 1), 1),
    "images": (lambda: nn.Conv2d(3, 4, 3), (6, 3, 7, 7), 2),
}


def failing(kind):
    layer, shape, runs = SHAPES[kind]
    torch.manual_seed(0)
    if kind == "vectors":
        return Failing(nn.Sequential(nn.Flatten(), layer(), nn.Unflatten(1, (4, 1))), RuntimeError("mine")), shape, runs
    return Failing(layer(), RuntimeError("mine")), shape, runs


@pytest.mark.parametrize("kind", SHAPES)
def test_an_error_of_the_network_comes_out_and_leaves_it_unchanged(kind):
    network, shape, runs = failing(kind)
    network.eval().norm.train()
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"^mine$") as caught:
        score(network, torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert caught.value is network.error
    assert network.runs <= runs
    assert [name for name, module in network.named_modules() if module.training] == ["norm"]
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_an_error_of_the_network_is_told_once():
    class Fresh(Failing):
        def forward(self, x):
            raise RuntimeError(f"mine, of {self.layer(x).shape}")

    with pytest.raises(RuntimeError, match=r"^mine, of ") as caught:
        score(Fresh(nn.Conv2d(3, 4, 3), None), torch.zeros(6, 3, 7, 7))
    error = caught.value
    assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)


@pytest.mark.parametrize("error", [ValueError("mine"), AssertionError("mine"), KeyError("mine")])
def test_another_error_is_not_tried_again(error):
    network, shape, _ = failing("images")
    network.error = error
    with pytest.raises(type(error), match="mine"):
        score(network, torch.zeros(shape))
    assert network.runs == 1


FORMATS = {**NETWORKS, "norm": (WithNorm, 3, 8, 7)}
FORMATS = {name: FORMATS[name] for name in FORMATS if name not in ("same", "embedding")}


@pytest.mark.parametrize("name", [*FORMATS, "images", "views"])
def test_double_precision_agrees_with_single(name):
    kind = {"images": "flatten", "views": "view"}.get(name)
    network, x = images(kind, kind, single=False) if kind else seeded(*FORMATS[name])
    double = extract(network, x, LABELS)
    assert list(double.scores) == list_proxies()
    single = extract(network.float(), x.float(), LABELS)
    # The output of its last block is constant but for rounding, which has a spectrum in one of the formats only.
    rounding = {"expressivity", "progressivity"} if name == "shared with a token" else set()
    assert set(single.reasons) - rounding == set(double.reasons) - rounding
    for proxy in set(list_proxies()) - COUNTS - set(double.reasons) - rounding:
        tolerance = 1e-9 if proxy.startswith("meco") else 0
        assert single.scores[proxy] == pytest.approx(double.scores[proxy], rel=1e-2, abs=tolerance), proxy
    for proxy in COUNTS - set(double.reasons):
        assert single.scores[proxy] == pytest.approx(double.scores[proxy], rel=0.05), proxy


def test_a_flow_too_small_for_single_precision_has_its_value():
    torch.manual_seed(0)
    network, x = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(5))), torch.randn(6, 6)
    for layer in network:
        layer.weight.data *= 1e-12
    for proxy in ("synflow", "synflow_bn"):
        single, double = score(network.float(), x, [proxy]), score(network.double(), x.double(), [proxy])
        assert -140 < double[proxy] < -120 and single[proxy] == pytest.approx(double[proxy], rel=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_flow_does_not_depend_on_the_number_format(kernel, padding):
    """Without padding, an input of ones leaves norms nothing but rounding errors to scale."""
    torch.manual_seed(1)
    body = [nn.Conv2d(3, 6, kernel, padding=padding), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1)]
    network = nn.Sequential(*body, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    x = torch.randn(6, 3, 9, 9)
    network(x)
    names = ["synflow", "synflow_bn", "logsynflow"]
    single, double = (extract(network.to(dtype), x.to(dtype), LABELS, names) for dtype in (torch.float, torch.double))
    for name in names:
        assert single.scores[name] == pytest.approx(double.scores[name], rel=1e-2), name
        np.testing.assert_allclose(single.statistics[name], double.statistics[name], rtol=1e-2, err_msg=name)


def frozen(network):
    return copy.deepcopy(network).requires_grad_(False)


@even
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name", [*NETWORKS, "norm", "images"])
def test_a_frozen_network_is_measured_like_any_other(name, single):
    networks = {**NETWORKS, "norm": (WithNorm, 3, 8, 7)}
    network, x = images(single=False) if name == "images" else seeded(*networks[name])
    network, x = (network.float(), x.float()) if single else (network, x)
    expected, still = extract(network, x, LABELS), frozen(network)
    found = extract(still, x, LABELS)
    assert found.reasons == expected.reasons
    # Attention runs another kernel where nothing needs gradients.
    rtol = 1e-5 if single else 1e-9
    for columns in ("scores", "statistics", "block_statistics"):
        for key, values in getattr(expected, columns).items():
            np.testing.assert_allclose(getattr(found, columns)[key], values, rtol=rtol, atol=1e-12, err_msg=key)
    assert not any(p.requires_grad for p in still.parameters())


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 9), nn.GELU(), nn.Linear(9, width))

    def forward(self, x):
        h = self.norm(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(x)


class Words(nn.Module):
    """Looks token ids up, mixes them, and classifies their mean, with the table itself where it is tied."""

    def __init__(self, body, tied=False, table=nn.Embedding):
        super().__init__()
        self.table, self.body, self.tied = table(5, 8), body(), tied
        self.head = nn.Identity() if tied else nn.Linear(8, 5)

    def forward(self, ids):
        x = self.body(self.table(ids))
        x = x.mean(1) if x.ndim == 3 else x
        return F.linear(x, self.table.weight) if self.tied else self.head(x)


class Swapped(nn.Sequential):
    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


TOKENS = {
    "transformer": lambda: Words(lambda: nn.Sequential(Block(8), Block(8))),
    "tied": lambda: Words(lambda: nn.Sequential(Block(8), Block(8)), tied=True),
    "convolution": lambda: Words(lambda: Swapped(nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8), nn.ReLU())),
    "bag": lambda: Words(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU()), table=nn.EmbeddingBag),
    "frozen": lambda: Words(lambda: nn.Sequential(Block(8), Block(8))).requires_grad_(False),
    "double": lambda: Words(lambda: nn.Sequential(Block(8), Block(8))).double(),
}
OF_DATA = {"params", "flops", "n_layers", "l2_norm", "grad_norm", "snip", "fisher", "grasp", "nasi", "knas", "zico"}
WITHOUT = {"jacob_cov", "epe_nas", "synflow", "synflow_bn", "logsynflow", "zen", "zen_published", "expressivity"}


def words(name):
    torch.manual_seed(0)
    return TOKENS[name](), torch.randint(5, (6, 7))


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("name", TOKENS)
def test_token_ids_give_a_number_or_a_reason(name, dtype, batches):
    network, ids = words(name)
    found = extract(network, ids.to(dtype), LABELS, batches=batches)
    assert list(found.scores) == list_proxies()
    assert {proxy for proxy, value in found.scores.items() if math.isnan(value)} == set(found.reasons)
    assert all(math.isfinite(value) for proxy, value in found.scores.items() if proxy not in found.reasons)
    assert not OF_DATA & set(found.reasons) and set(found.reasons) >= WITHOUT
    assert all(len(why) > 15 for why in found.reasons.values())
    assert "not floating point" in found.reasons["jacob_cov"]
    for proxy in sorted(OF_DATA & set(list_statistics())):
        assert found.statistics[proxy].any() and np.isfinite(found.statistics[proxy]).all()


@pytest.mark.parametrize("proxy", list_proxies())
def test_token_ids_give_the_same_for_a_proxy_alone(proxy):
    network, ids = words("transformer")
    everything, alone = extract(network, ids, LABELS), extract(network, ids, LABELS, [proxy])
    assert alone.reasons == {name: why for name, why in everything.reasons.items() if name == proxy}
    assert alone.scores == pytest.approx({proxy: everything.scores[proxy]}, rel=0, abs=0, nan_ok=True)


def test_gradients_of_a_network_of_token_ids_are_those_of_autograd():
    network, ids = words("transformer")
    found = extract(network, ids, LABELS, ["grad_norm"])
    F.cross_entropy(network(ids), LABELS).backward()
    weights = dict(network.named_parameters())
    for node, norm in zip(found.nodes, found.statistics["grad_norm"], strict=True):
        if "[" not in node and "in_proj" not in node:
            assert norm == pytest.approx(weights[f"{node}.weight"].grad.norm().item(), rel=1e-4)
    assert {"body.0.mlp.0", "body.1.mlp.2", "head"} < set(found.nodes)
