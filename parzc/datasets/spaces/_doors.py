"""Spaces from outside the package: of other installed packages, of modules, of files."""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from parzc.datasets.spaces._base import Space
from parzc.datasets.spaces._references import FILES
from parzc.errors import InputError

GROUP = "parzc.spaces"
"""Entry points by which an installed package makes spaces known by name."""

_importing: list[Path] = []
"""Files that are being imported at the moment."""


@cache
def space_entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of other packages that give spaces, by the name of the space."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_entry_point(point: EntryPoint) -> Space:
    """Return the space that an installed package makes known.

    Raises:
        InputError: if it cannot be imported, or is no space.
    """
    where = f"{point.value}, which the package {point.dist.name if point.dist else '?'} calls the space '{point.name}',"
    try:
        found = point.load()
    except Exception as error:
        raise InputError(f"{where} cannot be imported ({_said(error)}); repair or remove the package") from error
    return _known_as(as_space(found, where), point.name)


def is_reference(text: str) -> bool:
    """Return whether a text names a file or module rather than a space."""
    return text.endswith(".py") or ":" in text


def load_reference(text: str) -> Space:
    """Return the space that `path/to/file.py:Name`, `module:Name`, or a file with one space in it, names.

    Raises:
        InputError: if there is no such file, module or name, if importing it raises an error, or if what is called so
            is no space.
    """
    where, name = (text, "") if text.endswith(".py") else text.rpartition(":")[::2]
    is_file = where.endswith(".py")
    module = import_file(Path(where)) if is_file else _import_module(where, text)
    place = str(Path(where).resolve()) if is_file else where
    if not name:
        (name,) = _only_space(module, place)
    if not hasattr(module, name):
        raise InputError(f"{place} has no '{name}'; {_spaces_there(module)}")
    space = as_space(getattr(module, name), f"'{name}' of {place}")
    return _known_as(space, f"{place}:{name}")


def as_space(found: object, what: str) -> Space:
    """Return a space as it is, and the instance of a class of spaces.

    Raises:
        InputError: for anything else, or a class that lacks methods or cannot be made without arguments.
    """
    if isinstance(found, Space):
        return found
    if not (isinstance(found, type) and issubclass(found, Space)):
        raise InputError(f"{what} is no search space; give a subclass of parzc.datasets.Space, or a parzc.Choices")
    lacking = sorted(getattr(found, "__abstractmethods__", ()))
    if lacking:
        raise InputError(f"{what} lacks {', '.join(lacking)}; define what parzc.datasets.Space asks for")
    try:
        return found()
    except TypeError as error:
        raise InputError(
            f"{what} cannot be made ({_said(error)}); give a class without arguments, or an object"
        ) from error


def import_file(path: Path) -> ModuleType:
    """Return the module of a Python file, imported once in a process, under a name of its own.

    What stands behind `if __name__ == "__main__"` does not run. The file may import others of its folder.

    Raises:
        InputError: if there is no such file, or importing it raises an error; the line is named.
    """
    path = path.expanduser().resolve()
    stem = re.sub(r"\W", "_", path.stem)
    name = f"{FILES}{hashlib.sha256(str(path).encode()).hexdigest()[:10]}_{stem}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise InputError(f"there is no file {path} on this machine; correct the path, or put the file there")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _importing.append(path)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InputError(f"{path} cannot be imported: {_said(error)}{_line(error, path)}; correct the file") from error
    finally:
        _importing.pop()
    return module


def importing() -> str:
    """Return the file that is being imported for a space at the moment; empty if there is none.

    Long work that starts there belongs behind `if __name__ == "__main__"`: every worker process imports the file.
    """
    return str(_importing[-1]) if _importing else ""


def _import_module(name: str, text: str) -> ModuleType:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise InputError(f"'{text[:200]}' names no space; give a name, path/to/file.py:Name, or module:Name")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"there is no module '{error.name}' for the space '{text[:200]}' on this machine; install it, or give the "
            "space as path/to/file.py:Name"
        ) from None
    except Exception as error:
        raise InputError(f"the module {name} cannot be imported: {_said(error)}; correct it") from error


def _known_as(space: Space, reference: str) -> Space:
    space._reference = reference
    return space


def _spaces_of(module: ModuleType) -> list[str]:
    """Return the names of the spaces that a module itself defines."""
    found = []
    for name, value in vars(module).items():
        own = isinstance(value, type) and issubclass(value, Space) and value.__module__ == module.__name__
        if (own and not getattr(value, "__abstractmethods__", ())) or isinstance(value, Space):
            found.append(name)
    return found


def _spaces_there(module: ModuleType) -> str:
    names = _spaces_of(module)
    return (
        f"spaces there: {', '.join(names)}"
        if names
        else ("there is no space in it; those in a function, or behind if __name__ == '__main__', cannot be found")
    )


def _only_space(module: ModuleType, place: str) -> list[str]:
    names = _spaces_of(module)
    if len(names) != 1:
        raise InputError(f"{place} does not say which space is meant; write {place}:Name; {_spaces_there(module)}")
    return names


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _line(error: BaseException, path: Path) -> str:
    """Return at which line of the file an error came up, as words to put behind it."""
    if isinstance(error, SyntaxError):
        return f" at line {error.lineno}" if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" at line {lines[-1]}" if lines else ""
