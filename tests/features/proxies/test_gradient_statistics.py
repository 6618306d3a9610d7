"""The proxies that compare gradients at each weight, against loops over weights."""

import math

import numpy as np
import pytest
import torch
from sampled_networks import NETWORKS, Dead, Table, WithNorm
from slow_gradients import LABELS, alone, by_copies, derivatives, seeded, slow_sums
from torch import nn
from torch.nn import functional as F

from parzc.features import extract, score

ACROSS = ["zico", "zico_signed", "xi_gsnr", "gsnr"]
ACROSS += ["gsnr_mean", "gsnr_variance", "xi_gsnr_variance", "xi_gsnr_accumulated"]
SIGNS = ["gradsign", "gradsign_mean"]
CASES = {"batch norm": (WithNorm, 3, 8, 7)} | {
    name: NETWORKS[name] for name in ("conv2d", "groups", "transposed 2d", "tokens", "shared weight", "dead node")
}


def slow(samples):
    """The value of each proxy at each node from the samples `(n, weights)` of each."""
    sums = [slow_sums(node) for node in samples]
    values = {name: np.array([s[name] for s in sums]) for name in sums[0]}
    for name in ("zico", "zico_signed"):
        values[name] = np.array([math.log(v) if v else 0.0 for v in values[name]])
    return values


def of_inputs(network, x, labels, nodes):
    return (by_copies(network, x, labels) if isinstance(network, WithNorm) else alone(network, x, labels, nodes))[0]


def of_batches(network, x, labels, nodes, batches):
    """The gradient of each batch, which is run by itself."""
    network.train()
    rows = []
    for part, own in zip(x.chunk(batches), labels.chunk(batches), strict=True):
        rows.append(derivatives(F.cross_entropy(network(part), own), network, nodes))
    return [torch.stack(node) for node in zip(*rows, strict=True)]


def size(samples):
    return sum(node.shape[1] for node in samples)


@pytest.mark.parametrize("name", CASES)
def test_samples_of_one_batch_are_its_inputs(name):
    network, x = seeded(*CASES[name])
    features = extract(network, x, LABELS, ACROSS + SIGNS)
    samples = of_inputs(network, x, LABELS, features.nodes)
    expected = slow(samples)
    assert features.reasons == {}
    assert sorted(features.statistics) == sorted(expected)
    for proxy in [*ACROSS, "gradsign"]:
        np.testing.assert_allclose(features.statistics[proxy], expected[proxy], rtol=1e-6, err_msg=proxy)
        assert features.scores[proxy] == pytest.approx(expected[proxy].sum(), rel=1e-6), proxy
        assert abs(features.scores[proxy]) > 1e-6
    assert features.scores["gradsign_mean"] == pytest.approx(expected["gradsign"].sum() / size(samples), rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_samples_of_three_batches_are_the_batches(name):
    network, x = seeded(*CASES[name])
    features = extract(network, x, LABELS, ACROSS, batches=3)
    samples = of_batches(network, x, LABELS, features.nodes, 3)
    assert samples[0].shape[0] == 3
    expected = slow(samples)
    assert features.reasons == {}
    assert sorted(features.statistics) == sorted(ACROSS)
    for proxy in ACROSS:
        np.testing.assert_allclose(features.statistics[proxy], expected[proxy], rtol=1e-6, err_msg=proxy)
        assert features.scores[proxy] == pytest.approx(expected[proxy].sum(), rel=1e-6), proxy


@pytest.mark.parametrize("name", CASES)
def test_gradsign_of_batches_is_the_mean_over_them(name):
    network, x = seeded(*CASES[name])
    features = extract(network, x, LABELS, ["snip", *SIGNS, "zico"], batches=3)
    parts = zip(x.chunk(3), LABELS.chunk(3), strict=True)
    samples = [of_inputs(network, part, own, features.nodes) for part, own in parts]
    expected = np.mean([slow(part)["gradsign"] for part in samples], axis=0)
    np.testing.assert_allclose(features.statistics["gradsign"], expected, rtol=1e-9)
    assert features.scores["gradsign"] == pytest.approx(expected.sum(), rel=1e-9)
    assert features.scores["gradsign_mean"] == pytest.approx(expected.sum() / size(samples[0]), rel=1e-9)


def test_batches_of_one_input_are_inputs():
    network, x = seeded(*CASES["conv2d"])
    inputs, batches = (extract(network, x, LABELS, ACROSS, batches=n) for n in (1, 6))
    for proxy in ACROSS:
        np.testing.assert_allclose(batches.statistics[proxy], inputs.statistics[proxy], rtol=1e-6, err_msg=proxy)
        assert batches.scores[proxy] == pytest.approx(inputs.scores[proxy], rel=1e-6), proxy


def test_single_precision_gives_the_same():
    network, x = seeded(*CASES["batch norm"])
    for batches in (1, 3):
        double = score(network, x, ACROSS + SIGNS, LABELS, batches=batches)
        single = score(seeded(*CASES["batch norm"])[0].float(), x.float(), ACROSS + SIGNS, LABELS, batches=batches)
        assert dict(single) == pytest.approx(dict(double), rel=1e-4)


def test_labels_that_are_not_given_are_drawn_for_each_batch():
    network, x = seeded(*CASES["tokens"])
    drawn = [torch.randint(5, (2,), generator=torch.Generator().manual_seed(4 + i)) for i in range(3)]
    expected = score(network, x, ACROSS + SIGNS, torch.cat(drawn), seed=4, batches=3)
    assert dict(score(network, x, ACROSS + SIGNS, seed=4, batches=3)) == dict(expected)


def test_one_input_has_no_variance_and_says_so():
    network, x = seeded(*CASES["tokens"])
    scores = score(network, x[:1], ACROSS + SIGNS, LABELS[:1])
    assert scores.reasons == dict.fromkeys(ACROSS, "one sample has no variance; give at least two inputs")
    assert all(math.isnan(scores[proxy]) for proxy in ACROSS)
    (gradients,) = zip(*alone(network, x[:1], LABELS[:1], ["embed", "mix", "head"])[0], strict=True)
    assert scores["gradsign"] == sum(int((g != 0).sum()) for g in gradients) > 10


@pytest.mark.parametrize("batches", [1, 3])
def test_a_node_without_gradient_is_left_out_of_zico(batches):
    network, x = seeded(Dead, 4)
    both, used = (extract(net, x, LABELS, ACROSS, batches=batches) for net in (network, network.used))
    assert sorted(both.nodes) == ["dead", "used"]
    dead = both.nodes.index("dead")
    for proxy in ACROSS:
        floor = 20 * 1e8 if proxy == "xi_gsnr_variance" else 0
        assert both.statistics[proxy][dead] == pytest.approx(floor, rel=1e-12)
        assert both.statistics[proxy][1 - dead] == pytest.approx(used.scores[proxy], rel=1e-9)
        assert both.scores[proxy] == pytest.approx(used.scores[proxy] + floor, rel=1e-9)


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("name", ["no inputs", "tokens", "conv2d", "transposed 2d"])
def test_gradients_that_do_not_vary_have_no_zico(name, batches):
    """Equal inputs have equal gradients, and a weight whose gradient does not vary is left out of a ratio."""
    network, x = seeded(*NETWORKS[name if name in NETWORKS else "tokens"])
    if name == "no inputs":
        network, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False)), torch.zeros(6, 4, 3)
    scores = score(network, x[:1].expand_as(x), ACROSS, LABELS * 0, batches=batches)
    assert scores.reasons == dict.fromkeys(["zico", "zico_signed"], "no gradient varies between the samples")
    assert scores["gsnr"] == scores["gsnr_variance"] == 0
    assert scores["gsnr_mean"] == 0 if name == "no inputs" else scores["gsnr_mean"] > 0


@pytest.mark.parametrize("batches", [1, 3])
def test_inputs_that_are_not_finite_leave_no_values_and_say_so(batches):
    network, x = seeded(*CASES["tokens"])
    x[4, 0, 0] = math.nan
    scores = score(network, x, [*ACROSS, *SIGNS, "params"], LABELS, batches=batches)
    assert scores.reasons == dict.fromkeys(ACROSS + SIGNS, "the network's output is not finite")
    assert all(math.isnan(scores[proxy]) for proxy in ACROSS + SIGNS) and scores["params"] > 0


def test_batches_need_no_inputs_apart():
    network, x = seeded(Table, 4)
    features = extract(network, x, LABELS, ACROSS + SIGNS, batches=3)
    assert sorted(features.reasons) == sorted(SIGNS)
    expected = slow(of_batches(network, x, LABELS, features.nodes, 3))
    for proxy in ACROSS:
        np.testing.assert_allclose(features.statistics[proxy], expected[proxy], rtol=1e-6, err_msg=proxy)
