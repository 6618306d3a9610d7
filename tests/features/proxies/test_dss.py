"""The DSS indicator, against its formula on weights that are named here."""

import numpy as np
import pytest
import torch
from torch import nn

from parzc.datasets.spaces._base import initialise
from parzc.datasets.spaces._vit import VisionTransformer
from parzc.features import extract, proxy_info
from parzc.features.passes.passes import Passes
from parzc.features.proxies.dss import attention_nodes, nuclear_norm


def vit():
    """Two layers, whose projections are and are not square."""
    return initialise(lambda: VisionTransformer(64, [1, 2], [96, 128], 32, 7), seed=3)


class Separate(nn.Module):
    """Queries, keys and values from linear maps of their own, a gate with a softmax of its own output behind them."""

    def __init__(self):
        super().__init__()
        self.first, self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(4))
        self.out, self.fc, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x).relu()
        weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
        x = x + self.out(weights @ self.v(x))
        return self.head(self.fc(x).relu().mean(1))


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Repeated(nn.Module):
    """Attention whose weights serve twice, on tokens that differ, few for the size of the weights."""

    def __init__(self):
        super().__init__()
        self.first, self.attention = nn.Linear(8, 64), nn.MultiheadAttention(64, 2, batch_first=True)
        self.positions, self.head = nn.Parameter(torch.rand(6, 64)), nn.Linear(64, 3)

    def forward(self, x):
        x = self.first(x) * self.positions
        for _ in range(2):
            x = (x + self.attention(x, x, x, need_weights=False)[0]).square()
        return self.head(x.mean(1))


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def by_definition(network, shape, attention, perceptrons):
    """The score from plain autograd: nuclear norms for `attention`, saliency for `perceptrons`."""
    network = network.double()
    with torch.no_grad():
        for p in network.parameters():
            p.abs_()
    network(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    weights = dict(network.named_parameters())
    values = {}
    for name in attention:
        w = weights[name if name.endswith("weight") else f"{name}.weight"]
        # The nuclear norm as the trace of the root of W^T W.
        spectra = [torch.linalg.eigvalsh(m.T @ m if m.shape[0] > m.shape[1] else m @ m.T) for m in (w.grad, w.detach())]
        values[name] = np.prod([spectrum.clamp(min=0).sqrt().sum().item() for spectrum in spectra])
    for name in perceptrons:
        w = weights[f"{name}.weight"]
        values[name] = (w * w.grad).abs().sum().item()
    return values


def test_a_vision_transformer_by_definition():
    features = extract(vit(), torch.randn(2, 3, 32, 32), proxies=["dss"])
    attention = [f"layers.{i}.attention.{part}" for i in (0, 1) for part in ("qkv", "proj")]
    perceptrons = [f"layers.{i}.{part}" for i in (0, 1) for part in ("fc1", "fc2")]
    expected = by_definition(vit(), (3, 32, 32), attention, [*perceptrons, "classifier"]) | {"embedding.patches": 0}
    found = dict(zip(features.nodes, features.statistics["dss"], strict=True))
    assert found == pytest.approx(expected, rel=1e-6)
    assert features.scores["dss"] == pytest.approx(sum(expected.values()), rel=1e-6)


@pytest.mark.parametrize("shape", [(120, 40), (40, 120), (64, 64)])
@pytest.mark.parametrize("rank", [1, 7, 10, 30])
def test_nuclear_norms_of_matrices_of_known_rank(shape, rank):
    """Also where the singular values lie far apart, as those of synaptic flow do."""
    source = torch.Generator().manual_seed(rank)
    left, right = (torch.randn(n, rank, generator=source, dtype=torch.float64) for n in shape)
    matrix = (left * torch.logspace(0, -8, rank, dtype=torch.float64)) @ right.T
    expected = torch.linalg.svdvals(matrix).sum().item()
    assert nuclear_norm(matrix, rank) == pytest.approx(expected, rel=1e-6 if rank > 10 else 1e-12)
    assert nuclear_norm(matrix) == pytest.approx(expected, rel=1e-5)


def test_attention_of_separate_maps():
    """A path without softmax to the values does not hide them; what reads the sum behind is no attention."""
    passes = Passes(seeded(Separate), torch.randn(2, 5, 6))
    nodes = passes.forward
    assert {nodes[i].name for i in attention_nodes(nodes)} == {"q", "k", "v", "out"}
    features = extract(seeded(Separate), torch.randn(2, 5, 6), proxies=["dss"])
    expected = by_definition(seeded(Separate), (5, 6), ["q", "k", "v", "out"], ["first", "fc", "head"])
    assert dict(zip(features.nodes, features.statistics["dss"], strict=True)) == pytest.approx(expected, rel=1e-6)


def test_fused_attention():
    features = extract(seeded(Fused), torch.randn(2, 5, 6), proxies=["dss"])
    expected = by_definition(seeded(Fused), (5, 6), ["attention.in_proj_weight", "attention.out_proj"], ["head"])
    assert features.reasons == {}
    assert dict(zip(features.nodes, features.statistics["dss"], strict=True)) == pytest.approx(expected, rel=1e-6)


def test_attention_that_serves_twice():
    """Its gradient has the tokens of both times; by those of one only, it would be too small."""
    tokens = torch.randn(2, 6, 8)
    node = next(n for n in Passes(seeded(Repeated), tokens).synaptic_flow if n.name == "attention.in_proj_weight")
    singular = torch.linalg.svdvals(node.gradient)
    assert len(node.calls) == 2 and singular[6] > 1e-9 * singular[0]
    features = extract(seeded(Repeated), tokens, proxies=["dss"])
    weights = ["attention.in_proj_weight", "attention.out_proj"]
    expected = by_definition(seeded(Repeated), (6, 8), weights, ["first", "head"])
    assert dict(zip(features.nodes, features.statistics["dss"], strict=True)) == pytest.approx(expected, rel=1e-6)


def test_inputs_labels_and_state_do_not_enter():
    network = vit()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one = extract(network, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), ["dss"])
    other = extract(network, torch.randn(5, 3, 32, 32), None, ["dss"], seed=9)
    assert one.scores == other.scores
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert proxy_info("dss").needs == "attention" and proxy_info("dss").bigger_is_better


def test_networks_without_attention_say_so():
    network = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.LogSoftmax(1)))
    features = extract(network, torch.randn(2, 4), proxies=["dss"])
    assert "the network has no attention" in features.reasons["dss"] and np.isnan(features.scores["dss"])


def test_a_flow_that_is_not_finite_has_a_reason():
    network = vit()
    network.layers[0].fc1.weight.data[0, 0] = torch.inf
    features = extract(network, torch.randn(2, 3, 32, 32), proxies=["dss"])
    assert np.isnan(features.scores["dss"]) and "synaptic flow" in features.reasons["dss"]
