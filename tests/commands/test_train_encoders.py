"""The train command with an encoder of architectures."""

import json

import numpy as np
import pytest
from helpers import SMALL_PAPER
from optuna.distributions import IntDistribution

from parzc.commands import _run_folder, evaluate, train
from parzc.commands._measured import read_features
from parzc.datasets import get_space
from parzc.evaluation.baselines import BASELINES
from parzc.ranker import Ranker, presets
from parzc.tuning import spaces

SPACE = get_space("nb201")
QUICK = SMALL_PAPER | {"training.epochs": 10}
GCN = {"graph": "gcn", "graph.dim": 8, "graph.depth": 1}


@pytest.fixture(scope="module", autouse=True)
def quick_paper():
    """A preset of this name, one tabular learner, and no importances."""
    with pytest.MonkeyPatch.context() as patch:
        preset = presets.PRESETS["paper"].override(QUICK)
        patch.setattr(presets, "PRESETS", {**presets.PRESETS, "quick_paper": preset})
        patch.setattr("parzc.evaluation.tabular.BASELINES", {"extra_trees": BASELINES["extra_trees"]})
        patch.setattr(_run_folder, "MIN_NETWORKS", 10**9)
        yield


@pytest.fixture(scope="module")
def options(csv_table):
    table = ["--table", str(csv_table), "--target", "cifar10_test", "--samples", "20", "--seeds", "1"]
    return [*table, "--preset", "quick_paper", "--workers", "1"]


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    """The run folder, of the name that it gets by itself, of a run with the GCN."""
    folder = tmp_path_factory.mktemp("encoders")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main([*options, "--encoder", "gcn"])
    return folder / "runs/nb201-cifar10_test-20-quick_paper-gcn"


def test_the_encoder_is_that_of_the_ranker_and_of_the_record(run, archs, accuracies):
    assert json.loads((run / "run.json").read_text())["config"]["encoder"] == "gcn"
    results = json.loads((run / "metrics.json").read_text())["results"]
    assert list(results)[:2] == ["parzc (quick_paper, gcn)", "extra_trees"]
    loaded = Ranker.load(run / "ranker")
    assert loaded.settings == {"graph": "gcn"} and loaded.preset_.graph == "gcn"
    features, row = read_features(archs, SPACE)
    labelled = np.sort(np.random.default_rng(0).permutation(60)[:20])
    expected = Ranker("quick_paper", "nb201", 0, {"graph": "gcn"})
    expected.fit(features[row[labelled]], accuracies["cifar10_test"][labelled], features)
    np.testing.assert_array_equal(loaded.predict(features), expected.predict(features))


def test_run_json_repeats_it(run, tmp_path):
    train.main(["--config", str(run / "run.json"), "--out", str(tmp_path), "--workers", "1"])
    assert (tmp_path / "ranking.csv").read_bytes() == (run / "ranking.csv").read_bytes()
    assert (tmp_path / "ranker/config.json").read_bytes() == (run / "ranker/config.json").read_bytes()


def test_such_a_ranker_evaluates(run, csv_table, capsys):
    evaluate.main(["--ranker", str(run / "ranker"), "--table", str(csv_table), "--target", "cifar10_test"])
    assert "60 archs of nb201 ranked by" in capsys.readouterr().out


def test_its_settings_are_tuned(options, tmp_path, monkeypatch):
    among = {"graph.dim": IntDistribution(9, 9)}
    monkeypatch.setattr(spaces, "SEARCH_SPACES", {("quick_paper", "gcn"): among})
    train.main([*options, "--encoder", "gcn", "--tune", "1", "--out", str(tmp_path)])
    assert Ranker.load(tmp_path / "ranker").settings == {"graph": "gcn", "graph.dim": 9}


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        train.main([*map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_preset_that_takes_no_encoder_says_so(capsys, options, tmp_path):
    error = refused(capsys, *options, "--preset", "default", "--encoder", "pinat", "--out", tmp_path / "run")
    assert error.startswith("error: --encoder pinat cannot be used with --preset default; take --preset paper")
    assert error.endswith(", or leave --encoder away\n") and not (tmp_path / "run").exists()


def test_what_is_no_encoder_is_refused(capsys, options, tmp_path):
    assert refused(capsys, *options, "--encoder", "gat").startswith("usage: train.py ")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"config": {"preset": "paper", "encoder": "gat"}}))
    sentence = "error: there is no architecture encoder 'gat'; choose one of none, gcn, pinat\n"
    assert refused(capsys, "--config", path) == sentence
