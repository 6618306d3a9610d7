"""The search spaces that are known by name."""

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


def list_spaces() -> list[str]:
    """Return the names of all search spaces."""
    return list(_SPACES)


def get_space(name: str) -> Space:
    """Return the search space called `name`.

    Raises:
        InputError: if there is no such space.
    """
    if name not in _SPACES:
        raise InputError(f"there is no search space '{name}'; choose one of {', '.join(_SPACES)}")
    return _SPACES[name]()


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
