"""Code from outside the package, named by where it is: `path/to/file.py`, `path/to/file.py:name` or `module:name`."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from parzc.errors import InputError


def is_reference(name: str) -> bool:
    """Return whether a name says where code is, instead of being one of a registry."""
    return name.endswith(".py") or ":" in name


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file (as an absolute path) or module of a reference, and the name in it; empty for all of a file."""
    if reference.endswith(".py"):
        return str(Path(reference).resolve()), ""
    place, _, name = reference.rpartition(":")
    return (str(Path(place).resolve()) if place.endswith(".py") else place), name


def load_module(place: str) -> ModuleType:
    """Import a file by its absolute path, or a module by its name, once in each process.

    Raises:
        InputError: if there is no such file or module, or it raises an error.
    """
    if place.endswith(".py") and not Path(place).is_file():
        raise InputError(f"there is no file {place}; correct the path (each machine of a cluster needs it)")
    try:
        return _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except InputError as reason:
        raise InputError(f"{place} cannot be used: {reason}") from None
    except Exception as reason:  # whatever code from outside does
        why = " ".join(f"{type(reason).__name__}: {reason}".split())[:300]
        raise InputError(f"{place} cannot be imported ({why}); mend it, or correct its name") from reason


def _load_file(path: Path) -> ModuleType:
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # given for every name that ends in .py
    module = importlib.util.module_from_spec(spec)
    # As dataclasses and the like look their module up while it is being made.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
