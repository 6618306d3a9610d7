"""Search spaces and the tables of labels that go with them."""

from parzc.datasets._base import Cost, Graph, Slot, Space, Task
from parzc.datasets.autoformer import AutoFormerBase, AutoFormerSmall, AutoFormerTiny
from parzc.datasets.darts import NDSENAS, NDSPNAS, Darts, NDSAmoeba, NDSDarts, NDSNASNet
from parzc.datasets.nb201 import NB201
from parzc.datasets.tables import Table, list_tables, load_table
from parzc.errors import InputError

__all__ = [
    "Cost",
    "Graph",
    "Slot",
    "Space",
    "Table",
    "Task",
    "get_space",
    "list_spaces",
    "list_tables",
    "load_table",
]

_SPACES: dict[str, type[Space]] = {
    space.name: space
    for space in (
        *(NB201, Darts, NDSDarts, NDSENAS, NDSNASNet, NDSAmoeba, NDSPNAS),
        *(AutoFormerTiny, AutoFormerSmall, AutoFormerBase),
    )
}


def list_spaces() -> list[str]:
    """Return the names of all search spaces."""
    return list(_SPACES)


def get_space(name: str) -> Space:
    """Return the search space called `name`.

    Raises:
        InputError: if there is no such space.
    """
    if name not in _SPACES:
        raise InputError(f"there is no search space '{name}'; choose one of {', '.join(_SPACES)}")
    return _SPACES[name]()
