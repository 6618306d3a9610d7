"""The registry: what may be added and how it is found."""

import pytest
import torch
from torch import nn

from parzc.errors import InputError
from parzc.features import ProxyInfo, extract, list_proxies, list_statistics, proxy_info
from parzc.features.proxies import _registry
from parzc.features.proxies._registry import register, resolve


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch):
    list_proxies()
    monkeypatch.setattr(_registry, "_PROXIES", dict(_registry._PROXIES))
    monkeypatch.setattr(_registry, "_LOADED", dict(_registry._LOADED))


def record(**changes):
    given = {
        "name": "widest",
        "meaning": "channels of the widest node",
        "source": "none",
        "bigger_is_better": True,
        "passes": ("forward",),
        "inputs": "data",
        "network_value": lambda passes: float(max(node.channels for node in passes.forward)),
    }
    return ProxyInfo(**(given | changes))


def test_what_is_registered_is_computed():
    before = list_proxies()
    assert register(record()) is proxy_info("widest")
    assert list_proxies() == [*before, "widest"]
    assert "widest" not in list_statistics()
    network = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 5))
    assert extract(network, torch.eye(4), proxies=["widest"]).scores == {"widest": 9}


def test_a_statistic_has_a_value_at_each_node_and_its_sum_as_its_proxy():
    def channels(passes):
        return torch.tensor([node.channels for node in passes.forward], dtype=torch.float64).numpy()

    register(record(node_values=channels, network_value=None))
    assert list_statistics()[-1] == "widest"
    network = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 5))
    features = extract(network, torch.eye(4), proxies=["widest"])
    assert features.statistics["widest"].tolist() == [9, 5]
    assert features.scores == {"widest": 14}


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="a proxy called 'snip' is already registered"):
        register(record(name="snip"))


def test_a_record_computes_something():
    with pytest.raises(ValueError, match="proxy 'widest' computes nothing: give node_values or network_value"):
        register(record(network_value=None))
    assert "widest" not in list_proxies()


def test_records_are_resolved_in_the_order_of_registration():
    assert [info.name for info in resolve(None)] == list_proxies()
    assert [info.name for info in resolve(["synflow", "params", "synflow"])] == ["params", "synflow"]
    assert resolve([]) == []


def test_an_unknown_name_is_refused_with_the_names_there_are():
    for ask in (proxy_info, lambda name: resolve([name])):
        names = ", ".join(list_proxies())
        with pytest.raises(InputError, match=f"^there is no proxy 'sinflow'; choose from {names}, or name the file"):
            ask("sinflow")


def test_a_definition_holds_what_fixes_the_numbers():
    assert record(definition=3, labels=True).define() == {
        "inputs": "data",
        "labels": True,
        "weights": "own",
        "batch_norm": "-",
        "scale": "linear",
        "elements": "weights",
        "definition": 3,
    }
