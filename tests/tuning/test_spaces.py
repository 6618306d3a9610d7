"""What is searched: the ranges of the paper, those cut to one core, and what the presets have themselves."""

import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from helpers import SMALL, SMALL_PAPER
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from studies import POOL, TARGETS, TRAIN

from parzc.errors import InputError
from parzc.models.fusion import GRAPHS, graph_encoder
from parzc.ranker import Ranker
from parzc.ranker.presets import PRESETS, get_preset
from parzc.tuning.spaces import PUBLISHED_SPACES, SEARCH_SPACES, own_settings, search_space, suggest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tuning.md"
ALL = [*SEARCH_SPACES.items(), *PUBLISHED_SPACES.items()]


def with_encoder(name):
    preset, encoder = name
    return get_preset(preset).override({"graph": encoder})


def ends(among):
    return among.low, among.high


def test_published_ranges_are_those_of_table_10():
    assert {name: ends(among) for name, among in PUBLISHED_SPACES["paper", "none"].items()} == {
        "model.dim": (256, 4096),
        "model.depth": (2, 8),
        "model.dropout": (0.1, 0.5),
        "training.batch": (16, 128),
        "training.epochs": (50, 300),
        "training.learning_rate": (1e-4, 1e-2),
    }


def test_published_ranges_of_pinat_are_those_of_section_a4():
    published = PUBLISHED_SPACES["paper", "pinat"]
    assert {name: ends(among) for name, among in published.items() if name.startswith(("graph", "training.ep"))} == {
        "graph.n_layers": (2, 5),
        "graph.n_head": (3, 8),
        "graph.pine_hidden": (8, 128),
        "graph.d_word_model": (256, 1024),
        "graph.d_kv": (32, 128),
        "graph.d_inner": (256, 1024),
        "graph.dropout": (0.01, 0.5),
        "training.epochs": (20, 300),
    }


@pytest.mark.parametrize("name", PUBLISHED_SPACES)
def test_cut_ranges_have_the_same_settings(name):
    assert set(SEARCH_SPACES[name]) == set(PUBLISHED_SPACES[name])
    wider = {n for n, a in SEARCH_SPACES[name].items() if a.high > PUBLISHED_SPACES[name][n].high}
    assert wider == set()


WITH_MIXERS = [name for name, preset in PRESETS.items() if preset.mixers]
"""The presets that can be tuned: what is searched are the settings of mixers and of their training."""


def test_every_preset_with_mixers_and_every_encoder_can_be_tuned():
    assert set(SEARCH_SPACES) == {*((name, "none") for name in WITH_MIXERS), *(("paper", graph) for graph in GRAPHS)}


@pytest.mark.parametrize(("name", "space"), SEARCH_SPACES.items(), ids=str)
def test_the_preset_itself_lies_in_the_ranges_that_are_searched(name, space):
    preset = with_encoder(name)
    own = own_settings(preset, space)
    assert set(own) == set(space)
    for key, among in space.items():
        part, _, field = key.partition(".")
        if part == "graph":
            continue
        value = preset.model_args[field] if part == "model" else getattr(getattr(preset, part), field)
        assert own[key] == value and among._contains(among.to_internal_repr(value)), key
    if name[1] != "none":
        # GRAPH_SETTINGS brings it along.
        assert own["model.dim"] == 64 and own["training.learning_rate"] == 1e-3


@pytest.mark.parametrize(("name", "space"), ALL, ids=str)
def test_own_settings_are_values_of_the_distributions(name, space):
    own = own_settings(with_encoder(name), space)
    assert all(space[key]._contains(space[key].to_internal_repr(value)) for key, value in own.items())
    assert set(own) == set(space)


def test_own_settings_outside_the_ranges_are_moved_into_them():
    preset = get_preset("paper")
    among = {
        "training.batch": IntDistribution(16, 128),
        "training.epochs": IntDistribution(20, 320, step=50),
        "model.dropout": FloatDistribution(0.0, 0.1),
        "training.loss": CategoricalDistribution(["mse", "diff_kendall"]),
        "training.alpha": CategoricalDistribution([1.0, 2.0]),
        "mixers": IntDistribution(2, 3),
        "model.segment_expansion": FloatDistribution(1, 4),
    }
    assert own_settings(preset, among) == {
        "training.batch": 16,
        "training.epochs": 220,
        "model.dropout": 0.1,
        "training.loss": "diff_kendall",
        "mixers": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("paper", "none", "wide"), "there are no ranges 'wide'; choose one of cut, published"),
        (("best",), "there are no cut ranges to tune the preset 'best' in; there are some for default, paper, paper "),
        (("default", "none", "published"), "there are no published ranges to tune the preset 'default' in; "),
        (("default", "gcn"), "there are no cut ranges to tune the preset 'default' with the encoder 'gcn' in; "),
    ],
)
def test_a_search_space_that_is_not_there_is_refused(arguments, sentence):
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
        search_space(*arguments)


def test_what_is_no_distribution_is_refused():
    trial = optuna.create_study().ask()
    with pytest.raises(InputError, match=r"cannot draw 'training.epochs' from \(1, 30\); give an Int, Float or "):
        suggest(trial, {"training.epochs": (1, 30)})


def test_what_is_suggested_is_drawn_from_the_distributions():
    among = {
        "a": IntDistribution(2, 8, step=3),
        "b": FloatDistribution(1e-3, 1.0, log=True),
        "c": CategoricalDistribution(["x", "y"]),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(study.ask(), among) for _ in range(60)]
    assert {values["a"] for values in drawn} == {2, 5, 8} and {values["c"] for values in drawn} == {"x", "y"}
    logarithms = np.log10([values["b"] for values in drawn])
    assert logarithms.min() > -3 and logarithms.max() < 0 and abs(logarithms.mean() + 1.5) < 0.3
    assert study.trials[0].distributions == among


def corner(space, number):
    """The lowest, or the highest, values of a search space."""
    return {name: ends(among)[number] for name, among in space.items()}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("name", "space"), ALL, ids=str)
def test_every_setting_that_is_searched_is_one_of_the_preset(name, space, number):
    settings = corner(space, number)
    changed = with_encoder(name).override(settings)
    for key, value in settings.items():
        part, field = key.split(".")
        holder = {"model": changed.model_args, "graph": changed.graph_args}.get(part)
        assert (holder[field] if holder else getattr(getattr(changed, part), field)) == value


@pytest.mark.parametrize("preset", WITH_MIXERS)
def test_a_ranker_takes_the_settings_that_are_searched(preset):
    quick = {"default": SMALL | {"mixers": 1}, "paper": SMALL_PAPER}[preset]
    settings = corner(SEARCH_SPACES[preset, "none"], 0) | quick | {"training.epochs": 2}
    scores = Ranker(preset, "nb201", settings=settings).fit(TRAIN, TARGETS).predict(POOL)
    assert np.isfinite(scores).all() and len(np.unique(scores)) == 40


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("encoder", GRAPHS)
def test_every_setting_of_an_encoder_is_one_that_it_takes(encoder, number):
    settings = corner(SEARCH_SPACES["paper", encoder], number)
    arguments = {key.removeprefix("graph."): value for key, value in settings.items() if key.startswith("graph.")}
    assert graph_encoder(encoder, 7, **arguments).dim in arguments.values()


def in_words(among):
    step = f", step {among.step}" if isinstance(among, IntDistribution) and among.step > 1 else ""
    return f"{among.low:g} to {among.high:g}{', log' if among.log else ''}{step}"


def test_the_guide_lists_the_ranges():
    sections = DOCS.read_text(encoding="utf-8").split("`--preset default`:")[1].split("## Stopping")[0]
    tables = re.findall(r"(?:^\|.*\n)+", sections, re.MULTILINE)
    default, paper, pinat, gcn = (
        {cells[1].strip(" `"): [cell.strip() for cell in cells[2:-1]] for cells in map(split, rows.splitlines()[2:])}
        for rows in tables
    )
    assert default == {key: [in_words(among)] for key, among in SEARCH_SPACES["default", "none"].items()}
    for encoder, listed in (("none", paper), ("pinat", paper | pinat), ("gcn", paper | gcn)):
        cut, published = SEARCH_SPACES["paper", encoder], PUBLISHED_SPACES["paper", encoder]
        assert {key: cells[:2] for key, cells in listed.items()} == {
            key: [in_words(cut[key]), in_words(published[key])] for key in cut
        }


def split(row):
    return row.split("|")
