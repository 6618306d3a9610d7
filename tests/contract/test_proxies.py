"""The contract suite of proxies, run over the registry; and what it finds in a proxy that breaks its word."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from parzc.datasets import get_space
from parzc.features import extract, list_proxies, list_statistics, proxy_info
from parzc.features.proxies import ProxyInfo, _registry
from parzc.testing import ProxyContract
from parzc.testing.networks import DEGENERATE, batch, small
from parzc.testing.proxies import PASSES

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ("linear_regions", "swap_regularised")


class TestEveryProxy(ProxyContract):
    """All proxies that need no exception."""

    @pytest.fixture(params=[name for name in list_proxies() if name not in SPECIAL])
    def info(self, request):
        return proxy_info(request.param)


class TestLinearRegions(ProxyContract):
    """Six inputs have six patterns, whatever happens."""

    proxy, coarse = "linear_regions", True


class TestSwapRegularised(ProxyContract):
    """Counts parameters, too."""

    proxy, also_reads = "swap_regularised", frozenset({"network"})


def test_the_passes_that_may_be_declared():
    assert PASSES == {
        *("forward", "gradients", "patterns", "jacobian", "samples", "kernel", "double_backward", "labels", "classes"),
        *("synaptic_flow", "synaptic_flow_bn", "blocks", "perturbed", "feature_maps", "masked"),
    }
    assert {name for proxy in list_proxies() for name in proxy_info(proxy).passes} == PASSES


def test_statistics_are_the_proxies_with_values_at_nodes():
    assert list_statistics() == [name for name in list_proxies() if proxy_info(name).has_nodes]


def test_the_degenerate_networks_are_degenerate():
    """At least one proxy has no value for each but the harmless three."""
    missing = {case: set(extract(*build()).reasons) for case, build in DEGENERATE.items()}
    gradients = {"grad_norm", "snip", "plain", "fisher"}
    assert missing["zero weights"] >= {"synflow", "synflow_bn"}
    assert missing["infinite weights"] >= gradients | {"l2_norm", "synflow", "synflow_bn"}
    assert missing["weights that are not numbers"] >= gradients | {"l2_norm", "synflow", "synflow_bn"}
    assert missing["inputs that are not numbers"] >= gradients
    assert missing["no path"] >= {"synflow", "synflow_bn", "jacob_cov", "zen"}
    assert not any({"params", "flops", "n_layers"} & names for names in missing.values())


@pytest.mark.parametrize("name", list_proxies())
def test_a_network_of_a_space_without_a_path_has_finite_values_or_reasons(name):
    network = get_space("nb201").network("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = extract(network, inputs, None, [name])
    assert np.isfinite(features.scores[name]) != (name in features.reasons)
    assert all(len(why) > 15 for why in features.reasons.values())


def test_the_small_network_is_the_same_each_time():
    first, second = small(), small()
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert torch.equal(batch(), batch()) and not torch.equal(batch(), batch(seed=2))


def widths(passes):
    return np.array([float(node.channels) for node in passes.forward])


HONEST = ProxyInfo(
    "widths", "output channels of the nodes", "a test of the contract", passes=("forward",), node_values=widths
)


def leaves_a_mark(passes):
    passes.network.head.weight.data += 1e-3
    return widths(passes)


def draws(passes):
    return widths(passes) + np.random.rand()


BROKEN = {
    "test_the_network_is_left_exactly_as_it_was": {"node_values": leaves_a_mark},
    "test_the_same_seed_gives_the_same_value": {"node_values": draws},
    "test_it_reads_the_passes_it_declares_and_no_others": {"passes": ("gradients",)},
    "test_a_statistic_has_one_value_for_each_node_of_the_network": {"node_values": lambda p: widths(p)[1:]},
    "test_the_score_is_the_sum_over_the_nodes_unless_the_record_says_otherwise": {
        "node_values": lambda p: widths(p) * np.inf
    },
    "test_inputs_and_labels_enter_as_declared": {"labels": True},
    "test_batch_norm_enters_as_declared": {"batch_norm": "batch"},
    "test_the_record_says_what_it_is": {"source": "me"},
}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(_registry, "_PROXIES", dict(_registry._PROXIES))

    def register(**changes):
        return _registry.register(dataclasses.replace(HONEST, **changes))

    return register


@pytest.mark.parametrize("check", BROKEN)
def test_a_proxy_that_breaks_its_word_fails(check, registered):
    contract, info = ProxyContract(), registered(**BROKEN[check])
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract, check)(info)


@pytest.mark.parametrize("check", BROKEN)
def test_a_proxy_that_keeps_its_word_passes(check, registered):
    getattr(ProxyContract(), check)(registered())


def test_one_line_is_enough_outside_the_checkout(tmp_path):
    (tmp_path / "my_proxy.py").write_text(
        "import numpy as np\n\nfrom parzc.features.proxies import Family\n\nfamily = Family(passes=('forward',))\n\n\n"
        "@family.statistic('widths', 'output channels of the nodes', 'a test of the contract')\n"
        "def widths(passes):\n    return np.array([float(node.channels) for node in passes.forward])\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "from parzc.testing import ProxyContract\n\n\n"
        "class TestMine(ProxyContract):\n    proxy = 'my_proxy.py:widths'\n"
    )
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert "27 passed" in done.stdout and done.returncode == 0, done.stdout + done.stderr
