"""Search spaces: one file each, found by name in the registry."""

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._registry import get_space, list_spaces, register_space

__all__ = [
    "Cost",
    "Graph",
    "Slot",
    "Space",
    "Task",
    "count_cost",
    "get_space",
    "initialise",
    "list_spaces",
    "register_space",
]
