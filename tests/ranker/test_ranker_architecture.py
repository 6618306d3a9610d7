"""Rankers that read what architectures are made of, on measured cells of NAS-Bench-101."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from sklearn.model_selection import KFold

from parzc.datasets import get_space
from parzc.encoding.architecture import encode_archs
from parzc.encoding.scaling import normal_scores
from parzc.errors import InputError
from parzc.evaluation.tabular import TabularRanker
from parzc.features.extraction.many_archs import ExtractionConfig, build_store
from parzc.models.architecture_forest import ArchitectureForest
from parzc.models.architecture_process import ArchitectureProcess
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.token_mixer import TokenMixer
from parzc.models.trees import BoostedTrees, RandomForest
from parzc.ranker import Ranker
from parzc.ranker.assembly import make_encoder, make_member, make_network, other_members
from parzc.ranker.presets import get_preset, settings_of
from parzc.ranker.stacking import stacking_weights
from parzc.ranker.target_transform import standard_scores

SPACE = get_space("nb101")
ARCHS = list(dict.fromkeys(SPACE.canonical(arch) for arch in SPACE.sample(16, 0)))[:14]
SETTINGS = {
    "statistics": ["l2_norm"], "scores": ["params", "n_layers"], "blocks": [], "mixers": 1, "model.dim": 8,
    "model.depth": 1, "training.epochs": 3, "pretraining.steps": 3,
}  # fmt: skip
MEMBERS = [TokenMixer, GaussianProcess, RandomForest, ArchitectureProcess, ArchitectureForest]
LABELS = np.array([arch.count("conv3x3") + 0.1 * i for i, arch in enumerate(ARCHS)])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    proxies = ("l2_norm", "params", "n_layers")
    config = ExtractionConfig("nb101", "cifar10@8", batch=2, proxies=proxies)
    return build_store(tmp_path_factory.mktemp("store"), config, ARCHS, workers=1).read(ARCHS)


@pytest.fixture(scope="module", autouse=True)
def fewer_trees():
    """A fit takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parzc.models.trees.TREES", 60)
        yield


def fitted(features, labels, unlabelled=None, **changes):
    return Ranker("default", "nb101", settings=SETTINGS | changes).fit(features, labels, unlabelled)


@pytest.fixture(scope="module")
def ranker(table):
    return fitted(table[:12], LABELS[:12], table)


def test_all_members_read_the_description(ranker, table):
    assert [type(member) for member in ranker.ensemble_.members_] == MEMBERS
    inputs = ranker._inputs(table)
    assert ranker.preset_.arch_encoding and len(inputs) == 6
    before = [member(*inputs).detach() for member in ranker.ensemble_.members_]
    for part in inputs[3:]:
        part.add_(torch.linspace(-2, 2, part.shape[1]))
    assert all(
        (member(*inputs) - old).abs().max() > 1e-4
        for member, old in zip(ranker.ensemble_.members_, before, strict=True)
    )


def test_the_description_is_that_of_the_architectures_of_the_rows(ranker, table):
    for name, columns in zip(("places", "summary", "states"), ranker._inputs(table)[3:], strict=True):
        which, mean, spread = ranker.encoder_.arrays[name]
        known = encode_archs(ARCHS, SPACE, 7)[name]
        restored = columns.double().numpy() * spread + mean
        np.testing.assert_allclose(restored, known[:, which.astype(int)], atol=1e-5)


@pytest.mark.parametrize("networks", [0, 2])
def test_members_beside_the_networks_count_as_much_as_they_tell_of_held_out_labels(table, networks):
    """Everything anew, by members that learned the same targets."""
    ranker = fitted(table[:12], LABELS[:12], table, mixers=networks)
    inputs = ranker._inputs(table)
    ours = [t[:12] for t in inputs]
    process = ranker.ensemble_.members_[networks]
    # What the process learned: the labels on one of two scales.
    scaled = [torch.from_numpy(scale(LABELS[:12])) for scale in (standard_scores, normal_scores)]
    anew = [GaussianProcess(12, ranker.ensemble_.shapes).fit(ours, targets, inputs, 0) for targets in scaled]
    targets = min(zip(anew, scaled, strict=True), key=lambda pair: (pair[0](*inputs) - process(*inputs)).abs().sum())[1]
    told = np.zeros((12, 4))
    for column, forest in ((1, RandomForest(12)), (3, ArchitectureForest(12))):
        told[:, column] = forest.fit(ours, targets, 0).out_of_bag.numpy()
    for learned, hidden in KFold(5, shuffle=True, random_state=0).split(np.arange(12)):
        part, rest = ([x[rows] for x in ours] for rows in (learned, hidden))
        count = len(learned)
        first = GaussianProcess(count, ranker.ensemble_.shapes).fit(part, targets[learned], inputs, 0)
        second = ArchitectureProcess(count, ranker.ensemble_.shapes).fit(part, targets[learned], 0)
        told[hidden, 0], told[hidden, 2] = first(*rest).detach().numpy(), second(*rest).detach().numpy()
    weights = stacking_weights(told, targets.numpy())
    weights *= [member(*inputs).detach().numpy().std() for member in ranker.ensemble_.members_[networks:]]
    together = 0.9 if networks else 1
    np.testing.assert_allclose(ranker.ensemble_.weights_[-4:], together * weights / weights.sum(), atol=1e-5)
    assert ranker.ensemble_.weights_.sum() == pytest.approx(1) and np.ptp(ranker.ensemble_.weights_[-4:]) > 0.05
    assert len(ranker.ensemble_.weights_) == 4 + bool(networks)


def test_scores_are_weighed_by_the_shares(ranker, table):
    raw = np.stack([member(*ranker._inputs(table)).detach().double().numpy() for member in ranker.ensemble_.members_])
    mean = ranker.ensemble_.weights_ @ ((raw - raw.mean(1)[:, None]) / raw.std(1)[:, None])
    np.testing.assert_allclose(ranker.predict(table), (mean - mean.mean()) / mean.std(), rtol=1e-5, atol=1e-6)
    assert len(set(ranker.ensemble_.weights_.round(6))) > 2


def test_of_one_member_alone_nothing_is_held_out(table, monkeypatch):
    monkeypatch.setattr("parzc.ranker.estimator.cross_validated", None)
    alone = fitted(table[:12], LABELS[:12], others=["gaussian_process", "boosted_trees"], mixer_weight=0.4)
    np.testing.assert_allclose(alone.ensemble_.weights_, [0.4, 0.3, 0.3])


def test_with_few_labels_members_beside_the_networks_count_alike(table):
    np.testing.assert_allclose(fitted(table[:9], LABELS[:9], table).ensemble_.weights_, [0.1, *[0.225] * 4])


def test_where_nothing_is_told_members_count_alike(table):
    np.testing.assert_allclose(fitted(table[:12], np.zeros(12), table, mixers=0).ensemble_.weights_, 1 / 4)


def test_boosted_trees_which_tell_nothing_of_held_out_labels_keep_their_share(table):
    beside = ["random_forest", "boosted_trees", "architecture_process"]
    shares = fitted(table[:12], LABELS[:12], others=beside, mixer_weight=0.4).ensemble_.weights_
    np.testing.assert_allclose([shares[0], shares[2], shares[1] + shares[3]], [0.4, 0.2, 0.4])
    assert abs(shares[1] - shares[3]) > 0.002
    alone = fitted(table[:12], LABELS[:12], others=beside[:2], mixer_weight=0.4)
    np.testing.assert_allclose(alone.ensemble_.weights_, [0.4, 0.3, 0.3])
    none = fitted(table[:12], LABELS[:12], others=beside[1:2], mixer_weight=0.4)
    np.testing.assert_allclose(none.ensemble_.weights_, [0.4, 0.6])


@pytest.mark.parametrize(("share", "expected"), [(0, [0, 0.5, 0.5]), (0.4, [0.4, 0.3, 0.3]), (1, [1, 0, 0])])
def test_the_share_of_the_networks_is_what_it_is_set_to(table, share, expected):
    beside = ["gaussian_process", "architecture_forest"]
    few = fitted(table[:9], LABELS[:9], mixer_weight=share, others=beside)
    np.testing.assert_allclose(few.ensemble_.weights_, expected)
    assert fitted(table[:12], LABELS[:12], mixer_weight=share, others=beside).ensemble_.weights_[0] == share


def test_members_may_count_alike(table):
    np.testing.assert_allclose(fitted(table[:12], LABELS[:12], mixer_weight=None).ensemble_.weights_, 1 / 5)
    for share in (None, 0.1):
        alone = fitted(table[:12], LABELS[:12], others=(), mixer_weight=share)
        assert alone.ensemble_.weights_.tolist() == [1] and len(alone.ensemble_.members_) == 1


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, math.inf, "half"])
def test_a_share_that_is_none_is_refused(table, share):
    sentence = f"'share' is {share}; the networks count from 0 to 1, or None to count like the others"
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        fitted(table[:12], LABELS[:12], mixer_weight=share)


def test_a_ranker_that_was_told_not_to_reads_no_description(table):
    plain = fitted(table[:12], LABELS[:12], arch_encoding=False)
    assert [type(member) for member in plain.ensemble_.members_] == MEMBERS[:-2]
    assert len(plain._inputs(table)) == len(plain.ensemble_.shapes) == 3 and not plain.preset_.arch_encoding
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


def test_the_card_says_how_much_each_member_counts(ranker, tmp_path):
    ranker.save(tmp_path)
    line = re.search(r"counts in a score: (.*)\n", (tmp_path / "card.md").read_text()).group(1)
    names = ("1 neural network", *ranker.preset_.others)
    assert line == ", ".join(
        f"{name} {share:.2f}" for name, share in zip(names, ranker.ensemble_.weights_, strict=True)
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
        ("shares", put(1.5, 2), "the shares of the members are none"),
        ("shares", put(-0.5, 0), "the shares of the members are none"),
        ("shares", put(math.nan, 0), "'shares' holds values that are not finite"),
        ("members.1.log_amplitude", lambda tensor: tensor[:4], "'log_amplitude' is torch.float64"),
        ("members.0.embed_description.weight", lambda tensor: tensor[:, 1:], "'embed_description.weight' is"),
        ("encoder.vertices", put(0.0, 0), "the description of architectures has no vertices, or too many"),
        ("encoder.vertices", put(65.0, 0), "the description of architectures has no vertices, or too many"),
        ("encoder.vertices", lambda _: None, "KeyError: 'vertices'"),
        ("encoder.summary", lambda _: None, "KeyError: 'summary'"),
        ("encoder.places", put(1e9, 0), "'places' of the encoder is not a description of this space"),
        ("encoder.summary", put(0.0, -1), "'summary' of the encoder is not a description of this space"),
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


def test_architectures_that_are_all_alike_have_no_description(table, tmp_path):
    # As where only width and depth, which no graph tells, are searched.
    alike = table[[0] * 12]
    alike.scores["params"] = alike.scores["params"] + np.arange(12)
    ranker = fitted(alike, np.arange(12.0))
    scores = ranker.predict(alike)
    assert ranker.ensemble_.shapes[3:] == [(0,), (0,), (0,)] and np.isfinite(scores).all() and scores[-1] > scores[0]
    ranker.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(alike), scores)


def test_parts_have_room_for_the_description():
    preset = get_preset("default").override(SETTINGS)
    shapes = [(5, 4), (2,), (0,), (8,), (6,), (3,)]
    assert make_network(preset, shapes, 0).embed_description.in_features == 17
    assert make_network(preset, shapes[:3], 0).embed_description is None
    assert make_member("gaussian_process", 9, shapes).log_amplitude.shape == (7,)
    assert make_member("gaussian_process", 9, shapes[:3]).log_amplitude.shape == (4,)
    assert make_member("architecture_process", 9, shapes).points.shape == (9, 17)
    kinds = [type(make_member(name, 9, shapes)) for name in preset.beside]
    assert kinds == [GaussianProcess, BoostedTrees]
    described = preset.override(settings_of("default", "nb101"))
    assert [type(make_member(name, 9, shapes)) for name in other_members(described, shapes)] == MEMBERS[1:]
    assert other_members(described, [*shapes[:4], (0,), (0,)]) == described.beside
    for few in (shapes[:3], [*shapes[:3], (0,), (0,), (0,)]):
        assert other_members(described, few) == described.beside[:-2]


def test_tabular_learners_read_the_description_too(table):
    names = get_preset("default")
    full = {"statistics": names.statistics, "scores": names.scores, "blocks": names.blocks}
    learner = TabularRanker("gradient_boosting", space="nb101")
    assert learner.encoder.described.name == "nb101"
    assert (learner.encoder.statistics, learner.encoder.scores) == (full["statistics"], full["scores"])
    learner.encoder = make_encoder(names.override(SETTINGS | settings_of("default", "nb101")), "nb101")
    learner.fit(table[:12], LABELS[:12])
    expected = (
        make_encoder(names.override(SETTINGS | {"arch_encoding": True}), "nb101").fit(table[:12]).transform(table)
    )
    matrix = np.concatenate([x.reshape(14, -1) for x in expected], axis=1)
    np.testing.assert_array_equal(learner._matrix(table), matrix)
    assert matrix.shape[1] > 20 + sum(math.prod(x.shape[1:]) for x in expected[:3])


@pytest.mark.parametrize(("reads", "parts"), [("description", 2), ("description and states", 3)])
def test_learners_of_the_description_alone_see_nothing_that_was_measured(table, reads, parts):
    learner = TabularRanker("gradient_boosting", space="nb101", reads=reads)
    preset = get_preset("default").override(SETTINGS | {"arch_encoding": True})
    learner.encoder = make_encoder(preset, "nb101")
    learner.fit(table[:12], LABELS[:12])
    described = make_encoder(preset, "nb101").fit(table[:12]).transform(table)[3:]
    np.testing.assert_array_equal(learner._matrix(table), np.concatenate(described[:parts], axis=1))
    other = table[list(range(14))]
    other.scores["params"] = other.scores["params"] + np.arange(14.0)
    np.testing.assert_array_equal(learner.predict(other), learner.predict(table))
