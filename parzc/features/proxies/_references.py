"""Proxies from outside the package: `path/to/file.py`, `path/to/file.py:name` or `module:name`."""

import importlib
from pathlib import Path
from types import ModuleType

from parzc.datasets.spaces._doors import import_file, is_reference
from parzc.datasets.spaces._references import FILES
from parzc.errors import InputError

__all__ = ["FILES", "is_reference", "load_module", "split_reference"]


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file (as an absolute path) or module of a reference, and the name in it; empty for all of a file."""
    place, _, name = (reference, "", "") if reference.endswith(".py") else reference.rpartition(":")
    return (str(Path(place).expanduser().resolve()) if place.endswith(".py") else place), name


def load_module(place: str) -> ModuleType:
    """Import a file by its absolute path, or a module by its name, once in each process.

    Raises:
        InputError: if there is no such file or module, or it raises an error.
    """
    if place.endswith(".py"):
        return import_file(Path(place))
    try:
        return importlib.import_module(place)
    except Exception as reason:  # whatever code from outside does
        why = " ".join(f"{type(reason).__name__}: {reason}".split())[:300]
        raise InputError(f"the module {place} cannot be imported ({why}); install it, or correct its name") from reason
