"""Inputs cut into batches: means of what single batches give, save for proxies that compare batches."""

import math
import time

import numpy as np
import pytest
import torch
from helpers import CONVOLUTIONAL, NO_ATTENTION
from slow_gradients import slow_sums
from torch import nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features import extract, list_proxies, list_statistics, proxy_info, score

ACROSS = [name for name in list_proxies() if proxy_info(name).across_batches]
OF_ONE = [name for name in list_proxies() if name not in ACROSS]
LABELS = torch.tensor([0, 3, 1, 4, 1, 2, 2, 0, 3, 3, 4, 1])
NOT_FINITE = "the network's output is not finite"


def small(norm=True, dropout=0.0):
    """Two convolutions, which are its primary blocks, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        norms = (nn.BatchNorm2d(6), nn.BatchNorm2d(4)) if norm else (nn.Identity(), nn.Identity())
        body = [nn.Conv2d(3, 6, 3), norms[0], nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(6, 4, 3), norms[1], nn.ReLU()]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 5)).double()


def images(n=12):
    return torch.randn(n, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def assert_means(whole, singles, rtol=1e-12):
    """Whether what several batches gave is the mean over single ones, for all but `ACROSS`."""
    for column in ("scores", "statistics", "block_statistics"):
        values, parts = getattr(whole, column), [getattr(single, column) for single in singles]
        assert list(values) == list(parts[0]) != []
        for name in set(values) - set(ACROSS):
            expected = np.mean([part[name] for part in parts], axis=0)
            np.testing.assert_allclose(values[name], expected, rtol=rtol, atol=1e-300, err_msg=name)


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_value_is_the_mean_over_the_batches(labels):
    network, x = small(dropout=0.3), images()
    parts = [None] * 3 if labels is None else labels.chunk(3)
    singles = [extract(network, x[4 * i : 4 * i + 4], parts[i], seed=5 + i) for i in range(3)]
    whole = extract(network, x, labels, seed=5, batches=3)
    assert all(found.reasons == NO_ATTENTION for found in (whole, *singles))
    assert (whole.nodes, whole.kinds, whole.blocks) == (singles[0].nodes, singles[0].kinds, singles[0].blocks)
    assert whole.fields.tolist() == singles[0].fields.tolist()
    assert (list(whole.scores), list(whole.statistics)) == (list_proxies(), list_statistics())
    assert list(whole.block_statistics) == ["expressivity", "trainability"] and len(whole.blocks) == 2
    assert_means(whole, singles)
    assert all(singles[0].scores[name] != singles[1].scores[name] for name in ("snip", "nwot", "zen", "expressivity"))
    assert all(whole.scores[name] == singles[0].scores[name] for name in ("params", "flops", "n_layers"))


def test_seeds_are_those_of_the_batches():
    network, x = small(), torch.cat([images(4)] * 2)
    alone = [extract(network, images(4), LABELS[:4], ["expressivity", "zen", "nasi"], seed) for seed in (7, 8)]
    whole = extract(network, x, LABELS[[0, 1, 2, 3] * 2], ["expressivity", "zen", "nasi"], 7, 2)
    assert_means(whole, alone)
    assert alone[0].scores["nasi"] == alone[1].scores["nasi"] and alone[0].scores["zen"] != alone[1].scores["zen"]
    drawn = torch.cat([torch.randint(5, (4,), generator=torch.Generator().manual_seed(seed)) for seed in (7, 8)])
    given, own = (extract(network, x, labels, ["snip", "zico"], 7, 2) for labels in (drawn, None))
    assert given.scores == own.scores


def test_one_batch_is_the_default():
    network, x = small(dropout=0.3), images(4)
    one, default = extract(network, x, None, CONVOLUTIONAL, batches=1), extract(network, x, None, CONVOLUTIONAL)
    assert one.scores == default.scores and one.reasons == default.reasons == {}
    two = extract(network, x, None, CONVOLUTIONAL, batches=2)
    assert score(network, x, CONVOLUTIONAL, batches=2) == two.scores != default.scores


def test_across_batches_are_all_that_compare_samples_but_gradsign():
    of_samples = {name for name in list_proxies() if "samples" in proxy_info(name).passes}
    assert of_samples - set(ACROSS) == {"gradsign", "gradsign_mean"}
    assert ACROSS[:2] == ["zico", "zico_signed"]


def gradients(network, x, labels):
    """The gradient of the mean loss of one batch at each convolution and linear map."""
    weights = [module.weight for module in network if isinstance(module, nn.Conv2d | nn.Linear)]
    return [g.flatten() for g in torch.autograd.grad(F.cross_entropy(network(x), labels), weights)]


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("batches", [2, 4, 6])
def test_across_batches_the_samples_are_gradients_of_batches(norm, batches):
    network, x = small(norm), images()
    found = extract(network, x, LABELS, ACROSS, batches=batches)
    pairs = zip(x.chunk(batches), LABELS.chunk(batches), strict=True)
    nodes = zip(*(gradients(network, *pair) for pair in pairs), strict=True)
    sums = [slow_sums(torch.stack(samples)) for samples in nodes]
    assert found.reasons == {} and found.nodes == ("0", "4", "8")
    for name in ACROSS:
        expected = [math.log(s[name]) if name.startswith("zico") else s[name] for s in sums]
        np.testing.assert_allclose(found.statistics[name], expected, rtol=1e-5, err_msg=name)
        assert found.scores[name] == pytest.approx(sum(expected), rel=1e-5)


def test_batches_of_one_input_are_the_inputs():
    network, x = small(norm=False), images()
    one, each = (extract(network, x, LABELS, ACROSS, batches=batches) for batches in (1, 12))
    assert set(each.seconds) == {"forward", "gradients", *ACROSS} and "samples" in one.seconds
    for name in ACROSS:
        np.testing.assert_allclose(each.statistics[name], one.statistics[name], rtol=1e-8, err_msg=name)


def test_a_proxy_across_batches_does_not_depend_on_which_others_are_asked_for():
    network, x = small(dropout=0.3), images()
    everything = extract(network, x, LABELS, batches=3)
    for name in ("zico", "gsnr", "gradsign"):
        alone = extract(network, x, LABELS, [name], batches=3)
        assert list(alone.scores) == list(alone.statistics) == [name]
        assert alone.scores[name] == everything.scores[name]
        assert alone.statistics[name].tolist() == everything.statistics[name].tolist()


def test_batches_that_do_not_differ_have_no_ratio():
    x, labels = torch.cat([images(4)] * 3), torch.cat([LABELS[:4]] * 3)
    found = extract(small(), x, labels, batches=3)
    assert found.reasons == NO_ATTENTION | dict.fromkeys(
        ["zico", "zico_signed"], "no gradient varies between the samples"
    )
    assert math.isnan(found.scores["zico"]) and np.isnan(found.statistics["zico"]).all()
    assert found.scores["gsnr"] == 0
    assert found.scores["gsnr_mean"] == pytest.approx(found.scores["nasi"], rel=1e-9)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_reason_in_one_batch_leaves_no_value(bad):
    x = images()
    clean = extract(small(), x, LABELS, batches=3)
    x[4 * bad + 1, 0, 2, 3] = math.nan
    found = extract(small(), x, LABELS, batches=3)
    expected = {"grad_norm", "snip", "grasp", "fisher", "nasi", "jacob_cov", "ntk", "gradsign", *ACROSS}
    assert expected <= {name for name, why in found.reasons.items() if why == NOT_FINITE}
    missing = {name for name, value in found.scores.items() if math.isnan(value)}
    assert missing == set(found.reasons)
    for name, values in found.statistics.items():
        assert values.shape == (3,)
        if name in missing:
            assert np.isnan(values).all()
        else:
            assert values.tolist() == clean.statistics[name].tolist()
    kept = {"params", "flops", "l2_norm", "synflow", "synflow_bn", "zen", "expressivity", "trainability"}
    assert not missing & kept and all(found.scores[name] == clean.scores[name] for name in kept)
    assert found.block_statistics["expressivity"].tolist() == clean.block_statistics["expressivity"].tolist()


class Skipping(nn.Module):
    """Leaves its body out at random: with the seeds 0 and 3, and not with 1 and 2."""

    def __init__(self):
        super().__init__()
        self.body, self.mix, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(x + self.mix(self.body(x).relu()) * (torch.rand(()) > 0.5))


@pytest.mark.parametrize(("seed", "cut"), [(0, True), (1, False), (2, True)])
def test_a_block_statistic_that_one_batch_lacks_is_missing(seed, cut):
    torch.manual_seed(0)
    network, x = Skipping(), torch.randn(8, 6)
    names = ["expressivity", "trainability", "snip"]
    found = extract(network, x, proxies=names, seed=seed, batches=2)
    alone = [extract(network, part, None, names, seed + i) for i, part in enumerate(x.chunk(2))]
    why = "the output of block 'head' does not depend on the block before it"
    assert found.reasons == {name: why for name in names[1:2] if cut}
    assert math.isnan(found.scores["trainability"]) == cut
    assert found.blocks == ("body", "mix", "head")
    assert list(found.block_statistics) == [name for name in names[:2] if name not in found.reasons]
    for name, values in found.block_statistics.items():
        np.testing.assert_allclose(values, np.mean([one.block_statistics[name] for one in alone], axis=0))
    assert found.scores["expressivity"] == pytest.approx(found.block_statistics["expressivity"].sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "batches", "sentence"),
    [
        (7, 2, "7 inputs cannot be cut into 2 equal batches; give a multiple"),
        (2, 4, "2 inputs cannot be cut into 4 equal batches; give a multiple"),
        (4, 0, "4 inputs cannot be cut into 0 equal batches"),
        (4, -2, "4 inputs cannot be cut into -2 equal batches"),
        (0, 1, "0 inputs cannot be cut into 1 equal batches"),
        (0, 3, "0 inputs cannot be cut into 3 equal batches"),
    ],
)
def test_inputs_that_cannot_be_cut_are_refused(n, batches, sentence):
    for function in (extract, score):
        with pytest.raises(InputError, match=f"^{sentence}"):
            function(small(), images(n), batches=batches)


@pytest.mark.parametrize("n", [0, 4, 11])
def test_labels_that_do_not_fit_all_batches_are_refused(n):
    sentence = f"^labels must be 12 class indices, one for each input, but there are {n}$"
    for names in (["snip"], ["params"]):
        with pytest.raises(InputError, match=sentence):
            extract(small(), images(), LABELS[:n], names, batches=3)


@pytest.mark.parametrize("labels", [LABELS.double(), LABELS[:, None], LABELS + 1, LABELS - 1])
@pytest.mark.parametrize("name", ["snip", "zico", "gradsign"])
def test_labels_that_are_no_class_indices_are_refused(labels, name):
    with pytest.raises(InputError, match=r"^labels must be .*class indices"):
        extract(small(), images(), labels, [name], batches=3)


class Slow(nn.Sequential):
    runs = 0

    def forward(self, x):
        self.runs += 1
        time.sleep(0.02)
        return super().forward(x)


def test_seconds_add_up():
    network = Slow(nn.Linear(4, 5))
    found = extract(network, torch.randn(8, 4), None, ["snip", "params", "zico"], batches=4)
    assert network.runs == 4
    assert set(found.seconds) == {"forward", "gradients", "snip", "params", "zico"}
    assert 0.08 <= found.seconds["forward"] < 10
    assert all(0 < found.seconds[name] < 10 for name in found.seconds)


def test_the_network_comes_back_as_it_was():
    network, x = small(dropout=0.3).eval(), images()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    random = torch.get_rng_state()
    extract(network, x, batches=3)
    assert torch.equal(torch.get_rng_state(), random) and torch.equal(x, images())
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(p.grad is None for p in network.parameters())
