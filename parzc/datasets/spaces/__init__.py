"""Search spaces: one file each, found by name in the registry."""

from parzc.datasets.spaces._base import Cost, Graph, Slot, Space, Task, initialise, missing_slots
from parzc.datasets.spaces._choices import Choices
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._decisions import Choice, Decision, as_generator
from parzc.datasets.spaces._registry import get_space, list_spaces, register_space
from parzc.datasets.spaces._supernet import Partial, Size, Supernet

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
    "Task",
    "as_generator",
    "count_cost",
    "get_space",
    "initialise",
    "list_spaces",
    "missing_slots",
    "register_space",
]
