"""Scoring and extraction of one network: what comes back, what is refused, and that nothing else changes."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from helpers import CONVOLUTIONAL, NO_ATTENTION
from torch import nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features import NodeFeatures, Scores, extract, list_proxies, list_statistics, score

GRADIENTS = ["grad_norm", "snip", "plain", "fisher"]


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def small():
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 5)
        )
    )


def batch(n=4):
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(2))


LABELS = torch.tensor([0, 3, 1, 4])


def equal(one, other):
    """Whether two extractions hold the same numbers; seconds may differ."""
    assert one.nodes == other.nodes
    assert dict(one.reasons) == dict(other.reasons)
    assert dict(one.scores) == pytest.approx(dict(other.scores), rel=0, abs=0, nan_ok=True)
    assert list(one.statistics) == list(other.statistics)
    for name, values in one.statistics.items():
        np.testing.assert_array_equal(values, other.statistics[name])
    return True


def test_extract_describes_every_node():
    features = extract(small(), batch(), LABELS)
    assert isinstance(features, NodeFeatures)
    assert features.nodes == ("0", "5")
    assert features.kinds == ("conv2d", "linear")
    assert list(features.scores) == list_proxies()
    assert list(features.statistics) == list_statistics()
    assert all(values.shape == (2,) and values.dtype == np.float64 for values in features.statistics.values())
    too_few = "the network has fewer than two primary blocks"
    assert {name: why for name, why in features.reasons.items() if why != too_few} == NO_ATTENTION
    assert too_few in features.reasons.values()


def test_a_score_is_the_sum_of_its_statistic():
    features = extract(small(), batch(), LABELS, CONVOLUTIONAL)
    for name, values in features.statistics.items():
        log = name.startswith("synflow")
        expected = math.log(np.exp(values).sum()) if log else values.sum()
        assert features.scores[name] == pytest.approx(expected, rel=1e-12)


def test_score_gives_the_scores_of_extract():
    scores = score(small(), batch(), ["snip", "synflow"], LABELS)
    assert isinstance(scores, Scores)
    assert list(scores) == ["snip", "synflow"]
    assert scores == extract(small(), batch(), LABELS, ["snip", "synflow"]).scores
    assert scores.reasons == {}


def test_seconds_name_the_passes_that_ran_and_no_others():
    features = extract(small(), batch(), LABELS, ["snip", "params"])
    assert set(features.seconds) == {"forward", "gradients", "snip", "params"}
    assert all(0 <= seconds < 60 for seconds in features.seconds.values())
    assert "synaptic_flow" in extract(small(), batch(), LABELS, ["synflow"]).seconds


def test_each_pass_runs_once_whatever_the_number_of_proxies():
    class Counting(nn.Sequential):
        runs = 0

        def forward(self, x):
            self.runs += 1
            return super().forward(x)

    network = Counting(nn.Linear(4, 5))
    extract(network, torch.eye(4), proxies=[*GRADIENTS, "flops", "n_layers", "l2_norm"])
    assert network.runs == 1
    extract(network, torch.eye(4))
    # Again for the data; flow without and with batch norm, GraSP, blocks, one input, masks; two before and behind a
    # perturbation.
    assert network.runs == 1 + 1 + 6 + 2


def test_scores_do_not_depend_on_which_others_are_asked_for():
    everything = extract(small(), batch(), LABELS)
    for name in list_proxies():
        alone = extract(small(), batch(), LABELS, [name])
        np.testing.assert_array_equal(list(alone.scores.values()), [everything.scores[name]])
        if name in everything.statistics:
            np.testing.assert_array_equal(alone.statistics[name], everything.statistics[name])
    backwards = extract(small(), batch(), LABELS, reversed(list_proxies()))
    assert equal(backwards, everything)


def test_an_unknown_proxy_is_named():
    with pytest.raises(InputError, match=r"^there is no proxy 'nonsense'; choose from .*snip.*synflow"):
        score(small(), batch(), ["snip", "nonsense"])


def test_a_network_without_weights_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    with pytest.raises(InputError, match=r"^Sequential applied no convolution or linear weight of its own"):
        score(network, torch.zeros(2, 5))


def test_a_failing_network_comes_back_as_it_was():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(7, 5)).eval()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        score(network, batch())
    assert not any(module.training for module in network.modules())
    assert torch.equal(network[0].running_mean, torch.zeros(3))


def test_labels_that_are_given_are_used():
    network, x = nn.Sequential(nn.Flatten(), seeded(lambda: nn.Linear(108, 5))), batch()
    one, other = (extract(network, x, labels, ["grad_norm"]).scores["grad_norm"] for labels in (LABELS, LABELS * 0))
    F.cross_entropy(network(x), LABELS).backward()
    assert one == pytest.approx(network[1].weight.grad.norm().item(), rel=1e-5)
    assert other != pytest.approx(one, rel=1e-2)


def test_labels_that_are_not_given_are_drawn_with_the_seed():
    network, x = nn.Sequential(nn.Flatten(), seeded(lambda: nn.Linear(108, 5))), batch()
    drawn = torch.randint(5, (4,), generator=torch.Generator().manual_seed(11))
    assert equal(extract(network, x, seed=11), extract(network, x, drawn, seed=11))
    values = {extract(network, x, proxies=["snip"], seed=seed).scores["snip"] for seed in range(6)}
    assert len(values) > 1


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (torch.tensor([0, 1, 2]), r"labels must be 4 class indices, one for each input, .* of shape \(3,\)"),
        (torch.zeros(4, 5), r"labels must be 4 class indices, .*float32 of shape \(4, 5\)"),
        (torch.zeros(4), r"labels must be 4 class indices, .*float32 of shape \(4,\)"),
        (torch.tensor([0, 1, 2, 5]), "labels must be class indices from 0 to 4, .* range from 0 to 5"),
        (torch.tensor([0, -1, 2, 1]), "labels must be class indices from 0 to 4, .* range from -1 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        score(small(), batch(), ["snip"], labels)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type_are_taken(dtype):
    assert equal(extract(small(), batch(), LABELS.to(dtype)), extract(small(), batch(), LABELS))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_inputs_that_are_not_finite_give_no_gradient_statistics_and_say_so(bad):
    x = batch()
    x[1, 0, 2, 3] = bad
    features = extract(
        small(), x, LABELS, [*GRADIENTS, "params", "flops", "n_layers", "l2_norm", "synflow", "synflow_bn"]
    )
    assert features.reasons == dict.fromkeys(GRADIENTS, "the network's output is not finite")
    for name in GRADIENTS:
        assert math.isnan(features.scores[name])
        assert np.isnan(features.statistics[name]).all()
        assert features.statistics[name].shape == (2,)
    clean = extract(small(), batch(), LABELS)
    for name in ("params", "flops", "n_layers", "l2_norm", "synflow", "synflow_bn"):
        assert features.scores[name] == clean.scores[name]
    assert score(small(), x, ["snip"], LABELS).reasons == {"snip": "the network's output is not finite"}


def test_single_and_double_precision_agree():
    single, double = extract(small(), batch(), LABELS), extract(small().double(), batch().double(), LABELS)
    for name in ("grad_norm", "snip", "fisher", "l2_norm", "synflow", "synflow_bn"):
        np.testing.assert_allclose(single.statistics[name], double.statistics[name], rtol=1e-4)
        assert (double.statistics[name] != 0).all()


class Chance(nn.Module):
    """Draws from the generators of torch, numpy and Python, as stochastic depth does."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        scale = torch.rand(()) + np.random.rand() + random.random()
        return self.head(F.dropout(self.body(x)) * scale)


def random_state():
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def same_random_state(one, other):
    assert torch.equal(one[0], other[0])
    assert one[1][0] == other[1][0]
    assert np.array_equal(one[1][1], other[1][1])
    assert one[1][2:] == other[1][2:]
    assert one[2] == other[2]
    return True


def test_the_random_state_is_left_alone_and_does_not_enter():
    network, x = seeded(Chance), torch.eye(6)
    before = random_state()
    first = extract(network, x, seed=3)
    assert same_random_state(before, random_state())
    _ = torch.rand(3), np.random.rand(3), random.random()
    assert equal(extract(network, x, seed=3), first)


def test_dropout_is_repeated_by_the_seed():
    x = batch()
    first, again, other = (extract(small(), x, LABELS, seed=seed) for seed in (0, 0, 1))
    assert equal(first, again)
    assert all(first.scores[name] != other.scores[name] for name in GRADIENTS)
    without = small()
    without[3].p = 0.0
    assert extract(without, x, LABELS, seed=0).scores["snip"] != first.scores["snip"]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_comes_back_and_does_not_enter(training):
    network = small().train(training)
    network[1].training = not training
    modes = [module.training for module in network.modules()]
    features = extract(network, batch(), LABELS)
    assert [module.training for module in network.modules()] == modes
    assert equal(features, extract(small(), batch(), LABELS))


def test_parameters_buffers_and_gradients_are_left_alone():
    network = small()
    F.cross_entropy(network(batch()), LABELS).backward()
    parameters = [(p, p.data_ptr(), p.detach().clone(), p.grad, p.grad.clone()) for p in network.parameters()]
    buffers = [(b, b.data_ptr(), b.clone()) for b in network.buffers()]
    assert all(not torch.equal(g, torch.zeros_like(g)) for *_, g in parameters[:1])
    assert buffers[2][2] == 1
    extract(network, batch(), LABELS)
    assert len(parameters) == len(list(network.parameters())) == 6
    for now, (p, pointer, value, gradient, kept) in zip(network.parameters(), parameters, strict=True):
        assert now is p and p.data_ptr() == pointer and p.grad is gradient
        assert p.dtype is torch.float32 and p.requires_grad
        assert torch.equal(p, value) and torch.equal(gradient, kept)
    for now, (b, pointer, value) in zip(network.buffers(), buffers, strict=True):
        assert now is b and b.data_ptr() == pointer
        assert torch.equal(b, value)


def test_no_gradients_appear_where_there_were_none():
    network, x = small(), batch().requires_grad_()
    extract(network, x, LABELS)
    assert all(p.grad is None for p in network.parameters())
    assert x.grad is None


def test_a_buffer_that_the_network_replaces_comes_back():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 5)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen + 1
            return self.head(x)

    network = Counter()
    seen = network.seen
    extract(network, torch.eye(4))
    assert network.seen is seen
    assert seen == 0


def test_hooks_stay_as_they_were_and_run():
    network, calls = small(), []
    handles = [
        network[0].register_forward_hook(lambda *_: calls.append("forward")),
        network[5].weight.register_hook(lambda _: calls.append("backward")),
    ]
    hooks = [copy.copy(module._forward_hooks) for module in network.modules()]
    backward = [copy.copy(module._backward_hooks) for module in network.modules()]
    extract(network, batch(), LABELS)
    assert [module._forward_hooks for module in network.modules()] == hooks
    assert [module._backward_hooks for module in network.modules()] == backward
    # Once for each of the nine passes that run the network; gradients never reach the parameters themselves.
    assert calls == ["forward"] * 9
    assert len(network[5].weight._backward_hooks) == 1
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_measured_where_they_are_switched_off_outside(switched_off):
    expected, network = extract(small(), batch(), LABELS), small()
    with switched_off():
        assert equal(extract(network, batch(), LABELS.clone()), expected)
        assert not torch.is_grad_enabled()
    assert expected.scores["grad_norm"] > 0.01


def test_the_network_still_trains_afterwards():
    touched, fresh = small(), small()
    extract(touched, batch(), LABELS)
    for network in (touched, fresh):
        torch.manual_seed(0)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        F.cross_entropy(network(batch()), LABELS).backward()
        optimiser.step()
    for one, other in zip(touched.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(fresh[5].weight, small()[5].weight)
