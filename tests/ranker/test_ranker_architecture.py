"""Rankers that read the architecture encoding, on measured cells of NAS-Bench-101."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from helpers import TABLE
from made_inputs import shapes_of
from safetensors.torch import load_file, save
from sklearn.model_selection import KFold

from parzc.datasets import get_space
from parzc.encoding.architecture import encode_archs
from parzc.encoding.inputs import ARCH_PARTS
from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.tabular import TabularRanker
from parzc.features.extraction.many_archs import ExtractionConfig, build_store
from parzc.models.architecture_forest import ArchitectureForest
from parzc.models.architecture_process import ArchitectureProcess
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.members import make_member
from parzc.models.trees import BoostedTrees, RandomForest, RandomForestConfig
from parzc.ranker import Ranker
from parzc.ranker.assembly import make_encoder, other_members
from parzc.ranker.networks import Network, make_network
from parzc.ranker.presets import get_preset
from parzc.ranker.stacking import stacking_weights
from parzc.ranker.target_transform import standard_scores

SPACE = get_space("nb101")
ARCHS = list(dict.fromkeys(SPACE.canonical(arch) for arch in SPACE.sample(16, 0)))[:14]
SETTINGS = {
    "statistics": ["l2_norm"], "scores": ["params", "n_layers"], "blocks": [], "mixers": 1, "model.dim": 8,
    "model.depth": 1, "training.epochs": 3, "pretraining.steps": 3, "random_forest.trees": 60,
    "boosted_trees.trees": 60, "architecture_forest.trees": 60,
}  # fmt: skip
MEMBERS = [Network, GaussianProcess, RandomForest, ArchitectureProcess, ArchitectureForest]
LABELS = np.array([arch.count("conv3x3") + 0.1 * i for i, arch in enumerate(ARCHS)])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    proxies = ("l2_norm", "params", "n_layers")
    config = ExtractionConfig("nb101", "cifar10@8", batch=2, proxies=proxies)
    return build_store(tmp_path_factory.mktemp("store"), config, ARCHS, workers=1).read(ARCHS)


def fitted(features, labels, unlabelled=None, **changes):
    return Ranker("default", "nb101", settings=SETTINGS | changes).fit(features, labels, unlabelled)


@pytest.fixture(scope="module")
def ranker(table):
    return fitted(table[:12], LABELS[:12], table)


def test_all_members_read_the_architecture_encoding(ranker, table):
    assert [type(member) for member in ranker.ensemble_.members_] == MEMBERS
    inputs = ranker._inputs(table)
    assert ranker.preset_.arch_encoding and len(inputs.parts) == 6
    before = [member(inputs).detach() for member in ranker.ensemble_.members_]
    for part in inputs.arch.parts.values():
        part.add_(torch.linspace(-2, 2, part.shape[1]))
    assert all(
        (member(inputs) - old).abs().max() > 1e-4 for member, old in zip(ranker.ensemble_.members_, before, strict=True)
    )


def test_the_architecture_encoding_is_that_of_the_architectures_of_the_rows(ranker, table):
    for name, columns in ranker._inputs(table).arch.parts.items():
        which, mean, spread = ranker.encoder_.arrays[name]
        known = encode_archs(ARCHS, SPACE, 7)[name]
        restored = columns.double().numpy() * spread + mean
        np.testing.assert_allclose(restored, known[:, which.astype(int)], atol=1e-5)


@pytest.mark.parametrize("networks", [0, 2])
def test_members_next_to_the_mixers_are_weighed_by_their_held_out_predictions(table, networks):
    """Everything anew, by members that learned the same targets."""
    ranker = fitted(table[:12], LABELS[:12], table, mixers=networks)
    inputs = ranker._inputs(table)
    ours, shapes = inputs[:12], inputs.shapes
    process = ranker.ensemble_.members_[networks]
    # What the process learned: the labels on one of two scales.
    scaled = [torch.from_numpy(scale(LABELS[:12])) for scale in (standard_scores, normal_scores)]
    anew = [GaussianProcess(12, shapes).fit(ours, targets, inputs, 0) for targets in scaled]
    targets = min(zip(anew, scaled, strict=True), key=lambda pair: (pair[0](inputs) - process(inputs)).abs().sum())[1]
    held_out, few = np.zeros((12, 4)), RandomForestConfig(trees=60)
    for column, kind in ((1, RandomForest), (3, ArchitectureForest)):
        held_out[:, column] = kind(12, shapes, few).fit(ours, targets, inputs, 0).out_of_bag.numpy()
    for learned, hidden in KFold(5, shuffle=True, random_state=0).split(np.arange(12)):
        part, rest, count = ours[learned], ours[hidden], len(learned)
        first = GaussianProcess(count, shapes).fit(part, targets[learned], inputs, 0)
        second = ArchitectureProcess(count, shapes).fit(part, targets[learned], inputs, 0)
        held_out[hidden, 0], held_out[hidden, 2] = first(rest).detach().numpy(), second(rest).detach().numpy()
    weights = stacking_weights(held_out, targets.numpy())
    weights *= [member(inputs).detach().numpy().std() for member in ranker.ensemble_.members_[networks:]]
    together = 0.9 if networks else 1
    np.testing.assert_allclose(ranker.ensemble_.weights_[-4:], together * weights / weights.sum(), atol=1e-5)
    assert ranker.ensemble_.weights_.sum() == pytest.approx(1) and np.ptp(ranker.ensemble_.weights_[-4:]) > 0.05
    assert len(ranker.ensemble_.weights_) == 4 + bool(networks)


def test_scores_are_added_up_with_the_ensemble_weights(ranker, table):
    raw = np.stack([member(ranker._inputs(table)).detach().double().numpy() for member in ranker.ensemble_.members_])
    mean = ranker.ensemble_.weights_ @ ((raw - raw.mean(1)[:, None]) / raw.std(1)[:, None])
    np.testing.assert_allclose(ranker.predict(table), (mean - mean.mean()) / mean.std(), rtol=1e-5, atol=1e-6)
    assert len(set(ranker.ensemble_.weights_.round(6))) > 2


def test_of_one_member_alone_nothing_is_held_out(table, monkeypatch):
    monkeypatch.setattr("parzc.ranker.ensemble.out_of_fold", None)
    alone = fitted(table[:12], LABELS[:12], others=["gaussian_process", "boosted_trees"], mixer_weight=0.4)
    np.testing.assert_allclose(alone.ensemble_.weights_, [0.4, 0.3, 0.3])


def test_with_few_labels_members_next_to_the_mixers_count_alike(table):
    np.testing.assert_allclose(fitted(table[:9], LABELS[:9], table).ensemble_.weights_, [0.1, *[0.225] * 4])


def test_labels_without_an_order_are_refused(table):
    with pytest.raises(InputError, match="all 12 accuracies are 0, so that there is no order to learn"):
        fitted(table[:12], np.zeros(12), table, mixers=0)


def test_boosted_trees_which_have_no_held_out_predictions_keep_their_weight(table):
    others = ["random_forest", "boosted_trees", "architecture_process"]
    weights = fitted(table[:12], LABELS[:12], others=others, mixer_weight=0.4).ensemble_.weights_
    np.testing.assert_allclose([weights[0], weights[2], weights[1] + weights[3]], [0.4, 0.2, 0.4])
    assert abs(weights[1] - weights[3]) > 0.002
    alone = fitted(table[:12], LABELS[:12], others=others[:2], mixer_weight=0.4)
    np.testing.assert_allclose(alone.ensemble_.weights_, [0.4, 0.3, 0.3])
    none = fitted(table[:12], LABELS[:12], others=others[1:2], mixer_weight=0.4)
    np.testing.assert_allclose(none.ensemble_.weights_, [0.4, 0.6])


@pytest.mark.parametrize(("weight", "expected"), [(0, [0, 0.5, 0.5]), (0.4, [0.4, 0.3, 0.3]), (1, [1, 0, 0])])
def test_the_weight_of_the_mixers_is_what_it_is_set_to(table, weight, expected):
    others = ["gaussian_process", "architecture_forest"]
    few = fitted(table[:9], LABELS[:9], mixer_weight=weight, others=others)
    np.testing.assert_allclose(few.ensemble_.weights_, expected)
    assert fitted(table[:12], LABELS[:12], mixer_weight=weight, others=others).ensemble_.weights_[0] == weight


def test_members_may_count_alike(table):
    np.testing.assert_allclose(fitted(table[:12], LABELS[:12], mixer_weight=None).ensemble_.weights_, 1 / 5)
    for weight in (None, 0.1):
        alone = fitted(table[:12], LABELS[:12], others=(), mixer_weight=weight)
        assert alone.ensemble_.weights_.tolist() == [1] and len(alone.ensemble_.members_) == 1


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf, "half"])
def test_a_weight_that_cannot_be_is_refused(table, weight):
    sentence = f"'mixer_weight' is {weight}; set it to 0 to 1, or to None for mixers that count like others"
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        fitted(table[:12], LABELS[:12], mixer_weight=weight)


def test_the_architecture_encoding_can_be_left_out(table):
    plain = fitted(table[:12], LABELS[:12], arch_encoding=False)
    assert [type(member) for member in plain.ensemble_.members_] == MEMBERS[:-2]
    assert len(plain._inputs(table).parts) == len(plain.ensemble_.shapes) == 3 and not plain.preset_.arch_encoding
    assert set(plain.encoder_.arrays) == {"cells", "scores", "blocks"}


def test_a_saved_ranker_comes_back_to_the_last_bit(ranker, table, tmp_path):
    ranker.save(tmp_path)
    loaded = Ranker.load(tmp_path)
    assert loaded.preset_ == ranker.preset_ and loaded.ensemble_.shapes == ranker.ensemble_.shapes
    np.testing.assert_array_equal(loaded.predict(table), ranker.predict(table))
    for got, expected in zip(loaded.predict_dist(table), ranker.predict_dist(table), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert loaded.suggest(table, 3) == ranker.suggest(table, 3)
    assert np.ptp(ranker.predict(table)) > 0.5


def test_the_card_lists_the_ensemble_weights(ranker, tmp_path):
    ranker.save(tmp_path)
    line = re.search(r"ensemble weights: (.*)\n", (tmp_path / "card.md").read_text()).group(1)
    names = ("1 mixer", *ranker.preset_.others)
    assert line == ", ".join(
        f"{name} {weight:.2f}" for name, weight in zip(names, ranker.ensemble_.weights_, strict=True)
    )


def test_the_seed_decides(ranker, table):
    again = fitted(table[:12], LABELS[:12], table).predict(table)
    np.testing.assert_array_equal(again, ranker.predict(table))


def put(value, place=7):
    def change(tensor):
        tensor.view(-1)[place] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("members.2.column", put(10**6), "a tree has a column outside 0 to"),
        ("members.2.child", put(-1), "a tree has a child outside 0 to 22"),
        ("members.3.log_column", lambda tensor: tensor[1:], "'log_column' is torch.float64"),
        ("members.3.log_column", put(math.nan), "'log_column' holds values that are not finite"),
        ("weights", put(1.5, 2), "the ensemble weights are none"),
        ("weights", put(-0.5, 0), "the ensemble weights are none"),
        ("weights", put(math.nan, 0), "'weights' holds values that are not finite"),
        ("members.1.log_amplitude", lambda tensor: tensor[:4], "'log_amplitude' is torch.float64"),
        ("members.0.network.embed_arch.weight", lambda tensor: tensor[:, 1:], "'network.embed_arch.weight' is"),
        ("encoder.vertices", put(0.0, 0), "the architecture encoding has no vertices, or too many"),
        ("encoder.vertices", put(65.0, 0), "the architecture encoding has no vertices, or too many"),
        ("encoder.vertices", lambda _: None, "KeyError: 'vertices'"),
        ("encoder.summary", lambda _: None, "KeyError: 'summary'"),
        ("encoder.places", put(1e9, 0), "'places' of the encoder is not that of architectures of this space"),
        ("encoder.summary", put(0.0, -1), "'summary' of the encoder is not that of architectures of this space"),
        ("encoder.summary", lambda tensor: tensor[:, 1:], "'summary' of the encoder does not fit the inputs"),
    ],
)
def test_tampered_tensors_are_refused(ranker, tmp_path, name, change, sentence):
    ranker.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    value = change(tensors.pop(name))
    content = save(tensors if value is None else tensors | {name: value.contiguous()})
    (tmp_path / "model.safetensors").write_bytes(content)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(InputError) as refusal:
        Ranker.load(tmp_path)
    message = str(refusal.value)
    assert message.startswith(f"the ranker in {tmp_path} is damaged (") and sentence in message


def test_rows_that_are_no_architectures_are_refused(ranker, table):
    unnamed = table.rename([f"network-{i}" for i in range(14)])
    with pytest.raises(InputError, match=r"'network-0' is not .*; name each row by its architecture$"):
        ranker.predict(unnamed)


def test_architectures_that_are_all_alike_have_an_encoding_without_columns(table, tmp_path):
    # As where only width and depth, which no graph shows, are searched.
    alike = table[[0] * 12]
    alike.scores["params"] = alike.scores["params"] + np.arange(12)
    ranker = fitted(alike, np.arange(12.0))
    scores = ranker.predict(alike)
    assert (
        {ranker.ensemble_.shapes[name] for name in ARCH_PARTS} == {(0,)}
        and np.isfinite(scores).all()
        and scores[-1] > scores[0]
    )
    ranker.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(alike), scores)


def test_members_have_room_for_the_architecture_encoding():
    preset = get_preset("default").override(SETTINGS)
    shapes = shapes_of([(5, 4), (2,), (0,), (8,), (6,), (3,)])
    without = shapes_of([(5, 4), (2,), (0,)])
    assert make_network(preset, shapes, 0).embed_arch.in_features == 17
    assert make_network(preset, without, 0).embed_arch is None
    assert make_member("gaussian_process", 9, shapes).log_amplitude.shape == (7,)
    assert make_member("gaussian_process", 9, without).log_amplitude.shape == (4,)
    assert make_member("architecture_process", 9, shapes).points.shape == (9, 17)
    kinds = [type(make_member(name, 9, shapes)) for name in preset.others]
    assert kinds == [GaussianProcess, BoostedTrees]


def test_members_that_read_the_architecture_encoding_alone_are_left_out_without_it():
    preset = get_preset("default", "nb101")
    shapes = shapes_of([(5, 4), (2,), (0,), (8,), (6,), (3,)])
    assert [type(make_member(name, 9, shapes)) for name in other_members(preset, shapes)] == MEMBERS[1:]
    assert other_members(preset, shapes | {"summary": (0,), "states": (0,)}) == preset.others
    for few in (shapes_of([(5, 4), (2,), (0,)]), shapes | dict.fromkeys(ARCH_PARTS, (0,))):
        assert other_members(preset, few) == preset.others[:-2]
    sentence = (
        "^the member 'gaussian_process' reads tokens, which the encoder 'padded' does not give; leave 'others' empty"
    )
    with pytest.raises(InputError, match=sentence):
        Ranker("paper", "nb101", settings={"others": ["gaussian_process"]}).fit(TABLE, np.arange(110.0))


def test_tabular_learners_read_the_architecture_encoding_too(table):
    preset = get_preset("default", "nb101")
    learner = TabularRanker("gradient_boosting", space="nb101")
    assert learner.encoder.arch.space.name == "nb101"
    assert (learner.encoder.statistics, learner.encoder.scores) == (preset.statistics, preset.scores)
    learner.encoder = make_encoder(preset.override(SETTINGS), "nb101")
    learner.fit(table[:12], LABELS[:12])
    expected = make_encoder(preset.override(SETTINGS), "nb101").fit(table[:12]).transform(table)
    matrix = np.concatenate([x.reshape(14, -1) for x in expected.parts.values()], axis=1)
    np.testing.assert_array_equal(learner._matrix(table), matrix)
    measured = sum(math.prod(expected.shapes[name]) for name in ("tokens", "scores", "blocks"))
    assert matrix.shape[1] > 20 + measured


@pytest.mark.parametrize(("reads", "parts"), [("architecture encoding", 2), ("architecture encoding and states", 3)])
def test_learners_of_the_architecture_encoding_alone_see_nothing_that_was_measured(table, reads, parts):
    learner = TabularRanker("gradient_boosting", space="nb101", reads=reads)
    preset = get_preset("default").override(SETTINGS | {"arch_encoding": True})
    learner.encoder = make_encoder(preset, "nb101")
    learner.fit(table[:12], LABELS[:12])
    arch = make_encoder(preset, "nb101").fit(table[:12]).transform(table).arch
    np.testing.assert_array_equal(learner._matrix(table), np.concatenate([*arch.parts.values()][:parts], axis=1))
    other = table[list(range(14))]
    other.scores["params"] = other.scores["params"] + np.arange(14.0)
    np.testing.assert_array_equal(learner.predict(other), learner.predict(table))
