"""The settings of the rankers and how they are changed."""

import re
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from parzc.datasets import list_spaces
from parzc.errors import InputError
from parzc.features import list_proxies, list_statistics, shipped
from parzc.models.fusion import GRAPHS
from parzc.ranker.assembly import make_encoder, make_member
from parzc.ranker.presets import DESCRIBED, GRAPH_SETTINGS, PRESETS, Preset, get_preset, settings_of
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
        BASE.members = 9


@pytest.mark.parametrize(
    "key",
    [
        "epochs", "training", "training.epoch", "training.model.dim", "model_args", "graph_args", "optimizer.name", "",
        "dim", "Members", "members.count", "pretraining", "pretraining.epochs", "beside.trees",
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
    shapes = [(5, 4), (2,), (0,), (11,), (6,), (8,)]
    assert all(make_member(name, 9, shapes) for name in (*preset.beside, *DESCRIBED["others"]))
    assert preset.model == "token_mixer" or not (preset.beside or preset.blocks or preset.pretraining.steps)


@pytest.mark.parametrize("space", list_spaces())
def test_default_reads_descriptions_in_all_spaces_but_nb201(space):
    preset = get_preset("default").override(settings_of("default", space))
    assert preset == (PRESETS["default"] if space == "nb201" else replace(PRESETS["default"], **DESCRIBED))
    assert preset.described == (space != "nb201")
    named = make_encoder(preset, space).described
    assert (named and named.name) == (None if space == "nb201" else space)
    assert settings_of("paper", space) == {}
    # What is set wins, in either direction.
    for wanted in (False, True):
        settings = {**settings_of("default", space), "arch_encoding": wanted}
        assert get_preset("default").override(settings).described is wanted


def test_networks_of_no_known_space_have_no_description():
    assert make_encoder(get_preset("default").override(settings_of("default", "")), "").described is None


def test_the_default_preset_asks_for_what_the_shipped_features_hold():
    default, store = PRESETS["default"], shipped("nb201")
    table = store.read(store.archs[:2])
    assert set(default.statistics) <= set(table.statistics) and set(default.scores) <= set(table.scores)
    assert set(default.blocks) <= set(table.block_statistics)


def test_the_paper_preset_is_that_of_the_paper():
    paper = PRESETS["paper"]
    assert paper.statistics == ("grad_norm", "snip", "synflow") and paper.scores == () and paper.members == 1
    assert paper.training == TrainingConfig(
        loss="diff_kendall", alpha=0.5, epochs=200, batch=10, learning_rate=1e-4, weight_decay=1e-3
    )
    assert paper.model_args["dropout"] == 0.18
