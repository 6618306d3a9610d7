"""Rankers that read the graph of an architecture and its node statistics."""

import json

import numpy as np
import pytest
import torch
from helpers import SMALL_PAPER, TABLE, fitted, table

from parzc.datasets import get_space
from parzc.encoding.graphs import graph_arrays
from parzc.encoding.inputs import Graphs, PaddedInputs
from parzc.errors import InputError
from parzc.evaluation.metrics import kendall_tau
from parzc.evaluation.tabular import TabularRanker
from parzc.models.gcn import GCN
from parzc.models.pinat import PINAT
from parzc.ranker import Ranker
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import get_preset

SPACE = get_space("nb201")
ARCHS = list(dict.fromkeys(SPACE.canonical(arch) for arch in SPACE.sample(160, 0)))[:110]
NAMED = TABLE.rename(ARCHS)
"""Node statistics that say nothing about the architectures they are named by."""
LABELS = np.array([arch.count("conv") + 2.0 * arch.count("conv_3x3") for arch in ARCHS])
TRAIN, TEST = NAMED[:60], NAMED[60:]
SMALL_GRAPHS = {
    "gcn": {"graph": "gcn", "graph.dim": 16, "graph.depth": 2},
    "pinat": {
        "graph": "pinat", "graph.n_layers": 2, "graph.d_word_model": 16, "graph.d_inner": 16, "graph.d_kv": 4,
        "graph.pine_hidden": 4,
    },
}  # fmt: skip


QUICK = SMALL_PAPER | {"training.batch": 20}


def ranker_of(graph, **changes):
    settings = QUICK | SMALL_GRAPHS[graph] | changes
    return Ranker("paper", "nb201", settings=settings).fit(TRAIN, LABELS[:60])


@pytest.fixture(scope="module", params=SMALL_GRAPHS)
def ranker(request):
    return ranker_of(request.param)


def test_labels_that_only_the_graph_explains_are_ranked(ranker):
    assert kendall_tau(ranker.predict(TEST), LABELS[60:]) > 0.6
    blind = Ranker("paper", "nb201", settings=QUICK).fit(TRAIN, LABELS[:60])
    assert abs(kendall_tau(blind.predict(TEST), LABELS[60:])) < 0.3


def test_node_statistics_enter_too():
    features, labels = table(110)
    ranker = Ranker("paper", "nb201", settings=QUICK | SMALL_GRAPHS["gcn"])
    scores = ranker.fit(features[:50].rename(ARCHS[:50]), labels[:50]).predict(features[50:].rename(ARCHS[50:]))
    assert kendall_tau(scores, labels[50:]) > 0.5


def test_the_model_is_the_one_asked_for(ranker):
    model = ranker.ensemble_.members_[0].network
    kind, dim = {"gcn": (GCN, 16), "pinat": (PINAT, 16)}[ranker.preset_.graph]
    assert type(model.graph) is kind and model.graph.dim == dim and model.nodes.head.out_features == dim
    assert ranker.ensemble_.shapes == {"nodes": (294,), "operations": (8, 7), "adjacency": (8, 8), "mask": (8,)}
    with torch.no_grad():
        graphs = [torch.from_numpy(x) for x in graph_arrays(ARCHS[60:], SPACE)]
        raw = model(PaddedInputs(ranker._inputs(TEST).nodes, Graphs(*graphs))).double().numpy()
    ensemble = ranker.ensemble_
    np.testing.assert_allclose(ranker.predict(TEST), (raw - ensemble.offset_[0]) / ensemble.scale_[0])


def test_a_saved_ranker_comes_back_to_the_last_bit(ranker, tmp_path):
    ranker.save(tmp_path)
    loaded = Ranker.load(tmp_path)
    assert loaded.preset_ == ranker.preset_ and loaded.preset_.graph == ranker.preset_.graph
    assert f"- Encoder of the architecture's graph: {ranker.preset_.graph}\n" in (tmp_path / "card.md").read_text()
    np.testing.assert_array_equal(loaded.predict(TEST), ranker.predict(TEST))
    for got, expected in zip(loaded.predict_dist(TEST), ranker.predict_dist(TEST), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_distribution_is_around_the_prediction(ranker):
    mean, deviation = ranker.predict_dist(TEST)
    np.testing.assert_array_equal(mean, ranker.predict(TEST))
    assert (deviation > 0).all() and np.isfinite(deviation).all()


def test_scores_do_not_depend_on_the_other_rows(ranker):
    rows = [7, 3, 3]
    np.testing.assert_allclose(ranker.predict(TEST[rows]), ranker.predict(TEST)[rows], rtol=1e-5, atol=1e-6)


def test_twins_get_one_score(ranker):
    twin = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
    named = [TEST[:1].rename([arch]) for arch in (twin, SPACE.canonical(twin), ARCHS[0])]
    one, other, different = (ranker.predict(features)[0] for features in named)
    assert one == other != different


def test_a_folder_without_settings_that_came_later_is_read(tmp_path):
    paper = fitted("paper", **{"training.epochs": 1})
    paper.save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["resolved"]["graph"], config["resolved"]["graph_args"]
    path.write_text(json.dumps(config))
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(TEST), paper.predict(TEST))


@pytest.mark.parametrize(
    "change",
    [{"graph": "os.system"}, {"graph": 7}, {"graph_args": {"dim": 17}}, {"graph_args": 3}, {"model": "token_mixer"}],
)
def test_a_tampered_folder_is_refused(tmp_path, change):
    ranker_of("gcn", **{"training.epochs": 1}).save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["resolved"] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"^the ranker in .* is damaged \("):
        Ranker.load(tmp_path)


@pytest.mark.parametrize("vertices", [0.0, -8.0, 8.5, np.nan, 1e9])
def test_a_tampered_number_of_vertices_is_refused(tmp_path, vertices):
    ranker = ranker_of("gcn", **{"training.epochs": 1})
    assert ranker.encoder_.arrays["vertices"].tolist() == [8]
    ranker.encoder_.arrays["vertices"][:] = vertices
    ranker.save(tmp_path)
    with pytest.raises(InputError, match=r"^the ranker in .* is damaged \("):
        Ranker.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"settings": {"graph": "gat"}}, "there is no architecture encoder 'gat'; choose one of none, gcn, pinat$"),
        ({"space": ""}, r"'gcn' needs the search space of the networks; name it, for example Ranker\(space='nb201'\)$"),
        ({"preset": "default"}, "'gcn' goes with the model 'mabn', not with 'token_mixer'; choose the preset 'paper'$"),
    ],
)
def test_what_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Ranker(**{"preset": "paper", "space": "nb201", "settings": {"graph": "gcn"}} | arguments).fit(
            TRAIN, LABELS[:60]
        )


def test_rows_that_are_no_architectures_are_refused(ranker):
    sentence = "a row of features has no graph: 'arch-60' is not an nb201 arch; .* name each row by its architecture$"
    for predict in (ranker.predict, ranker.predict_dist):
        with pytest.raises(InputError, match=sentence):
            predict(TABLE[60:])
    with pytest.raises(InputError, match=sentence):
        Ranker("paper", "nb201", settings=QUICK | SMALL_GRAPHS["gcn"]).fit(TRAIN, LABELS[:60], TABLE[60:])


def test_tabular_learners_read_the_graphs_too():
    learner = TabularRanker("extra_trees", "paper", "nb201", graph="gcn").fit(TRAIN, LABELS[:60], NAMED)
    encoder = make_encoder(get_preset("paper").override({"graph": "gcn"}), "nb201").fit(NAMED)
    expected = np.concatenate([x.reshape(50, -1) for x in encoder.transform(TEST).parts.values()], axis=1)
    np.testing.assert_array_equal(learner._matrix(TEST), expected)
    assert learner._matrix(TEST).shape == (50, 294 + 8 * 7 + 8 * 8 + 8)
    assert kendall_tau(learner.predict(TEST), LABELS[60:]) > 0.5
