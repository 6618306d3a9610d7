"""A folder of features that only ever grows, and that a crash at any moment leaves whole.

- `manifest.json`: the configuration (space, task, batch, seed, proxies and their definitions), the versions of the
  software, and the architectures that could not be extracted.
- `shard-<digest>.safetensors`: the features of some architectures, named after the SHA-256 digest of its bytes, so that
  a damaged shard is recognised when it is first read.
- `seconds-<digest>.json`: the seconds that the passes and proxies of a shard took.
- `index-<digest>.safetensors`: which shard holds which architecture.

Files appear under their name only once they are complete.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.store.index import FEW, Index, refreshed
from parzc.features.store.manifest import FORMAT, MANIFEST, difference_of, read_manifest
from parzc.features.store.shard import decode, digest, encode, is_intact
from parzc.features.store.table import FeatureTable
from parzc.files import locked, remove_stale, write_atomically

__all__ = ["FORMAT", "MANIFEST", "FeatureStore", "shipped", "write_atomically"]


def shipped(space: str) -> "FeatureStore":
    """Return the features of a whole space that come with the package.

    Raises:
        InputError: if none do.
    """
    path = resources.files("parzc.datasets") / "data" / space
    if not path.is_dir():
        raise InputError(
            f"no features of {space} come with parzc; extract them with python -m parzc.features {space} DIR"
        )
    return FeatureStore.open(str(path))


class FeatureStore:
    """The features of many architectures on disk; made by `create` or `open`.

    Opening reads the manifest only. What is there is looked up in the index, and of the shards only those are read, and
    checked, that hold what is asked for. What other processes add appears after `refresh`.

    Args:
        path: folder of the store.
        manifest: what `manifest.json` holds.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._known, self._stale = Index.of(()), True
        self._filed: int | None = None
        self._checked: set[str] = set()

    @classmethod
    def open(cls, path: str | Path) -> "FeatureStore":
        """Open an existing store.

        Raises:
            InputError: if there is none, or its manifest cannot be read.
        """
        return cls(Path(path), read_manifest(Path(path)))

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Mapping[str, Any],
        definitions: Mapping[str, Mapping[str, object]],
        versions: Mapping[str, str] | None = None,
    ) -> "FeatureStore":
        """Open the store at `path` to add to it, making it if there is none.

        Args:
            path: folder, created if need be.
            config: what fixes the numbers in addition to the definitions (space, task, batch, seed), as json values.
            definitions: proxy name to its definition, in the order of the columns.
            versions: of the software that adds to it, by name; recorded in addition to earlier ones.

        Raises:
            InputError: if a store is there that was made with another configuration; the difference is named.
        """
        path = Path(path)
        manifest = {
            "format": FORMAT,
            "config": dict(config),
            "definitions": {k: dict(v) for k, v in definitions.items()},
        } | ({"versions": [dict(versions)]} if versions else {})
        path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not (path / MANIFEST).exists():
                write_atomically(path / MANIFEST, json.dumps(manifest, indent=1).encode())
        store = cls.open(path)
        for part in ("config", "definitions"):
            difference = difference_of(store.manifest[part], json.loads(json.dumps(manifest[part])))
            if difference:
                raise InputError(f"{path} holds features of another configuration: {difference}; use another folder")
        remove_stale(path)
        if versions and dict(versions) not in store.manifest.get("versions", []):
            store.note(versions=[*store.manifest.get("versions", []), dict(versions)])
        return store

    @property
    def definitions(self) -> Mapping[str, Mapping[str, object]]:
        """Return what fixes the numbers of each statistic and proxy, by name."""
        definitions: Mapping[str, Mapping[str, object]] = self.manifest["definitions"]
        return definitions

    @property
    def origins(self) -> dict[str, str]:
        """Return the proxies that did not come with parzc, and the file or module that each was loaded from."""
        origins = self.manifest.get("origins", {})
        return {str(k): str(v) for k, v in origins.items()} if isinstance(origins, dict) else {}

    @property
    def failed(self) -> dict[str, str]:
        """Return the architectures that could not be extracted, and why; those that could be later are left out."""
        failed: dict[str, str] = self.manifest.get("failed", {})
        return {arch: why for arch, why in failed.items() if arch not in self}

    def note(self, **entries: Any) -> None:
        """Write entries of the manifest; those that other processes wrote meanwhile stay."""
        with locked(self.path):
            there = read_manifest(self.path)
            manifest = there | entries
            if manifest != there:
                write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=1).encode())
        self.manifest = manifest

    def append(self, table: FeatureTable, seconds: Mapping[str, float] | None = None) -> Path:
        """Add the rows of `table` as one shard and return its path; an architecture that was there already counts once.

        Args:
            table: what to add.
            seconds: pass or proxy name to the seconds that all rows took together.
        """
        return self.append_encoded(encode(table), len(table), seconds)

    def append_encoded(self, content: bytes, rows: int, seconds: Mapping[str, float] | None = None) -> Path:
        """Add a shard of so many rows as `encode` gives it; see `append`."""
        name = digest(content)
        path = self.path / f"shard-{name}.safetensors"
        if not path.exists() or not is_intact(path):
            write_atomically(path, content)
        if seconds:
            record = {"archs": rows, "seconds": dict(seconds)}
            write_atomically(self.path / f"seconds-{name}.json", json.dumps(record, indent=1).encode())
        self._stale = True
        return path

    @property
    def seconds(self) -> dict[str, float]:
        """Return the mean seconds for one architecture of each pass and proxy, as far as they were recorded."""
        archs, total = self._seconds()
        return {name: value / archs for name, value in total.items()}

    def _seconds(self) -> tuple[int, dict[str, float]]:
        archs, total = 0, dict[str, float]()
        for path in sorted(self.path.glob("seconds-*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["archs"] < 1:
                    raise ValueError("it counts no architecture")
                archs += record["archs"]
                for name, value in record["seconds"].items():
                    total[name] = total.get(name, 0.0) + float(value)
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as reason:
                raise InputError(f"{path} cannot be read ({reason}); delete it, the features do not need it") from None
        return archs, total

    @property
    def index(self) -> Index:
        """Return where each architecture is, as of the last `refresh` or `append` of this object."""
        if self._stale:
            self.refresh()
        return self._known

    def refresh(self, damaged: Callable[[Path, InputError], None] | None = None) -> None:
        """Look for shards that others added, or set aside.

        Args:
            damaged: called with the path of a new shard that is damaged, and the error; the error is raised if it is
                not given.
        """
        if self._filed is None:
            self._known = Index.load(self.path) or self._known
            self._filed = len(self._known.shards)
        self._known, self._stale = refreshed(self.path, self._known, damaged), False
        if len(self._known.shards) - self._filed > max(FEW, self._filed // 50):
            self.write_index()

    def write_index(self) -> None:
        """Keep the index in a file, if the folder can be written."""
        with suppress(OSError):
            self.index.write(self.path)
            self._filed = len(self._known.shards)

    @property
    def archs(self) -> tuple[str, ...]:
        """Return the architectures of the store, each once, sorted."""
        return tuple(self.index.archs)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, arch: object) -> bool:
        return isinstance(arch, str) and bool(self.index.find([arch])[0] >= 0)

    def lacking(self, archs: Sequence[str]) -> list[str]:
        """Return those of `archs` that are not in the store, in their order."""
        return [arch for arch, row in zip(archs, self.index.find(archs), strict=True) if row < 0]

    def set_aside_damaged(self, archs: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Look at every byte of the shards that hold `archs` (all shards, if not given); rename those that are damaged.

        What they held is not in the store any more; the next extraction that asks for it computes it again.

        Returns:
            The name of each damaged shard, and its new name.
        """
        renamed: list[tuple[str, str]] = []

        def rename(path: Path, _error: InputError) -> None:
            numbers = range(1, 10**6)
            names = (path.name.replace("shard-", f"damaged-{n}-" if n > 1 else "damaged-") for n in numbers)
            new = next(path.with_name(name) for name in names if not path.with_name(name).exists())
            path.rename(new)
            renamed.append((path.name, new.name))

        self.refresh(rename)
        rows = self.index.find(archs) if archs is not None else np.zeros(0, np.int64)
        named = np.unique(self.index.places(rows[rows >= 0])[0]) if archs is not None else range(len(self.index.shards))
        for path in [self.path / self.index.shards[i] for i in named]:
            try:
                decode(path, self.definitions)
            except InputError as error:
                rename(path, error)
        self.refresh()
        return renamed

    def compact(self, path: str | Path, rows: int = 2000) -> "FeatureStore":
        """Write the same features in the order of the architectures to a new folder, `rows` to a shard."""
        target = FeatureStore.create(path, self.manifest["config"], self.definitions)
        archs, seconds = self._seconds()
        for part in self.parts(rows):
            target.append(part, {k: v * len(part) / archs for k, v in seconds.items()} if archs else None)
        target.note(**{key: value for key, value in self.manifest.items() if key not in target.manifest})
        return target

    def parts(self, rows: int = 2000) -> Iterator[FeatureTable]:
        """Read the whole store in the order of the architectures, `rows` at a time."""
        archs = self.archs
        for start in range(0, len(archs), rows):
            yield self.read(archs[start : start + rows])

    def read(self, archs: Sequence[str] | None = None) -> FeatureTable:
        """Return the features of `archs` (all, sorted, if not given), one row for each in their order.

        Raises:
            InputError: if an architecture is not in the store, or a shard that holds one is damaged.
        """
        wanted = self.archs if archs is None else archs
        index, found = self.index, self.index.find(wanted)
        if (found < 0).any() or not len(index):
            raise self._lack([arch for arch, row in zip(wanted, found, strict=True) if row < 0], len(wanted))
        shards, rows = index.places(found)
        order = np.argsort(shards, kind="stable")
        of_each = np.split(order, np.flatnonzero(np.diff(shards[order])) + 1)
        tables = [
            # Where nothing is asked for, the first shard gives the columns.
            self._rows(index.shards[shards[own[0]] if len(own) else 0], rows[own], [wanted[i] for i in own])
            for own in of_each
        ]
        try:
            table = FeatureTable.concatenate(tables)
        except KeyError as column:
            raise InputError(f"{self.path} holds shards that differ in {column}; extract into another folder") from None
        return table[np.argsort(order, kind="stable")]

    def _rows(self, name: str, rows: NDArray[np.int64], archs: Sequence[str]) -> FeatureTable:
        path = self.path / name
        try:
            table = decode(path, self.definitions, checked=name in self._checked)
        except FileNotFoundError:
            raise InputError(f"{path} was removed while it was read; read the store again") from None
        self._checked.add(name)
        if any(table.archs[i : i + 1] != (arch,) for i, arch in zip(rows, archs, strict=True)):
            raise InputError(f"the index of {self.path} is wrong about {name}; delete its index-*.safetensors")
        return table[rows]

    def _lack(self, missing: Sequence[str], wanted: int) -> InputError:
        first, why = (f", '{missing[0]}' the first" if missing else ""), ""
        if missing and missing[0] in self.manifest.get("failed", {}):
            why = f" (it failed: {self.manifest['failed'][missing[0]]})"
        return InputError(
            f"{self.path} lacks the features of {len(missing)} of {wanted} architectures{first}{why}; extract them"
        )
