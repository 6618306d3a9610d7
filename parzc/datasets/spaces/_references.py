"""How another process, or another machine, finds a space: the string that `Space.reference` returns."""

import inspect
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from parzc.errors import InputError

if TYPE_CHECKING:
    from parzc.datasets.spaces._base import Space

BUILT_IN = "parzc.datasets.spaces."
"""Start of the names of the modules whose spaces are known by name wherever this package is."""

FILES = "_parzc_file_"
"""Start of the names of modules that were made from files."""


def reference_of(space: "Space") -> str:
    """Return the string by which `get_space` finds a space in another process; empty if there is none."""
    known = getattr(space, "_reference", "")
    if known:
        return str(known)
    kind = type(space)
    if name := _variable(space):
        return name
    if kind.__module__.startswith(BUILT_IN) and not kind.__module__.rpartition(".")[2].startswith("_"):
        return space.name
    # An object that was made with arguments cannot be made again from its class alone.
    if inspect.signature(kind).parameters or getattr(_module(kind), kind.__qualname__, None) is not kind:
        return ""
    return _in_module(_module(kind), kind.__name__)


def findable(space: "Space") -> str:
    """Return the reference of a space that other processes are to find.

    Raises:
        InputError: if they cannot find it.
    """
    reference = space.reference
    if not reference:
        raise InputError(
            f"no other process can find the space '{space.name}', which is defined in this process alone; write it "
            "into a file, at the top level, and give path/to/file.py:Name, or work with 1 worker of this machine"
        )
    return reference


def _module(kind: type) -> ModuleType | None:
    return sys.modules.get(kind.__module__)


def _variable(space: "Space") -> str:
    """Return the reference of a module-level variable that holds the very object, if there is one.

    Other modules may have imported it: the one that defines its class, or the function it was made of, comes first.
    """
    own = sys.modules.get(getattr(getattr(space, "build", space), "__module__", ""))
    for module in (own, *list(sys.modules.values())):
        if isinstance(module, ModuleType) and not module.__name__.startswith(BUILT_IN):
            for name, value in list(vars(module).items()):
                if value is space and (reference := _in_module(module, name)):
                    return reference
    return ""


def same_source(one: type, other: type) -> bool:
    """Return whether two classes have one name in one file, which was imported twice."""
    files = [getattr(_module(kind), "__file__", None) for kind in (one, other)]
    return one.__qualname__ == other.__qualname__ and None not in files and len({*map(str, files)}) == 1


def _in_module(module: ModuleType | None, name: str) -> str:
    """Return the reference of what a module calls `name`: by its module if that can be imported, else by its file."""
    if module is None:
        return ""
    # A program that was started as `python -m package.module` is called __main__, but can be imported by its name.
    spec = getattr(module, "__spec__", None)
    known = spec.name if module.__name__ == "__main__" and spec is not None else module.__name__
    file = getattr(module, "__file__", None)
    if known != "__main__" and not known.startswith(FILES) and _importable(known, file):
        return f"{known}:{name}"
    if file is None or not Path(file).is_file():
        return ""
    return f"{Path(file).resolve()}:{name}"


def _importable(name: str, file: str | None) -> bool:
    """Return whether `import name` leads to this file, also in a process that has not imported it."""
    path, origin, parts = None, None, name.split(".")
    for depth in range(len(parts)):
        found = PathFinder.find_spec(".".join(parts[: depth + 1]), path)
        if found is None:
            return False
        path, origin = list(found.submodule_search_locations or ()), found.origin
    return file is not None and origin is not None and Path(origin).resolve() == Path(file).resolve()
