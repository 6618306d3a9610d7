"""The kinds of members that an ensemble may hold in addition to its mixers, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from parzc.encoding.inputs import Shapes
from parzc.errors import InputError
from parzc.models._member import Member
from parzc.models.architecture_forest import ArchitectureForest
from parzc.models.architecture_process import ArchitectureProcess
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.trees import BoostedTrees, RandomForest

MEMBERS: Mapping[str, type[Member[Any]]] = MappingProxyType(
    {
        "gaussian_process": GaussianProcess,
        "boosted_trees": BoostedTrees,
        "random_forest": RandomForest,
        "architecture_process": ArchitectureProcess,
        "architecture_forest": ArchitectureForest,
    }
)
"""Name in a preset's `others` to the kind of member."""


def member_kind(name: str) -> type[Member[Any]]:
    """Return the kind of member called `name`.

    Raises:
        InputError: if there is none.
    """
    if name not in MEMBERS:
        raise InputError(f"there is no member '{name}'; choose among {', '.join(MEMBERS)}")
    return MEMBERS[name]


def make_member(name: str, labelled: int, shapes: Shapes, config: Any = None) -> Member[Any]:
    """Return an unfitted member.

    Args:
        name: in `MEMBERS`.
        labelled: number of labelled networks that it will be fitted on.
        shapes: of the rows of its inputs.
        config: settings of its kind; the defaults if not given.

    Raises:
        InputError: if there is no such kind.
    """
    kind: Any = member_kind(name)
    member: Member[Any] = kind(labelled, shapes, config)
    return member
