"""Search spaces and the tables of labels that go with them."""

from parzc.datasets._base import Cost, Graph, Slot, Space, Task
from parzc.datasets.nats_sss import NATSSize
from parzc.datasets.nb101 import NB101
from parzc.datasets.nb201 import NB201
from parzc.datasets.tables import Table, list_tables, load_table
from parzc.datasets.transnas import TransNASMacro, TransNASMicro
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
    NB201.name: NB201,
    NB101.name: NB101,
    TransNASMicro.name: TransNASMicro,
    TransNASMacro.name: TransNASMacro,
    NATSSize.name: NATSSize,
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
