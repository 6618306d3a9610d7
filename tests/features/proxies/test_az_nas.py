"""The proxies of AZ-NAS as formulas of entropies and spectral norms that are computed by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space
from parzc.datasets.spaces._base import initialise
from parzc.datasets.spaces._vit import VisionTransformer
from parzc.features import AZ_NAS, AZ_NAS_VIT, aggregate_ranks, extract, list_block_statistics, score
from parzc.features.passes.state import Drawn, random_signs

NAMES = ["expressivity", "progressivity", "trainability"]
ALL_NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
SHAPE = (12, 6)


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 9), nn.ReLU(inplace=True), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 8), nn.Linear(8, 3)]
        return nn.Sequential(*layers)


def by_hand(seed):
    """Entropies of the outputs of the four layers, and spectral norms between them."""
    drawn = Drawn(make(), seed)
    weights = [drawn.kaiming(f"{i}.weight", make()[i].weight) for i in (0, 2, 4, 5)]
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    outputs = [x @ weights[0].T]
    outputs.append(F.relu(outputs[0]) @ weights[1].T)
    outputs.append(F.relu(outputs[1]) @ weights[2].T)
    outputs.append(outputs[2] @ weights[3].T)
    entropies, norms = [], []
    for i, output in enumerate(outputs):
        values = np.linalg.eigvalsh(np.cov(output.double().numpy().T))
        # A rounding error of a zero eigenvalue, negative or not, has no entropy.
        shares = [v / values.sum() for v in values if v > 0]
        entropies.append(-sum(p * math.log(p) for p in shares))
        if i:
            signs = random_signs(output, seed, f"block {i}")
            gradient = (signs @ weights[i]) * ((outputs[i - 1] > 0) if i < 3 else 1)
            jacobian = np.zeros((gradient.shape[1], signs.shape[1]))
            for u, v in zip(gradient.double().numpy(), signs.double().numpy(), strict=True):
                jacobian += np.outer(u, v) / len(signs)
            norms.append(np.linalg.svd(jacobian, compute_uv=False)[0])
    return entropies, norms


@pytest.fixture(scope="module")
def hand():
    return by_hand(3)


def test_expressivity_is_the_sum_of_entropies(hand):
    found = extract(make(), torch.zeros(SHAPE), proxies=["expressivity"], seed=3)
    assert found.scores["expressivity"] == pytest.approx(sum(hand[0]), rel=1e-4)
    np.testing.assert_allclose(found.block_statistics["expressivity"], hand[0], rtol=1e-4)


def test_progressivity_is_the_smallest_growth_of_entropy(hand):
    found = score(make(), torch.zeros(SHAPE), ["progressivity"], seed=3)["progressivity"]
    steps = [b - a for a, b in zip(hand[0], hand[0][1:], strict=False)]
    assert min(steps) < -0.1
    assert found == pytest.approx(min(steps), rel=1e-4)


def test_trainability_is_the_mean_distance_of_norms_from_one(hand):
    found = extract(make(), torch.zeros(SHAPE), proxies=["trainability"], seed=3)
    expected = [2 - s - 1 / s for s in hand[1]]
    assert all(v < 0 for v in expected)
    assert found.scores["trainability"] == pytest.approx(sum(expected) / 3, rel=1e-4)
    np.testing.assert_allclose(found.block_statistics["trainability"], [0, *expected], rtol=1e-4)


def test_blocks_are_named_where_they_are_asked_for():
    assert list_block_statistics() == ["expressivity", "trainability"]
    found = extract(make(), torch.zeros(SHAPE), proxies=[*NAMES, "params"])
    assert found.blocks == ("0", "2", "4", "5")
    assert {name: v.shape for name, v in found.block_statistics.items()} == {"expressivity": (4,), "trainability": (4,)}
    assert list(found.statistics) == [] and found.reasons == {}
    without = extract(make(), torch.zeros(SHAPE), proxies=["params"])
    assert without.blocks == () and without.block_statistics == {}


def test_what_enters_the_first_block_is_one_more():
    found = extract(get_space("nb201").network(CELL), torch.zeros(3, 3, 16, 16), proxies=NAMES)
    assert found.blocks == ("input of cells.0", *(f"cells.{i}" for i in range(17)))
    entropies, trainabilities = (found.block_statistics[name] for name in ("expressivity", "trainability"))
    assert found.scores["expressivity"] == pytest.approx(math.fsum(entropies))
    assert found.scores["progressivity"] == pytest.approx(min(np.diff(entropies)))
    assert found.scores["trainability"] == pytest.approx(math.fsum(trainabilities) / 17)
    assert trainabilities[0] == 0 and (trainabilities[1:] < 0).all()


def test_data_labels_and_weights_do_not_enter_but_the_seed_does():
    one = score(make(), torch.zeros(SHAPE), NAMES, seed=3)
    other = make()
    for p in other.parameters():
        nn.init.ones_(p)
    assert dict(score(other, torch.ones(SHAPE), NAMES, torch.zeros(12, dtype=torch.int64), 3)) == dict(one)
    assert all(score(make(), torch.zeros(SHAPE), [name], seed=4)[name] != one[name] for name in NAMES)


def test_several_batches_give_the_mean():
    found = extract(make(), torch.zeros(24, 6), proxies=["trainability", "progressivity", "expressivity"], batches=2)
    parts = [by_hand(seed) for seed in (0, 1)]
    expected = np.mean([entropies for entropies, _ in parts], axis=0)
    np.testing.assert_allclose(found.block_statistics["expressivity"], expected, rtol=1e-4)
    assert found.scores["expressivity"] == pytest.approx(expected.sum(), rel=1e-4)
    trainability = np.mean([[2 - s - 1 / s for s in norms] for _, norms in parts])
    assert found.scores["trainability"] == pytest.approx(trainability, rel=1e-4)
    assert found.blocks == ("0", "2", "4", "5")


@pytest.mark.parametrize("name", NAMES)
def test_cells_that_put_out_zero_have_a_reason(name):
    found = extract(get_space("nb201").network(ALL_NONE), torch.zeros(2, 3, 8, 8), proxies=[name])
    assert math.isnan(found.scores[name])
    expected = "'cells.0' does not depend on" if name == "trainability" else "'cells.0' is constant"
    assert expected in found.reasons[name]


def test_a_block_cut_off_from_the_one_before_has_no_trainability_only():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3)])

        def forward(self, x):
            return self.layers[2](self.layers[0](x) + self.layers[1](x))

    found = extract(Cut(), torch.zeros(SHAPE), proxies=NAMES)
    assert list(found.reasons) == ["trainability"] and "'layers.1' does not depend" in found.reasons["trainability"]
    assert math.isnan(found.scores["trainability"]) and list(found.block_statistics) == ["expressivity"]
    assert math.isfinite(found.scores["expressivity"]) and math.isfinite(found.scores["progressivity"])


class Passing(nn.Module):
    """Three blocks, the middle one a factor."""

    def __init__(self, factor):
        super().__init__()
        self.blocks = nn.ModuleList(
            [Scaled(nn.Linear(6, 4), 1), Scaled(nn.Identity(), factor), Scaled(nn.Linear(4, 3), 1)]
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Scaled(nn.Module):
    def __init__(self, layer, factor):
        super().__init__()
        self.layer, self.factor = layer, factor

    def forward(self, x):
        return self.layer(x) * self.factor


def test_published_trainability_is_none_where_a_block_is_the_identity():
    both = ["trainability", "trainability_published"]
    found = extract(Passing(1.0), torch.zeros(SHAPE), proxies=both)
    assert math.isfinite(found.scores["trainability"]) and math.isnan(found.scores["trainability_published"])
    assert found.reasons == {"trainability_published": "block 'blocks.1' hands gradients on unchanged"}
    cell = extract(get_space("nb201").network(SKIP), torch.zeros(2, 3, 8, 8), proxies=both)
    assert list(cell.reasons) == both[1:] and "'cells.0' hands gradients" in cell.reasons[both[1]]


def test_published_trainability_is_that_of_the_paper_otherwise():
    both = ["trainability", "trainability_published"]
    for network, shape in ((Passing(-1.0), SHAPE), (get_space("nb201").network(CELL), (2, 3, 8, 8))):
        found = score(network, torch.zeros(shape), both)
        assert not found.reasons and found[both[0]] == found[both[1]] < 0


@pytest.mark.parametrize("network", [nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3), nn.ReLU())])
def test_fewer_than_two_blocks_have_a_reason(network):
    found = extract(network, torch.zeros(SHAPE), proxies=NAMES)
    assert all(math.isnan(found.scores[name]) for name in NAMES)
    assert found.reasons == dict.fromkeys(NAMES, "the network has fewer than two primary blocks")
    assert found.blocks == () and found.block_statistics == {}


@pytest.mark.parametrize("frozen", ["stem", ""])
def test_a_frozen_weight_is_measured_like_any_other(frozen):
    network = get_space("nb201").network(CELL)
    expected = extract(network, torch.zeros(2, 3, 8, 8), proxies=NAMES)
    network.get_submodule(frozen).requires_grad_(False)
    found = extract(network, torch.zeros(2, 3, 8, 8), proxies=NAMES)
    assert found.reasons == {}
    assert found.blocks == expected.blocks and dict(found.scores) == dict(expected.scores)


def test_the_proxies_aggregate_within_a_population():
    space = get_space("nb201")
    archs = [CELL, CELL.replace("nor_conv_1x1", "nor_conv_3x3"), CELL.replace("nor_conv_1x1", "skip_connect")]
    rows = [score(space.network(arch), torch.zeros(2, 3, 16, 16), AZ_NAS) for arch in archs]
    columns = {name: [row[name] for row in rows] for name in AZ_NAS}
    expected = [
        sum(math.log(sum(other <= value for other in columns[name]) / 3) for name, value in row.items()) for row in rows
    ]
    np.testing.assert_allclose(aggregate_ranks(columns), expected)


def test_vision_transformers_are_ranked_without_progressivity():
    """Expressivity of the tokens that enter the first layer and leave each layer, and that set of proxies."""
    network = initialise(lambda: VisionTransformer(12, [1, 1], [24, 36], 32, 5), seed=0)
    features = extract(network, torch.randn(3, 3, 32, 32), proxies=AZ_NAS_VIT, seed=2)
    assert set(features.scores) == set(AZ_NAS_VIT) == {*AZ_NAS} - {"progressivity"}
    assert features.blocks == ("input of layers.0", "layers.0", "layers.1") and features.reasons == {}
    drawn = Drawn(network, 2)
    weights = {name: drawn.kaiming(name, p) for name, p in network.named_parameters()}
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    outputs = []
    for module in (network.embedding, *network.layers):
        module.register_forward_hook(lambda *_: outputs.append(_[2]))
    torch.func.functional_call(network, weights, x)
    expected = []
    for output in outputs:
        values = np.linalg.eigvalsh(np.cov(output.detach().double().flatten(0, 1).numpy().T)).clip(min=0)
        shares = values[values > 0] / values.sum()
        expected.append(-(shares * np.log(shares)).sum())
    np.testing.assert_allclose(features.block_statistics["expressivity"], expected, rtol=1e-4)
