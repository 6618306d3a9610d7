"""Copies of a network's state while it runs, and the initial weights drawn for it."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from parzc.features.passes.state import Drawn, gaussian, generator, random_bytes, random_signs, untouched


class Net(nn.Module):
    """Every kind of parameter, and buffers of two types."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 64, 3)
        self.grouped = nn.Conv2d(64, 64, 3, groups=8)
        self.wave = nn.Conv1d(16, 40, 5, bias=False)
        self.linear = nn.Linear(200, 300)
        self.batch, self.layer, self.group = nn.BatchNorm2d(64), nn.LayerNorm(300), nn.GroupNorm(4, 64)
        self.attention = nn.MultiheadAttention(64, 4)
        self.place, self.gamma = nn.Parameter(torch.zeros(1, 50, 64)), nn.Parameter(torch.full((64,), 0.1))
        self.register_buffer("table", torch.arange(12.0).reshape(3, 4))
        nn.init.uniform_(self.batch.weight)


WEIGHTS = {
    "conv.weight": 72,
    "grouped.weight": 72,
    "wave.weight": 80,
    "linear.weight": 200,
    "attention.in_proj_weight": 64,
    "attention.out_proj.weight": 64,
}
"""Names of weights, and how many numbers enter each of their outputs."""


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


@pytest.fixture
def named(network):
    return dict(network.named_parameters()) | dict(network.named_buffers())


def snapshot(network):
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [(name, id(t), t.data_ptr(), t.dtype, t.tolist()) for name, t in tensors]


def doubled(_, t):
    return t.double() * 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_runs_on_transformed_state_and_comes_back(network, fails):
    network.eval()
    network.batch.train()
    network.batch.num_batches_tracked += 3
    modes, before, values = [m.training for m in network.modules()], snapshot(network), copy.deepcopy(network)

    def run():
        with untouched(network, 0, doubled):
            assert all(module.training for module in network.modules())
            assert network.batch.num_batches_tracked == 3 and network.batch.num_batches_tracked.dtype == torch.int64
            for t, old in zip(network.parameters(), values.parameters(), strict=True):
                assert t.dtype == torch.float64 and torch.equal(t, old.double() * 2)
            assert torch.equal(network.table, values.table.double() * 2)
            with torch.no_grad():
                for t in (*network.parameters(), *network.buffers()):
                    t.zero_()
            network.table = torch.ones(1)
            if fails:
                raise KeyError("stop")

    if fails:
        with pytest.raises(KeyError, match="stop"):
            run()
    else:
        run()
    assert snapshot(network) == before
    assert [m.training for m in network.modules()] == modes


def test_a_transform_that_fails_halfway_leaves_the_network_as_it_was(network):
    def transform(name, t):
        if name.startswith("layer"):
            raise ValueError(name)
        return t * 0

    before = snapshot(network)
    with pytest.raises(ValueError, match="layer"), untouched(network, 0, transform):
        pass
    assert snapshot(network) == before


def test_without_a_transform_parameters_stay_and_buffers_are_copies(network):
    parameters, buffers = ([t.data_ptr() for t in ts()] for ts in (network.parameters, network.buffers))
    with untouched(network, 0):
        assert [p.data_ptr() for p in network.parameters()] == parameters
        assert not set(buffers) & {b.data_ptr() for b in network.buffers()}
        network.table.zero_()
    assert torch.equal(network.table, torch.arange(12.0).reshape(3, 4))


def test_everything_random_follows_the_seed_inside_and_goes_on_outside(network):
    def draw():
        return torch.rand(()).item(), np.random.rand(), random.random()

    def inside(seed):
        with untouched(network, seed):
            return draw()

    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    first, second = draw(), draw()
    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    assert draw() == first
    assert inside(3) == inside(3) != inside(4)
    assert draw() == second


@pytest.mark.parametrize(("name", "fan_in"), WEIGHTS.items())
def test_kaiming_weights_have_mean_zero_and_variance_two_over_fan_in(network, named, name, fan_in):
    weight = Drawn(network, 0).kaiming(name, named[name])
    assert weight.shape == named[name].shape
    bound = 5 / weight.numel() ** 0.5
    assert weight.var() * fan_in / 2 == pytest.approx(1, abs=bound * 2**0.5)
    assert weight.mean() / weight.std() == pytest.approx(0, abs=bound)


@pytest.mark.parametrize(("name", "fan_in"), (WEIGHTS | {"place": 50 * 64}).items())
def test_kaiming_weights_are_normal_ones_scaled(network, named, name, fan_in):
    for kaiming_first in (False, True):
        drawn = Drawn(network, 0)
        order = (drawn.kaiming, drawn.normal) if kaiming_first else (drawn.normal, drawn.kaiming)
        found = [draw(name, named[name]) for draw in order]
        kaiming, normal = found if kaiming_first else found[::-1]
        assert normal.std() == pytest.approx(1, abs=0.05)
        torch.testing.assert_close(kaiming, normal * (2 / fan_in) ** 0.5)


@pytest.mark.parametrize("draw", [Drawn.normal, Drawn.kaiming])
def test_what_is_no_weight_is_zero_one_or_kept(network, named, draw):
    drawn = Drawn(network, 0)
    expected = {name: torch.zeros_like(t) for name, t in named.items() if name.endswith("bias")}
    assert "attention.in_proj_bias" in expected and len(expected) == 8
    expected |= {f"{norm}.weight": torch.ones_like(named[f"{norm}.weight"]) for norm in ("batch", "layer", "group")}
    expected |= {name: named[name].detach() for name, _ in network.named_buffers()} | {"gamma": network.gamma.detach()}
    for name, value in expected.items():
        found = draw(drawn, name, named[name])
        torch.testing.assert_close(found, value, rtol=0, atol=0)
        assert found.data_ptr() != named[name].data_ptr() and not found.requires_grad
    assert expected.keys() | WEIGHTS.keys() | {"place"} == named.keys()


def test_a_norm_that_is_the_network_itself_has_scales_one():
    norm = nn.LayerNorm(4)
    nn.init.uniform_(norm.weight)
    assert Drawn(norm, 0).normal("weight", norm.weight).tolist() == [1] * 4


def test_a_name_has_the_same_draw_in_every_network(network, named):
    other = nn.Module()
    other.linear = nn.Linear(200, 300)
    other.extra = nn.Linear(200, 300)
    one, two = Drawn(network, 0), Drawn(other, 0)
    _ = two.normal("extra.weight", other.extra.weight)
    expected = torch.randn(300, 200, generator=generator(0, "linear.weight"))
    for drawn, weight in ((one, named["linear.weight"]), (two, other.linear.weight)):
        assert torch.equal(drawn.normal("linear.weight", weight), expected)
    assert not torch.equal(two.normal("extra.weight", other.extra.weight), expected)
    assert not torch.equal(Drawn(network, 1).normal("linear.weight", named["linear.weight"]), expected)


def test_draws_have_the_format_of_the_weight(network, named):
    single = Drawn(network, 0).kaiming("conv.weight", named["conv.weight"])
    double = Drawn(network, 0).kaiming("conv.weight", named["conv.weight"].double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(double.float(), single)


def test_a_network_that_changes_its_weights_in_place_leaves_later_draws_alone(network):
    expected, drawn = Drawn(network, 0).kaiming("conv.weight", network.conv.weight), Drawn(network, 0)
    with untouched(network, 0, drawn.normal):
        network.conv.weight.data.clamp_(-0.1, 0.1)
    assert torch.equal(drawn.kaiming("conv.weight", network.conv.weight), expected)


def test_gaussian_inputs_are_standard_normal_and_follow_the_seed():
    like = torch.zeros(50, 40, dtype=torch.float64)
    found = gaussian(like, 3)
    assert found.shape == (50, 40) and found.dtype == torch.float64
    assert found.mean() == pytest.approx(0, abs=0.1) and found.std() == pytest.approx(1, abs=0.08)
    assert torch.equal(found.float(), torch.randn(50, 40, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(gaussian(like, 4), found)
    assert gaussian(torch.zeros(2, 3, dtype=torch.uint8), 0).dtype == torch.float32


def test_bytes_are_uniform_and_belong_to_a_name_and_a_seed():
    found = random_bytes(20001, 3, "a")
    assert found.dtype == torch.uint8 and found.shape == (20001,)
    share = torch.stack([(found >> i) & 1 for i in range(8)]).double().mean(1)
    assert len(found.unique()) == 256 and ((share - 0.5).abs() < 0.02).all()
    assert torch.equal(random_bytes(20001, 3, "a"), found) and torch.equal(random_bytes(9, 3, "a"), found[:9])
    for other in (random_bytes(20001, 3, "b"), random_bytes(20001, 4, "a"), found.roll(1)):
        assert (other == found).double().mean() == pytest.approx(1 / 256, abs=0.003)


def test_signs_are_as_often_negative_as_positive():
    like = torch.zeros(7, 5, 60, dtype=torch.float64)
    found = random_signs(like, 3, "a")
    assert found.shape == like.shape and found.dtype == like.dtype and found.abs().unique().tolist() == [1]
    assert found.mean() == pytest.approx(0, abs=0.1)
    assert torch.equal(random_signs(like, 3, "a"), found) and not torch.equal(random_signs(like, 3, "b"), found)
    # Neighbours are independent.
    flat = found.flatten()
    assert all((flat[k:] * flat[:-k]).mean() == pytest.approx(0, abs=0.1) for k in range(1, 17))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_signs_do_not_depend_on_how_their_place_is_laid_out(dtype):
    contiguous = torch.zeros(3, 4, 5, 6, dtype=dtype)
    last = contiguous.contiguous(memory_format=torch.channels_last)
    found = random_signs(last, 3, "a")
    assert torch.equal(found, random_signs(contiguous, 3, "a")) and found.stride() == last.stride()
    drawn = np.unpackbits(random_bytes(45, 3, "a").numpy(), bitorder="little")
    np.testing.assert_array_equal(found.flatten(), 2.0 * drawn - 1)


def test_a_network_with_a_training_mode_of_its_own_is_put_into_it():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].training = False
            return self

    network = Frozen(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert network[1].training
    with untouched(network, 0):
        assert network.training and not network[1].training
    assert network[1].training


@pytest.mark.parametrize("training", [True, False])
def test_every_module_is_in_training_mode_within(training):
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4)))
    network[1][0].training = training
    with untouched(network, 0):
        assert all(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, True, training]
