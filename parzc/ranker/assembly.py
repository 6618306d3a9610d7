"""The encoder and the members that a preset names."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Space, get_space
from parzc.encoding._base import Encoder
from parzc.encoding.inputs import Shapes
from parzc.encoding.padded import PaddedEncoder
from parzc.encoding.tokens import TokenEncoder
from parzc.errors import InputError
from parzc.models.fusion import GRAPHS
from parzc.models.members import member_kind
from parzc.ranker.presets import Preset


def make_encoder(preset: Preset, space: str | Space = "") -> Encoder[Any]:
    """Return the unfitted encoder of a preset for networks of `space`.

    Raises:
        InputError: if there is no such space, or the preset reads graphs and cannot.
    """
    _check_graph(preset, space)
    known = get_space(space) if space else None
    slots = known.slots if known else ()
    if preset.encoder == "padded":
        return PaddedEncoder(preset.statistics, len(slots), known if preset.graph != "none" else None)
    arch_space = known if preset.arch_encoding else None
    return TokenEncoder(preset.statistics, preset.scores, slots, preset.blocks, arch_space, preset.encoding)


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


def other_members(preset: Preset, shapes: Shapes) -> tuple[str, ...]:
    """Return the names of the members next to the mixers, for inputs with rows of `shapes`.

    A member of which no input part has a column is left out.

    Raises:
        InputError: if there is no member of a name, or the preset's encoder gives none of what it reads.
    """
    if preset.others and "tokens" not in shapes:
        raise InputError(
            f"the member '{preset.others[0]}' reads tokens, which the encoder '{preset.encoder}' does not give; "
            "leave 'others' empty, or choose the preset 'default'"
        )
    return tuple(
        name for name in preset.others if any(math.prod(shapes.get(part, (0,))) for part in member_kind(name).reads)
    )


def first_weights(preset: Preset, others: int) -> NDArray[np.float64]:
    """Return the ensemble weights that hold before any are learned, and afterwards where none are; they sum to 1.

    Args:
        preset: settings.
        others: number of members next to the mixers.

    Returns:
        `(1 + others,)`, that of all mixers together first; `(others,)` without mixers.

    Raises:
        InputError: if the weight of the mixers is outside 0 to 1.
    """
    weight = preset.mixer_weight
    if weight is not None and not (isinstance(weight, int | float) and 0 <= weight <= 1):
        raise InputError(f"'mixer_weight' is {weight}; set it to 0 to 1, or to None for mixers that count like others")
    if not (preset.mixers and others) or weight is None:
        count = bool(preset.mixers) + others
        return np.full(count, 1 / count)
    return np.array([weight, *[(1 - weight) / others] * others])
