"""The parts that a preset names: encoder, networks, and the members beside them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parzc.datasets import Space, get_space
from parzc.encoding.encoders import Encoder, PaddedEncoder, TokenEncoder
from parzc.encoding.graph_encoder import GraphEncoder
from parzc.errors import InputError
from parzc.models.description_forest import DescriptionForest
from parzc.models.description_process import MEASURED, DescriptionProcess
from parzc.models.fusion import GRAPHS, FusedRanker, graph_encoder
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.mixer import MABN
from parzc.models.token_mixer import TokenMixer
from parzc.models.trees import BoostedTrees, RandomForest
from parzc.ranker.presets import Preset

Beside = DescriptionProcess | GaussianProcess | BoostedTrees | RandomForest
DESCRIPTION = ("description_process", "description_forest")
"""Members that read nothing but descriptions, and are left out where there are none."""


def make_encoder(preset: Preset, space: str | Space = "") -> Encoder:
    """Return the unfitted encoder of a preset for networks of `space`.

    Raises:
        InputError: if there is no such space, or the preset reads graphs and cannot.
    """
    _check_graph(preset, space)
    slots = get_space(space).slots if space else ()
    if preset.encoder == "padded":
        nodes = PaddedEncoder(preset.statistics, width=len(slots))
        return nodes if preset.graph == "none" else GraphEncoder(nodes, get_space(space))
    described = get_space(space) if preset.described and space else None
    return TokenEncoder(preset.statistics, preset.scores, slots, preset.blocks, described=described)


def _check_graph(preset: Preset, space: str | Space) -> None:
    if preset.graph not in ("none", *GRAPHS):
        raise InputError(f"there is no architecture encoder '{preset.graph}'; choose one of none, {', '.join(GRAPHS)}")
    if preset.graph != "none" and (preset.encoder, preset.model) != ("padded", "mabn"):
        raise InputError(
            f"the architecture encoder '{preset.graph}' goes with the model 'mabn', not with '{preset.model}'; "
            "choose the preset 'paper'"
        )
    if preset.graph != "none" and not space:
        raise InputError(
            f"the architecture encoder '{preset.graph}' needs the search space of the networks; name it, for example "
            "Ranker(space='nb201')"
        )


def make_model(preset: Preset, shapes: Sequence[tuple[int, ...]], seed: int) -> nn.Module:
    """Return the untrained model of a preset for inputs with rows of `shapes`, initialised from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if preset.graph != "none":
            graph = graph_encoder(preset.graph, shapes[1][-1], **preset.graph_args)
            return FusedRanker(MABN(shapes[0][0], **preset.model_args, outputs=graph.dim), graph, graph.dim)
        if preset.model == "mabn":
            return MABN(shapes[0][0], **preset.model_args)
        (tokens, channels), (scores,) = shapes[:2]
        description = sum(columns for (columns,) in shapes[MEASURED:])
        return TokenMixer(tokens, channels, scores, description, **preset.model_args)


def names_beside(preset: Preset, shapes: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """Return the names in `beside` of the members that inputs with rows of `shapes` have; see `DESCRIPTION`."""
    described = any(math.prod(shape) for shape in shapes[MEASURED:])
    return tuple(name for name in preset.beside if described or name not in DESCRIPTION)


def first_shares(preset: Preset, beside: int) -> NDArray[np.float64]:
    """Return how much the networks, if there are any, and as many members beside them count at first; of sum 1.

    Raises:
        InputError: if the networks have a share that is none.
    """
    if preset.share is not None and not (isinstance(preset.share, int | float) and 0 <= preset.share <= 1):
        raise InputError(f"'share' is {preset.share}; the networks count from 0 to 1, or None to count like the others")
    if not (preset.members and beside) or preset.share is None:
        count = bool(preset.members) + beside
        return np.full(count, 1 / count)
    return np.array([preset.share, *[(1 - preset.share) / beside] * beside])


def make_beside(name: str, labelled: int, shapes: Sequence[tuple[int, ...]]) -> Beside:
    """Return the unfitted member called `name` of a preset's `beside`.

    Raises:
        InputError: if there is none.
    """
    makers: dict[str, Callable[[], Beside]] = {
        "gaussian_process": lambda: GaussianProcess(labelled, shapes),
        "boosted_trees": BoostedTrees,
        "random_forest": lambda: RandomForest(labelled),
        "description_process": lambda: DescriptionProcess(labelled, shapes),
        "description_forest": lambda: DescriptionForest(labelled),
    }
    if name not in makers:
        raise InputError(f"there is no member '{name}'; choose among {', '.join(makers)}")
    return makers[name]()
