"""Code from outside the package, named by where it is: `path/to/file.py`, `path/to/file.py:name` or `module:name`."""

import hashlib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from parzc.errors import InputError

FILES = "_parzc_file_"
"""Start of the names of modules that were made from files."""


def is_reference(name: str) -> bool:
    """Return whether a name says where code is, instead of being one of a registry."""
    return name.endswith(".py") or ":" in name


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file (as an absolute path) or module of a reference, and the name in it; empty for all of a file."""
    place, _, name = (reference, "", "") if reference.endswith(".py") else reference.rpartition(":")
    return (str(Path(place).expanduser().resolve()) if place.endswith(".py") else place), name


def load_module(place: str) -> ModuleType:
    """Import a file by its absolute path, or a module by its name, once in each process.

    What stands behind `if __name__ == "__main__"` does not run. A file may import others of its folder.

    Raises:
        InputError: if there is no such file or module, or it raises an error.
    """
    if place.endswith(".py") and not Path(place).is_file():
        raise InputError(f"there is no file {place} on this machine; correct the path, or put the file there")
    try:
        return _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except InputError as reason:
        raise InputError(f"{place} cannot be used: {reason}") from None
    except Exception as reason:  # whatever code from outside does
        why = " ".join(f"{type(reason).__name__}: {reason}".split())[:300]
        raise InputError(f"{place} cannot be imported ({why}); mend it, or correct its name") from reason


def _load_file(path: Path) -> ModuleType:
    stem = re.sub(r"\W", "_", path.stem)
    name = f"{FILES}{hashlib.sha256(str(path).encode()).hexdigest()[:10]}_{stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # there is one for every name that ends in .py
    module = importlib.util.module_from_spec(spec)
    # As dataclasses and the like look their module up while it is being made.
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
