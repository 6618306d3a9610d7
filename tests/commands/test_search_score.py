"""`search.py --score`: what it chooses, what is recorded next to it, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from parzc.commands import search
from parzc.commands._search_options import read_settings
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import shipped
from parzc.search.training_free import TrainingFreeSearch

SPACE = get_space("nb201")
KEYS = {"number", "arch", "score", "value", "report", "state", "costs", "seconds"}


def run(out, *options):
    search.main(["--space", "nb201", "--out", str(out), "--workers", "1", *options])
    return json.loads((out / "search.json").read_text())


@pytest.fixture(scope="module")
def table(csv_table):
    return ["--table", str(csv_table), "--target", "cifar10_valid", "--report", "cifar10_test"]


def test_the_best_by_score_is_chosen_and_accuracies_are_only_shown(
    table, archs, accuracies, csv_table, tmp_path, capsys
):
    record = run(tmp_path / "run", *table, "--score", "ntk", "--evaluations", "40", "--seeds", "2")
    out = capsys.readouterr().out
    about = [record[key] for key in ("space", "table", "target", "report", "algorithm", "score", "budget")]
    assert about == ["nb201", str(csv_table), "cifar10_valid", "cifar10_test", "random", "ntk", {}]
    features = shipped("nb201").read()
    ntk = dict(zip(features.archs, features.scores["ntk"], strict=True))
    for seed, entry in enumerate(record["seeds"]):
        trials = entry["trials"]
        assert entry["seed"] == seed and [trial["number"] for trial in trials] == list(range(40))
        for trial in trials:
            row, score = archs.index(trial["arch"]), ntk[SPACE.canonical(trial["arch"])]
            assert trial.keys() >= KEYS
            assert (trial["value"], trial["report"]) == tuple(accuracies[column][row] for column in accuracies)
            # The condition number is better where it is smaller.
            assert trial["score"] is None if np.isnan(score) else trial["score"] == -score
        assert entry["best"] == max(trials, key=lambda trial: -np.inf if trial["score"] is None else trial["score"])
    best = [entry["best"] for entry in record["seeds"]]
    assert best[0]["arch"] in out and f"cifar10_test {best[1]['report']:.6g}; params" in out
    assert f"cifar10_valid of the chosen: mean {np.mean([one['value'] for one in best]):.6g}" in out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "search.json", "search.csv", "search.png"}
    rows = pd.read_csv(tmp_path / "run" / "search.csv")
    assert len(rows) == 80 and rows["best"][79] == pytest.approx(best[1]["score"], rel=1e-6)


def test_the_same_command_goes_on(tmp_path):
    options = ["--score", "az_nas", "--algorithm", "evolution", "--set", "top=5", "--budget", "params=5e5"]
    first = run(tmp_path / "run", *options, "--evaluations", "12")
    again = run(tmp_path / "run", *options, "--evaluations", "12")
    longer = run(tmp_path / "run", *options, "--evaluations", "20")
    archs = [[trial["arch"] for trial in record["seeds"][0]["trials"]] for record in (first, again, longer)]
    assert first == again and archs[2][:12] == archs[0] and len(set(archs[2])) == 20
    assert all(trial["costs"]["params"] <= 5e5 for trial in longer["seeds"][0]["trials"])
    assert first["settings"] == {"top": 5} and first["target"] == "cifar10_test"
    history = TrainingFreeSearch(
        "nb201", "az_nas", algorithm="evolution", settings={"top": 5}, budget={"params": 5e5}
    ).run(20)
    assert [trial.arch for trial in history.trials] == archs[2]


OWN = """
from torch import nn
from parzc import Choices

def build(width, kernel):
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(nn.Conv2d(3, width, kernel, padding=kernel // 2), nn.ReLU(), *head)

space = Choices(build, {"width": [4, 6, 8], "kernel": [1, 3]}, input_shape=(3, 8, 8))
"""


def test_a_space_of_ones_own_needs_no_table(tmp_path, capsys):
    (tmp_path / "own.py").write_text(OWN)
    out = tmp_path / "run"
    space = f"{tmp_path / 'own.py'}:space"
    options = ["--space", space, "--out", str(out), "--workers", "1", "--score", "params+nwot", "--evaluations", "9"]
    search.main(options)
    record = json.loads((out / "search.json").read_text())
    (entry,) = record["seeds"]
    assert len(entry["trials"]) == 6 and record["table"] is record["target"] is None
    assert all(trial["value"] is None for trial in entry["trials"])
    capsys.readouterr()
    search.main(options)
    assert "measured" not in capsys.readouterr().err and (out / "features").is_dir()
    with pytest.raises(SystemExit):
        search.main([*options, "--report", "test"])
    assert "come with parzc; give a file with --table, or leave --report away" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "message"), [
    (["--score", "nwto"], "there is no score 'nwto'"),
    (["--score", "nwot", "--trainings", "5"], "--trainings is for searches that train"),
    (["--score", "nwot", "--train", "x"], "--train is for searches that train"),
    (["--score", "nwot", "--jobs", "2"], "--jobs is for searches that train"),
    (["--score", "nwot", "--algorithm", "guided"], "the algorithm guided learns from trainings"),
    (["--score", "nwot", "--objectives", "accuracy", "flops"], "one objective, the score"),
    (["--score", "nwot", "--algorithm", "pruning", "--evaluations", "4"], "pruning ends in one architecture"),
    (["--score", "nwot", "--evaluations", "-1"], "leaves nothing to score"),
    (["--score", "nwot", "--set", "top"], "--set top is no setting"),
    (["--score", "nwot", "--algorithm", "evolution", "--set", "peak=3"], "does not take the settings peak"),
    (["--evaluations", "5"], "is for searches by a score; name one with --score"),
    (["--score", "nwot", "--batch", "0"], "--batch 0"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused_in_one_sentence(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        search.main(["--space", "nb201", "--out", str(tmp_path / "run"), *options])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_settings_are_numbers_or_texts():
    read = read_settings(["top=30", "crossover=0.5", "data=images.npz", "size=whole"])
    assert read == {"top": 30, "crossover": 0.5, "data": "images.npz", "size": "whole"}
    with pytest.raises(InputError, match="given twice"):
        read_settings(["top=1", "top=2"])
