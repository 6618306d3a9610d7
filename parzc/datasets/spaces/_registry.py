"""The search spaces that are known by name, and the door for those that are not."""

from pathlib import Path

from parzc.datasets.spaces import _doors
from parzc.datasets.spaces._base import Space
from parzc.datasets.spaces.autoformer import AutoFormerBase, AutoFormerSmall, AutoFormerTiny
from parzc.datasets.spaces.darts import NDSENAS, NDSPNAS, Darts, NDSAmoeba, NDSDarts, NDSNASNet
from parzc.datasets.spaces.nats_sss import NATSSize
from parzc.datasets.spaces.nb101 import NB101
from parzc.datasets.spaces.nb201 import NB201
from parzc.datasets.spaces.transnas import TransNASMacro, TransNASMicro
from parzc.errors import InputError

_SPACES: dict[str, type[Space]] = {
    space.name: space
    for space in (
        *(NB201, NB101, TransNASMicro, TransNASMacro, NATSSize),
        *(Darts, NDSDarts, NDSENAS, NDSNASNet, NDSAmoeba, NDSPNAS),
        *(AutoFormerTiny, AutoFormerSmall, AutoFormerBase),
    )
}
_BUILT_IN = frozenset(_SPACES)


def list_spaces() -> list[str]:
    """Return the names of all search spaces: those of this package, registered ones, those of other packages."""
    return list(dict.fromkeys((*_SPACES, *_doors.space_entry_points())))


def get_space(spec: str | Path | Space) -> Space:
    """Return a search space.

    Args:
        spec: a name of `list_spaces()`; `path/to/file.py:Name` or `module:Name`, where `Name` is a subclass or an
            object of `Space` (it may be left out of a file with one space); or a space, which is returned as it is.

    Raises:
        InputError: if there is no such space; the sentence says what is missing.
    """
    if isinstance(spec, Space):
        return spec
    name = str(spec)
    if name in _SPACES:
        return _SPACES[name]()
    if name in _doors.space_entry_points():
        return _doors.load_entry_point(_doors.space_entry_points()[name])
    if not _doors.is_reference(name):
        raise InputError(
            f"there is no search space '{name[:200]}'; choose one of {', '.join(list_spaces())}, or give "
            "path/to/file.py:Name"
        )
    space = _doors.load_reference(name)
    if space.name in _BUILT_IN and type(space) is not _SPACES[space.name]:
        raise InputError(f"{name} is called '{space.name}', which is another space of parzc; choose another name")
    return space


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
