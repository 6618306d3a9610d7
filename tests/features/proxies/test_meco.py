"""MeCo against the correlations of outputs that hooks collect."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.features import extract, score
from parzc.features.passes.state import generator

NAMES = ["meco", "meco_opt", "meco_modules"]
LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
SEED = 2


class TokenBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 10), nn.GELU(), nn.Linear(10, width))

    def forward(self, x):
        y = self.norm(x)
        return x + self.mlp(x + self.attention(y, y, y, need_weights=False)[0])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 6, 2, 2), nn.Sequential(TokenBlock(6), TokenBlock(6))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Again(nn.Module):
    """One weight that is applied twice."""

    def __init__(self):
        super().__init__()
        self.embed, self.again, self.head = nn.Linear(7, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.again(torch.tanh(self.again(self.embed(x)))).mean(1))


def images():
    """Activations overwrite what convolutions put out; 12 channels of 16 positions."""
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 12, 3), nn.ReLU(inplace=True)]
    body = nn.Sequential(nn.Sequential(*layers), nn.Identity(), nn.ConvTranspose2d(12, 9, 2, 2))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(9, 4))


def waves():
    layers = [nn.Conv1d(2, 12, 7), nn.BatchNorm1d(12), nn.ELU(inplace=True), nn.Conv1d(12, 5, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 4))


NETWORKS = {
    "images": (images, (3, 8, 8)),
    "waves": (waves, (2, 30)),
    "transformer": (Transformer, (3, 8, 8)),
    "a shared weight": (Again, (20, 7)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def case(name):
    build, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build(), torch.randn(4, *shape)


def collected(network, x):
    """Return names, modules and outputs of all modules for the first input, in training mode; outputs without batch."""
    network, found = copy.deepcopy(network).train(), []
    for name, module in network.named_modules():

        def keep(module, _, output, name=name):
            if isinstance(output, torch.Tensor):
                found.append((name, module, output[0].detach().double().numpy().copy()))

        module.register_forward_hook(keep)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network(x[:1])
    return found


def smallest(rows):
    """Return the smallest eigenvalue of the correlation of the rows; it is singular unless there are more columns."""
    if rows.shape[1] <= rows.shape[0] or (rows == rows[:, :1]).all(1).any():
        return 0.0
    return max(np.linalg.eigvalsh(np.atleast_2d(np.corrcoef(rows)))[0], 0.0)


def channels_of(module, output):
    if isinstance(module, nn.Linear):
        return output.reshape(-1, output.shape[-1]).T
    return output.reshape(len(output), -1)


def feature_maps(network, x):
    """The maps of each layer whose outputs a hook sees: name to `(channels, positions)` of its calls."""
    maps = {}
    for name, module, output in collected(network, x):
        if isinstance(module, LAYERS):
            maps.setdefault(name, []).append(channels_of(module, output))
    return maps


@every_network
def test_meco_is_the_sum_of_smallest_eigenvalues(name):
    network, x = case(name)
    maps = feature_maps(network, x)
    found = extract(network, x, proxies=["meco"], seed=SEED)
    values = dict(zip(found.nodes, found.statistics["meco"], strict=True))
    # Hooks do not see the projections within attention.
    hidden = {node for node in values if "attention" in node}
    assert values.keys() - hidden == maps.keys() and bool(hidden) == (name == "transformer")
    expected = {layer: sum(map(smallest, calls)) for layer, calls in maps.items()}
    assert max(expected.values()) > 1e-3
    for layer, value in expected.items():
        assert values[layer] == pytest.approx(value, rel=1e-4, abs=1e-9), layer
    assert found.scores["meco"] == pytest.approx(sum(values.values()))


def test_projections_within_attention_are_feature_maps_of_tokens():
    network, x = case("transformer")
    found, block = extract(network, x, proxies=["meco"], seed=SEED), network.blocks[0]
    values = dict(zip(found.nodes, found.statistics["meco"], strict=True))
    with torch.no_grad():
        y = block.norm(network.patches(x[:1]).flatten(2).transpose(1, 2))
        heads = F.linear(y, block.attention.in_proj_weight, block.attention.in_proj_bias)[0].double().numpy().T
        out = block.attention(y, y, y, need_weights=False)[0][0].double().numpy().T
    projections = {node for node in values if node.startswith("blocks.0.attention.in_proj")}
    assert 0 < smallest(out) and values["blocks.0.attention.out_proj"] == pytest.approx(smallest(out), rel=1e-4)
    # 18 channels of 16 tokens, as long as one product makes queries, keys and values.
    assert len(projections) == 1 and smallest(heads) == 0 == values[projections.pop()]


@every_network
def test_meco_opt_samples_eight_channels(name):
    network, x = case(name)
    found = extract(network, x, proxies=["meco_opt", "meco"], seed=SEED)
    values = dict(zip(found.nodes, found.statistics["meco_opt"], strict=True))
    whole = dict(zip(found.nodes, found.statistics["meco"], strict=True))
    sampled = 0
    for layer, calls in feature_maps(network, x).items():
        n = len(calls[0])
        chosen = torch.randperm(n, generator=generator(SEED, layer))[:8].numpy()
        expected = sum(smallest(rows[chosen]) for rows in calls) * n / min(n, 8)
        assert values[layer] == pytest.approx(expected, rel=1e-4, abs=1e-9), layer
        sampled += n > 8 and expected > 1e-3
        if n <= 8:
            assert values[layer] == pytest.approx(whole[layer], rel=1e-9)
    assert bool(sampled) == (name in ("images", "waves"))
    assert found.scores["meco_opt"] == pytest.approx(sum(values.values()))


def test_which_channels_are_sampled_follows_the_seed():
    network, x = case("images")
    network[3].p = 0.0
    one, again, other = (dict(score(network, x, ["meco", "meco_opt"], seed=seed)) for seed in (0, 0, 1))
    assert one == again and one["meco"] == other["meco"] and one["meco_opt"] != other["meco_opt"]


@every_network
def test_meco_modules_counts_every_module(name):
    network, x = case(name)
    outputs = collected(network, x)
    names = [layer for layer, *_ in outputs]
    assert "" in names and len(names) >= 4
    if name == "images":
        # The last activation is also the output of the container, and the identity passes it on.
        assert names[4:7] == ["0.0.4", "0.0", "0.1"]
        assert all(np.array_equal(outputs[4][2], output) for _, _, output in outputs[5:7])
    expected = sum(smallest(output.reshape(len(output), -1)) for *_, output in outputs if output.ndim > 0)
    # The rows of tokens `(tokens, channels)` are the tokens, and there are more of them than channels.
    assert (expected > 1e-3) == (name != "a shared weight")
    assert score(network, x, ["meco_modules"], seed=SEED)["meco_modules"] == pytest.approx(expected, rel=1e-4)


def test_only_the_first_input_enters():
    network, x = case("transformer")
    other = x.clone()
    other[1:] = 0
    assert dict(score(network, other, NAMES)) == dict(score(network, x, NAMES))
    assert dict(score(network, x.flip(0), NAMES)) != dict(score(network, x, NAMES))


@pytest.mark.parametrize(("size", "zero"), [(5, False), (4, True), (3, True)])
def test_as_many_channels_as_positions_give_zero(size, zero):
    network = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Flatten(), nn.Linear(16 * size**2, 2))
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert extract(network, x, proxies=["meco"]).statistics["meco"][0] < 1e-9
    # Three inputs make 16 channels dependent; with taps there are enough.
    network[0] = nn.Conv2d(3, 16, 3, padding=1)
    found = extract(network, x, proxies=["meco"]).statistics["meco"]
    assert (found[0] == 0) == zero and found[1] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, -2.3])
def test_a_constant_channel_gives_zero(value, dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).to(dtype)
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0), dtype=dtype)
    assert score(network, x, ["meco"])["meco"] > 1e-3
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1] = 0, value
    assert dict(score(network, x, NAMES)) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@every_network
def test_inputs_that_are_not_numbers_have_a_reason(name, bad):
    network, x = case(name)
    found = score(network, torch.full_like(x, bad), NAMES)
    assert all(math.isnan(found[proxy]) and "not finite" in found.reasons[proxy] for proxy in NAMES)


def test_a_network_that_needs_several_inputs_has_a_reason():
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    found = score(network, torch.eye(5), NAMES)
    assert all(math.isnan(found[proxy]) and "a single input" in found.reasons[proxy] for proxy in NAMES)
