"""What is measured of the architectures that a command is given, and what to do about those that are not."""

import shlex
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parzc.commands._proxies import proxies_of, some
from parzc.datasets import Space, missing_slots
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureStore, FeatureTable, build_store, shipped
from parzc.ranker.presets import PRESETS

EXTRACT = "python -m parzc.features"


class Reads(Protocol):
    """The part of a preset that names what is read of networks."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """Return the names of node statistics."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Return the names of proxies."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Return the names of block statistics."""


def open_store(space: Space, folder: str = "") -> FeatureStore:
    """Return the feature store in `folder`, or the features of the space that come with parzc if none is named.

    Raises:
        InputError: if there is none, or it is of another space.
    """
    if not folder:
        try:
            return shipped(space.name)
        except InputError:
            raise InputError(
                f"no features of {space.name} come with parzc; measure some with {EXTRACT} {spelling(space)} DIR, "
                "and give that folder with --features"
            ) from None
    store = FeatureStore.open(folder)
    there = store.manifest["config"].get("space", space.name)
    if there != space.name:
        raise InputError(f"{folder} holds features of {there}; give features of {space.name} with --features")
    return store


def spelling(space: Space) -> str:
    """Return what names a space on a command line: its name, or its file or module and class."""
    return shlex.quote(space.reference or space.name)


def is_measured(functions: Sequence[str], store: FeatureStore) -> NDArray[np.bool_]:
    """Return which functions are in a store, `(len(functions),)`."""
    return store.index.find(functions) >= 0


def measured_part(
    archs: Sequence[str], space: Space, store: FeatureStore, where: str
) -> tuple[NDArray[np.int64], list[str], str]:
    """Find those of `archs` whose features are in a store.

    Args:
        archs: architectures of the space.
        space: the space.
        store: the feature store.
        where: what the architectures are those of, for messages.

    Returns:
        Their indices, the functions that they compute, and a sentence that counts them, empty if all are measured.

    Raises:
        InputError: if none is.
    """
    functions = [space.canonical(arch) for arch in archs]
    kept = np.flatnonzero(is_measured(functions, store))
    if not len(kept):
        raise InputError(
            f"none of the {len(archs):,} architectures of {where} is measured in {store.path}; "
            f"measure them with {command(store, space)}"
        )
    sentence = f"{len(kept):,} of {len(archs):,} architectures of {where} are measured; the others are left out"
    return kept, [functions[i] for i in kept], sentence if len(kept) < len(archs) else ""


def read_functions(functions: Sequence[str], store: FeatureStore) -> tuple[FeatureTable, NDArray[np.int64]]:
    """Return the features of the different ones of `functions`, all of them measured, and the row of each."""
    names = sorted(set(functions))
    rows = {name: row for row, name in enumerate(names)}
    return store.read(names), np.array([rows[name] for name in functions])


def read_features(archs: Sequence[str], space: Space, folder: str = "") -> tuple[FeatureTable, NDArray[np.int64]]:
    """Return the features of the different functions of `archs`, and the row of each arch.

    Args:
        archs: architectures of the space.
        space: the space.
        folder: a feature store; the features that come with the package if empty.

    Raises:
        InputError: if there is no such store, or it lacks features.
    """
    store, functions = open_store(space, folder), [space.canonical(arch) for arch in archs]
    check_measured(functions, space, store)
    return read_functions(functions, store)


def check_measured(functions: Sequence[str], space: Space, store: FeatureStore, also: str = "") -> None:
    """Raise `InputError` if a store lacks some of `functions`; `also` is another way than the command to add them."""
    different = sorted(set(functions))
    missing = store.lacking(different)
    if missing:
        failed = store.failed.get(missing[0])
        raise InputError(
            f"{store.path} lacks the features of {len(missing)} of {len(different)} functions, '{missing[0]}' the "
            f"first{f' (it failed: {failed})' if failed else ''}; measure them{also} with {command(store, space)}"
        )


def command(store: FeatureStore, space: Space) -> str:
    """Return the command that adds architectures, listed in a file, to a store."""
    config, default = store.manifest["config"], ExtractionConfig(space.name, space.task().name)
    options = [
        f" --{name} {'FILE' if name == 'data' else shlex.quote(str(config[name]))}"
        for name in ("task", "batch", "batches", "data", "seed")
        if config.get(name, getattr(default, name)) != getattr(default, name)
    ]
    return f"{EXTRACT} {spelling(space)} {shlex.quote(str(store.path))} --archs ARCHS.txt{''.join(options)}"


def extract_into(store: FeatureStore, space: Space, archs: Sequence[str]) -> FeatureStore:
    """Measure the architectures that a store lacks, just as those that are there, and add them to it.

    Raises:
        InputError: if it is not known how those that are there were measured.
    """
    config = store.manifest["config"]
    if str(config.get("data", "")).startswith("sha256:"):
        raise InputError(f"{store.path} was measured on images of a file; add to it with {command(store, space)}")
    known = {name: value for name, value in config.items() if name in ExtractionConfig.__dataclass_fields__}
    known |= {"space": space.reference or space.name, "proxies": tuple(config.get("proxies", ()))}
    try:
        own = ExtractionConfig(**known)
    except TypeError as reason:
        raise InputError(f"the manifest of {store.path} is damaged ({reason}); extract into another folder") from None
    return build_store(store.path, own, archs, progress=True)


def check_reads(reads: Reads, preset: str, features: FeatureTable, store: FeatureStore, space: Space) -> None:
    """Raise `InputError` if features lack what a ranker of the preset reads; all that is missing is named."""
    parts = {
        "statistics": [name for name in reads.statistics if name not in features.statistics],
        "proxies": [name for name in reads.scores if name not in features.scores],
        "block statistics": [name for name in reads.blocks if name not in features.block_statistics],
    }
    missing = [name for names in parts.values() for name in names]
    if not missing:
        return
    named = " and the ".join(f"{what} {some(names)}" for what, names in parts.items() if names)
    known = preset in PRESETS and set(missing) <= set(proxies_of([preset]))
    which = f"--for {preset}" if known else f"--proxies {' '.join(dict.fromkeys(missing))}"
    path = shlex.quote(str(store.path))
    raise InputError(
        f"the features in {store.path} lack the {named}, which the preset '{preset}' reads; a store keeps the proxies "
        f"that it began with, so measure the architectures into another folder: {EXTRACT} archs {path} > ARCHS.txt, "
        f"then {EXTRACT} {spelling(space)} OTHER --archs ARCHS.txt {which}"
    )


def check_slots(features: FeatureTable, space: Space) -> None:
    """Raise `InputError` if a node fills no slot of a space that has slots."""
    used = [features.names[i] for i in np.unique(features.node)]
    missing = missing_slots(space, sorted(used))
    if missing:
        others = f", and one for each of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(
            f"the node '{missing[0]}' fills no slot of the space {space.name}; add Slot('{missing[0]}', ...) to its "
            f"slots{others}: what is measured stays valid"
        )
