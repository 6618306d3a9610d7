"""A proxy in a file outside the checkout: extracted by two workers, stored, read by a ranker without the file."""

import json
import re
import sys

import numpy as np
import pytest

from parzc.commands.features import main
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.evaluation.protocol import proxy_scores
from parzc.features import ExtractionConfig, FeatureStore, aggregate_ranks, build_store, list_proxies
from parzc.features.proxies import _registry
from parzc.features.proxies._references import FILES
from parzc.features.store import MANIFEST
from parzc.ranker import Ranker

CODE = """
import numpy as np

from parzc.features.proxies import Family

weights = Family(passes=("forward",), inputs="none")


@weights.statistic("largest", "largest absolute weight", "this test", elements="node", bigger_is_better=False)
def largest(passes):
    return np.array([node.weight.abs().max().item() for node in passes.forward])
"""
SETTINGS = {
    "statistics": ("l2_norm", "largest"), "scores": ("params", "largest"), "blocks": (),
    "training.epochs": 3, "model.dim": 16, "model.depth": 1, "mixers": 1, "others": (), "pretraining.steps": 2,
}  # fmt: skip


@pytest.fixture
def without_the_file(monkeypatch):
    """Return a function that forgets what was registered, as a process that starts anew has not registered it."""
    list_proxies()
    monkeypatch.setattr(sys, "path", list(sys.path))
    shipped, loaded = dict(_registry._PROXIES), dict(_registry._LOADED)

    def forget():
        monkeypatch.setattr(_registry, "_PROXIES", dict(shipped))
        monkeypatch.setattr(_registry, "_LOADED", dict(loaded))
        for module in [name for name in sys.modules if name.startswith(FILES)]:
            monkeypatch.delitem(sys.modules, module)

    forget()
    return forget


def test_a_proxy_from_outside_is_extracted_stored_and_read_by_the_ranker(tmp_path, without_the_file, monkeypatch):
    (tmp_path / "my_proxy.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    options = "--sample 20 --batch 2 --workers 2 --proxies my_proxy.py l2_norm params".split()
    main(["nb201", "store", *options])
    without_the_file()
    store = FeatureStore.open("store")
    assert store.failed == {} and len(store) > 16  # so many that other processes worked
    assert store.origins == {"largest": f"{tmp_path / 'my_proxy.py'}:largest"}
    assert store.manifest["config"]["proxies"] == ["params", "l2_norm", "largest"]
    assert store.definitions["largest"]["bigger_is_better"] is False
    assert "bigger_is_better" not in store.definitions["l2_norm"]
    table, space = store.read(), get_space("nb201")
    for row in (0, len(table) - 1):
        weights = [p for p in space.network(table.archs[row]).parameters() if p.ndim > 1]
        largest = [p.abs().max().item() for p in weights]
        own = table.statistics["largest"][table.row == row]
        assert sorted(own.tolist()) == pytest.approx(sorted(largest), rel=1e-6)
        assert table.scores["largest"][row] == pytest.approx(sum(largest), rel=1e-6)
    np.testing.assert_array_equal(proxy_scores(table, "largest"), -table.scores["largest"])
    labels = -table.scores["largest"]
    ranker = Ranker("default", "nb201", 0, SETTINGS).fit(table, labels)
    scores = ranker.predict(table)
    ranker.save("ranker")
    np.testing.assert_array_equal(Ranker.load("ranker").predict(table), scores)
    assert "largest" not in list_proxies()


def test_a_command_goes_on_where_the_file_is_named_again(tmp_path, without_the_file, monkeypatch, capsys):
    (tmp_path / "my_proxy.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    for proxies in (["my_proxy.py", "params"], ["params", "my_proxy.py:largest"]):
        without_the_file()
        main(["nb201", "store", "--sample", "2", "--batch", "2", "--workers", "1", "--proxies", *proxies])
    without_the_file()
    for proxies, sentence in (
        (
            [],
            f"store holds proxies .* parzc .largest.; .* --proxies params {tmp_path}/my_proxy.py:largest$",
        ),
        (["--proxies", "params"], "^error: store holds largest, too, and a store keeps the proxies that it began with"),
        (["--proxies", "my_proxi.py"], f"^error: there is no file {tmp_path}/my_proxi.py on this machine; correct"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["nb201", "store", "--sample", "2", "--batch", "2", *proxies])
        assert re.search(sentence, capsys.readouterr().err.strip().splitlines()[-1])


def test_work_goes_on_with_the_file_and_the_same_values_come_of_it(tmp_path, without_the_file):
    path = tmp_path / "my_proxy.py"
    path.write_text(CODE)
    config = ExtractionConfig("nb201", batch=2, proxies=(f"{path}:largest",))
    archs = get_space("nb201").sample(3, 1)
    first = build_store(tmp_path / "store", config, archs[:2], workers=1).read()
    without_the_file()
    whole = build_store(tmp_path / "store", config, archs, workers=1).read()
    kept = [whole.archs.index(arch) for arch in first.archs]
    assert whole.scores["largest"][kept].tolist() == first.scores["largest"].tolist()


def test_what_needs_the_file_names_it(tmp_path, without_the_file):
    path = tmp_path / "my_proxy.py"
    path.write_text(CODE)
    config = ExtractionConfig("nb201", batch=2, proxies=(f"{path}:largest",))
    table = build_store(tmp_path / "store", config, get_space("nb201").sample(2, 1), workers=1).read()
    without_the_file()
    with pytest.raises(InputError, match=r"no proxy 'largest'.*or name the file of one of your own"):
        aggregate_ranks(table.scores)
    work = config.extraction()
    without_the_file()
    path.unlink()
    with pytest.raises(InputError, match=f"^there is no file {path} on this machine; "):
        work(table.archs)


def test_a_definition_that_is_damaged_is_not_used(tmp_path, without_the_file):
    path = tmp_path / "my_proxy.py"
    path.write_text(CODE)
    config = ExtractionConfig("nb201", batch=2, proxies=(f"{path}:largest",))
    build_store(tmp_path / "store", config, get_space("nb201").sample(2, 1), workers=1)
    without_the_file()
    manifest = json.loads((tmp_path / "store" / MANIFEST).read_text())
    manifest["definitions"]["largest"]["scale"] = "sideways"
    (tmp_path / "store" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="there is no proxy 'largest'"):
        FeatureStore.open(tmp_path / "store").read().info("largest")
