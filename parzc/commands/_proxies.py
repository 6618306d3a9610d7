"""Which proxies to measure: those that presets read, those that are named, or those of a store that is continued."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from parzc.errors import InputError
from parzc.features import FeatureStore, FeatureTable, list_proxies
from parzc.features.proxies._registry import resolve
from parzc.features.store import MANIFEST
from parzc.ranker.presets import variants_of

DEFAULT_FOR = "default,paper"
"""The presets whose proxies are measured where nothing else is asked for."""
LOOKED_AT = 2000
"""Architectures of a store, or a few more, in which undefined proxies are looked for."""


def proxies_of(presets: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all statistics, proxies and block statistics that presets read, in the order of the registry.

    Args:
        presets: names of presets.

    Raises:
        InputError: if there is no such preset.
    """
    names: set[str] = set()
    for name in presets:
        for variant in variants_of(name):
            names |= {*variant.statistics, *variant.scores, *variant.blocks}
    return tuple(name for name in list_proxies() if name in names)


def choose_proxies(folder: str, named: Sequence[str], presets: str) -> tuple[str, ...]:
    """Return the proxies to measure into a store; an empty tuple stands for all.

    Args:
        folder: of the store, which need not be there yet.
        named: names of proxies or of files and modules that hold them, or `all`; empty if none were named.
        presets: names of presets, separated by commas; empty if none were named.

    Raises:
        InputError: if there is no such preset, or if the store was made with other proxies.
    """
    own = _own(folder)
    if not named and not presets and own:
        _check_known(folder, own)
        return own
    if list(named) == ["all"]:
        chosen: tuple[str, ...] = ()
    elif named:
        chosen = tuple(named)
    else:
        chosen = proxies_of([name.strip() for name in (presets or DEFAULT_FOR).split(",")])
    names = [info.name for info in resolve(chosen or None)] if own else []
    if set(names) != set(own):
        raise InputError(_difference(folder, own, names))
    return chosen


def _check_known(folder: str, own: Sequence[str]) -> None:
    """Raise an error that says what to name if a store holds proxies from outside parzc that are not loaded."""
    missing = [name for name in own if name not in list_proxies()]
    if missing:
        origins = FeatureStore.open(folder).origins
        options = " ".join(origins.get(name, name) for name in own)
        raise InputError(
            f"{folder} holds proxies that do not come with parzc ({some(missing)}); to go on, name where they are: "
            f"--proxies {options}"
        )


def _own(folder: str) -> tuple[str, ...]:
    if not (Path(folder) / MANIFEST).exists():
        return ()
    names = FeatureStore.open(folder).manifest["config"].get("proxies")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{Path(folder) / MANIFEST} is damaged; restore it or extract into another folder")
    return tuple(names)


def _difference(folder: str, own: Sequence[str], chosen: Sequence[str]) -> str:
    new = [name for name in chosen if name not in own]
    what = f"lacks {some(new)}" if new else f"holds {some([name for name in own if name not in chosen])}, too"
    return (
        f"{folder} {what}, and a store keeps the proxies that it began with; leave --proxies and --for away to add "
        "architectures to it, or use another folder"
    )


def some(names: Sequence[str], most: int = 6) -> str:
    """Return names as a list that is not too long to read."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def undefined_in(store: FeatureStore) -> list[str]:
    """Return lines that name the proxies without a value for most architectures of a store, and why."""
    return undefined(store.read(first_archs(store))) if len(store) else []


def first_archs(store: FeatureStore) -> list[str]:
    """Return the architectures of the first shards, about `LOOKED_AT`: shards are in the order of their digests."""
    index = store.index
    shards = int(np.searchsorted(index.starts, LOOKED_AT, side="left"))
    texts = [text for _, text, rows in index.segments(set(index.shards[:shards])) if len(rows)]
    return sorted({arch for text in texts for arch in text.decode().split("\n")})


def undefined(table: FeatureTable) -> list[str]:
    """Return lines that name the proxies without a value for most networks of a table, and the most frequent reason."""
    grouped: dict[tuple[int, str], list[str]] = {}
    for name, values in table.scores.items():
        count = int(np.isnan(values).sum())
        if 2 * count > len(table):
            grouped.setdefault((count, _reason(name, table.reasons)), []).append(name)
    return [
        f"no value for {count:,} of {len(table):,} architectures{f' ({why})' if why else ''}: {', '.join(names)}"
        for (count, why), names in sorted(grouped.items(), key=lambda item: -item[0][0])
    ]


def _reason(name: str, reasons: Mapping[str, Mapping[str, str]]) -> str:
    counted = Counter(why[name] for why in reasons.values() if name in why)
    return counted.most_common(1)[0][0] if counted else ""
