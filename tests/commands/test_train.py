"""The train command in this process, on a small table: what it prints, what it writes, what it refuses."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import parzc
from parzc.commands import _run_folder, train
from parzc.commands._measured import read_features
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.evaluation import importance
from parzc.evaluation.baselines import BASELINES
from parzc.evaluation.protocol import METRICS
from parzc.features import FeatureStore, shipped
from parzc.ranker import Ranker

SPACE = get_space("nb201")
ROOT = Path(__file__).resolve().parents[2]
FILES = {"ranker", "metrics.json", "ranking.csv", "importance.csv", "importance.png", "run.json"}


@pytest.fixture(scope="module", autouse=True)
def few_importances():
    """Node importances of one statistic and seed: the others take seconds and change nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(importance.node_importance, statistics=("snip",), seeds=(42,))
        patch.setattr(_run_folder, "node_importance", one)
        yield


@pytest.fixture
def few_baselines(monkeypatch):
    monkeypatch.setattr("parzc.evaluation.tabular.BASELINES", {"gaussian_process": BASELINES["gaussian_process"]})


@pytest.fixture(scope="module")
def options(csv_table):
    """Options that every run needs."""
    return ["--table", str(csv_table), "--target", "cifar10_test", "--samples", "20", "--preset", "quick"]


def printed(*arguments):
    """Run the command and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        train.main([*map(str, arguments), "--workers", "1"])
    return stream.getvalue()


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    """The folder of an undisturbed run with two seeds, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "first"
    return out, printed(*options, "--seeds", 2, "--out", out)


@pytest.fixture(scope="module")
def metrics(run):
    return json.loads((run[0] / "metrics.json").read_text())


def test_the_folder_is_whole(run):
    out, text = run
    assert {path.name for path in out.iterdir()} == FILES
    assert {path.name for path in (out / "ranker").iterdir()} == {"model.safetensors", "config.json", "card.md"}
    assert f"\nwritten to {out}: {', '.join(sorted(FILES))}\n" in text


def test_the_first_line_names_the_table(run, csv_table):
    first = run[1].splitlines()[0]
    assert first == f"table: {csv_table}, 60 archs, target cifar10_test (CSV file)"


def test_metrics_say_what_was_measured(metrics, csv_table):
    assert {name: value for name, value in metrics.items() if name != "results"} == {
        "space": "nb201",
        "table": str(csv_table),
        "target": "cifar10_test",
        "samples": 20,
        "protocol": "honest",
        "seeds": [0, 1],
        "n_test": 40,
    }


def test_metrics_hold_every_method_and_metric(metrics):
    kinds = {name: result["kind"] for name, result in metrics["results"].items()}
    baselines = {name + scale: "baseline" for name in BASELINES for scale in ("", ", plain labels")}
    proxies = dict.fromkeys(shipped("nb201").definitions, "proxy")
    assert kinds == {"parzc (quick)": "ranker"} | baselines | proxies
    for name, result in metrics["results"].items():
        uncertain = {"calibration_error"} if result["kind"] == "ranker" else set()
        assert set(result) == {"kind", "seconds", "kendall_new", *METRICS} | uncertain
        assert len(result["seconds"]) == (0 if kinds[name] == "proxy" else 2)
        for metric in METRICS:
            values = result[metric]["values"]
            assert len(values) == 2
            known = [value for value in values if value is not None]
            # A count that is the same for all test archs of a seed.
            assert known == values or name == "linear_regions"
            assert result[metric]["mean"] == pytest.approx(np.mean(known), abs=1e-6)
            assert len(known) < 2 or result[metric]["std"] == pytest.approx(np.std(known, ddof=1), abs=1e-6)


def test_the_number_of_layers_decides_these_accuracies(metrics):
    kendall = {name: result["kendall"]["mean"] for name, result in metrics["results"].items()}
    assert kendall["n_layers"] > 0.8
    assert kendall["parzc (quick)"] > 0.5 and kendall["random_forest"] > 0.5
    assert metrics["results"]["parzc (quick)"]["kendall_new"]["mean"] == pytest.approx(
        kendall["parzc (quick)"], abs=0.05
    )


def test_the_printed_table_is_that_of_the_metrics(run, metrics):
    _, text = run
    title = "nb201, cifar10_test: 20 labelled archs, 40 test archs, 2 seeds, honest protocol, mean ± standard deviation"
    lines = text.splitlines()
    *rows, more = lines[lines.index(title) + 4 :][: 1 + 8 + 10 + 1]
    found = []
    for row in rows:
        (name,) = [name for name in metrics["results"] if row.startswith(name + "  ")]
        result = metrics["results"][name]
        found.append((result["kind"], result["kendall"]["mean"]))
        if name == "linear_regions":
            continue
        cells = row.removeprefix(name).split()
        expected = [result[metric][part] for metric in METRICS for part in ("mean", "std")]
        assert [float(cell.lstrip("±")) for cell in cells[:10]] == pytest.approx(expected, abs=0.00051)
        assert cells[10:] == ([] if result["kind"] == "proxy" else [f"{np.mean(result['seconds']):.1f}"])
    assert [kind for kind, _ in found] == ["ranker"] + ["baseline"] * 8 + ["proxy"] * 10
    assert more == f"and {len(shipped('nb201').definitions) - 10} more proxies"
    for kind in ("baseline", "proxy"):
        means = [mean for k, mean in found if k == kind]
        assert means == sorted(means, reverse=True)


def test_every_fit_is_announced(run):
    lines = [line for line in run[1].splitlines() if line.startswith("seed ")]
    names = ["parzc (quick)", *BASELINES, *(f"{name}, plain labels" for name in BASELINES)]
    assert [line.split(" Kendall")[0] for line in lines] == [f"seed {s}: {name}" for s in (0, 1) for name in names]


def test_the_ranking_is_sorted_and_complete(run, archs):
    ranking = pd.read_csv(run[0] / "ranking.csv")
    assert list(ranking.columns) == ["rank", "arch", "score", "std", "rank_low", "rank_high", "labelled"]
    low, high = ranking["rank_low"], ranking["rank_high"]
    assert (low <= high).all() and low.min() == 1 and high.max() == 60 and (low <= ranking["rank"]).mean() > 0.9
    assert sorted(ranking["arch"]) == sorted(archs)
    assert ranking["rank"].tolist() == list(range(1, 61))
    assert (np.diff(ranking["score"]) <= 0).all() and (ranking["std"] > 0).all()
    assert set(ranking["labelled"]) == {0, 1} and ranking["labelled"].sum() == 20


def test_the_ranking_is_that_of_the_ranker_in_the_folder(run, archs, accuracies):
    ranking = pd.read_csv(run[0] / "ranking.csv").set_index("arch").loc[archs]
    features, row = read_features(archs, SPACE)
    ranker = Ranker.load(run[0] / "ranker")
    scores, deviations = ranker.predict_dist(features)
    np.testing.assert_allclose(ranking["score"], scores[row], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ranking["std"], deviations[row], rtol=1e-5)
    # It learned from the first split, and from the accuracies of these archs only.
    labelled = np.sort(np.random.default_rng(0).permutation(60)[:20])
    assert np.flatnonzero(ranking["labelled"]).tolist() == labelled.tolist()
    again = Ranker("quick", "nb201", 0).fit(features[row[labelled]], accuracies["cifar10_test"][labelled], features)
    np.testing.assert_array_equal(again.predict(features), ranker.predict(features))


def test_twins_have_one_score(run, archs):
    ranking = pd.read_csv(run[0] / "ranking.csv").set_index("arch")
    assert SPACE.canonical(archs[0]) == SPACE.canonical(archs[-1])
    assert ranking.loc[archs[0], "score"] == ranking.loc[archs[-1], "score"]


def test_importances_are_those_of_the_labelled(run):
    frame = pd.read_csv(run[0] / "importance.csv")
    assert frame["node"].tolist() == [slot.name for slot in SPACE.slots]
    assert set(frame["statistic"]) == {"snip"} and frame["importance"].sum() == pytest.approx(1, abs=1e-3)
    assert (run[0] / "importance.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_run_json_holds_the_whole_configuration(run, csv_table):
    record = json.loads((run[0] / "run.json").read_text())
    assert record == {
        "config": {
            "space": "nb201", "samples": 20, "table": str(csv_table), "target": "cifar10_test", "preset": "quick",
            "tune": 0, "storage": "", "study": "parzc", "ranges": "cut",
            "seeds": 2, "protocol": "honest", "features": "", "encoder": "none",
            "out": str(run[0]),
        },
        "parzc": parzc.__version__,
    }  # fmt: skip


def without_seconds(path):
    record = json.loads((path / "metrics.json").read_text())
    for result in record["results"].values():
        result["seconds"] = None
    return record


def test_a_run_is_repeated_from_its_run_json(run, tmp_path):
    again = tmp_path / "again"
    printed("--config", run[0] / "run.json", "--out", again)
    assert without_seconds(again) == without_seconds(run[0])
    for name in ("ranking.csv", "importance.csv", "ranker/model.safetensors", "ranker/config.json"):
        assert (again / name).read_bytes() == (run[0] / name).read_bytes()
    first, second = (json.loads((path / "run.json").read_text()) for path in (run[0], again))
    assert second["config"] == first["config"] | {"out": str(again)}


@pytest.mark.usefixtures("few_baselines")
def test_the_protocol_of_the_paper_tests_on_all_and_learns_from_validation(
    options, accuracies, archs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = printed(*options, "--seeds", 1, "--protocol", "paper")
    assert "20 labelled archs, 60 test archs, 1 seed, paper protocol" in text
    out = tmp_path / "runs/nb201-cifar10_test-20-quick"
    record = json.loads((out / "metrics.json").read_text())
    assert (record["protocol"], record["n_test"], record["seeds"]) == ("paper", 60, [0])
    assert len(record["results"]["parzc (quick)"]["kendall"]["values"]) == 1
    features, row = read_features(archs, SPACE)
    labelled = np.sort(np.random.default_rng(0).permutation(60)[:20])
    expected = Ranker("quick", "nb201", 0)
    expected.fit(features[row[labelled]], accuracies["cifar10_valid"][labelled], features)
    np.testing.assert_array_equal(Ranker.load(out / "ranker").predict(features), expected.predict(features))


@pytest.mark.usefixtures("few_baselines")
def test_too_few_labels_for_importances_do_not_stop_a_run(options, tmp_path):
    text = printed(*options, "--seeds", 1, "--samples", 9, "--out", tmp_path)
    assert "node importances need 10 labelled archs; with 9 none are written" in text
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"importance.csv", "importance.png"}
    assert pd.read_csv(tmp_path / "ranking.csv")["labelled"].sum() == 9


def refused(capsys, *arguments):
    """Run the command on bad input and return its one sentence."""
    with pytest.raises(SystemExit) as caught:
        train.main(["--workers", "1", *map(str, arguments)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n")
    return error.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--space", "nb999"], "there is no search space 'nb999'; choose one of nb201"),
        (["--preset", "best"], "there is no preset 'best'; choose one of default, paper, search, quick"),
        (["--samples", 51], "cannot label 51 of 60 architectures; choose from 2 to 50"),
        (["--samples", 1], "cannot label 1 of 60 architectures; choose from 2 to 50"),
        (["--seeds", 0], "--seeds 0 leaves nothing to run; give at least 1"),
        (["--workers", 0], "--workers 0 is not a number of processes; give at least 1"),
        (["--workers", -1], "--workers -1 is not a number of processes; give at least 1"),
        (["--encoder", "gcn"], "--encoder gcn cannot be used with --preset quick; take --preset paper, or leave "),
        (["--tune", -1], "--tune -1 is not a number of trials; give 0 or more"),
        (["--table", "none.csv"], "there is no file none.csv; correct the path, or name an embedded table of nb201: "),
        (["--target", "svhn"], "has no label column 'svhn'; label columns there: cifar10_valid, cifar10_test"),
        (["--target", ""], "has several label columns; name one with --target: cifar10_valid, cifar10_test"),
        (["--protocol", "paper", "--target", "cifar10_valid"], "--protocol paper needs a --target ending in _test, "),
        (["--features", "none"], "none is not a feature store: it has no manifest.json"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, options, tmp_path, change, sentence):
    assert sentence in refused(capsys, *options, "--out", tmp_path / "run", *change)
    assert not (tmp_path / "run").exists()


def part_of_the_features(path, functions, **changes):
    """Write a store of some functions, with what is shipped of them; changes are new columns of the table."""
    whole = shipped("nb201")
    store = FeatureStore.create(path, whole.manifest["config"], whole.definitions)
    store.append(replace(whole.read(functions), **changes))
    return store


@pytest.mark.usefixtures("few_baselines")
def test_the_measured_part_of_a_table_is_used(options, archs, tmp_path):
    functions = sorted({SPACE.canonical(arch) for arch in archs})[:40]
    store = part_of_the_features(tmp_path / "store", functions)
    known = [arch for arch in archs if SPACE.canonical(arch) in functions]
    arguments = ["--seeds", 1, "--samples", 15, "--features", store.path, "--out", tmp_path / "run"]
    text = printed(*options, *arguments)
    note = f"{len(known)} of 60 architectures of the table are measured; the others are left out"
    assert text.splitlines()[1] == note and 40 <= len(known) < 60
    assert f"15 labelled archs, {len(known) - 15} test archs" in text
    assert sorted(pd.read_csv(tmp_path / "run" / "ranking.csv")["arch"]) == sorted(known)


def test_too_few_measured_architectures_are_refused(capsys, options, archs, tmp_path):
    functions = sorted({SPACE.canonical(arch) for arch in archs})[:15]
    store = part_of_the_features(tmp_path / "store", functions)
    measured = sum(SPACE.canonical(arch) in functions for arch in archs)
    error = refused(capsys, *options, "--features", store.path)
    assert error == f"cannot label 20 of {measured} architectures; choose from 2 to {measured - 10}"
    other = next(arch for arch in shipped("nb201").archs if arch not in {SPACE.canonical(arch) for arch in archs})
    store = part_of_the_features(tmp_path / "other", [other])
    assert refused(capsys, *options, "--features", store.path) == (
        f"none of the 60 architectures of the table is measured in {store.path}; measure them with "
        f"python -m parzc.features nb201 {store.path} --archs ARCHS.txt"
    )


def test_features_of_another_space_are_refused(capsys, options, tmp_path):
    store = FeatureStore.create(tmp_path / "store", {"space": "nb101"}, {})
    sentence = f"{store.path} holds features of nb101; give features of nb201 with --features"
    assert refused(capsys, *options, "--features", store.path) == sentence


def test_what_a_preset_reads_and_features_lack_is_named_with_the_command_that_adds_it(capsys, options, archs, tmp_path):
    functions = sorted({SPACE.canonical(arch) for arch in archs})
    whole = shipped("nb201").read(functions)
    store = part_of_the_features(
        tmp_path / "store", functions, statistics={"snip": whole.statistics["snip"]}, block_statistics={}
    )
    error = refused(capsys, *options, "--preset", "paper", "--features", store.path)
    assert error == (
        f"the features in {store.path} lack the statistics grad_norm, synflow, which the preset 'paper' reads; a store "
        "keeps the proxies that it began with, so measure the architectures into another folder: "
        f"python -m parzc.features archs {store.path} > ARCHS.txt, then "
        "python -m parzc.features nb201 OTHER --archs ARCHS.txt --for paper"
    )
    error = refused(capsys, *options, "--preset", "default", "--features", store.path)
    assert "lack the statistics grad_norm, fisher, l2_norm, synflow, synflow_bn and the block statistics" in error
    assert error.endswith("--for default")


def test_a_node_without_a_slot_is_named_before_the_training(capsys, options, tmp_path, monkeypatch):
    slots = tuple(slot for slot in SPACE.slots if slot.name not in ("stem.0", "classifier"))
    assert len(slots) == len(SPACE.slots) - 2
    monkeypatch.setattr(type(SPACE), "slots", slots)
    assert refused(capsys, *options, "--out", tmp_path / "run") == (
        "the node 'classifier' fills no slot of the space nb201; add Slot('classifier', ...) to its slots, and one for "
        "each of 1 others: what is measured stays valid"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("few_baselines")
def test_proxies_without_values_are_said(options, archs, tmp_path):
    functions = sorted({SPACE.canonical(arch) for arch in archs})
    whole = shipped("nb201").read(functions)
    missing = np.full(len(functions), np.nan)
    scores = {name: missing if name == "nwot" else values for name, values in whole.scores.items()}
    reasons = {arch: {"nwot": "the network has no ReLU"} for arch in functions}
    store = part_of_the_features(tmp_path / "store", functions, scores=scores, reasons=reasons)
    text = printed(*options, "--seeds", 1, "--samples", 9, "--features", store.path, "--out", tmp_path / "run")
    count = len(functions)
    assert text.splitlines()[1] == f"no value for {count} of {count} architectures (the network has no ReLU): nwot"


def test_the_protocol_of_the_paper_needs_validation_accuracies(capsys, tmp_path, archs, options):
    path = tmp_path / "test.csv"
    pd.DataFrame({"arch": archs, "top1_test": np.arange(60.0)}).to_csv(path, index=False)
    change = ["--table", path, "--target", "top1_test", "--protocol", "paper", "--out", tmp_path / "run"]
    assert refused(capsys, *options, *change).startswith(f"{path} has no label column 'top1_valid'; ")


def test_an_out_that_is_a_file_is_refused(capsys, tmp_path, options):
    (tmp_path / "file").touch()
    assert refused(capsys, *options, "--out", tmp_path / "file").startswith(f"{tmp_path / 'file'}: File exists; ")


@pytest.mark.parametrize("change", [["--samples", "many"], ["--protocol", "own"], ["--sample-size", "3"]])
def test_options_that_cannot_be_read_end_with_the_usage(capsys, change):
    with pytest.raises(SystemExit) as caught:
        train.main(change)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: train.py ")


GOOD = {"space": "nb201", "samples": 20, "preset": "quick"}
NO_RUNS = [b"", b"\xff\xfe", b"[" * 100_000, [], {}, {"config": 3}, {"config": ["space"]}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        *((content, "is not a run.json of train.py (") for content in NO_RUNS),
        ({"config": GOOD | {"epochs": 3}}, "holds the unknown option 'epochs'; it was written by another version"),
        ({"config": GOOD | {"samples": "20"}}, "samples cannot be '20'; write it as train.py does"),
        ({"config": GOOD | {"seeds": None}}, "seeds cannot be None; write it as train.py does"),
        ({"config": GOOD | {"out": True}}, "out cannot be True; write it as train.py does"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(capsys, tmp_path, content, sentence):
    path = tmp_path / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    error = refused(capsys, "--config", path)
    assert error.startswith(str(path)) and sentence in error


def test_values_of_a_config_are_checked_like_options(capsys, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"config": GOOD | {"protocol": "own"}}))
    assert refused(capsys, "--config", path) == "there is no protocol 'own'; choose one of honest, paper"
    path.write_text(json.dumps({"config": GOOD | {"seeds": 0}}))
    assert refused(capsys, "--config", path) == "--seeds 0 leaves nothing to run; give at least 1"


def test_a_run_folder_stands_for_its_config(capsys, run):
    error = refused(capsys, "--config", run[0], "--samples", 55)
    assert error == "cannot label 55 of 60 architectures; choose from 2 to 50"


def test_a_config_that_is_not_there_is_refused(capsys, tmp_path):
    assert refused(capsys, "--config", tmp_path / "none.json").startswith(f"{tmp_path / 'none.json'} is not a run.json")


def test_options_beside_a_config_win(capsys, run, tmp_path):
    arguments = ["--config", run[0] / "run.json", "--samples", 55, "--out", tmp_path / "run"]
    assert refused(capsys, *arguments) == "cannot label 55 of 60 architectures; choose from 2 to 50"


def test_the_embedded_table_is_named_where_no_other_is_given(capsys):
    with pytest.raises(SystemExit):
        train.main(["--samples", "15625", "--preset", "quick", "--workers", "1"])
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "table: analog-nasbench, 15625 archs, target cifar10_test (analog-nasbench (PyPI): CIFAR-10 test accuracy in "
        "%, one training of each NB201 cell)"
    ]
    assert captured.err == "error: cannot label 15625 of 15625 architectures; choose from 2 to 15615\n"


def test_debug_shows_the_error():
    with pytest.raises(InputError, match="there is no preset 'best'"):
        train.main(["--preset", "best", "--debug"])


def test_an_interruption_is_no_error(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", interrupt)
    with pytest.raises(SystemExit) as caught:
        train.main([])
    assert caught.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_the_script_runs_from_anywhere(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "train.py"), "--preset", "best"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: there is no preset 'best'; choose one of default, paper, search"
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    names = [*train.TrainConfig.__dataclass_fields__, "config", "workers", "debug"]
    assert all(f"--{name} " in text or f"--{name}\n" in text for name in names)
