"""`search.py` on tables: what is recorded, continued, extended and refused."""

import json

import numpy as np
import pandas as pd
import pytest

from parzc.commands import evaluate, search
from parzc.datasets import get_space
from parzc.evaluation.metrics import kendall_tau
from parzc.features import shipped
from parzc.ranker import Ranker

SPACE = get_space("nb201")
KEYS = {"number", "arch", "value", "report", "state", "costs", "seconds"}


@pytest.fixture(scope="module")
def options(csv_table):
    table = ["--table", str(csv_table), "--target", "cifar10_valid", "--report", "cifar10_test"]
    return [*table, "--algorithm", "random", "--workers", "1"]


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    """The folder of a run of two seeds with five trainings each."""
    out = tmp_path_factory.mktemp("runs") / "first"
    search.main([*options, "--trainings", "5", "--seeds", "2", "--out", str(out)])
    return out


def record_of(out):
    return json.loads((out / "search.json").read_text())


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        search.main(arguments)
    assert exit_.value.code == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: ") and sentence.count("\n") == 1
    return sentence


def test_the_record_holds_the_values_of_the_table(run, archs, accuracies, csv_table):
    record = record_of(run)
    assert (record["space"], record["table"], record["algorithm"], record["budget"]) == (
        "nb201", str(csv_table), "random", {},
    )  # fmt: skip
    assert (record["target"], record["report"]) == ("cifar10_valid", "cifar10_test")
    assert [entry["seed"] for entry in record["seeds"]] == [0, 1]
    for entry in record["seeds"]:
        trials = entry["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3, 4]
        assert all(trial.keys() >= KEYS and trial["state"] == "complete" for trial in trials)
        for trial in trials:
            row = archs.index(trial["arch"])
            assert trial["value"] == accuracies["cifar10_valid"][row]
            assert trial["report"] == accuracies["cifar10_test"][row]
            assert trial["costs"]["params"] == SPACE.cost(trial["arch"]).params
            assert trial["costs"]["flops"] == SPACE.cost(trial["arch"]).macs
        assert entry["best"] == max(trials, key=lambda trial: trial["value"])
    first, second = ([trial["arch"] for trial in entry["trials"]] for entry in record["seeds"])
    assert first != second


def test_the_folder_is_complete(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {"search.json", "search.csv", "search.png", "run.json", "study.journal"}
    assert len(pd.read_csv(run / "search.csv")) == 10


def test_the_same_command_again_changes_nothing(run, options, capsys):
    before = record_of(run)
    search.main([*options, "--trainings", "5", "--seeds", "2", "--out", str(run)])
    assert record_of(run) == before
    assert "seed 1: 5 trainings are there already, of 5" in capsys.readouterr().out


def test_a_search_is_extended(run, options, capsys):
    before = record_of(run)
    search.main([*options, "--trainings", "7", "--seeds", "2", "--out", str(run)])
    after = record_of(run)
    for old, new in zip(before["seeds"], after["seeds"], strict=True):
        assert new["trials"][:5] == old["trials"]
        assert len({trial["arch"] for trial in new["trials"]}) == 7
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("6 of 7: ") for line in lines)
    assert any(line.startswith("cifar10_test of the best: mean ") for line in lines)


def test_an_interrupted_search_has_the_trials_of_one_that_was_not(options, run, tmp_path):
    for trainings in ("2", "3", "5"):
        search.main([*options, "--trainings", trainings, "--out", str(tmp_path / "out")])
    assert record_of(tmp_path / "out")["seeds"][0]["trials"] == record_of(run)["seeds"][0]["trials"][:5]


def test_every_line_shows_value_and_best(options, tmp_path, capsys):
    search.main([*options, "--trainings", "4", "--out", str(tmp_path)])
    trials = record_of(tmp_path)["seeds"][0]["trials"]
    lines = capsys.readouterr().out.splitlines()
    best = -1.0
    for count, trial in enumerate(trials, 1):
        best = max(best, trial["value"])
        assert lines[count - 1] == f"{count} of 4: {trial['value']:.6g}, best {best:.6g}, {trial['arch']}"


def test_all_of_a_table_is_searched_and_then_no_more(options, tmp_path, archs, accuracies, capsys):
    search.main([*options, "--trainings", "100", "--batch", "7", "--out", str(tmp_path)])
    entry = record_of(tmp_path)["seeds"][0]
    asked = {trial["arch"] for trial in entry["trials"]}
    assert asked < set(archs)
    functions = [SPACE.canonical(arch) for arch in archs]
    assert sorted(map(SPACE.canonical, asked)) == sorted(set(functions))
    assert entry["best"]["value"] == max(accuracies["cifar10_valid"][archs.index(arch)] for arch in asked)
    assert f"no other architecture can be asked for: {len(asked)} trainings instead of 100" in capsys.readouterr().out


def test_a_budget_holds(options, tmp_path, capsys):
    budget = ["--budget", "params=0.2e6:0.9e6", "flops=:100e6"]
    search.main([*options, *budget, "--trainings", "6", "--out", str(tmp_path)])
    record = record_of(tmp_path)
    assert record["budget"] == {"params": "0.2e6:0.9e6", "flops": ":100e6"}
    for trial in record["seeds"][0]["trials"]:
        assert 0.2e6 <= trial["costs"]["params"] <= 0.9e6 and trial["costs"]["flops"] <= 100e6
    assert "params of " in capsys.readouterr().err


def test_the_front_of_two_objectives_is_drawn(options, tmp_path):
    search.main([*options, "--objectives", "accuracy", "flops", "--trainings", "4", "--out", str(tmp_path)])
    assert record_of(tmp_path)["objectives"] == ["accuracy", "flops"]
    assert (tmp_path / "search.png").exists()


def test_seconds_of_a_table_are_recorded(csv_table, tmp_path):
    table = pd.read_csv(csv_table)
    table["hours"] = range(len(table))
    table.to_csv(tmp_path / "timed.csv", index=False)
    options = ["--table", str(tmp_path / "timed.csv"), "--target", "cifar10_valid", "--seconds", "hours"]
    search.main([*options, "--algorithm", "random", "--trainings", "3", "--out", str(tmp_path / "out")])
    for trial in record_of(tmp_path / "out")["seeds"][0]["trials"]:
        assert trial["seconds"] == list(table["arch"]).index(trial["arch"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--algorithm", "local"], "--algorithm random, not local"),
        (["--budget", "params=1e6"], "--budget (none), not params=1e6"),
        (["--seeds", "1"], "--seeds 2, not 1"),
        (["--target", "cifar10_test"], "--target cifar10_valid, not cifar10_test"),
    ],
)
def test_a_folder_keeps_its_search(run, options, change, sentence, capsys):
    found = refused([*options, "--trainings", "5", "--seeds", "2", "--out", str(run), *change], capsys)
    assert f"{run} holds a search with {sentence}" in found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trainings", "0"], "--trainings 0 leaves nothing to train; give at least 1"),
        (["--seeds", "0"], "--seeds 0"),
        (["--batch", "0"], "--batch 0"),
        (["--jobs", "0"], "--jobs 0"),
        (["--jobs", "2"], "--jobs 2 is for trainings; give a command with --train"),
        (["--time-limit", "-1"], "--time-limit -1.0 is no time"),
        (["--time-limit", "9"], "--time-limit 9.0 is for trainings"),
        (["--epochs", "9"], "--epochs 9 is for trainings"),
        (["--train", "python t.py {arch}", "--target", "x"], "--target x is for searches on a table"),
        (["--train", "python t.py {arch} {epochs}"], "--train names {epochs}"),
        (["--train", "python t.py"], "does not name the architecture"),
        (["--space", "darts"], "no accuracies of darts come with parzc; train with --train"),
        (["--budget", "params"], "'params' is no bound"),
        (["--budget", "params=10"], "no architecture of nb201 has params of at most 10: the smallest"),
        (["--report", "imagenet"], "no label column 'imagenet'"),
        (["--algorithm", "none"], "there is no search algorithm 'none'"),
        (["--objectives", "flops"], "the objectives cannot be flops"),
        (["--set", "score=az_nas"], "does not take the settings score"),
        (["--space", "nowhere"], "there is no search space 'nowhere'"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(arguments, sentence, tmp_path, capsys):
    assert sentence in refused(["--algorithm", "random", "--out", str(tmp_path), *arguments], capsys)


def test_a_folder_of_something_else_is_left_alone(options, tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"config": {"samples": 78}}')
    assert "is no run.json of search.py" in refused([*options, "--out", str(tmp_path)], capsys)


def test_a_refused_search_leaves_nothing_that_refuses_the_next(options, tmp_path, capsys):
    assert "foo" in refused([*options, "--trainings", "2", "--budget", "foo=3", "--out", str(tmp_path)], capsys)
    search.main([*options, "--trainings", "2", "--out", str(tmp_path)])
    assert len(record_of(tmp_path)["seeds"][0]["trials"]) == 2


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_study_that_was_lost_is_not_begun_anew(options, damage, tmp_path, capsys):
    search.main([*options, "--trainings", "3", "--out", str(tmp_path)])
    before, journal = record_of(tmp_path), tmp_path / "study.journal"
    journal.unlink() if damage == "gone" else journal.write_text("")
    sentence = refused([*options, "--trainings", "3", "--out", str(tmp_path)], capsys)
    assert "holds 3 trainings of seed 0, but the study holds 0" in sentence
    assert record_of(tmp_path) == before


def test_a_table_whose_values_have_changed_is_refused(archs, accuracies, tmp_path, capsys):
    table, out = tmp_path / "table.csv", tmp_path / "out"
    frame = pd.DataFrame({"arch": archs, "value": accuracies["cifar10_valid"]})
    options = ["--table", str(table), "--target", "value", "--algorithm", "random", "--out", str(out)]
    frame.to_csv(table, index=False)
    search.main([*options, "--trainings", "2"])
    before = record_of(out)
    frame.assign(value=100 - frame["value"]).to_csv(table, index=False)
    first = before["seeds"][0]["trials"][0]
    sentence = refused([*options, "--trainings", "4"], capsys)
    assert f"table.csv gives {first['arch']} the value {100 - first['value']:g}, but the search was told" in sentence
    assert record_of(out) == before


def test_a_guided_search_leaves_its_ranker(csv_table, tmp_path, capsys):
    options = ["--table", str(csv_table), "--target", "cifar10_valid", "--trainings", "12", "--out", str(tmp_path)]
    search.main(options)
    trials = record_of(tmp_path)["seeds"][0]["trials"]
    assert "expected improvement left " in capsys.readouterr().out
    ranker = Ranker.load(tmp_path / "ranker")
    archs = [trial["arch"] for trial in trials]
    functions = [SPACE.canonical(arch) for arch in archs]
    features = shipped("nb201").read(sorted(set(functions)))
    row = {name: i for i, name in enumerate(features.archs)}
    scores = ranker.predict(features)[[row[function] for function in functions]]
    assert kendall_tau(scores, np.array([trial["value"] for trial in trials])) > 0.7
    evaluate.main(["--ranker", str(tmp_path), "--top", "1"])
    assert "15625 archs of nb201 ranked" in capsys.readouterr().out
