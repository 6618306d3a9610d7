"""The proxies of the tangent kernel, against scalar products of gradients that are taken one input at a time."""

import math

import numpy as np
import pytest
import torch
from sampled_networks import NETWORKS, WithNorm
from slow_gradients import LABELS, alone, by_copies, derivatives, seeded, slow_kernel
from torch.nn import functional as F

from parzc.features import extract, score

NAMES = ["ntk", "knas", "nasi"]
CASES = {"batch norm": (WithNorm, 3, 8, 7)} | {
    name: NETWORKS[name]
    for name in ("conv1d", "conv2d", "groups", "depthwise", "transposed 2d", "tokens", "shared weight")
}


def slow_kernels(network, x, labels, nodes):
    take = by_copies(network, x, labels) if isinstance(network, WithNorm) else alone(network, x, labels, nodes)
    return np.stack([slow_kernel(gradients) for gradients in take[1]])


def condition(kernel):
    values = sorted(np.linalg.eigvals(kernel).real)
    return values[-1] / values[0]


def squared(gradients):
    return np.array([math.fsum(v * v for v in g.tolist()) for g in gradients])


@pytest.mark.parametrize("name", CASES)
def test_each_is_its_formula(name):
    network, x = seeded(*CASES[name])
    features = extract(network, x, LABELS, NAMES)
    kernels = slow_kernels(network, x, LABELS, features.nodes)
    assert features.reasons == {}
    assert sorted(features.statistics) == ["knas", "nasi"]
    assert features.scores["ntk"] == pytest.approx(condition(kernels.sum(0)), rel=1e-4)
    np.testing.assert_allclose(features.statistics["knas"], [k.sum() / 36 for k in kernels], rtol=1e-6)
    assert features.scores["knas"] == pytest.approx(kernels.sum() / 36, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_means_are_squared_gradients(name):
    """The mean of the kernel is the squared gradient of the mean logits; `nasi` is that of the mean loss."""
    network, x = seeded(*CASES[name])
    features = extract(network, x, LABELS, ["knas", "nasi"])
    logits = network.train()(x)
    for proxy, value in (("knas", logits.sum() / 6), ("nasi", F.cross_entropy(logits, LABELS))):
        expected = squared(derivatives(value, network, features.nodes))
        assert (expected > 1e-9).all()
        np.testing.assert_allclose(features.statistics[proxy], expected, rtol=1e-6)
        assert features.scores[proxy] == pytest.approx(expected.sum(), rel=1e-6)


@pytest.mark.parametrize("name", ["batch norm", "conv2d", "tokens"])
def test_single_precision_gives_the_same(name):
    double = extract(*seeded(*CASES[name]), LABELS, NAMES)
    network, x = seeded(*CASES[name])
    single = extract(network.float(), x.float(), LABELS, NAMES)
    assert 1 < double.scores["ntk"] < 1e4
    assert dict(single.scores) == pytest.approx(dict(double.scores), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["conv2d", "tokens", "depthwise"])
def test_equal_inputs_leave_no_condition_number(name, dtype):
    network, x = seeded(*CASES[name])
    x[3] = x[1]
    features = extract(network.to(dtype), x.to(dtype), LABELS, NAMES)
    assert math.isnan(features.scores["ntk"])
    assert list(features.reasons) == ["ntk"]
    assert features.reasons["ntk"].startswith("the gradients of the inputs are linearly dependent")
    assert features.scores["knas"] > 0 and features.scores["nasi"] > 0


def test_labels_matter_to_nasi_alone():
    network, x = seeded(*CASES["tokens"])
    one, other = score(network, x, NAMES, LABELS), score(network, x, NAMES, LABELS.flip(0))
    assert one["ntk"] == other["ntk"] and one["knas"] == other["knas"]
    assert one["nasi"] != pytest.approx(other["nasi"], rel=1e-3)


def test_one_input_has_a_kernel_of_one_number():
    network, x = seeded(*CASES["tokens"])
    features = extract(network, x[:1], LABELS[:1], NAMES)
    assert features.scores["ntk"] == 1
    expected = squared(derivatives(network(x[:1]).sum(), network, features.nodes))
    np.testing.assert_allclose(features.statistics["knas"], expected, rtol=1e-9)


def test_several_batches_give_the_mean():
    network, x = seeded(*CASES["batch norm"])
    features = extract(network, x, LABELS, NAMES, batches=2)
    parts = [slow_kernels(network, part, LABELS[:3], features.nodes) for part in x.chunk(2)]
    np.testing.assert_allclose(features.statistics["knas"], np.mean([k.mean((1, 2)) for k in parts], 0), rtol=1e-6)
    assert features.scores["ntk"] == pytest.approx(np.mean([condition(k.sum(0)) for k in parts]), rel=1e-4)


def test_inputs_that_are_not_finite_leave_no_values_and_say_so():
    network, x = seeded(*CASES["tokens"])
    x[2, 1, 0] = math.inf
    scores = score(network, x, NAMES, LABELS)
    assert scores.reasons == dict.fromkeys(NAMES, "the network's output is not finite")
    assert all(math.isnan(scores[name]) for name in NAMES)
