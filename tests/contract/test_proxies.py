"""What every registered proxy keeps to."""

import copy
import json
import math
import random
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parzc.datasets import get_space
from parzc.features import extract, list_proxies, list_statistics, proxy_info, score
from parzc.features.passes.passes import Passes

PROXIES = [name for name in list_proxies() if proxy_info(name).needs != "attention"]
"""Those that have a value for the small network below."""
PASSES = {name for name, value in vars(Passes).items() if isinstance(value, cached_property)} | {"labels", "classes"}
every_proxy = pytest.mark.parametrize("name", PROXIES)
every_proxy_at_all = pytest.mark.parametrize("name", list_proxies())


class Small(nn.Module):
    """Batch norm, an in-place ReLU, a branch, dropout; weights that are not at their defaults."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 10, 3, bias=False), nn.BatchNorm2d(10)
        self.branch, self.relu = nn.Conv2d(10, 10, 3, padding=1, groups=2), nn.ReLU(inplace=True)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(10, 5)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.uniform_(self.norm.bias, -0.5, 0.5)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = x + self.branch(x)
        return self.head(self.drop(x.mean((2, 3))))


def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return Small()


def batch(n=6, seed=1):
    return torch.randn(n, 3, 7, 7, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def values(name, network=None, x=None, labels=LABELS, seed=0):
    """The score and, where there is one, the statistic of one proxy, which must have a value."""
    features = extract(network or small(), batch() if x is None else x, labels, [name], seed)
    assert features.reasons == {}
    return [features.scores[name], *features.statistics.get(name, [])]


def state(network):
    """Everything about a network and the random state that could change, as comparable values."""

    def tensors(items):
        return [(key, id(t), t.data_ptr(), t.dtype, t.requires_grad, t.tolist()) for key, t in items]

    modules = list(network.modules())
    return {
        "parameters": tensors(network.named_parameters()),
        "buffers": tensors(network.named_buffers()),
        "gradients": [(id(p.grad), p.grad.tolist()) for p in network.parameters()],
        "parameter hooks": [dict(p._backward_hooks or {}) for p in network.parameters()],
        "hooks": [{k: dict(v) for k, v in vars(m).items() if k.endswith("_hooks")} for m in modules],
        "modes": [m.training for m in modules],
        "attributes": [sorted(vars(m)) for m in modules],
        "torch": torch.get_rng_state().tolist(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
    }


@every_proxy
def test_the_network_is_left_exactly_as_it_was(name):
    network = small()
    F.cross_entropy(network(batch()), LABELS).backward()
    network.branch.requires_grad_(False)
    network.stem.register_forward_hook(lambda *_: None)
    network.eval()
    network.norm.train()
    before = state(network)
    assert len(before["buffers"]) == 3 and before["buffers"][2][-1] == 1
    extract(network, batch(seed=2), LABELS, [name])
    after = state(network)
    for part, value in before.items():
        assert after[part] == value, part


@every_proxy
def test_a_value_does_not_depend_on_what_else_is_asked_for(name):
    """Save for rounding: on some processors a convolution rounds otherwise where it serves one gradient more."""
    everything = extract(small(), batch(), LABELS)
    expected = pytest.approx([everything.scores[name], *everything.statistics.get(name, [])], rel=1e-6)
    assert values(name) == expected
    for other in PROXIES:
        pair = extract(small(), batch(), LABELS, [other, name])
        assert [pair.scores[name], *pair.statistics.get(name, [])] == expected


@every_proxy
def test_the_same_seed_gives_the_same_value(name):
    _ = torch.rand(3), np.random.rand(3), random.random()
    first = values(name, labels=None, seed=5)
    _ = torch.rand(3), np.random.rand(3), random.random()
    assert values(name, labels=None, seed=5) == first
    assert score(small(), batch(), [name], seed=5)[name] == first[0]


class Watched:
    """Passes that note which of their attributes are read."""

    def __init__(self, passes):
        self._passes, self.read = passes, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self._passes, name)


@every_proxy
def test_it_reads_the_passes_it_declares_and_no_others(name):
    info = proxy_info(name)
    assert {"forward", "gradients", "synaptic_flow", "synaptic_flow_bn", "labels"} <= PASSES
    assert set(info.passes) <= PASSES
    for compute in (info.node_values, info.block_values, info.network_value):
        if compute is None:
            continue
        passes = Passes(small(), batch(), LABELS)
        assert passes.forward
        watched = Watched(passes)
        compute(watched)
        assert watched.read & PASSES == set(info.passes)
        # Beside them the size of the batch, and of the network where it enters itself.
        beside = {"network"} if info.inputs == "none" or name == "swap_regularised" else set()
        assert watched.read - PASSES <= beside | {"seed", "inputs"}


@every_proxy
def test_a_statistic_has_one_value_for_each_node_of_the_network(name):
    network, ran = small(), []
    for module_name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda *_, module_name=module_name: ran.append(module_name))
    network(batch())
    features = extract(network, batch(), LABELS, [name])
    assert sorted(features.nodes) == sorted(ran[:3]) == ["branch", "head", "stem"]
    assert list(features.scores) == [name]
    assert list(features.statistics) == [name] * (name in list_statistics())
    for statistic in features.statistics.values():
        assert statistic.shape == (3,)
        assert np.isfinite(statistic).all()


@every_proxy
def test_the_score_is_the_sum_over_the_nodes_unless_the_record_says_otherwise(name):
    info = proxy_info(name)
    total, *nodes = values(name)
    assert math.isfinite(total)
    assert bool(nodes) == info.has_nodes
    if info.has_nodes and info.network_value is None:
        expected = math.log(math.fsum(map(math.exp, nodes))) if info.scale == "log" else math.fsum(nodes)
        assert total == pytest.approx(expected, rel=1e-9)


@every_proxy
def test_inputs_and_labels_enter_as_declared(name):
    info = proxy_info(name)
    other_inputs = values(name, x=batch(seed=9)) == values(name)
    other_labels = values(name, labels=LABELS.flip(0)) == values(name)
    if info.inputs not in ("data", "first"):
        assert other_inputs and not info.labels
    if info.inputs == "first":
        more = torch.cat([batch()[:1], batch(seed=9)[1:]])
        assert values(name, x=more) == values(name) and not other_inputs
    # With five classes of two inputs at most, the classes of epe_nas keep their members under the flip.
    assert other_labels != info.labels or name == "epe_nas"


@every_proxy
def test_batch_norm_enters_as_declared(name):
    info, scaled, shifted = proxy_info(name), small(), small()
    scaled.norm.weight.data *= 1.7
    shifted.norm.running_mean += 3
    shifted.norm.running_var *= 5
    assert values(name, shifted) == values(name)
    if info.initialisation in ("kaiming", "normal"):
        # Its scales are set to one, so that only its presence can be seen.
        without = small()
        without.norm = nn.Identity()
        assert values(name, scaled) == values(name) != values(name, without)
    elif name != "linear_regions":  # six inputs have six patterns, whatever happens
        assert (values(name, scaled) != values(name)) == (info.batch_norm in ("batch", "layer norm"))


def zero_weights():
    network = small()
    for p in network.parameters():
        nn.init.zeros_(p)
    return network, batch(), LABELS


def one_class():
    network = small()
    network.head = nn.Linear(10, 1)
    return network, batch(), LABELS * 0


def weights_of(value):
    def build():
        network = small()
        network.branch.weight.data[:] = value
        return network, batch(), LABELS

    return build


def no_path():
    space = get_space("nb201")
    arch = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    return space.network(arch), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), None


DEGENERATE = {
    "zero weights": zero_weights,
    "one class": one_class,
    "huge weights": weights_of(1e30),
    "infinite weights": weights_of(math.inf),
    "weights that are not numbers": weights_of(math.nan),
    "no path": no_path,
    "one input": lambda: (small(), batch(1), LABELS[:1]),
    "equal inputs": lambda: (small(), torch.zeros(6, 3, 7, 7), LABELS),
    "inputs that are not numbers": lambda: (small(), batch() * math.nan, LABELS),
}


@every_proxy_at_all
@pytest.mark.parametrize("case", DEGENERATE)
def test_a_degenerate_network_has_a_finite_value_or_a_reason(name, case):
    network, x, labels = DEGENERATE[case]()
    features = extract(network, x, labels, [name])
    statistic = features.statistics.get(name, np.zeros(0))
    assert len(statistic) == len(features) * (name in list_statistics())
    if math.isfinite(features.scores[name]):
        assert features.reasons == {}
        # A node that nothing flows through has the logarithm of zero; nothing else is infinite or missing.
        allowed = np.isfinite(statistic) | (np.isneginf(statistic) & (proxy_info(name).scale == "log"))
        assert allowed.all()
    else:
        assert math.isnan(features.scores[name])
        assert list(features.reasons) == [name]
        assert len(features.reasons[name]) > 15
        if len(statistic):
            assert not np.isfinite(statistic).all()


@every_proxy_at_all
@pytest.mark.parametrize("case", DEGENERATE)
def test_a_degenerate_network_too_is_left_as_it_was(name, case):
    network, x, labels = DEGENERATE[case]()
    before = copy.deepcopy(network.state_dict())
    extract(network, x, labels, [name])
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype
        np.testing.assert_array_equal(value.numpy(), before[key].numpy())
    assert all(module.training for module in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_the_degenerate_networks_are_degenerate():
    """At least one proxy has no value for each but the harmless three."""
    missing = {case: set(extract(*build()).reasons) for case, build in DEGENERATE.items()}
    gradients = {"grad_norm", "snip", "plain", "fisher"}
    assert missing["zero weights"] >= {"synflow", "synflow_bn"}
    assert missing["infinite weights"] >= gradients | {"l2_norm", "synflow", "synflow_bn"}
    assert missing["weights that are not numbers"] >= gradients | {"l2_norm", "synflow", "synflow_bn"}
    assert missing["inputs that are not numbers"] >= gradients
    assert missing["no path"] >= {"synflow", "synflow_bn"}
    assert not any({"params", "flops", "n_layers"} & names for names in missing.values())


@every_proxy_at_all
def test_every_record_says_what_it_is(name):
    info = proxy_info(name)
    assert info.name == name == name.strip().lower()
    assert 10 < len(info.meaning) < 120 and "\n" not in info.meaning
    assert len(info.source) > 15
    assert info.bigger_is_better in (True, False)
    assert info.definition >= 1
    assert (name in list_statistics()) == info.has_nodes
    assert json.loads(json.dumps(info.define())) == info.define()
