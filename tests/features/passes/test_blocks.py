"""Primary blocks: which modules they are, and their entropies and Jacobians against plain computations."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from parzc.datasets import get_space
from parzc.features.passes.blocks import (
    _entropies,
    _largest_singular_values,
    _of_spectra,
    measure_blocks,
    primary_blocks,
    smaller_product,
    watch_blocks,
)
from parzc.features.passes.passes import Passes
from parzc.features.passes.state import Drawn, random_signs

SEED = 5


class Residual(nn.Module):
    """Overwrites its input at once, and adds in place."""

    def __init__(self, c_in, c_out, stride=1, kind=nn.Conv2d, norm=nn.BatchNorm2d):
        super().__init__()
        self.act, self.conv = nn.ReLU(inplace=True), nn.Sequential(kind(c_in, c_out, 3, stride, 1), norm(c_out))
        self.shortcut = kind(c_in, c_out, 1, stride)

    def forward(self, x):
        x = self.act(x)
        out = self.conv(x)
        out += self.shortcut(x)
        return out


class Up(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 2, stride=2)

    def forward(self, x):
        return self.up(x.tanh())


class TokenBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), nn.Sequential(nn.Linear(width, 9), nn.GELU(), nn.Linear(9, width))
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        return x + self.mlp(self.norm(x))


class Chain(nn.Module):
    """A stem, blocks one after the other, and a classifier of the mean over positions."""

    def __init__(self, stem, blocks, axes, channels):
        super().__init__()
        self.stem, self.blocks, self.head, self.axes = stem, blocks, nn.Linear(channels, 5), axes

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(self.axes) if self.axes else x)


def images():
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
    return Chain(stem, nn.Sequential(Residual(6, 6), Residual(6, 8, 2), Residual(8, 8), Residual(8, 4, 4)), (2, 3), 4)


def growing():
    return Chain(nn.Conv2d(3, 4, 4, 4), nn.ModuleList([Up(4, 5), Residual(5, 3), Up(3, 3)]), (2, 3), 3)


def waves():
    blocks = [Residual(4, c, s, nn.Conv1d, nn.BatchNorm1d) for c, s in ((4, 1), (6, 2))]
    return Chain(nn.Conv1d(2, 4, 3, padding=1), nn.ModuleList(blocks), (2,), 6)


def tokens():
    return Chain(nn.Linear(7, 6), nn.ModuleList([TokenBlock(6), TokenBlock(6)]), (1,), 6)


def vectors():
    blocks = [nn.Sequential(nn.Linear(8, 6), nn.ReLU(inplace=True)), nn.Sequential(nn.Linear(6, 9), nn.Tanh())]
    return Chain(nn.Identity(), nn.ModuleList([Wrapped(block) for block in blocks]), (), 9)


class Wrapped(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


CHAINS = {
    "images": (images, (3, 8, 8)),
    "growing images": (growing, (3, 8, 8)),
    "waves": (waves, (2, 12)),
    "tokens": (tokens, (4, 7)),
    "vectors": (vectors, (8,)),
}
every_chain = pytest.mark.parametrize("name", CHAINS)


def case(name):
    build, shape = CHAINS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build(), torch.randn(6, *shape)


def outputs_by_hand(network, shape):
    """Kaiming weights, Gaussian inputs, one block after the other."""
    drawn, network = Drawn(network, SEED), copy.deepcopy(network).train()
    for name, p in network.named_parameters():
        p.data = drawn.kaiming(name, p)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    stem = network.stem(x)
    outputs = [stem]
    for block in network.blocks:
        outputs.append(block(outputs[-1].clone()))
    return outputs[1:] if stem is x else outputs


def vectors_of(name, t, size):
    """Return the vectors at each position of a grid of `size`; finer positions that it covers become channels."""
    t = t.detach().double().numpy()
    if name == "vectors":
        return list(t)
    if name == "tokens":
        return [vector for one in t for vector in one]
    steps = [n // m for n, m in zip(t.shape[2:], size, strict=True)]
    found = []
    for one in t:
        for place in np.ndindex(*size):
            window = tuple(slice(i * s, (i + 1) * s) for i, s in zip(place, steps, strict=True))
            found.append(one[(slice(None), *window)].flatten())
    return found


@every_chain
def test_entropy_is_that_of_the_spectrum_of_the_covariance(name):
    network, x = case(name)
    expected = []
    for output in outputs_by_hand(network, x.shape):
        values = np.linalg.eigvalsh(np.cov(np.array(vectors_of(name, output, output.shape[2:])).T))
        shares = values[values > 0] / values[values > 0].sum()
        expected.append(-sum(p * np.log(p) for p in shares))
    assert min(expected) > 0.1
    np.testing.assert_allclose(Passes(network, x, seed=SEED).blocks.entropy, expected, rtol=1e-4)


@every_chain
def test_spectral_norm_is_that_of_the_products_of_gradients(name):
    network, x = case(name)
    outputs, expected = outputs_by_hand(network, x.shape), []
    for i in range(1, len(outputs)):
        signs = random_signs(outputs[i], SEED, f"block {i}")
        (gradient,) = torch.autograd.grad(outputs[i], outputs[i - 1], signs, retain_graph=True)
        size = [min(a, b) for a, b in zip(outputs[i - 1].shape[2:], outputs[i].shape[2:], strict=True)]
        pairs = zip(vectors_of(name, gradient, size), vectors_of(name, signs, size), strict=True)
        jacobian = np.mean([np.outer(u, v) for u, v in pairs], axis=0)
        expected.append(np.linalg.svd(jacobian, compute_uv=False)[0])
    np.testing.assert_allclose(Passes(network, x, seed=SEED).blocks.spectral_norm, expected, rtol=1e-4)


def test_spectral_norm_of_linear_layers_by_hand():
    """The gradient is the signs times the weights."""
    network = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 4), nn.Linear(4, 6))
    drawn, expected = Drawn(network, SEED), []
    for i, width in ((1, 4), (2, 6)):
        weight = drawn.kaiming(f"{i}.weight", network[i].weight).double().numpy()
        signs = random_signs(torch.zeros(9, width), SEED, f"block {i}").double().numpy()
        expected.append(np.linalg.svd(weight.T @ signs.T @ signs / 9, compute_uv=False)[0])
    found = Passes(network, torch.zeros(9, 5), seed=SEED).blocks
    assert found.names == ("0", "1", "2")
    np.testing.assert_allclose(found.spectral_norm, expected, rtol=1e-4)


def test_dense_blocks_behind_convolutions_depend_on_them():
    """Their one position covers all positions of the images."""
    dense = Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU()))
    network = nn.Sequential(Wrapped(nn.Conv2d(3, 4, 3, 2, 1)), Wrapped(nn.Conv2d(4, 4, 1)), dense, nn.Linear(8, 5))
    blocks = Passes(network, torch.zeros(6, 3, 8, 8)).blocks
    assert blocks.names == ("0", "1", "2")
    assert np.isfinite(blocks.entropy).all() and (blocks.spectral_norm > 0).all()


def test_blocks_that_do_not_follow_each_other_have_no_jacobian():
    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
            self.branches = nn.ModuleList([Wrapped(nn.Linear(4, 4)), Wrapped(nn.Linear(4, 4)), TokenBlock(4)])

        def forward(self, x):
            x = self.stem(x)
            total = self.branches[1](x) + self.branches[0](x)
            return self.head(self.branches[2](total).mean(1))

    found = Passes(Parallel(), torch.zeros(3, 4, 4)).blocks
    assert found.names == ("input of branches.1", "branches.1", "branches.0", "branches.2")
    assert np.isfinite(found.entropy).all()
    assert np.isfinite(found.spectral_norm).tolist() == [True, False, True]


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.layers = nn.Linear(6, 8), nn.ModuleList(TokenBlock(8) for _ in range(3))


def stages():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sequential(Residual(6, 6), Residual(6, 8)), nn.Sequential(Up(8, 8)))


def plain():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 5))


TREES = {
    "residual blocks in stages": (stages, ["1.0", "1.1", "2.0"]),
    "a wrapper in a wrapper": (
        lambda: Wrapped(Wrapped(stages())),
        [f"network.network.{i}" for i in ("1.0", "1.1", "2.0")],
    ),
    "transformer": (Transformer, ["layers.0", "layers.1", "layers.2"]),
    "a dictionary": (lambda: nn.ModuleDict({"b": Up(4, 4), "a": Up(4, 4)}), ["b", "a"]),
    "blocks within blocks": (lambda: nn.Sequential(Wrapped(stages()), Up(8, 8)), ["0", "1"]),
    "plain convolutions": (plain, ["0", "3.0"]),
    "one-dimensional": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3)), ["0", "2"]),
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6)), ["0", "2"]),
    "one layer": (lambda: nn.Linear(4, 5), []),
}


@pytest.mark.parametrize("name", TREES)
def test_primary_blocks_of(name):
    build, expected = TREES[name]
    network = build()
    blocks = primary_blocks(network)
    assert list(blocks) == expected
    assert all(block is network.get_submodule(path) for path, block in blocks.items())


def test_primary_blocks_of_nb201_are_its_cells_and_reductions():
    arch = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    network = get_space("nb201").network(arch)
    assert list(primary_blocks(network)) == [f"cells.{i}" for i in range(17)]
    blocks = Passes(network, torch.zeros(2, 3, 16, 16)).blocks
    assert blocks.names == ("input of cells.0", *(f"cells.{i}" for i in range(17)))
    assert blocks.entropy.shape == (18,) and blocks.spectral_norm.shape == (17,)
    assert np.isfinite(blocks.entropy).all() and (blocks.spectral_norm > 0).all()


def hooks(network):
    return [dict(h) for m in network.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]


def test_hooks_are_removed_also_where_the_network_fails():
    network, x = case("vectors")
    network.blocks[1].network[1].register_forward_hook(lambda *_: None)
    before = hooks(network)
    assert [output.name for output in watch_blocks(network, x)] == ["blocks.0", "blocks.1"]
    assert hooks(network) == before
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure_blocks(network, x[:, :3], 0)
    assert hooks(network) == before


def test_watching_does_not_change_what_comes_out():
    network, x = case("images")
    expected = copy.deepcopy(network)(x)
    seen = []
    network.register_forward_hook(lambda *args: seen.append(args[2]))
    outputs = watch_blocks(network, x)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=0)
    torch.testing.assert_close(network.head(outputs[-1].features.mean((2, 3))), expected)


def test_spectra_of_several_sizes_are_those_of_each_matrix():
    drawn = [torch.randn(n, n + 3, dtype=torch.float64) for n in (4, 2, 4, 5, 2, 4)]
    matrices = [a @ a.T for a in drawn]
    matrices[2][1, 3], matrices[4][0, 0] = np.inf, np.nan
    matrices[5] = torch.zeros(4, 4, dtype=torch.float64)
    entropies, roots = [], []
    for matrix in matrices[:2] + matrices[3:4]:
        values = np.linalg.eigvalsh(matrix.numpy())
        share = values / values.sum()
        entropies.append(-(share * np.log(share)).sum())
        roots.append(np.sqrt(values[-1]))
    nan = np.nan
    found = _of_spectra(_entropies, [*matrices, None])
    np.testing.assert_allclose(found, [*entropies[:2], nan, entropies[2], nan, nan, nan], rtol=1e-12)
    found = _of_spectra(_largest_singular_values, [None, *matrices])
    np.testing.assert_allclose(found, [nan, *roots[:2], nan, roots[2], nan, 0], rtol=1e-12)
    assert _of_spectra(_entropies, []).shape == (0,)


def test_the_largest_singular_value_is_that_of_the_matrix():
    for shape in ((3, 5), (5, 3)):
        matrix = torch.randn(*shape, dtype=torch.float64)
        found = _of_spectra(_largest_singular_values, [smaller_product(matrix)])
        assert found == pytest.approx([np.linalg.svd(matrix.numpy())[1][0]], rel=1e-12)
