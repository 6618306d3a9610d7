"""What tuning searches: the settings of each preset, and of each architecture encoder, with their ranges.

A search space in this file is one of settings of a ranker, as Optuna takes it, not one of architectures.
"""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from parzc.errors import InputError
from parzc.models.fusion import GRAPHS
from parzc.ranker.presets import Preset

Search = Mapping[str, BaseDistribution]

RANGES = ("cut", "published")
"""Ranges cut to what one core trains, or as the ParZC paper prints them."""

# Table 10 of the ParZC paper. Its patch size is that of the preset; its sequence length of 4096 is not a setting here.
_TABLE_10: Search = MappingProxyType(
    {
        "model.dim": IntDistribution(256, 4096, log=True),
        "model.depth": IntDistribution(2, 8),
        "model.dropout": FloatDistribution(0.1, 0.5),
        "training.batch": IntDistribution(16, 128, log=True),
        "training.epochs": IntDistribution(50, 300, step=10),
        "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    }
)
# Section A.4, which also gives the epochs from 20 on; they are among the settings of the training here.
_A4_EPOCHS = IntDistribution(20, 300, step=10)
_A4_PINAT: Search = MappingProxyType(
    {
        "graph.n_layers": IntDistribution(2, 5),
        "graph.n_head": IntDistribution(3, 8),
        "graph.pine_hidden": IntDistribution(8, 128, log=True),
        "graph.d_word_model": IntDistribution(256, 1024, log=True),
        "graph.d_kv": IntDistribution(32, 128, log=True),
        "graph.d_inner": IntDistribution(256, 1024, log=True),
        "graph.dropout": FloatDistribution(0.01, 0.5),
    }
)
# A.4 has no ranges of its own for the graph convolutions: those of the layers, the embedding and the dropout.
_A4_GCN: Search = MappingProxyType(
    {
        "graph.depth": IntDistribution(2, 5),
        "graph.dim": IntDistribution(256, 1024, log=True),
        "graph.dropout": FloatDistribution(0.01, 0.5),
    }
)
_DEFAULT: Search = MappingProxyType(
    {
        "model.dim": IntDistribution(16, 128, log=True),
        "model.depth": IntDistribution(1, 4),
        "model.dropout": FloatDistribution(0.0, 0.4),
        "training.alpha": FloatDistribution(0.5, 8.0, log=True),
        "training.epochs": IntDistribution(50, 400, step=50),
        "training.learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
        "training.weight_decay": FloatDistribution(1e-4, 0.3, log=True),
        "pretraining.steps": IntDistribution(0, 1500, step=500),
    }
)
# Widths of thousands take a GPU. Both ways the settings of the presets lie inside, the mixer of width 64 that an
# encoder brings along and the paper's own batches of 10 (section 4.1) among them.
_CUT_PAPER = {"model.dim": IntDistribution(128, 512, step=64), "training.batch": IntDistribution(10, 128, log=True)}
_CUT_FUSED = {"model.dim": IntDistribution(64, 512, step=64)}
_CUT_PINAT = {
    "graph.d_word_model": IntDistribution(32, 128, log=True),
    "graph.d_kv": IntDistribution(8, 32, log=True),
    "graph.d_inner": IntDistribution(64, 256, log=True),
}
_CUT_GCN = {"graph.dim": IntDistribution(32, 128, log=True)}

PUBLISHED_SPACES: Mapping[tuple[str, str], Search] = MappingProxyType(
    {
        ("paper", "none"): _TABLE_10,
        ("paper", "gcn"): {**_TABLE_10, "training.epochs": _A4_EPOCHS, **_A4_GCN},
        ("paper", "pinat"): {**_TABLE_10, "training.epochs": _A4_EPOCHS, **_A4_PINAT},
    }
)
"""Preset and encoder to the ranges of the ParZC paper, table 10 and section A.4."""
SEARCH_SPACES: Mapping[tuple[str, str], Search] = MappingProxyType(
    {
        ("default", "none"): _DEFAULT,
        ("paper", "none"): {**PUBLISHED_SPACES["paper", "none"], **_CUT_PAPER},
        ("paper", "gcn"): {**PUBLISHED_SPACES["paper", "gcn"], **_CUT_PAPER, **_CUT_FUSED, **_CUT_GCN},
        ("paper", "pinat"): {**PUBLISHED_SPACES["paper", "pinat"], **_CUT_PAPER, **_CUT_FUSED, **_CUT_PINAT},
    }
)
"""Preset and encoder to the ranges that are searched unless others are given."""


def search_space(preset: str, encoder: str = "none", ranges: str = "cut") -> Search:
    """Return the settings that are searched, by name, with their distributions.

    Args:
        preset: name of the preset.
        encoder: of architectures, `none`, `gcn` or `pinat`.
        ranges: one of `RANGES`.

    Raises:
        InputError: if there is no such search space.
    """
    if ranges not in RANGES:
        raise InputError(f"there are no ranges '{ranges}'; choose one of {', '.join(RANGES)}")
    spaces = PUBLISHED_SPACES if ranges == "published" else SEARCH_SPACES
    if (preset, encoder) not in spaces:
        also = "" if encoder == "none" else f" with the encoder '{encoder}'"
        known = ", ".join(name if graph == "none" else f"{name} with {graph}" for name, graph in spaces)
        raise InputError(
            f"there are no {ranges} ranges to tune the preset '{preset}'{also} in; there are some for {known}"
        )
    return spaces[preset, encoder]


def suggest(trial: optuna.Trial, search: Search) -> dict[str, Any]:
    """Draw every setting for a trial.

    Raises:
        InputError: for a distribution that is none of Optuna's three.
    """
    settings: dict[str, Any] = {}
    for name, among in search.items():
        if isinstance(among, IntDistribution):
            settings[name] = trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
        elif isinstance(among, FloatDistribution):
            settings[name] = trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log)
        elif isinstance(among, CategoricalDistribution):
            settings[name] = trial.suggest_categorical(name, among.choices)
        else:
            raise InputError(f"cannot draw '{name}' from {among!r}; give an Int, Float or CategoricalDistribution")
    return settings


def own_settings(preset: Preset, search: Search) -> dict[str, Any]:
    """Return the settings that a preset has by itself, moved into the ranges where they lie outside."""
    values: dict[str, Any] = {}
    for name, among in search.items():
        part, _, field = name.rpartition(".")
        if part == "model":
            own = preset.model_args.get(field)
        elif part == "graph":
            own = {**_graph_defaults(preset.graph), **preset.graph_args}.get(field)
        else:
            own = getattr(getattr(preset, part) if part else preset, field, None)
        nearest = None if own is None else _nearest(own, among)
        if nearest is not None:
            values[name] = nearest
    return values


def _graph_defaults(graph: str) -> dict[str, Any]:
    if graph not in GRAPHS:
        return {}
    # torch-geometric takes seconds to import, and rankers without an encoder do not need it.
    from parzc.models.gcn import GCN
    from parzc.models.pinat import PINAT

    parameters = inspect.signature(GCN if graph == "gcn" else PINAT).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _nearest(value: Any, among: BaseDistribution) -> Any:
    """Return the value of a distribution that is nearest to `value`; none if nothing is near."""
    if isinstance(among, CategoricalDistribution):
        return value if value in among.choices else None
    if not isinstance(among, IntDistribution | FloatDistribution):
        return None
    inside = min(max(value, among.low), among.high)
    if among.step is None:
        return inside
    return min(among.low + round((inside - among.low) / among.step) * among.step, among.high)
