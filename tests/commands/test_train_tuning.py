"""`train.py --tune`: what is tuned on, kept, shared, reported and refused."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import IntDistribution

from parzc.commands import _run_folder, train
from parzc.commands._measured import read_features
from parzc.datasets import get_space
from parzc.evaluation import importance
from parzc.evaluation.baselines import BASELINES
from parzc.ranker import Ranker
from parzc.tuning import load_study, search, spaces, tune

SPACE = get_space("nb201")
SEARCH = {"training.epochs": IntDistribution(2, 20), "model.depth": IntDistribution(1, 2)}


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few baselines and importances, and a small search space of the preset `quick`."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(importance.node_importance, statistics=("snip",), seeds=(42,))
        patch.setattr(_run_folder, "node_importance", one)
        patch.setattr("parzc.evaluation.tabular.BASELINES", {"gaussian_process": BASELINES["gaussian_process"]})
        patch.setattr(spaces, "SEARCH_SPACES", {("quick", "none"): SEARCH})
        yield


@pytest.fixture(scope="module")
def options(csv_table):
    """Options that every run needs."""
    table = ["--table", str(csv_table), "--target", "cifar10_test", "--samples", "20"]
    return [*table, "--preset", "quick", "--seeds", "2", "--tune", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    """The folder of a run, and what every tuning of it was given."""
    out, given = tmp_path_factory.mktemp("runs") / "first", []

    def spy(features, accuracies, **arguments):
        given.append((features.archs, accuracies, arguments))
        return tune(features, accuracies, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "tune", spy)
        train.main([*options, "--out", str(out)])
    return out, given


def test_each_seed_is_tuned_on_its_labels_alone(run, archs, accuracies):
    _, given = run
    assert len(given) == 3  # and once more, for the ranker of the first split
    for seed, (names, labels, arguments) in zip((0, 1, 0), given, strict=True):
        labelled = np.sort(np.random.default_rng(seed).permutation(60)[:20])
        assert list(names) == [SPACE.canonical(archs[i]) for i in labelled]
        np.testing.assert_array_equal(labels, accuracies["cifar10_test"][labelled])
        assert (arguments["trials"], arguments["seed"], arguments["study"]) == (2, seed, f"parzc-seed-{seed}")
        assert arguments["preset"] == "quick" and arguments["search"] == SEARCH


def test_the_ranker_has_the_best_settings(run, archs, accuracies):
    out, _ = run
    best = load_study(out / "tuning.journal", "parzc-seed-0").best_params
    ranker = Ranker.load(out / "ranker")
    assert ranker.settings == best and set(best) == set(SEARCH)
    features, row = read_features(archs, SPACE)
    labelled = np.sort(np.random.default_rng(0).permutation(60)[:20])
    again = Ranker("quick", "nb201", 0, best)
    again.fit(features[row[labelled]], accuracies["cifar10_test"][labelled], features)
    np.testing.assert_array_equal(again.predict(features), ranker.predict(features))


def test_the_folder_holds_the_trials(run):
    out, _ = run
    names = {path.name for path in out.iterdir()}
    assert {"tuning.journal", "tuning.csv", "tuning.png", "metrics.json", "ranker"} < names
    frame = pd.read_csv(out / "tuning.csv")
    assert frame[["seed", "trial"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    studies = [load_study(out / "tuning.journal", f"parzc-seed-{seed}") for seed in (0, 1)]
    values = [trial.value for study in studies for trial in study.trials]
    np.testing.assert_allclose(frame["kendall"], values, rtol=1e-5)
    assert (out / "tuning.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    record = json.loads((out / "metrics.json").read_text())["results"]["parzc (quick)"]
    assert len(record["kendall"]["values"]) == len(record["calibration_error"]["values"]) == 2


@pytest.mark.slow("three commands tune and train")
def test_the_same_command_resumes_and_another_storage_repeats_it(run, options, tmp_path, monkeypatch, capsys):
    out, _ = run
    ranking = (out / "ranking.csv").read_bytes()
    train.main(
        ["--config", str(out / "run.json"), "--out", str(tmp_path), "--workers", "1", "--storage", "", "--debug"]
    )
    text = capsys.readouterr().out
    assert "parzc-seed-0: trial 2 of 2 complete at Kendall " in text
    assert (tmp_path / "ranking.csv").read_bytes() == ranking
    monkeypatch.setattr(search, "_run", None)
    train.main([*options, "--seeds", "1", "--out", str(tmp_path / "other"), "--storage", str(out / "tuning.journal")])
    text = capsys.readouterr().out
    assert "seed 0 tuned in 2 trials: cross-validated Kendall " in text and ": trial " not in text
    assert (tmp_path / "other/ranking.csv").read_bytes() == ranking
    assert not (tmp_path / "other/tuning.journal").exists()


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        train.main([*map(str, arguments)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("error: ").strip()


def test_trials_of_another_run_are_refused(run, options, tmp_path, capsys):
    journal = run[0] / "tuning.journal"
    before = journal.read_bytes()
    sentence = refused(capsys, *options, "--out", tmp_path, "--storage", journal, "--samples", 21)
    assert sentence.startswith(f"{journal} holds a study 'parzc-seed-0' of other trials: labels is 20 networks (")
    assert sentence.endswith("; repeat what it was made with, or name another study or storage")
    assert journal.read_bytes() == before


def test_a_damaged_journal_is_refused(options, tmp_path, capsys):
    (tmp_path / "tuning.journal").write_text("nothing\n")
    sentence = f"{tmp_path / 'tuning.journal'} is not a journal of Optuna, or damaged (line 1 is no record); delete it"
    assert refused(capsys, *options, "--out", tmp_path).startswith(sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--tune", 0, "--storage", "a.journal"], "--storage a.journal is for tuning; give a number of trials with "),
        (["--tune", 0, "--study", "mine"], "--study mine is for tuning; give a number of trials with --tune"),
        (["--tune", 0, "--ranges", "published"], "--ranges published is for tuning; give a number of trials with "),
        (["--ranges", "published"], "there are no published ranges to tune the preset 'quick' in; there are some for "),
        (["--ranges", "wide"], "there are no ranges 'wide'; choose one of cut, published"),
        (["--samples", 5], "tuning needs 2 folds or more, at least 2 different labelled networks for each, and one "),
        (["--storage", "none/journal"], "--storage none/journal is in a folder that does not exist; make it first"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, options, tmp_path, change, sentence):
    assert refused(capsys, *options, "--out", tmp_path / "run", *change).startswith(sentence)
