"""A space in a file outside the package, through every command, with worker processes and with Ray."""

import csv
import json
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from parzc.commands import _run_folder, evaluate, features, train
from parzc.datasets import get_space
from parzc.datasets.spaces import _registry
from parzc.evaluation import importance
from parzc.evaluation.baselines import BASELINES
from parzc.features import FeatureStore
from parzc.ranker import Ranker

SOURCE = """
from torch import nn

from parzc import Choices


def build(width, kernel, skip, pool):
    body = [nn.Conv2d(3, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU()]
    body += [] if skip else [nn.Conv2d(width, width, 1), nn.ReLU()]
    pool = nn.AdaptiveMaxPool2d(1) if pool == "max" else nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Sequential(*body), pool, nn.Flatten(), nn.Linear(width, 4))


CHOICES = {"width": [4, 8, 16], "kernel": [1, 3, 5], "skip": [False, True], "pool": ["max", "mean"]}
space = Choices(build, CHOICES, name="outside", input_shape=(3, 8, 8), classes=4)
"""
MEASURED = 30


def few_epochs(config, space, _out, seed):
    return Ranker(config.preset, space, seed, {"training.epochs": 3})


@pytest.fixture(scope="module", autouse=True)
def few_others():
    """Few epochs, one baseline, importances of one statistic and seed: more takes seconds and changes nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(importance.node_importance, statistics=("snip",), seeds=(42,))
        patch.setattr(_run_folder, "node_importance", one)
        patch.setattr(train, "_ranker", few_epochs)
        patch.setattr("parzc.evaluation.tabular.BASELINES", {"gaussian_process": BASELINES["gaussian_process"]})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere")
    (path / "mine.py").write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def store(folder):
    """Thirty of the 36 architectures, measured by two processes."""
    options = ["--sample", str(MEASURED), "--batch", "2", "--for", "paper", "--workers", "2"]
    features.main([f"{folder}/mine.py:space", str(folder / "store"), *options])
    return FeatureStore.open(folder / "store")


@pytest.fixture(scope="module")
def table(folder):
    """A table of all 36."""
    space, rng = get_space(f"{folder}/mine.py:space"), np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", "accuracy"])
        writer.writerows([arch, space.decompose(arch)["width"] + rng.random()] for arch in space.archs())
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run(folder, store, table):
    """A run with two processes on the architectures of the table that are measured."""
    out = folder / "run"
    train.main([
        "--space", f"{folder}/mine.py:space", "--table", str(table), "--features", str(store.path), "--samples", "12",
        "--seeds", "1", "--preset", "paper", "--out", str(out), "--workers", "2",
    ])  # fmt: skip
    return out


def test_two_processes_measure_what_the_preset_reads(folder, store):
    assert len(store) == MEASURED and store.failed == {}
    assert sorted(store.read().scores) == ["grad_norm", "snip", "synflow"]
    assert store.archs == tuple(sorted(get_space(f"{folder}/mine.py:space").sample(MEASURED, 0)))


@pytest.mark.slow("a Ray has to start")
def test_ray_measures_the_same(folder, store, capsys, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default its workers run after everything else
    archs = folder / "archs.txt"
    capsys.readouterr()
    features.main(["archs", str(store.path)])
    archs.write_text(capsys.readouterr().out)
    options = ["--archs", str(archs), "--batch", "2", "--for", "paper", "--workers", "1", "--engine", "ray"]
    features.main([f"{folder}/mine.py:space", str(folder / "by ray"), *options])
    one, other = store.read(), FeatureStore.open(folder / "by ray").read()
    assert one.archs == other.archs
    for name in one.statistics:
        np.testing.assert_array_equal(one.statistics[name], other.statistics[name])


def test_the_measured_part_of_the_table_is_used(run, store):
    assert pd.read_csv(run / "ranking.csv")["arch"].sort_values().tolist() == list(store.archs)
    assert json.loads((run / "metrics.json").read_text())["n_test"] == MEASURED - 12
    assert (run / "importance.png").is_file()


def test_a_ranker_of_a_space_that_is_not_known_asks_for_its_file(run, store, capsys, monkeypatch):
    monkeypatch.setattr(_registry, "_OPENED", {})
    with pytest.raises(SystemExit) as caught:
        evaluate.main(["--ranker", str(run), "--features", str(store.path)])
    assert caught.value.code == 2
    sentence = f"error: the ranker in {run}/ranker is for the search space 'outside', which is not known here"
    assert capsys.readouterr().err.startswith(sentence)


def test_the_measured_are_ranked_and_others_measured_on_demand(folder, run, store, table, capsys):
    given = ["--ranker", str(run), "--space", f"{folder}/mine.py:space", "--features", str(store.path)]
    evaluate.main(given)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "30 of 36 architectures of the space outside are measured; the others are left out"
    assert printed[1] == f"30 archs of outside ranked by {run}/ranker; bigger scores are better"
    others = sorted(set(get_space("outside").archs()) - set(store.archs))
    (folder / "others.txt").write_text("\n".join(others))
    with pytest.raises(SystemExit):
        evaluate.main([*given, "--archs", str(folder / "others.txt")])
    assert capsys.readouterr().err == (
        f"error: {store.path} lacks the features of 6 of 6 functions, '{others[0]}' the first; measure them with "
        f"--extract, or with python -m parzc.features {folder}/mine.py:space {store.path} --archs ARCHS.txt --batch 2\n"
    )
    evaluate.main([*given, "--archs", str(folder / "others.txt"), "--extract", "--top", "9"])
    ranked = re.findall(r"^ *\d+ +(\S+=\S+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(ranked) == others
    assert len(FeatureStore.open(store.path)) == 36
    evaluate.main([*given, "--table", str(table)])
    assert "left out" not in capsys.readouterr().out
    # What was measured on demand is what one extraction would have measured.
    features.main(
        [f"{folder}/mine.py:space", str(folder / "whole"), "--batch", "2", "--for", "paper", "--workers", "1"]
    )
    one, other = FeatureStore.open(store.path).read(), FeatureStore.open(folder / "whole").read()
    for name in one.statistics:
        np.testing.assert_array_equal(one.statistics[name], other.statistics[name])
