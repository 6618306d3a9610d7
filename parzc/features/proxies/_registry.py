"""The proxies that are known by name, and those that a file or module from outside the package adds to them."""

import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

from parzc.errors import InputError
from parzc.features.proxies._info import Elements, NodeValues, ProxyInfo, Scale
from parzc.features.proxies._references import FILES, is_reference, load_module, split_reference

__all__ = [
    "NodeValues",
    "ProxyInfo",
    "known_info",
    "list_block_statistics",
    "list_proxies",
    "list_statistics",
    "load_proxies",
    "proxy_info",
    "record",
    "reference",
    "register",
    "resolve",
]

ENTRY_POINTS = "parzc.proxies"
"""Group of entry points whose modules register proxies when they are imported, or hold a `ProxyInfo`."""

_PROXIES: dict[str, ProxyInfo] = {}
_LOADED: dict[str, tuple[ProxyInfo, ...]] = {}
"""What each file or module that was named by a reference has registered, so that it is imported once in a process."""


def register(info: ProxyInfo) -> ProxyInfo:
    """Add a record to the registry of this process and return it.

    Raises:
        InputError: if the name is taken or the record computes nothing.
    """
    if info.name in _PROXIES:
        raise InputError(f"a proxy called '{info.name}' is already registered; choose another name")
    if info.node_values is None and info.network_value is None:
        raise InputError(f"proxy '{info.name}' computes nothing: give node_values or network_value")
    _PROXIES[info.name] = info
    return info


def list_proxies() -> list[str]:
    """Return the names of all proxies, in the order of registration."""
    _discover()
    return list(_PROXIES)


def list_statistics() -> list[str]:
    """Return the names of the proxies that also have one value at each node."""
    return [name for name in list_proxies() if _PROXIES[name].has_nodes]


def list_block_statistics() -> list[str]:
    """Return the names of the proxies that also have one value at each primary block."""
    return [name for name in list_proxies() if _PROXIES[name].block_values is not None]


def proxy_info(name: str) -> ProxyInfo:
    """Return the record of a proxy.

    Args:
        name: as in `list_proxies()`, or `path/to/file.py`, `path/to/file.py:name`, `module:name`, which are loaded.

    Raises:
        InputError: if there is no such proxy, or a file holds several and none is named.
    """
    found = _find(name)
    if len(found) > 1:
        names = ", ".join(info.name for info in found)
        raise InputError(f"{name} registers several proxies ({names}); name one, as in {name}:{found[0].name}")
    return found[0]


def resolve(names: str | Iterable[str] | None) -> list[ProxyInfo]:
    """Return the records of `names` in the order of registration, all of them for `None`.

    Args:
        names: as in `proxy_info`, or one such name; a file without a name stands for all proxies that it registers.

    Raises:
        InputError: if there is no such proxy.
    """
    if names is None:
        return [_PROXIES[name] for name in list_proxies()]
    wanted = {info.name for name in ([names] if isinstance(names, str) else names) for info in _find(name)}
    return [info for name, info in _PROXIES.items() if name in wanted]


def load_proxies(place: str | Path) -> list[str]:
    """Register the proxies of a file or module, and return their names.

    Args:
        place: `path/to/file.py`, `path/to/file.py:name` or `module:name`; it is imported once in each process.

    Raises:
        InputError: if it cannot be imported, registers no such proxy, or one whose name is taken.
    """
    return [info.name for info in resolve([str(place)])]


def reference(info: ProxyInfo) -> str:
    """Return the name by which another process finds a proxy: with its file or module unless it is one of parzc."""
    place = _place(info)
    return f"{place}:{info.name}" if place else info.name


def record(info: ProxyInfo) -> dict[str, object]:
    """Return what a store keeps of a proxy: its definition, and all that is needed to use its values without its file.

    Of proxies that come with parzc this is `define()`; of others also which way is better.
    """
    return {**info.define(), **({"bigger_is_better": info.bigger_is_better} if _place(info) else {})}


def known_info(name: str, kept: Mapping[str, Any]) -> ProxyInfo:
    """Return the record of a proxy that is registered, else what can be made of one that `record` kept; no functions.

    Raises:
        InputError: if there is no such proxy, and `kept` does not hold what its values mean.
    """
    fields: dict[str, Any] = {key: kept.get(key) for key in ("scale", "elements", "bigger_is_better")}
    whole = fields["scale"] in get_args(Scale) and fields["elements"] in get_args(Elements)
    if name in list_proxies() or not whole or not isinstance(fields["bigger_is_better"], bool):
        return proxy_info(name)
    return ProxyInfo(name, "a proxy whose file is not loaded", "the features that hold its values", **fields)


def _find(name: str) -> list[ProxyInfo]:
    _discover()
    if name in _PROXIES:
        return [_PROXIES[name]]
    if not is_reference(name):
        raise InputError(
            f"there is no proxy '{name}'; choose from {', '.join(_PROXIES)}, or name the file of one of your own "
            f"(my_proxy.py:{name})"
        )
    place, wanted = split_reference(name)
    known = _PROXIES.get(wanted)
    if known is not None and _place(known) == place:
        return [known]
    if place == "__main__":
        raise InputError(
            f"proxy '{wanted}' was defined in an interactive session, which worker processes cannot import; write it "
            f"into a file and name that (my_proxy.py:{wanted}), or take one worker"
        )
    found = _load(place)
    named = [info for info in found if wanted in ("", info.name, getattr(_function(info), "__name__", info.name))]
    if not named:
        what = f" '{wanted}', only {', '.join(info.name for info in found)}" if found else ""
        raise InputError(f"{place} registers no proxy{what}; correct the name, or see docs/own_proxy.md")
    return named


def _load(place: str) -> tuple[ProxyInfo, ...]:
    """Return what a file or module registers; nothing of one that fails stays registered."""
    before = dict(_PROXIES)
    try:
        if place not in _LOADED:
            module = load_module(place)
            for value in vars(module).values():
                if isinstance(value, ProxyInfo) and _PROXIES.get(value.name) != value:
                    register(value)
            own = [info for name, info in _PROXIES.items() if name not in before or _place(info) == place]
            _LOADED[place] = tuple(replace(info, origin=info.origin or place) for info in own)
        for info in _LOADED[place]:
            if _PROXIES.get(info.name, info) != info:
                raise InputError(f"{place} cannot be used: a proxy called '{info.name}' is already registered")
            _PROXIES[info.name] = info
    except InputError:
        _PROXIES.clear()
        _PROXIES.update(before)
        raise
    return _LOADED[place]


def _discover() -> None:
    """Register the proxies of installed packages, once in each process; a package that fails is left out."""
    if ENTRY_POINTS in _LOADED:
        return
    _LOADED[ENTRY_POINTS] = ()
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            _load(entry.module)
        except InputError as reason:
            warnings.warn(f"the proxies of the installed package '{entry.name}' are left out: {reason}", stacklevel=3)


def _function(info: ProxyInfo) -> object:
    function = info.node_values or info.network_value
    return function.func if isinstance(function, partial) else function


def _place(info: ProxyInfo) -> str:
    """Return the file or module that a proxy comes from; empty for those of parzc."""
    if info.origin:
        return info.origin
    module = getattr(_function(info), "__module__", None) or "__main__"
    if module.startswith(f"{__package__}."):
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    by_file = module == "__main__" or module.startswith(FILES)
    return str(Path(file).resolve()) if by_file and file else module
