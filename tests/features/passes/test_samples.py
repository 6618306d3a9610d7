"""The gradients of single inputs against runs of one input at a time, and against weights copied for each input."""

import math

import numpy as np
import pytest
import torch
from sampled_networks import NETWORKS, Dead, Table, WithNorm
from slow_gradients import LABELS, alone, assert_same, by_copies, seeded, slow_samples, slow_sums
from torch import nn

from parzc.features import score
from parzc.features.passes import samples as samples_module
from parzc.features.passes.passes import Passes, Undefined

even = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def measured(network, x, labels=LABELS):
    passes = Passes(network, x, labels, wanted=("kernel",))
    return passes.samples, [node.name for node in passes.forward]


@even
@pytest.mark.parametrize("name", NETWORKS)
def test_samples_are_those_of_inputs_run_alone(name):
    network, x = seeded(*NETWORKS[name])
    samples, nodes = measured(network, x)
    assert samples.n == 6 and samples.kernel.shape == (len(nodes), 6, 6)
    assert len(nodes) == sum(isinstance(m, nn.Linear | nn.modules.conv._ConvNd) for m in network.modules()) + (
        {"cross attention": 3}.get(name, 1) if "attention" in name else 0
    )
    assert_same(samples, *slow_samples(*alone(network, x, LABELS, nodes)))


@even
@pytest.mark.parametrize("name", ["conv2d", "same", "transposed 2d", "tokens", "windows"])
def test_single_precision_gives_the_same(name):
    network, x = seeded(*NETWORKS[name])
    expected = slow_samples(*alone(network, x, LABELS, measured(network, x)[1]))
    assert_same(measured(network.float(), x.float())[0], *expected, rtol=1e-4)


@even
@pytest.mark.parametrize("name", [*NETWORKS, "batch norm"])
def test_without_the_kernel_the_sums_are_the_same_and_logits_are_not_derived(name):
    network, x = seeded(*{**NETWORKS, "batch norm": (WithNorm, 3, 8, 7)}[name])
    expected, nodes = measured(network, x)
    passes = Passes(network, x, LABELS, wanted=("samples",))
    assert passes.samples.kernel.shape == (len(nodes), 0, 0) and "jacobian" not in passes.seconds
    for measure, values in passes.samples.sums.items():
        np.testing.assert_allclose(values, expected.sums[measure], rtol=1e-9)
    np.testing.assert_allclose(passes.kernel, expected.kernel, rtol=1e-9)


def test_a_node_that_the_loss_does_not_depend_on_has_gradients_of_zero():
    samples, nodes = measured(*seeded(Dead, 4))
    dead, used = nodes.index("dead"), nodes.index("used")
    assert not samples.kernel[dead].any() and samples.kernel[used].any()
    sums = {name: values[dead] for name, values in samples.sums.items() if values[dead]}
    assert sums == {"xi_gsnr_variance": pytest.approx(20 * 1e8, rel=1e-12)}


def test_samples_of_a_network_with_batch_norm_are_those_of_one_weight_for_each_input():
    network, x = seeded(WithNorm, 3, 8, 7)
    samples, nodes = measured(network, x)
    assert nodes == ["stem", "again", "grouped", "head"]
    losses, logits = by_copies(network, x, LABELS)
    assert_same(samples, *slow_samples(losses, logits))
    apart = slow_samples(*alone(network, x, LABELS, nodes))[1]
    assert np.abs(apart - samples.kernel).max() > 0.01 * np.abs(apart).max()


@even
@pytest.mark.parametrize("buffer", [1, 1000])
@pytest.mark.parametrize("name", [*NETWORKS, "batch norm"])
def test_slices_give_the_same(name, buffer, monkeypatch):
    network, x = seeded(*{**NETWORKS, "batch norm": (WithNorm, 3, 8, 7)}[name])
    whole, _ = measured(network, x)
    monkeypatch.setattr(samples_module, "BUFFER", buffer)
    monkeypatch.setattr(samples_module, "CACHED", buffer // 20)
    assert_same(measured(network, x)[0], whole.sums, whole.kernel, rtol=1e-9)


def test_a_slice_holds_no_more_than_it_may(monkeypatch):
    sizes = []
    monkeypatch.setattr(samples_module, "CACHED", 60)
    monkeypatch.setitem(samples_module.MEASURES, "gradsign", lambda s: sizes.append(tuple(s.samples.shape)) or s.mean)
    measured(*seeded(Dead, 4))
    assert sizes == [(6, 10)] * 4


@pytest.mark.parametrize("cached", [2**16, 12, 1])
def test_gradients_of_batches(cached, monkeypatch):
    monkeypatch.setattr(samples_module, "CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 2, 3, 3), (5, 3)]
    gradients = [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(4)]
    for batch in gradients:
        batch[1][2:4] = 0
        batch[0][0] *= 1e-5
    samples = samples_module.of_batches(gradients)
    assert samples.n == 4 and samples.kernel.shape == (2, 0, 0)
    expected = [slow_sums(torch.stack([batch[i].flatten() for batch in gradients])) for i in range(2)]
    assert_same(samples, {name: [e[name] for e in expected] for name in expected[0]}, np.zeros((2, 0, 0)))


def test_a_node_that_does_not_keep_inputs_apart_leaves_no_samples():
    network, x = seeded(Table, 4)
    with pytest.raises(Undefined, match="a node does not keep the inputs of the batch apart"):
        measured(network, x)
    scores = score(network, x, ["zico", "gradsign_mean", "knas", "snip", "jacob_cov"], LABELS)
    assert set(scores.reasons) == {"zico", "gradsign_mean", "knas"}
    assert all(math.isnan(scores[name]) and "apart" in why for name, why in scores.reasons.items())
    assert scores["snip"] > 0 and math.isfinite(scores["jacob_cov"])


def test_nodes_of_different_formats_are_measured_apart():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(4, width, generator=generator) for width in (3, 5, 2, 7)]
    nodes = [samples.to(dtype) for samples, dtype in zip(drawn, [torch.float32, torch.float64] * 2, strict=True)]
    totals = samples_module._Totals(4)
    for i, samples in enumerate(nodes):
        totals.add(i, samples)
    found = totals.by_measure()
    for i, samples in enumerate(nodes):
        alone = samples_module._Totals(1)
        alone.add(0, samples)
        assert {name: values[i] for name, values in found.items()} == {k: v[0] for k, v in alone.by_measure().items()}
        expected = slow_sums(samples.double())
        assert {name: values[i] for name, values in found.items()} == pytest.approx(expected, rel=1e-4)


def test_a_gradient_that_is_not_finite_is_left_out_of_ratios_and_spoils_no_other_weight():
    samples = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    samples[1, 2], samples[3, 4] = math.nan, math.inf
    whole = samples_module._Totals(1)
    whole.add(0, samples)
    finite = samples_module._Totals(1)
    finite.add(0, samples[:, [0, 1, 3, 5]])
    found, expected = whole.by_measure(), finite.by_measure()
    for name in ("zico", "zico_signed", "gsnr", "gsnr_variance"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    assert np.isnan(found["xi_gsnr"]).all() and np.isnan(found["gsnr_mean"]).all()
