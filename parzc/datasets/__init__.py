"""Search spaces and the tables of labels that go with them."""

from typing import TYPE_CHECKING

from parzc.datasets.spaces import (
    Choice,
    Choices,
    Cost,
    Decision,
    Graph,
    Partial,
    Size,
    Slot,
    Space,
    Supernet,
    Task,
    as_generator,
    count_cost,
    get_space,
    initialise,
    list_spaces,
    missing_slots,
    register_space,
)

if TYPE_CHECKING:
    from parzc.datasets.tables import Table, list_tables, load_table

__all__ = [
    "Choice",
    "Choices",
    "Cost",
    "Decision",
    "Graph",
    "Partial",
    "Size",
    "Slot",
    "Space",
    "Supernet",
    "Table",
    "Task",
    "as_generator",
    "count_cost",
    "get_space",
    "initialise",
    "list_spaces",
    "list_tables",
    "load_table",
    "missing_slots",
    "register_space",
    "spaces_table",
]


def __getattr__(name: str) -> object:
    # Tables bring pandas along, which the processes that extract features need not wait for.
    if name in ("Table", "list_tables", "load_table"):
        from parzc.datasets import tables

        return getattr(tables, name)
    raise AttributeError(f"module 'parzc.datasets' has no attribute '{name}'")


def spaces_table() -> str:
    """Return a Markdown table of all spaces: size, tasks, official files, citation."""
    from parzc.datasets.tables import formats

    rows = ["| space | architectures | tasks | official files | source |", "|---|---|---|---|---|"]
    for name in list_spaces():
        space = get_space(name)
        tasks = ", ".join(f"`{task}`" for task in space.tasks)
        files = ", ".join(dict.fromkeys(known.label for known in formats() if name in known.spaces))
        rows.append(f"| `{name}` | {space.size:,} | {tasks} | {files or 'none'} | {space.citation} |")
    return "\n".join(rows)
