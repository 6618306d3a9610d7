"""What every proxy keeps to, as a pytest class that runs on a proxy of one's own."""

import copy
import json
import math
import random
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.features import NodeFeatures, extract, list_proxies, proxy_info, score
from parzc.features.proxies import Passes, ProxyInfo
from parzc.testing.networks import DEGENERATE, LABELS, batch, small

PASSES = {"labels", "classes"} | {
    name
    for kind in Passes.__mro__
    for name, value in vars(kind).items()
    if isinstance(value, cached_property) and not name.startswith("_")
}
"""The attributes of `Passes` that a proxy may declare."""

every_degenerate_case = pytest.mark.parametrize("case", DEGENERATE)


class ProxyContract:
    """Checks a proxy on small networks: what it declares holds, the network is left as it was, no value is silent.

    ```python
    from parzc.testing import ProxyContract

    class TestMine(ProxyContract):
        proxy = "my_proxy.py:my_proxy"
    ```

    Attributes:
        proxy: name or reference of the proxy, as `parzc.proxy_info` takes it.
        coarse: whether values are counts of few things, so that other weights may well have the same value.
        also_reads: attributes of `Passes` that it reads in addition to the passes it declares, such as `network`.
    """

    proxy: ClassVar[str] = ""
    coarse: ClassVar[bool] = False
    also_reads: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def info(self) -> ProxyInfo:
        """Return the record of the proxy under test."""
        return proxy_info(self.proxy)

    def network(self, info: ProxyInfo) -> nn.Module:
        """Return a network for which the proxy has a value, always the same, with a batch norm called `norm`."""
        return small(attention="attention" in info.needs)

    def values(
        self,
        info: ProxyInfo,
        network: nn.Module | None = None,
        inputs: Tensor | None = None,
        labels: Tensor | None = LABELS,
        seed: int = 0,
    ) -> list[float]:
        """Return the score and, where there is one, the statistic of the proxy, which must have a value."""
        given = batch() if inputs is None else inputs
        features = extract(network or self.network(info), given, labels, [info.name], seed)
        assert features.reasons == {}
        return _values(info, features)

    def test_the_network_is_left_exactly_as_it_was(self, info: ProxyInfo) -> None:
        """Parameters, buffers, gradients, hooks, modes and random states are those from before."""
        network = self.network(info)
        torch.autograd.backward(F.cross_entropy(network(batch()), LABELS))
        next(network.parameters()).requires_grad_(False)
        next(network.children()).register_forward_hook(lambda *_: None)
        network.eval()
        network.get_submodule("norm").train()
        before = _state(network)
        extract(network, batch(seed=2), LABELS, [info.name])
        after = _state(network)
        for part, value in before.items():
            assert after[part] == value, part

    def test_a_value_does_not_depend_on_what_else_is_asked_for(self, info: ProxyInfo) -> None:
        """Save for rounding: on some processors a convolution rounds otherwise where it serves one gradient more."""
        network, x = self.network(info), batch()
        expected = pytest.approx(_values(info, extract(network, x, LABELS)), rel=1e-6)
        assert self.values(info) == expected
        for other in list_proxies():
            assert _values(info, extract(network, x, LABELS, [other, info.name])) == expected, other

    def test_the_same_seed_gives_the_same_value(self, info: ProxyInfo) -> None:
        """Nothing is drawn from a random state of the process."""
        _ = torch.rand(3), np.random.rand(3), random.random()
        first = self.values(info, labels=None, seed=5)
        _ = torch.rand(3), np.random.rand(3), random.random()
        assert self.values(info, labels=None, seed=5) == first
        assert score(self.network(info), batch(), [info.name], seed=5)[info.name] == first[0]

    def test_it_reads_the_passes_it_declares_and_no_others(self, info: ProxyInfo) -> None:
        """So that one run over the network records what all proxies need, and no more."""
        assert set(info.passes) <= PASSES
        for compute in (info.node_values, info.block_values, info.network_value):
            if compute is None:
                continue
            passes = Passes(self.network(info), batch(), LABELS)
            assert passes.forward
            watched = _Watched(passes)
            compute(watched)  # type: ignore[arg-type]
            assert watched.read & PASSES == set(info.passes)
            # The network itself only where no input enters.
            others = self.also_reads | ({"network"} if info.inputs == "none" else set()) | {"seed", "inputs"}
            assert watched.read - PASSES <= others

    def test_a_statistic_has_one_value_for_each_node_of_the_network(self, info: ProxyInfo) -> None:
        """A node is a convolution or linear map that ran."""
        network, ran = self.network(info), set[str]()
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(lambda *_, name=name: ran.add(name))
        network(batch())
        features = extract(network, batch(), LABELS, [info.name])
        assert sorted(features.nodes) == sorted(ran)
        assert list(features.scores) == [info.name]
        assert list(features.statistics) == [info.name] * info.has_nodes
        for statistic in features.statistics.values():
            assert statistic.shape == (len(ran),)
            assert np.isfinite(statistic).all()

    def test_the_score_is_the_sum_over_the_nodes_unless_the_record_says_otherwise(self, info: ProxyInfo) -> None:
        """In the log domain where the scale is `log`."""
        total, *nodes = self.values(info)
        assert math.isfinite(total)
        assert bool(nodes) == info.has_nodes
        if info.has_nodes and info.network_value is None:
            expected = math.log(math.fsum(map(math.exp, nodes))) if info.scale == "log" else math.fsum(nodes)
            assert total == pytest.approx(expected, rel=1e-9)

    def test_inputs_and_labels_enter_as_declared(self, info: ProxyInfo) -> None:
        """Other inputs leave the value alone unless `inputs` is `data` or `first`; labels change it if they enter."""
        value = self.values(info)
        other_inputs = self.values(info, inputs=batch(seed=9)) == value
        # Turned by one, so that the classes have other members too.
        other_labels = self.values(info, labels=LABELS.roll(1)) == value
        if info.inputs not in ("data", "first"):
            assert other_inputs and not info.labels
        if info.inputs == "first":
            more = torch.cat([batch()[:1], batch(seed=9)[1:]])
            assert self.values(info, inputs=more) == value and not other_inputs
        assert other_labels != info.labels

    def test_batch_norm_enters_as_declared(self, info: ProxyInfo) -> None:
        """Running statistics never do; the scales do where `batch_norm` is `batch` or `layer norm`."""
        value, scaled, shifted = self.values(info), self.network(info), self.network(info)
        scaled.get_parameter("norm.weight").data.mul_(1.7)
        shifted.get_buffer("norm.running_mean").add_(3)
        shifted.get_buffer("norm.running_var").mul_(5)
        assert self.values(info, shifted) == value
        if info.initialisation in ("kaiming", "normal"):
            # Its scales are set to one, so that only its presence can be seen.
            without = self.network(info)
            without.add_module("norm", nn.Identity())
            assert self.values(info, scaled) == value != self.values(info, without)
        elif not self.coarse:
            assert (self.values(info, scaled) != value) == (info.batch_norm in ("batch", "layer norm"))

    @every_degenerate_case
    def test_a_degenerate_network_has_a_finite_value_or_a_reason(self, info: ProxyInfo, case: str) -> None:
        """What has no value is NaN, with a sentence in `reasons`."""
        network, x, labels = DEGENERATE[case]()
        features = extract(network, x, labels, [info.name])
        statistic = features.statistics.get(info.name, np.zeros(0))
        assert len(statistic) == len(features) * info.has_nodes
        if math.isfinite(features.scores[info.name]):
            assert features.reasons == {}
            # A node that nothing flows through has the logarithm of zero; nothing else is infinite or missing.
            allowed = np.isfinite(statistic) | (np.isneginf(statistic) & (info.scale == "log"))
            assert allowed.all()
        else:
            assert math.isnan(features.scores[info.name])
            assert list(features.reasons) == [info.name]
            assert len(features.reasons[info.name]) > 15
            if len(statistic):
                assert not np.isfinite(statistic).all()

    @every_degenerate_case
    def test_a_degenerate_network_too_is_left_as_it_was(self, info: ProxyInfo, case: str) -> None:
        """Also where the proxy raised an error half way."""
        network, x, labels = DEGENERATE[case]()
        before = copy.deepcopy(network.state_dict())
        extract(network, x, labels, [info.name])
        for key, value in network.state_dict().items():
            assert value.dtype == before[key].dtype
            np.testing.assert_array_equal(value.numpy(), before[key].numpy())
        assert all(module.training for module in network.modules())
        assert all(p.grad is None for p in network.parameters())

    def test_the_record_says_what_it_is(self, info: ProxyInfo) -> None:
        """A name in lower case, one line of meaning, a source, and a definition that can be kept as json."""
        assert info.name == info.name.strip().lower()
        assert 10 < len(info.meaning) < 120 and "\n" not in info.meaning
        assert len(info.source) > 15
        assert info.bigger_is_better in (True, False)
        assert info.definition >= 1
        assert json.loads(json.dumps(info.define())) == info.define()


def _values(info: ProxyInfo, features: NodeFeatures) -> list[float]:
    return [features.scores[info.name], *features.statistics.get(info.name, [])]


def _state(network: nn.Module) -> dict[str, Any]:
    """Return everything about a network and the random state that could change, as comparable values."""

    def tensors(items: Any) -> list[Any]:
        return [(key, id(t), t.data_ptr(), t.dtype, t.requires_grad, t.tolist()) for key, t in items]

    modules = list(network.modules())
    return {
        "parameters": tensors(network.named_parameters()),
        "buffers": tensors(network.named_buffers()),
        "gradients": [(id(p.grad), None if p.grad is None else p.grad.tolist()) for p in network.parameters()],
        "parameter hooks": [dict(p._backward_hooks or {}) for p in network.parameters()],
        "hooks": [{k: dict(v) for k, v in vars(m).items() if k.endswith("_hooks")} for m in modules],
        "modes": [m.training for m in modules],
        "attributes": [sorted(vars(m)) for m in modules],
        "torch": torch.get_rng_state().tolist(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
    }


class _Watched:
    """Passes that note which of their attributes are read."""

    def __init__(self, passes: Passes) -> None:
        self._passes, self.read = passes, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._passes, name)
