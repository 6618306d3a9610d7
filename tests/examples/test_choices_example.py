"""The example of a space from a dictionary, with the commands of its README."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

import parzc
from parzc.commands import _run_folder, features, train
from parzc.datasets import get_space
from parzc.datasets.spaces import _registry
from parzc.errors import InputError
from parzc.evaluation import importance
from parzc.evaluation.baselines import BASELINES
from parzc.features import FeatureStore
from parzc.ranker import Ranker, presets
from parzc.testing import SpaceContract

SPACE = Path(__file__).resolve().parents[2] / "examples" / "choices" / "space.py"


class TestExample(SpaceContract):
    space = f"{SPACE}:space"


@pytest.fixture(scope="module", autouse=True)
def few_others():
    """One baseline, and node importances of one statistic and seed: the others take seconds and change nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(importance.node_importance, statistics=("snip",), seeds=(42,))
        patch.setattr(_run_folder, "node_importance", one)
        patch.setattr("parzc.evaluation.tabular.BASELINES", {"gaussian_process": BASELINES["gaussian_process"]})
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    proxies = {*presets.PRESETS["default"].statistics, *presets.PRESETS["default"].scores}
    features.main(
        [f"{SPACE}:space", str(folder), "--sample", "24", "--batch", "4", "--workers", "2", "--proxies", *proxies]
    )
    return FeatureStore.open(folder)


@pytest.fixture(scope="module")
def table(store, tmp_path_factory):
    """Accuracies that depend on width, depth and block, and noise."""
    path, rng, space = tmp_path_factory.mktemp("table") / "accuracies.csv", np.random.default_rng(0), get_space(SPACE)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", "accuracy"])
        for arch in store.archs:
            chosen = space.decompose(arch)
            value = chosen["width"] + 5 * chosen["depth"] + 3 * (chosen["block"] == "wide")
            writer.writerow([arch, value + rng.normal()])
    return path


def test_the_example_is_short_and_has_six_decisions():
    assert len(SPACE.read_text(encoding="utf-8").splitlines()) <= 25
    space = get_space(SPACE)
    assert [bool(decision.parent) for decision in space.decisions].count(True) == 1 and len(space.decisions) == 6
    assert space.size == 3 * 3 * 3 * (1 + 2) * 2


def test_two_workers_measure_the_networks_of_the_file(store):
    space = get_space(SPACE)
    table = store.read()
    assert len(store) == 24 and store.failed == {}
    assert (store.manifest["config"]["space"], store.manifest["space_reference"]) == ("choices", f"{SPACE}:space")
    assert table.scores["params"].tolist() == [space.cost(arch).params for arch in table.archs]
    assert {table.names[i] for i in table.node} == {slot.name for slot in space.slots}


def test_a_ranker_is_trained_saved_and_read_again(store, table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(presets, "PRESETS", {**presets.PRESETS, "quick": presets.PRESETS["default"].override(SMALL)})
    run = tmp_path / "run"
    train.main([
        "--space", f"{SPACE}:space", "--table", str(table), "--features", str(store.path), "--samples", "14",
        "--seeds", "1", "--preset", "quick", "--out", str(run), "--workers", "1",
    ])  # fmt: skip
    assert "choices, accuracy: 14 labelled archs, 10 test archs, 1 seed" in capsys.readouterr().out
    config = json.loads((run / "ranker" / "config.json").read_text())
    assert (config["space"], config["space_reference"]) == ("choices", f"{SPACE}:space")
    monkeypatch.setattr(_registry, "_OPENED", {})
    with pytest.raises(
        InputError, match=r"is for the search space 'choices', which is not known here \(it was /.*give it"
    ):
        Ranker.load(run / "ranker")
    with pytest.raises(InputError, match="is for the space 'choices', not for 'nb201'; give that space"):
        Ranker.load(run / "ranker", space="nb201")
    (tmp_path / "moved.py").write_text(SPACE.read_text())
    ranker = Ranker.load(run / "ranker", space=f"{tmp_path}/moved.py")
    assert ranker.space == f"{tmp_path}/moved.py:space"
    scores = ranker.predict(store.read())
    with (run / "ranking.csv").open() as stream:
        ranking = {row["arch"]: float(row["score"]) for row in csv.DictReader(stream)}
    assert [ranking[arch] for arch in store.archs] == pytest.approx(scores, rel=1e-4, abs=1e-5)


def test_the_default_preset_reads_the_space_of_the_file(store, table):
    with table.open() as stream:
        labels = {row["arch"]: float(row["accuracy"]) for row in csv.DictReader(stream)}
    settings = {"training.epochs": 20, "pretraining.steps": 5}
    everything = store.read()
    ranker = parzc.Ranker("default", space=f"{SPACE}:space", settings=settings)
    ranker.fit(store.read(store.archs[:16]), [labels[arch] for arch in store.archs[:16]], everything)
    scores = ranker.predict(everything)[16:]
    assert parzc.metrics.kendall_tau(scores, np.array([labels[arch] for arch in store.archs[16:]])) > 0.4
