"""A folder of features that only ever grows, and that a crash at any moment leaves whole.

`manifest.json` says what was asked for (space, task, batch, seed, proxies and their definitions). Each
`shard-<digest>.safetensors` holds the features of some architectures and is named after the SHA-256 digest of its
bytes, so a damaged shard is recognised when it is read; `seconds-<digest>.json` says how long its passes and proxies
took. Files appear under their name only once they are complete.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from parzc.errors import InputError
from parzc.features._record import NODE_FIELDS
from parzc.features.table import FeatureTable

FORMAT = 1
MANIFEST = "manifest.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either absent or complete, also after a crash."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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

    Args:
        path: folder of the store.
        manifest: what `manifest.json` holds.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: str | Path) -> "FeatureStore":
        """Open an existing store.

        Raises:
            InputError: if there is none, or its manifest cannot be read.
        """
        path = Path(path)
        file = path / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path} is not a feature store: it has no {MANIFEST}") from None
        except (OSError, ValueError) as reason:
            raise InputError(f"{file} cannot be read ({reason}); restore it or extract into another folder") from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InputError(f"{file} is not of format {FORMAT}, the one that this version reads; extract again")
        return cls(path, manifest)

    @classmethod
    def create(
        cls, path: str | Path, config: Mapping[str, Any], definitions: Mapping[str, Mapping[str, object]]
    ) -> "FeatureStore":
        """Open the store at `path` to add to it, making it if there is none.

        Args:
            path: folder, created if need be.
            config: whatever fixes the numbers besides the definitions, as json values.
            definitions: proxy name to its definition, in the order of the columns.

        Raises:
            InputError: if a store is there that was made with another configuration; the difference is named.
        """
        path = Path(path)
        manifest = {
            "format": FORMAT,
            "config": dict(config),
            "definitions": {k: dict(v) for k, v in definitions.items()},
        }
        if not (path / MANIFEST).exists():
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / MANIFEST, json.dumps(manifest, indent=1).encode())
            return cls(path, manifest)
        store = cls.open(path)
        for part in ("config", "definitions"):
            difference = _difference(store.manifest[part], json.loads(json.dumps(manifest[part])))
            if difference:
                raise InputError(f"{path} holds features of another configuration: {difference}; use another folder")
        return store

    @property
    def definitions(self) -> Mapping[str, Mapping[str, object]]:
        """Return what each statistic and proxy of the store means."""
        definitions: Mapping[str, Mapping[str, object]] = self.manifest["definitions"]
        return definitions

    def append(self, table: FeatureTable, seconds: Mapping[str, float] | None = None) -> Path:
        """Add the rows of `table` as one shard and return its path; rows already there do no harm.

        Args:
            table: what to add.
            seconds: pass or proxy name to the seconds that all rows took together.
        """
        content = _encode(table)
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = self.path / f"shard-{digest}.safetensors"
        if not path.exists():
            write_atomically(path, content)
        if seconds:
            record = {"archs": len(table), "seconds": dict(seconds)}
            write_atomically(self.path / f"seconds-{digest}.json", json.dumps(record, indent=1).encode())
        self.__dict__.pop("_index", None)
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
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
                raise InputError(f"{path} cannot be read ({reason}); delete it, the features do not need it") from None
        return archs, total

    @cached_property
    def _index(self) -> tuple[FeatureTable | None, dict[str, int]]:
        tables = [_decode(path, self.definitions) for path in sorted(self.path.glob("shard-*.safetensors"))]
        table = FeatureTable.concatenate(tables) if tables else None
        rows: dict[str, int] = {}
        for i, arch in enumerate(table.archs if table else ()):
            rows.setdefault(arch, i)
        return table, rows

    @property
    def archs(self) -> tuple[str, ...]:
        """Return the architectures of the store, each once, sorted."""
        return tuple(sorted(self._index[1]))

    def __len__(self) -> int:
        return len(self._index[1])

    def __contains__(self, arch: object) -> bool:
        return arch in self._index[1]

    def compact(self, path: str | Path, rows: int = 2000) -> "FeatureStore":
        """Write the same features in the order of the architectures to a new folder, `rows` to a shard."""
        target = FeatureStore.create(path, self.manifest["config"], self.definitions)
        table = self.read()
        archs, seconds = self._seconds()
        for start in range(0, len(table), rows):
            part = table[start : start + rows]
            target.append(part, {k: v * len(part) / archs for k, v in seconds.items()} if archs else None)
        return target

    def read(self, archs: Sequence[str] | None = None) -> FeatureTable:
        """Return the features of `archs` (all, sorted, if not given), one row for each in their order.

        Raises:
            InputError: if an architecture is not in the store, or a shard is damaged.
        """
        table, rows = self._index
        wanted = self.archs if archs is None else archs
        missing = [arch for arch in wanted if arch not in rows]
        if missing or table is None:
            first = f", '{missing[0]}' the first" if missing else ""
            raise InputError(
                f"{self.path} lacks the features of {len(missing)} of {len(wanted)} architectures{first}; extract them"
            )
        return table[np.array([rows[arch] for arch in wanted], dtype=np.int64)]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                return f"{key}: {_difference(old[key], new[key])}"
            return f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
    return ""


def _text(values: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(values).encode(), dtype=np.uint8)


def _lines(values: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(values.tobytes().decode().split("\n")) if len(values) else ()


def _small(values: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _encode(table: FeatureTable) -> bytes:
    used, node = np.unique(table.node, return_inverse=True)
    kinds, kind = np.unique(table.kinds, return_inverse=True)
    arrays: dict[str, NDArray[Any]] = {
        "archs": _text(table.archs),
        "offsets": _small(table.offsets),
        "names": _text([table.names[i] for i in used]),
        "node": _small(node),
        "kinds": _text(list(kinds)),
        "kind": _small(kind),
    }
    arrays |= {f"fields.{name}": _small(table.fields[:, i]) for i, name in enumerate(NODE_FIELDS)}
    arrays |= {f"statistics.{name}": values for name, values in table.statistics.items()}
    if len(table.blocks):
        used, block = np.unique(table.blocks, return_inverse=True)
        arrays |= {"block_offsets": _small(table.block_offsets), "blocks": _text(list(used)), "block": _small(block)}
    arrays |= {f"block_statistics.{name}": values for name, values in table.block_statistics.items()}
    arrays |= {f"scores.{name}": values for name, values in table.scores.items()}
    # One metadata key only: the order of several is not fixed, and the bytes give the shard its name.
    metadata = {"reasons": json.dumps(table.reasons, sort_keys=True)}
    return save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata)


def _decode(path: Path, definitions: Mapping[str, Mapping[str, object]]) -> FeatureTable:
    content = path.read_bytes()
    if path.stem != f"shard-{hashlib.sha256(content).hexdigest()[:16]}":
        raise InputError(f"{path} is damaged: its content does not match its name; delete it and extract again")
    arrays = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    blocks = np.zeros(0, dtype=np.str_)
    if "blocks" in arrays:
        blocks = np.array(_lines(arrays["blocks"]), dtype=np.str_)[arrays["block"]]
    statistics = {k: arrays[f"statistics.{k}"] for k in definitions if f"statistics.{k}" in arrays}
    return FeatureTable(
        archs=_lines(arrays["archs"]),
        offsets=arrays["offsets"].astype(np.int64),
        names=_lines(arrays["names"]),
        node=arrays["node"].astype(np.int32),
        kinds=np.array(_lines(arrays["kinds"]), dtype=np.str_)[arrays["kind"]],
        fields=np.stack([arrays[f"fields.{name}"].astype(np.int64) for name in NODE_FIELDS], axis=1),
        statistics=statistics,
        scores={k: arrays[f"scores.{k}"] for k in definitions if f"scores.{k}" in arrays},
        block_offsets=arrays.get("block_offsets", np.zeros(0)).astype(np.int64),
        blocks=blocks,
        block_statistics={k: arrays[f"block_statistics.{k}"] for k in definitions if f"block_statistics.{k}" in arrays},
        reasons=json.loads(header["__metadata__"]["reasons"]),
        definitions=definitions,
    )
