"""Search spaces and the tables of labels that go with them."""

from typing import TYPE_CHECKING

from parzc.datasets._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets._cost import count_cost
from parzc.datasets.autoformer import AutoFormerBase, AutoFormerSmall, AutoFormerTiny
from parzc.datasets.darts import NDSENAS, NDSPNAS, Darts, NDSAmoeba, NDSDarts, NDSNASNet
from parzc.datasets.nats_sss import NATSSize
from parzc.datasets.nb101 import NB101
from parzc.datasets.nb201 import NB201
from parzc.datasets.transnas import TransNASMacro, TransNASMicro
from parzc.errors import InputError

if TYPE_CHECKING:
    from parzc.datasets.tables import Table, list_tables, load_table

__all__ = [
    "Cost",
    "Graph",
    "Slot",
    "Space",
    "Table",
    "Task",
    "count_cost",
    "get_space",
    "initialise",
    "list_spaces",
    "list_tables",
    "load_table",
    "register_space",
    "spaces_table",
]


def __getattr__(name: str) -> object:
    # Tables bring pandas along, which the processes that extract features need not wait for.
    if name in ("Table", "list_tables", "load_table"):
        from parzc.datasets import tables

        return getattr(tables, name)
    raise AttributeError(f"module 'parzc.datasets' has no attribute '{name}'")


_SPACES: dict[str, type[Space]] = {
    space.name: space
    for space in (
        *(NB201, NB101, TransNASMicro, TransNASMacro, NATSSize),
        *(Darts, NDSDarts, NDSENAS, NDSNASNet, NDSAmoeba, NDSPNAS),
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


def register_space(space: type[Space]) -> type[Space]:
    """Make a space of your own known by its name, in this process; usable as a decorator.

    Raises:
        InputError: if the name is taken by another space, or methods are missing.
    """
    missing = sorted(getattr(space, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{space.__name__} lacks {', '.join(missing)}; define what Space asks for")
    if _SPACES.get(space.name, space) is not space:
        raise InputError(f"there is a search space '{space.name}' already; choose another name")
    _SPACES[space.name] = space
    return space


def spaces_table() -> str:
    """Return a Markdown table of all spaces: size, tasks, official files, citation."""
    from parzc.datasets.tables import FORMATS

    rows = ["| space | architectures | tasks | official files | source |", "|---|---|---|---|---|"]
    for name in _SPACES:
        space = get_space(name)
        tasks = ", ".join(f"`{task}`" for task in space.tasks)
        files = ", ".join(dict.fromkeys(known.label for known in FORMATS if name in known.spaces))
        rows.append(f"| `{name}` | {space.size:,} | {tasks} | {files or 'none'} | {space.citation} |")
    return "\n".join(rows)
