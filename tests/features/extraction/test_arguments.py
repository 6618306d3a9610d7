"""What `score` takes: converted where the meaning is clear, else refused in one sentence."""

import re
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc import extract, list_proxies, score
from parzc.errors import InputError

BATCH, CLASSES = 4, 5
LABELS = torch.tensor([0, 3, 1, 4])
GRADIENTS = ["snip", "grad_norm", "jacob_cov", "nwot", "synflow", "zen", "meco", "flops"]
Pair = namedtuple("Pair", "left right")


def seeded(build, *args):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*args)


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cnn() -> nn.Module:
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), *pool, nn.Linear(6, CLASSES)))


class TwoInputs(nn.Module):
    """The sum of two branches; keywords in the order of a dictionary, and an option that is no tensor."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(7, 8), nn.Linear(8, CLASSES)

    def forward(self, left, right=None, *, scale=1.0):
        left, right = left if isinstance(left, tuple) else (left, right)
        return self.head((self.one(left) + scale * self.two(right)).relu())


class OneInput(nn.Module):
    """The same network with both inputs in one tensor."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x[:, :6], x[:, 6:])


def same(found, expected, names=None):
    names = names or [name for name in list_proxies() if name != "grasp"]
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, nan_ok=True), name
        assert (name in found.reasons) == (name in expected.reasons), name


@pytest.mark.parametrize(
    "inputs",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"left": a, "right": b},
        lambda a, b: {"right": b, "scale": 1.0, "left": a},
        lambda a, b: (a.numpy(), b.numpy()),
        lambda a, b: {"left": a, "right": b.double().numpy()},
        lambda a, b: [(a, b)],
        lambda a, b: (Pair(a, b),),
    ],
)
def test_several_inputs_give_the_values_of_one_that_holds_them_all(inputs):
    network, x = seeded(TwoInputs), randn(BATCH, 13)
    expected = score(OneInput(network), x, labels=LABELS)
    found = score(network, inputs(x[:, :6].clone(), x[:, 6:].clone()), labels=LABELS)
    # Gaussian inputs are drawn for each tensor.
    redrawn = {name for name in list_proxies() if name.startswith(("zen", "expr", "prog", "train"))}
    same(found, expected, set(list_proxies()) - redrawn)
    assert np.isfinite([found[name] for name in ("zen", "zen_published", "expressivity")]).all()


def test_several_inputs_are_cut_into_batches_together():
    network, x = seeded(TwoInputs), randn(BATCH, 13)
    expected = score(OneInput(network), x, ["snip", "zico", "gradsign"], LABELS, batches=2)
    found = score(network, (x[:, :6], x[:, 6:]), ["snip", "zico", "gradsign"], LABELS, batches=2)
    same(found, expected, ["snip", "zico", "gradsign"])
    assert found.reasons == {}


def test_several_inputs_agree_with_autograd():
    network, a, b = seeded(TwoInputs), randn(BATCH, 6), randn(BATCH, 7, seed=2)
    found = extract(network, {"left": a, "right": b}, LABELS, ["snip", "grad_norm", "flops"])
    F.cross_entropy(network(a, b), LABELS).backward()
    weights = [network.one.weight, network.two.weight, network.head.weight]
    assert found.scores["snip"] == pytest.approx(sum((w * w.grad).abs().sum().item() for w in weights), rel=1e-5)
    assert found.scores["grad_norm"] == pytest.approx(sum(w.grad.norm().item() for w in weights), rel=1e-5)
    assert found.scores["flops"] == 7 * 8 + 8 * 8 + 9 * CLASSES


def test_inputs_of_another_length_go_whole_to_every_part():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x, table, power):
            return self.head((x * table.sum(0)) ** power)

    network, x, table = seeded(Table), randn(BATCH, 6), randn(9, 6, seed=2)
    found = extract(network, (x, table, torch.tensor(2.0)), LABELS, ["snip", "synflow", "jacob_cov"], batches=2)
    assert found.reasons == {}
    halves = []
    for part in (slice(0, 2), slice(2, 4)):
        loss = F.cross_entropy(network(x[part], table, 2.0), LABELS[part])
        (gradient,) = torch.autograd.grad(loss, [network.head.weight])
        halves.append((network.head.weight * gradient).abs().sum().item())
    assert found.scores["snip"] == pytest.approx(sum(halves) / 2, rel=1e-5)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.body = nn.Embedding(20, 6), nn.Linear(6, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, input_ids, attention_mask=None):
        x = self.body(self.table(input_ids)).relu()
        weight = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.head((x * weight[..., None]).sum(1))


@pytest.mark.parametrize("mask", [None, torch.long, torch.bool])
def test_integer_tokens_have_gradients_and_a_reason_where_other_data_are_needed(mask):
    network, tokens = seeded(Tokens), torch.arange(28).reshape(BATCH, 7) % 20
    inputs = {"input_ids": tokens}
    if mask is not None:
        inputs["attention_mask"] = (torch.arange(7) < 5).expand(BATCH, 7).to(mask)
    found = score(network, inputs, labels=LABELS)
    F.cross_entropy(network(**inputs), LABELS).backward()
    for name in ("body", "head"):
        weight = network.get_submodule(name).weight
        statistic = extract(network, inputs, LABELS, ["snip"])
        value = statistic.statistics["snip"][statistic.nodes.index(name)]
        assert value == pytest.approx((weight * weight.grad).abs().sum().item(), rel=1e-5)
    assert "no gradient with respect to them" in found.reasons["jacob_cov"]
    for name in ("synflow", "zen"):
        assert "does not run on" in found.reasons[name], name
    for name in ("nwot", "zico", "fisher", "meco", "gradsign", "ntk"):
        assert name not in found.reasons, name


def test_tokens_next_to_an_image_are_kept_where_the_image_is_replaced():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.body, self.head = nn.Embedding(3, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)

        def forward(self, x, kind):
            return self.head(self.body(x) * self.table(kind))

    network, kind = seeded(Conditional), torch.tensor([2, 0, 1, 1])
    found = score(network, (randn(BATCH, 6), kind), ["synflow", "zen", "expressivity", "jacob_cov"])
    assert found.reasons == {}
    w, v, table = (p.detach().abs() for p in (network.body.weight, network.head.weight, network.table.weight))
    bias = network.body.bias.detach().abs()
    flow = (w * table[2][:, None] * v.sum(0)[:, None]).sum() + (v * ((w.sum(1) + bias) * table[2])).sum()
    assert np.exp(found["synflow"]) >= flow.item() * (1 - 1e-5)
    other = score(network, (randn(BATCH, 6), kind.flip(0)), ["synflow"])
    assert other["synflow"] != found["synflow"]  # the first input is of another kind


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.numpy(),
        lambda x: x.double(),
        lambda x: x.double().numpy(),
        lambda x: x.tolist(),
        lambda x: (x,),
        lambda x: {"input": x},
    ],
)
def test_inputs_of_other_types_give_the_same_values(change):
    network, x = cnn(), randn(BATCH, 3, 8, 8)
    found = score(network, change(x), GRADIENTS, LABELS)
    assert dict(found) == dict(score(network, x, GRADIENTS, LABELS))


def test_single_precision_inputs_fit_a_network_in_double_precision():
    x = randn(BATCH, 3, 8, 8)
    found = score(cnn().double(), x, GRADIENTS, LABELS)
    assert dict(found) == dict(score(cnn().double(), x.double(), GRADIENTS, LABELS))


@pytest.mark.parametrize("as_array", [False, True])
def test_images_of_bytes_are_numbers_from_zero_to_one(as_array):
    pixels = torch.arange(BATCH * 3 * 64).reshape(BATCH, 3, 8, 8).mul(37).remainder(256).byte()
    given = pixels.numpy() if as_array else pixels
    found = score(cnn(), given, GRADIENTS, LABELS)
    assert dict(found) == dict(score(cnn(), pixels.float() / 255, GRADIENTS, LABELS))


def test_a_network_that_takes_bytes_gets_them():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            assert x.dtype == torch.uint8
            return self.inner(x.float() / 10)

    pixels = torch.arange(BATCH * 3 * 64).reshape(BATCH, 3, 8, 8).remainder(251).byte()
    expected = score(cnn(), pixels.float() / 10, ["snip"], LABELS)["snip"]
    assert score(Scaled(), pixels, ["snip"], LABELS)["snip"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("change", [torch.Tensor.tolist, torch.Tensor.numpy, tuple, torch.Tensor.int])
def test_labels_of_other_types_give_the_same_values(change):
    network, x = cnn(), randn(BATCH, 3, 8, 8)
    labels = change(LABELS) if change is not tuple else tuple(LABELS.tolist())
    for batches in (1, 2):
        expected = score(network, x, ["snip", "epe_nas"], LABELS, batches=batches)
        assert dict(score(network, x, ["snip", "epe_nas"], labels, batches=batches)) == dict(expected)


def test_one_name_is_one_proxy():
    assert dict(score(cnn(), randn(BATCH, 3, 8, 8), "params")) == {"params": 3 * 6 * 9 + 6 + 12 + 7 * CLASSES}


def a_function(x):
    return x


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (TwoInputs, "^TwoInputs is a class; give a network, such as TwoInputs"),
        (a_function, "^a_function is no torch.nn.Module"),
        ("resnet18", "^str is no torch.nn.Module"),
        (None, "^NoneType is no torch.nn.Module"),
    ],
)
def test_what_is_no_network_is_refused(network, sentence):
    with pytest.raises(InputError, match=sentence):
        score(network, randn(BATCH, 6))


@pytest.mark.parametrize(
    ("inputs", "labels", "sentence"),
    [
        (None, None, "^inputs must be a tensor or array, or several in a tuple, list or mapping, not NoneType$"),
        ("cat.png", None, "^inputs must be a tensor or array, .* not str$"),
        ({}, None, "^inputs must be a tensor or array, .* not dict$"),
        ((), None, "^inputs must be a tensor or array, .* not tuple$"),
        (["a", "b"], None, "^inputs cannot be made a tensor from list"),
        (np.array(["a", "b"]), None, "^inputs cannot be made a tensor from ndarray of <U1"),
        (randn(BATCH, 3, 8, 8), ["cat", "dog", "cat", "dog"], "^labels cannot be made a tensor from list"),
        (list(randn(BATCH, 3, 8, 8)), None, "^Sequential does not take these inputs .*; a tuple or list stands for"),
        ({"image": randn(BATCH, 3, 8, 8)}, None, "^Sequential does not take these inputs .* a mapping for keyword"),
    ],
)
def test_inputs_that_mean_nothing_are_refused(inputs, labels, sentence):
    with pytest.raises(InputError, match=sentence):
        score(cnn(), inputs, ["snip"], labels)


def test_a_network_of_two_inputs_says_so():
    class Strict(TwoInputs):
        def forward(self, left, right):
            return super().forward(left, right)

    with pytest.raises(InputError, match=re.escape("Strict does not take these inputs (missing a required argument")):
        score(seeded(Strict), randn(BATCH, 6))


def test_a_type_error_within_the_network_is_its_own():
    class Broken(nn.Module):
        def forward(self, x):
            return x + None

    with pytest.raises(TypeError, match="unsupported operand"):
        score(Broken(), randn(BATCH, 6))
