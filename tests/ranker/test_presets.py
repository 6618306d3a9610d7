"""The settings of the rankers and how they are changed."""

import json
import re
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest
from made_inputs import shapes_of

from parzc.datasets import get_space, list_spaces
from parzc.errors import InputError
from parzc.features import list_proxies, list_statistics, shipped
from parzc.models.fusion import GRAPHS
from parzc.models.members import MEMBERS, make_member
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import (
    ARCHITECTURE_VARIANTS,
    GRAPH_SETTINGS,
    PARTS,
    PRESETS,
    Preset,
    get_preset,
    preset_of_record,
)
from parzc.ranker.pretraining import PretrainingConfig
from parzc.ranker.training import TrainingConfig

BASE = Preset(
    encoder="tokens",
    statistics=("snip",),
    scores=("params",),
    model="token_mixer",
    model_args={"dim": 8, "depth": 2},
    training=TrainingConfig(epochs=7, batch=3),
    mixers=2,
)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, {}),
        ({"mixers": 5}, {"mixers": 5}),
        ({"statistics": ["fisher", "snip"]}, {"statistics": ("fisher", "snip")}),
        ({"scores": ()}, {"scores": ()}),
        ({"blocks": ["trainability"]}, {"blocks": ("trainability",)}),
        ({"others": ["boosted_trees"]}, {"others": ("boosted_trees",)}),
        ({"encoder": "padded", "model": "mabn"}, {"encoder": "padded", "model": "mabn"}),
        ({"graph": "none"}, {"graph": "none"}),
        ({"graph.depth": 1}, {"graph_args": {"depth": 1}}),
        ({"model.dim": 16}, {"model_args": {"dim": 16, "depth": 2}}),
        ({"model.dropout": 0.3}, {"model_args": {"dim": 8, "depth": 2, "dropout": 0.3}}),
        ({"model.dim": 16, "model.depth": 1}, {"model_args": {"dim": 16, "depth": 1}}),
    ],
)
def test_a_setting_changes_what_it_names_and_nothing_else(settings, changes):
    assert asdict(BASE.override(settings)) == asdict(BASE) | changes


def test_a_training_setting_reaches_the_training_loop():
    preset = BASE.override({"training.epochs": 9, "training.loss": "mse", "training.decoupled": True})
    assert preset.training == TrainingConfig(loss="mse", epochs=9, batch=3, decoupled=True)
    assert asdict(preset) | {"training": None} == asdict(BASE) | {"training": None}


def test_a_pretraining_setting_reaches_the_pretraining():
    preset = BASE.override({"pretraining.steps": 9, "pretraining.hidden_tokens": 0.5})
    assert preset.pretraining == PretrainingConfig(steps=9, hidden_tokens=0.5)
    assert asdict(preset) | {"pretraining": None} == asdict(BASE) | {"pretraining": None}
    assert BASE.pretraining.steps == 0


@pytest.mark.parametrize("graph", GRAPH_SETTINGS)
def test_a_graph_brings_its_settings_unless_others_are_given(graph):
    preset = BASE.override({"graph": graph})
    sizes, training = {"dim": 64, "depth": 2}, replace(BASE.training, learning_rate=1e-3)
    assert preset == replace(BASE, graph=graph, model_args=sizes, training=training)
    for settings in ({"graph": graph, "training.learning_rate": 0.5}, {"training.learning_rate": 0.5, "graph": graph}):
        assert BASE.override(settings).training.learning_rate == 0.5
        assert BASE.override({**settings, "model.dim": 9}).model_args == {"dim": 9, "depth": 2}
    assert BASE.override({"graph": "none"}) == BASE and set(GRAPH_SETTINGS) == set(GRAPHS)


def test_overriding_leaves_the_preset_alone():
    before = asdict(BASE)
    BASE.override({"model.dim": 99, "training.epochs": 1, "mixers": 9})
    assert asdict(BASE) == before
    with pytest.raises(FrozenInstanceError):
        BASE.mixers = 9


@pytest.mark.parametrize(
    "key",
    [
        "epochs", "training", "training.epoch", "training.model.dim", "model_args", "graph_args", "optimizer.name", "",
        "dim", "Mixers", "mixers.count", "pretraining", "pretraining.epochs", "others.trees", "gaussian_process",
        "gaussian_process.depth", "member_configs", "stacking", "stacking.sharp", "members", "beside", "described",
    ],
)  # fmt: skip
def test_a_setting_that_does_not_exist_is_named(key):
    sentence = f"^there is no setting '{re.escape(key)}'; see parzc.ranker.presets.Preset for those there are$"
    with pytest.raises(InputError, match=sentence):
        BASE.override({key: 1})


def test_an_unknown_loss_is_refused_as_a_setting_too():
    with pytest.raises(InputError, match="there is no loss 'hinge'"):
        BASE.override({"training.loss": "hinge"})


def test_presets_are_found_by_name():
    assert set(PRESETS) >= {"default", "paper"}
    assert get_preset("paper") is PRESETS["paper"]
    with pytest.raises(InputError, match=f"^there is no preset 'best'; choose one of {', '.join(PRESETS)}$"):
        get_preset("best")
    with pytest.raises(TypeError):
        PRESETS["best"] = BASE


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_what_there_is(name):
    preset = PRESETS[name]
    assert set(preset.statistics) <= set(list_statistics()) and set(preset.scores) <= set(list_proxies())
    assert (preset.encoder, preset.model) in {("padded", "mabn"), ("tokens", "token_mixer")}
    assert set(preset.blocks) <= {"expressivity", "trainability"}
    shapes = shapes_of([(5, 4), (2,), (0,), (11,), (6,), (8,)])
    with_arch = ARCHITECTURE_VARIANTS.get(name, preset)
    assert all(make_member(other, 9, shapes) for other in (*preset.others, *with_arch.others))
    assert preset.model == "token_mixer" or not (preset.others or preset.blocks or preset.pretraining.steps)


@pytest.mark.parametrize("space", list_spaces())
def test_default_reads_the_architecture_encoding_in_all_spaces_but_nb201(space):
    preset = get_preset("default", space)
    assert get_space(space).preset_variant == ("measured" if space == "nb201" else "architecture")
    assert preset is (PRESETS if space == "nb201" else ARCHITECTURE_VARIANTS)["default"]
    assert preset.arch_encoding == (space != "nb201")
    arch = make_encoder(preset, space).arch
    assert (arch and arch.space.name) == (None if space == "nb201" else space)
    assert get_preset("paper", space) is PRESETS["paper"]


def test_the_variants_of_default_differ_in_three_fields():
    others = ("gaussian_process", "random_forest", "architecture_process", "architecture_forest")
    expected = replace(PRESETS["default"], arch_encoding=True, others=others, mixer_weight=0.1)
    assert ARCHITECTURE_VARIANTS["default"] == expected and set(ARCHITECTURE_VARIANTS) == {"default", "search"}


def test_a_search_uses_the_gaussian_process_of_default_alone():
    expected = replace(PRESETS["default"], mixers=0, others=("gaussian_process",))
    assert PRESETS["search"] == expected
    assert ARCHITECTURE_VARIANTS["search"] == replace(expected, arch_encoding=True)


def test_networks_of_no_known_space_have_no_architecture_encoding():
    assert get_preset("default") is PRESETS["default"]
    assert make_encoder(get_preset("default").override({"arch_encoding": True}), "").arch is None


def test_a_variant_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setattr(type(get_space("darts")), "preset_variant", "guessed")
    sentence = "^space 'darts' asks for the preset variant 'guessed'; choose one of measured, architecture$"
    with pytest.raises(InputError, match=sentence):
        get_preset("default", "darts")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_set(part):
    for field in fields(PARTS[part]):
        value = getattr(getattr(BASE, part), field.name)
        other = "mse" if field.name == "loss" else "sum" if field.name == "reduction" else value + 1
        preset = BASE.override({f"{part}.{field.name}": other})
        if field.name == "folds":
            assert preset.stacking.folds == 6
        assert preset == replace(BASE, **{part: replace(getattr(BASE, part), **{field.name: other})}) != BASE


@pytest.mark.parametrize("name", MEMBERS)
def test_every_setting_of_a_member_can_be_set(name):
    for field in fields(MEMBERS[name].Config):
        value = getattr(BASE.member_configs[name], field.name)
        other = [value[0] + 1, value[1] + 1] if isinstance(value, tuple) else value + 1
        preset = BASE.override({f"{name}.{field.name}": other})
        assert getattr(preset.member_configs[name], field.name) == (tuple(other) if isinstance(value, tuple) else other)
        rest = {key: config for key, config in preset.member_configs.items() if key != name}
        assert rest == {key: config for key, config in BASE.member_configs.items() if key != name}
        assert getattr(BASE.member_configs[name], field.name) == value


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_its_json(name):
    preset = ARCHITECTURE_VARIANTS.get(name, PRESETS[name]).override({"gaussian_process.noise": (0.0, 2.0)})
    assert preset_of_record(json.loads(json.dumps(asdict(preset)))) == preset


def test_the_default_preset_asks_for_what_the_shipped_features_hold():
    default, store = PRESETS["default"], shipped("nb201")
    table = store.read(store.archs[:2])
    assert set(default.statistics) <= set(table.statistics) and set(default.scores) <= set(table.scores)
    assert set(default.blocks) <= set(table.block_statistics)


def test_the_paper_preset_is_that_of_the_paper():
    paper = PRESETS["paper"]
    assert paper.statistics == ("grad_norm", "snip", "synflow") and paper.scores == () and paper.mixers == 1
    assert paper.training == TrainingConfig(
        loss="diff_kendall", alpha=0.5, epochs=200, batch=10, learning_rate=1e-4, weight_decay=1e-3
    )
    assert paper.model_args["dropout"] == 0.18
