"""The search spaces that are known by name, and the door for those that are not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parzc.datasets.spaces import _doors
from parzc.datasets.spaces._base import Space
from parzc.datasets.spaces._references import same_source
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
_OPENED: dict[str, Space] = {}
"""Spaces that were given by their file or module in this process, by name."""


class UnknownSpace(InputError):
    """A space that something was saved for is not known in this process."""


def list_spaces() -> list[str]:
    """Return the names of all search spaces: of this package, registered, of other packages."""
    return list(dict.fromkeys((*_SPACES, *_doors.space_entry_points())))


def get_space(spec: str | Path | Space) -> Space:
    """Return a search space.

    Args:
        spec: a name of `list_spaces()`; `path/to/file.py:Name` or `module:Name`, where `Name` is a subclass or an
            object of `Space` (it may be left out of a file with one space); or a space, which is returned as it is. A
            space that was given by its file or module is known by its name from then on, in this process.

    Raises:
        InputError: if there is no such space; the sentence says what is missing.
    """
    if isinstance(spec, Space):
        return spec
    name = str(spec)
    known = _known(name)
    if known is not None:
        return known
    if not _doors.is_reference(name):
        raise InputError(
            f"there is no search space '{name[:200]}'; choose one of {', '.join(list_spaces())}, or give "
            "path/to/file.py:Name"
        )
    space = _doors.load_reference(name)
    if space.name in _BUILT_IN and type(space) is not _SPACES[space.name]:
        raise InputError(f"{name} is called '{space.name}', which is another space of parzc; choose another name")
    _OPENED[space.name] = space
    return space


def _known(name: str) -> Space | None:
    if name in _SPACES:
        return _SPACES[name]()
    if name in _doors.space_entry_points():
        return _doors.load_entry_point(_doors.space_entry_points()[name])
    return _OPENED.get(name)


def recorded_space(space: str | Space) -> dict[str, str]:
    """Return how a file records a space: its name, and the reference by which it was found if that is another one."""
    found = get_space(space) if space else None
    if found is None:
        return {"space": ""}
    elsewhere = {} if found.reference in ("", found.name) else {"space_reference": found.reference}
    return {"space": found.name} | elsewhere


def read_space(record: Mapping[str, Any], given: str | Path | Space | None, what: str) -> str | Space:
    """Return the space of something that was saved, as `recorded_space` recorded it; empty for networks of no space.

    The recorded reference is shown, and not followed: a file of strangers could name any file. Their space is taken
    where it is known by its name in this process, or given.

    Args:
        record: with `space`, and maybe `space_reference`.
        given: the space as `get_space` takes it, if there is one.
        what: was saved, and where, for messages.

    Raises:
        UnknownSpace: if the space is not known by its name and not given, or the given one has another name.
        TypeError: if the record is damaged.
    """
    name, place = record["space"], record.get("space_reference", "")
    if not isinstance(name, str) or not isinstance(place, str):
        raise TypeError("the space is no text")
    if given is not None:
        space = get_space(given)
        if name and space.name != name:
            raise UnknownSpace(f"{what} is for the space '{name[:200]}', not for '{space.name}'; give that space")
        return space.reference or space
    if not name:
        return ""
    known = _known(name)
    if known is None:
        where = f" (it was {place[:300]})" if place else ""
        raise UnknownSpace(
            f"{what} is for the search space '{name[:200]}', which is not known here{where}; give it with --space "
            "path/to/file.py:Name, or Ranker.load(folder, space=...)"
        )
    return known.reference or known


def register_space(space: type[Space]) -> type[Space]:
    """Make a space of your own known by its name, in this process; usable as a decorator.

    Raises:
        InputError: if the name is taken by another space, or methods are missing.
    """
    missing = sorted(getattr(space, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{space.__name__} lacks {', '.join(missing)}; define what Space asks for")
    known = _SPACES.setdefault(space.name, space)
    # A script whose file is imported once more, because it was given as a reference, registers its classes again.
    if known is not space and not (_doors.importing() and same_source(known, space)):
        raise InputError(f"there is a search space '{space.name}' already; choose another name")
    return space
