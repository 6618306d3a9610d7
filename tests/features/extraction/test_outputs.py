"""What networks may return, losses of one's own, and failures that stay where they are, against plain autograd."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc import extract, list_proxies, proxy_info, score
from parzc.errors import InputError
from parzc.features.passes.passes import Passes

LABELS = torch.tensor([0, 3, 1, 4])
LOSS = [name for name in list_proxies() if proxy_info(name).labels and name not in ("grasp", "epe_nas")]
REST = [name for name in list_proxies() if not proxy_info(name).labels and name not in ("dss", "meco_opt")]


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp(outputs=5):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, outputs)
        )


class Returns(nn.Sequential):
    def __init__(self, change, outputs=5):
        super().__init__(*mlp(outputs))
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x))


def snip(network, x, loss):
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    gradients = torch.autograd.grad(loss(network(x)), weights)
    return sum((w * g).abs().sum().item() for w, g in zip(weights, gradients, strict=True))


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda y: SimpleNamespace(logits=y, loss=None), None),
        (lambda y: {"logits": y}, None),
        (lambda y: {"aux": y * 2, "out": y}, None),
        (lambda y: (y, y * 2), None),
        (lambda y: [{"out": y}, None], None),
        (lambda y: (y * 2, y), lambda returned: returned[1]),
        (lambda y: {"scores": y}, lambda returned: returned["scores"]),
        (lambda y: y[:, None], lambda returned: returned[:, 0]),
    ],
)
def test_the_output_is_found(change, output):
    x = randn(4, 12)
    expected, found = score(mlp(), x, labels=LABELS), score(Returns(change), x, labels=LABELS, output=output)
    assert found.reasons == expected.reasons
    # The output of the network itself has another shape for this one.
    for name in set(expected) - {"meco_modules"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize(
    ("change", "output", "sentence"),
    [
        (
            lambda y: SimpleNamespace(y=y),
            None,
            "^the network must return a tensor, but it returned SimpleNamespace; give",
        ),
        (lambda y: (None, y), None, "^the network must return a tensor, but it returned tuple; give output="),
        (lambda y: {"scores": y}, None, "^the network must return a tensor, but it returned dict"),
        (lambda y: y, lambda _: 3, "^output must return a tensor, but it returned int"),
        (lambda y: y, lambda returned: returned["out"], "^output= failed on "),
        (lambda y: y.argmax(1), None, "^the network's output must be floating-point numbers .* torch.int64"),
        (lambda y: y.sum(), None, "^the network's output must be floating-point numbers for each input"),
    ],
)
def test_no_output_is_one_sentence(change, output, sentence):
    with pytest.raises(InputError, match=sentence):
        score(Returns(change), randn(4, 12), ["snip"], output=output)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (mlp(1), "the network has one output, for which cross-entropy is always zero"),
        (Returns(lambda y: y.flatten(), 1), r"the network returned (4,) and no logits (batch, classes)"),
        (Returns(lambda y: y[:, :, None, None]), r"the network returned (4, 5, 1, 1) and no logits (batch, classes)"),
    ],
)
def test_without_a_class_loss_only_its_proxies_are_undefined(network, reason):
    x = randn(4, 12)
    found = score(network, x, [*LOSS, *REST, "epe_nas", "grasp"])
    for name in [*LOSS, "epe_nas", "grasp"]:
        assert np.isnan(found[name]) and found.reasons[name].startswith(reason), name
    plain = score(network, x, REST, loss=lambda y, _: y.square().mean())
    for name in REST:
        assert found[name] == pytest.approx(plain[name], rel=1e-6, nan_ok=True), name
        assert found.reasons.get(name) == plain.reasons.get(name)
    assert {"ntk", "knas", "jacob_cov", "synflow", "nwot"}.isdisjoint(found.reasons)
    batches = score(network, x, ["zico", "snip"], batches=2)
    assert all("cross-entropy" in batches.reasons[name] for name in ("zico", "snip"))


def test_a_regression_has_the_values_of_its_loss():
    network, x, y = mlp(1), randn(4, 12), randn(4, 1, seed=2)
    found = score(network, x, labels=y, loss=F.mse_loss)
    assert found["snip"] == pytest.approx(snip(network, x, lambda o: F.mse_loss(o, y)), rel=1e-5)
    assert not set(found.reasons) & set(LOSS)
    rows = [
        torch.autograd.grad(F.mse_loss(network(x[i : i + 1]), y[i : i + 1]), network[5].weight)[0] for i in range(4)
    ]
    signs = torch.stack(rows).sign().sum(0).abs().sum()
    statistics = extract(network, x, y, ["gradsign"], loss=F.mse_loss)
    assert statistics.statistics["gradsign"][-1] == pytest.approx(signs.item())
    assert "class indices" in score(mlp(3), x, ["epe_nas"], randn(4, 3), loss=F.mse_loss).reasons["epe_nas"]


def test_dense_outputs_and_next_tokens_have_losses():
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1))
    x, classes = randn(4, 3, 6, 6), torch.arange(4 * 36).reshape(4, 6, 6) % 5
    found = score(conv, x, ["snip", "fisher", "zico"], classes, loss=F.cross_entropy)
    assert found["snip"] == pytest.approx(snip(conv, x, lambda o: F.cross_entropy(o, classes)), rel=1e-5)
    assert found.reasons == {}
    model, tokens = (
        nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 11)),
        torch.arange(28) % 11,
    )
    tokens = tokens.reshape(4, 7)

    def next_token(logits, labels):
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    statistics = extract(model, tokens, tokens, ["snip"], loss=next_token)
    head = model[3].weight
    (gradient,) = torch.autograd.grad(next_token(model(tokens), tokens), head)
    own = statistics.statistics["snip"][statistics.nodes.index("3")]
    assert own == pytest.approx((head * gradient).abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda y, _: y, r"^loss must return one number, the mean over the batch, as a tensor, but returned \(4, 5\)"),
        (lambda *_: 3.0, "^loss must return one number, .* but returned float"),
        (F.mse_loss, r"^loss= failed on \(4, 5\), NoneType: "),
    ],
)
def test_a_loss_that_is_none_is_refused(loss, sentence):
    with pytest.raises(InputError, match=sentence):
        score(mlp(), randn(4, 12), ["snip"], loss=loss)


def test_a_loss_that_cannot_vary_is_said():
    found = score(mlp(), randn(4, 12), ["snip", "flops"], loss=lambda y, _: y.detach().sum())
    assert found.reasons == {"snip": "the loss that was given does not depend on the network's output"}


PASSES = ["gradients", "jacobian", "_measured", "synaptic_flow", "blocks", "perturbed", "feature_maps", "masked"]


@pytest.mark.parametrize("error", [RuntimeError, KeyError, AssertionError, AttributeError, NotImplementedError])
@pytest.mark.parametrize("name", PASSES)
def test_a_failing_pass_takes_nothing_else_along(monkeypatch, name, error):
    network, x = mlp(), randn(4, 12)
    expected = score(network, x, labels=LABELS)

    def fail(_):
        raise error("broken")

    monkeypatch.setattr(vars(next(c for c in Passes.__mro__ if name in vars(c)))[name], "func", fail)
    found = score(network, x, labels=LABELS)
    lost = set(found.reasons) - set(expected.reasons)
    assert lost
    for proxy in lost:
        assert found.reasons[proxy].startswith(f"the pass '{name}' failed: {error.__name__}: ")
    for proxy in set(list_proxies()) - lost:
        assert found[proxy] == pytest.approx(expected[proxy], rel=1e-6, nan_ok=True), proxy


class Cast(nn.Module):
    def __init__(self, inner, dtype):
        super().__init__()
        self.inner, self.dtype = inner, dtype

    def forward(self, x):
        with torch.autocast("cpu", self.dtype):
            return self.inner(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_within_a_network(dtype):
    network, x = mlp(), randn(4, 12)
    plain, found = score(network, x, labels=LABELS), score(Cast(network, dtype), x, labels=LABELS)
    assert set(found.reasons) == set(plain.reasons)
    for name in ("snip", "grad_norm", "fisher", "zico", "zen", "ntk", "l2_norm", "synflow"):
        assert found[name] == pytest.approx(plain[name], rel=0.15), name


def test_autocast_around_the_measuring_changes_nothing():
    network, x = mlp(), randn(4, 12)
    plain = score(network, x, labels=LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        found = score(network, x, labels=LABELS)
    assert {k: v for k, v in found.items() if v == v} == {k: v for k, v in plain.items() if v == v}


def test_lazy_layers_get_their_sizes():
    lazy = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval()
    x = randn(4, 3, 6, 6)
    found = score(lazy, x, labels=LABELS)
    assert not any(module.training for module in lazy.modules())
    assert torch.equal(lazy[1].running_mean, torch.zeros(6)) and torch.equal(lazy[1].running_var, torch.ones(6))
    assert lazy[1].num_batches_tracked == 0
    assert dict(found).keys() == dict(score(lazy, x, labels=LABELS)).keys()
    again = score(lazy, x, ["snip", "synflow"], LABELS)
    assert (
        again["snip"]
        == found["snip"]
        == pytest.approx(snip(lazy.train(), x, lambda o: F.cross_entropy(o, LABELS)), rel=1e-4)
    )
