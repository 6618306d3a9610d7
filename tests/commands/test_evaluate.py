"""The evaluate command in this process: what it ranks, prints, writes and refuses."""

import contextlib
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import SMALL_PAPER

from parzc.commands import evaluate
from parzc.commands._measured import read_features
from parzc.commands._run import ranked
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.evaluation import metrics
from parzc.evaluation.uncertainty import rank_intervals
from parzc.features import FeatureStore, proxy_info, shipped
from parzc.ranker import Ranker

SPACE = get_space("nb201")
COLUMNS = ["rank", "arch", "score", "std", "rank_low", "rank_high"]


@pytest.fixture(scope="module")
def ranker(archs, accuracies):
    """Fitted on the first thirty architectures."""
    features, row = read_features(archs, SPACE)
    return Ranker("quick", "nb201").fit(features[row[:30]], accuracies["cifar10_test"][:30], features)


@pytest.fixture(scope="module")
def folder(ranker, tmp_path_factory):
    path = tmp_path_factory.mktemp("ranker")
    ranker.save(path)
    return path


@pytest.fixture
def archs_file(archs, tmp_path):
    """A file of twelve archs with blank lines and spaces around."""
    path = tmp_path / "archs.txt"
    path.write_text("\n\n".join(f"  {arch} " for arch in archs[:12]) + "\n")
    return path


def printed(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        evaluate.main([*map(str, arguments)])
    return stream.getvalue()


def expected(ranker, archs):
    """Archs, scores, deviations and intervals of ranks, best first."""
    features, row = read_features(archs, SPACE)
    scores, deviations = ranker.predict_dist(features)
    order = np.argsort(-scores[row], kind="stable")
    intervals = rank_intervals(scores[row], deviations[row])[order]
    return [archs[i] for i in order], scores[row][order], deviations[row][order], intervals


def test_a_file_of_archs_is_ranked(folder, ranker, archs, archs_file):
    lines = printed("--ranker", folder, "--archs", archs_file).splitlines()
    best, scores, deviations, intervals = expected(ranker, archs[:12])
    assert lines[0] == f"12 archs of nb201 ranked by {folder}; bigger scores are better"
    assert lines[2].split() == COLUMNS
    rows = [line.split() for line in lines[3:]]
    assert rows == [
        [str(i + 1), best[i], f"{scores[i]:.3f}", f"{deviations[i]:.3f}", *map(str, intervals[i])] for i in range(12)
    ]


def test_only_the_top_is_printed_and_the_whole_is_written(folder, ranker, archs, archs_file, tmp_path):
    text = printed("--ranker", folder, "--archs", archs_file, "--top", 3, "--out", tmp_path / "ranking.csv")
    best, scores, deviations, intervals = expected(ranker, archs[:12])
    lines = text.splitlines()
    assert [line.split()[1] for line in lines[3:6]] == best[:3] and lines[6] == ""
    assert lines[7] == f"whole ranking written to {tmp_path / 'ranking.csv'}" and len(lines) == 8
    ranking = pd.read_csv(tmp_path / "ranking.csv")
    assert list(ranking.columns) == COLUMNS
    assert ranking[["rank_low", "rank_high"]].to_numpy().tolist() == intervals.tolist()
    assert ranking["rank"].tolist() == list(range(1, 13)) and ranking["arch"].tolist() == best
    np.testing.assert_allclose(ranking["score"], scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ranking["std"], deviations, rtol=1e-5)


def test_a_run_folder_stands_for_the_ranker_in_it(folder, archs_file, tmp_path):
    shutil.copytree(folder, tmp_path / "run" / "ranker")
    lines = printed("--ranker", tmp_path / "run", "--archs", archs_file).splitlines()
    assert lines[0] == f"12 archs of nb201 ranked by {tmp_path}/run/ranker; bigger scores are better"
    assert lines[1:] == printed("--ranker", folder, "--archs", archs_file).splitlines()[1:]


def test_the_measured_part_of_a_table_is_ranked(folder, archs, csv_table, tmp_path):
    whole = shipped("nb201")
    store = FeatureStore.create(tmp_path / "store", whole.manifest["config"], whole.definitions)
    functions = sorted({SPACE.canonical(arch) for arch in archs})[:20]
    store.append(whole.read(functions))
    known = [arch for arch in archs if SPACE.canonical(arch) in functions]
    arguments = ["--table", csv_table, "--target", "cifar10_test", "--features", store.path]
    lines = printed("--ranker", folder, *arguments, "--out", tmp_path / "ranking.csv").splitlines()
    assert lines[0] == f"{len(known)} of 60 architectures of the table are measured; the others are left out"
    assert sorted(pd.read_csv(tmp_path / "ranking.csv")["arch"]) == sorted(known)
    assert any(f"on {len(known)} archs, any it was trained on included" in line for line in lines)


def test_a_space_that_is_too_large_to_list_is_ranked_as_far_as_it_is_measured(
    folder, ranker, archs, tmp_path, monkeypatch
):
    def too_many(_):
        raise InputError("too many to list")

    whole = shipped("nb201")
    store = FeatureStore.create(tmp_path / "store", whole.manifest["config"], whole.definitions)
    functions = sorted({SPACE.canonical(arch) for arch in archs})[:20]
    store.append(whole.read(functions))
    monkeypatch.setattr(type(SPACE), "archs", too_many)
    lines = printed("--ranker", folder, "--features", store.path, "--top", 1).splitlines()
    assert lines[0].startswith("20 archs of nb201 ranked by ")
    assert lines[3].split()[1] == functions[int(np.argmax(ranker.predict(store.read(functions))))]


def test_the_whole_space_is_ranked_where_nothing_else_is_given(folder, ranker):
    lines = printed("--ranker", folder, "--top", 2).splitlines()
    archs = SPACE.archs()
    features, row = read_features(archs, SPACE)
    scores = ranker.predict(features)[row]
    assert lines[0].startswith("15625 archs of nb201 ranked by ")
    assert len(lines) == 5 and lines[3].split()[1] == archs[int(np.argmax(scores))]


@pytest.fixture(scope="module")
def compared(folder, csv_table, tmp_path_factory):
    """What is printed and written when there is a table."""
    out = tmp_path_factory.mktemp("out") / "ranking.csv"
    return printed("--ranker", folder, "--table", csv_table, "--target", "cifar10_test", "--out", out), out


def test_with_a_table_its_archs_are_ranked_beside_their_accuracies(compared, ranker, archs, accuracies):
    text, out = compared
    best, *_ = expected(ranker, archs)
    label = dict(zip(archs, accuracies["cifar10_test"], strict=True))
    ranking = pd.read_csv(out)
    assert list(ranking.columns) == [*COLUMNS, "cifar10_test"]
    assert ranking["arch"].tolist() == best
    np.testing.assert_allclose(ranking["cifar10_test"], [label[arch] for arch in best], rtol=1e-5)
    lines = text.splitlines()
    assert lines[2].split() == [*COLUMNS, "cifar10_test"]
    assert [line.split()[1] for line in lines[3:23]] == best[:20] and lines[23] == ""


def test_with_a_table_the_ranker_is_compared_with_the_proxies(compared, ranker, archs, accuracies, csv_table):
    text, _ = compared
    title = f"agreement with cifar10_test of {csv_table} on 60 archs, any it was trained on included"
    lines = text.splitlines()
    rows = lines[lines.index(title) + 4 :]
    features, row = read_features(archs, SPACE)
    labels = accuracies["cifar10_test"]
    signs = {name: 1 if proxy_info(name).bigger_is_better else -1 for name in features.scores}
    scores = {name: metrics.fill_missing(sign * features.scores[name]) for name, sign in signs.items()}
    scores |= {"parzc (quick)": ranker.predict(features)}
    found = {}
    for line in rows:
        (name,) = [name for name in scores if line.startswith(name + "  ")]
        found[name] = line.removeprefix(name).split()
    assert next(iter(found)) == "parzc (quick)" and set(found) == set(scores)
    for name, values in scores.items():
        x = values[row]
        figures = [
            metrics.kendall_tau(x, labels),
            metrics.spearman(x, labels),
            metrics.pearson(x, labels),
            metrics.precision_at_k(x, labels, 3),
            metrics.regret_at_k(x, labels, 10),
        ]
        assert found[name] == [f"{figure:.3f}" for figure in figures]
    assert metrics.kendall_tau(scores["parzc (quick)"][row], labels) > 0.7


def test_archs_without_an_accuracy_are_ranked_and_left_out_of_the_comparison(
    folder, ranker, archs, accuracies, csv_table, tmp_path
):
    unknown = [arch for arch in SPACE.sample(100, 1) if arch not in archs][:3]
    path = tmp_path / "archs.txt"
    path.write_text("\n".join([*archs[:15], *unknown]))
    arguments = ["--table", csv_table, "--target", "cifar10_test", "--archs", path, "--out", tmp_path / "ranking.csv"]
    text = printed("--ranker", folder, *arguments)
    ranking = pd.read_csv(tmp_path / "ranking.csv").set_index("arch")
    assert len(ranking) == 18 and set(ranking.index[ranking["cifar10_test"].isna()]) == set(unknown)
    features, row = read_features(archs[:15], SPACE)
    kendall = metrics.kendall_tau(ranker.predict(features)[row], accuracies["cifar10_test"][:15])
    assert " on 15 archs, any it was trained on included" in text
    (line,) = [line for line in text.splitlines() if line.startswith("parzc (quick)")]
    assert line.split()[2] == f"{kendall:.3f}"


def test_too_few_accuracies_are_not_compared(folder, archs, csv_table, tmp_path):
    path = tmp_path / "archs.txt"
    path.write_text("\n".join(archs[:9]))
    text = printed("--ranker", folder, "--table", csv_table, "--target", "cifar10_test", "--archs", path)
    assert text.splitlines()[-1] == f"9 of the ranked archs are in {csv_table}: too few to compare; 10 are needed"


@pytest.mark.parametrize(
    ("goal", "what"),
    [
        ("ranking", "their labels reduce the uncertainty about the others most"),
        ("best", "the best one should be among them"),
    ],
)
def test_archs_to_train_next_are_suggested(folder, ranker, archs, archs_file, goal, what):
    text = printed("--ranker", folder, "--archs", archs_file, "--suggest", 3, "--goal", goal)
    lines = text.splitlines()
    title = lines.index(f"train these 3 next: {what}")
    features, row = read_features(archs[:12], SPACE)
    assert lines[title - 1] == lines[title + 1] == "" and len(lines) == title + 5
    assert lines[title + 2 :] == [archs[i] for i in ranker.suggest(features[row], 3, goal)]
    assert len({SPACE.canonical(arch) for arch in lines[title + 2 :]}) == 3


def test_twins_are_suggested_once(folder, archs, tmp_path):
    path = tmp_path / "archs.txt"
    path.write_text("\n".join([archs[-1], *archs[:3]]))
    assert SPACE.canonical(archs[-1]) == SPACE.canonical(archs[0])
    lines = printed("--ranker", folder, "--archs", path, "--suggest", 3).splitlines()
    # Of twins the one that was named first.
    assert sorted(lines[-3:]) == sorted([archs[-1], *archs[1:3]])


def test_nothing_is_suggested_unless_asked_for(folder, archs_file):
    assert "train these" not in printed("--ranker", folder, "--archs", archs_file)


def test_more_than_there_are_cannot_be_suggested(capsys, folder, archs_file):
    sentence = "cannot suggest 13 of 12 networks; ask for 1 to 12"
    assert refused(capsys, "--ranker", folder, "--archs", archs_file, "--suggest", 13) == sentence


def test_a_ranker_without_a_gaussian_process_suggests_nothing(capsys, archs, accuracies, archs_file, tmp_path):
    features, row = read_features(archs, SPACE)
    paper = Ranker("paper", "nb201", settings=SMALL_PAPER | {"training.epochs": 1})
    paper.fit(features[row], accuracies["cifar10_test"]).save(tmp_path / "ranker")
    sentence = "preset 'paper' has no Gaussian process to suggest networks with; use 'default'"
    assert refused(capsys, "--ranker", tmp_path / "ranker", "--archs", archs_file, "--suggest", 1) == sentence


def test_a_ranking_by_hand():
    scores, deviations, row = np.array([0.5, -3.0, 9.0]), np.array([0.0, 0.0, 1.0]), np.array([2, 0, 1, 0])
    frame = ranked(["a", "b", "c", "d"], scores, deviations, row)
    assert list(frame.columns) == COLUMNS
    # Twins share a score, and rank in the order in which they came.
    assert frame.to_numpy().tolist() == [
        [1, "a", 9.0, 1.0, 1, 1],
        [2, "b", 0.5, 0.0, 2, 2],
        [3, "d", 0.5, 0.0, 3, 3],
        [4, "c", -3.0, 0.0, 4, 4],
    ]


def test_features_may_come_from_a_store(folder, archs, archs_file, tmp_path):
    whole = shipped("nb201")
    store = FeatureStore.create(tmp_path / "store", whole.manifest["config"], whole.definitions)
    store.append(whole.read(sorted({SPACE.canonical(arch) for arch in archs[:12]})))
    arguments = ["--ranker", folder, "--archs", archs_file]
    assert printed(*arguments, "--features", store.path) == printed(*arguments)


def refused(capsys, *arguments):
    """Run the command on bad input and return its one sentence."""
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*map(str, arguments)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error.removeprefix("error: ").strip()


def test_the_bad_line_is_named(capsys, folder, archs_file):
    archs_file.write_text(archs_file.read_text() + "\nresnet\n")
    assert refused(capsys, "--ranker", folder, "--archs", archs_file).startswith(
        f"{archs_file}, line 25: 'resnet' is not an nb201 arch; "
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"\n \n", "archs.txt names no architecture; write one per line"), (b"\xff", "cannot read architectures from ")],
)
def test_a_file_without_archs_is_refused(capsys, folder, tmp_path, content, sentence):
    (tmp_path / "archs.txt").write_bytes(content)
    assert sentence in refused(capsys, "--ranker", folder, "--archs", tmp_path / "archs.txt")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--archs", "none.txt"], "cannot read architectures from none.txt: "),
        (["--table", "none.csv"], "there is no file none.csv; "),
        (["--features", "none"], "none is not a feature store: it has no manifest.json"),
        (["--top", 0], "--top 0 prints nothing; give at least 1"),
        (["--suggest", -1], "--suggest -1 is not a number of archs; give 0 or more"),
        (["--out", "none/ranking.csv"], "--out none/ranking.csv is in a folder that does not exist; make it first"),
        (["--out", "."], "--out . is a folder; name a file"),
        (["--extract"], "--extract adds archs to a feature store; name its folder with --features, and --archs or "),
        (["--space", "nb999"], "there is no search space 'nb999'; choose one of nb201, "),
        (["--space", "none.py:Name"], "there is no file "),
        (["--space", "nb101"], "the ranker in "),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, folder, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "--ranker", folder, *arguments).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_ranker_is_refused(capsys, tmp_path):
    assert refused(capsys, "--ranker", tmp_path) == (
        f"{tmp_path}/config.json is missing: {tmp_path} is not a whole ranker folder as train.py writes"
    )


def test_a_ranker_of_no_known_space_is_refused(capsys, archs, accuracies, tmp_path):
    features, row = read_features(archs, SPACE)
    Ranker("quick").fit(features[row], accuracies["cifar10_test"]).save(tmp_path)
    assert refused(capsys, "--ranker", tmp_path) == (
        f"the ranker in {tmp_path} is for networks of no known space; use it from Python"
    )


def test_features_of_other_definitions_are_refused(capsys, folder, archs, archs_file, tmp_path):
    whole = shipped("nb201")
    definitions = json.loads(json.dumps(whole.definitions))
    definitions["snip"]["seed"] = 5
    store = FeatureStore.create(tmp_path / "store", whole.manifest["config"], definitions)
    store.append(whole.read(sorted({SPACE.canonical(arch) for arch in archs[:12]})))
    error = refused(capsys, "--ranker", folder, "--archs", archs_file, "--features", store.path)
    assert error.startswith("'snip' of these features has seed 5, but the ranker was trained on 0; ")


def test_a_store_that_lacks_features_is_named(capsys, folder, archs, archs_file, tmp_path):
    whole = shipped("nb201")
    store = FeatureStore.create(tmp_path / "store", whole.manifest["config"], whole.definitions)
    functions = sorted({SPACE.canonical(arch) for arch in archs[:12]})
    store.append(whole.read(functions[1:]))
    assert refused(capsys, "--ranker", folder, "--archs", archs_file, "--features", store.path) == (
        f"{store.path} lacks the features of 1 of {len(functions)} functions, '{functions[0]}' the first; measure them "
        f"with --extract, or with python -m parzc.features nb201 {store.path} --archs ARCHS.txt"
    )


def test_the_ranker_must_be_named(capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main([])
    assert caught.value.code == 2
    assert "the following arguments are required: --ranker" in capsys.readouterr().err


def test_debug_shows_the_error(tmp_path):
    with pytest.raises(InputError, match="is not a whole ranker folder"):
        evaluate.main(["--ranker", str(tmp_path), "--debug"])
