"""Where each architecture of a store is: an index of the shards, kept in a file so that opening reads none of them.

The file `index-<digest>.safetensors` holds only what the shards hold as well: where it is missing, damaged or out of
date, the shards that it does not cover are read. Architectures are found by a 64-bit hash, then compared.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.store.shard import lines, map_file, pieces, read_archs, small, text
from parzc.files import discard, names, writing

Segment = tuple[str, bytes, NDArray[np.uint64]]
"""Name of a shard, its architectures one to a line, and their hashes."""

FEW = 256
"""Number of shards (or 2 % of them, if that is more) that may be missing in the file before it is written anew."""

PART = 2**16
"""Architectures that are looked up together."""


def _keys(archs: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(hashlib.blake2b(arch, digest_size=8).digest() for arch in archs), "<u8")


@dataclass(frozen=True, eq=False)
class Index:
    """The rows of all shards, in the order of the shards' names.

    Args:
        shards: names of the shards, sorted (`s` entries).
        starts: `(s + 1,)`: the rows of shard `i` are `starts[i]:starts[i + 1]`.
        text: the architectures as UTF-8, a line for each of the `n` rows.
        ends: `(n,)` where each line ends.
        keys: `(n,)` hash of each architecture.
        order: `(n,)` rows sorted by hash.
        repeated: rows whose architecture is in an earlier row too.
    """

    shards: tuple[str, ...]
    starts: NDArray[np.int64]
    text: NDArray[np.uint8]
    ends: NDArray[Any]
    keys: NDArray[np.uint64]
    order: NDArray[Any]
    repeated: NDArray[Any]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> "Index":
        """Join what shards hold."""
        kept = sorted(segments, key=lambda segment: segment[0])
        content = bytearray()
        for i, (name, archs, keys) in enumerate(kept):
            content += archs + b"\n" if len(keys) else b""
            kept[i] = name, b"", keys  # which frees the text: the whole is in memory once
        column = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(column == ord("\n"))
        keys = np.concatenate([np.zeros(0, np.uint64), *(keys for _, _, keys in kept)])
        starts = np.cumsum([0, *(len(keys) for _, _, keys in kept)], dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        index = cls(
            tuple(name for name, _, _ in kept), starts, column, small(ends), keys, small(order), small(order[:0])
        )
        return replace(index, repeated=small(index._repeated()))

    def _repeated(self) -> NDArray[np.int64]:
        keys = self.keys[self.order]
        seen: dict[int, set[bytes]] = {}
        found = []
        for i in np.flatnonzero(keys[1:] == keys[:-1]) + 1:
            there = seen.setdefault(int(keys[i]), {self._line(self.order[i - 1])})
            arch = self._line(self.order[i])
            if arch in there:
                found.append(int(self.order[i]))
            there.add(arch)
        return np.array(sorted(found), dtype=np.int64)

    def _line(self, row: int) -> bytes:
        start = int(self.ends[row - 1]) + 1 if row else 0
        return self.text[start : int(self.ends[row])].tobytes()

    def __len__(self) -> int:
        return len(self.keys) - len(self.repeated)

    @property
    def archs(self) -> list[str]:
        """Return the different architectures, sorted."""
        every = lines(self.text[:-1])
        return sorted(set(every) if len(self.repeated) else every)

    def find(self, archs: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each architecture, `(len(archs),)`; -1 where there is none."""
        # A part at a time, because the encoded names of a million architectures would take as much memory again.
        parts = [self._find(archs[start : start + PART]) for start in range(0, len(archs), PART)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _find(self, archs: Sequence[str]) -> NDArray[np.int64]:
        asked = [arch.encode(errors="replace") for arch in archs]
        keys = _keys(asked)
        rows = np.full(len(asked), -1, dtype=np.int64)
        first = np.searchsorted(self.keys, keys, sorter=self.order)
        for i, (arch, key, place) in enumerate(zip(asked, keys, first.tolist(), strict=True)):
            while place < len(self.order) and self.keys[row := int(self.order[place])] == key:
                if self._line(row) == arch:
                    rows[i] = row
                    break
                place += 1
        return rows

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of the shard that each row is in, and its row there."""
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        return shard, rows - self.starts[shard]

    def segments(self, names: set[str]) -> Iterator[Segment]:
        """Return the segments of the named shards."""
        for i, name in enumerate(self.shards):
            first, last = int(self.starts[i]), int(self.starts[i + 1])
            if name in names:
                start = int(self.ends[first - 1]) + 1 if first else 0
                stop = int(self.ends[last - 1]) if last > first else start
                yield name, self.text[start:stop].tobytes(), self.keys[first:last]

    def write(self, folder: Path) -> None:
        """Keep the index in a file, in place of an older one."""
        arrays = {
            "shards": text(self.shards), "starts": small(self.starts), "text": self.text, "ends": small(self.ends),
            "keys": self.keys, "order": self.order, "repeated": self.repeated,
        }  # fmt: skip
        parts = pieces(arrays)
        name = hashlib.sha256()
        for part in parts:
            name.update(part)
        path = folder / f"index-{name.hexdigest()[:16]}.safetensors"
        with writing(path) as file:
            file.writelines(parts)
        for other in set(names(folder, "index-")) - {path.name}:
            discard(folder / other)

    @classmethod
    def load(cls, folder: Path) -> "Index | None":
        """Return the index that a file holds, without reading more of it than its checksum needs."""
        for file in names(folder, "index-"):
            with suppress(InputError, OSError, KeyError, ValueError, IndexError):
                arrays, _ = map_file(folder / file)
                columns = {name: arrays[name] for name in ("text", "ends", "keys", "order", "repeated")}
                index = cls(lines(arrays["shards"]), arrays["starts"].astype(np.int64), **columns)
                if index._fits():
                    return index
        return None

    def _fits(self) -> bool:
        """Return whether the columns belong together."""
        n = len(self.keys)
        columns = (self.ends, self.keys, self.order, self.repeated)
        return bool(
            all(column.ndim == 1 and column.dtype.kind == "u" for column in (*columns, self.text))
            and self.keys.dtype == np.uint64
            and self.text.dtype == np.uint8
            and self.starts.shape == (len(self.shards) + 1,)
            and (self.starts[0], self.starts[-1]) == (0, n)
            and len(self.ends) == len(self.order) == n
            and (n == 0 or (int(self.ends[-1]) < len(self.text) and int(self.order.max()) < n))
        )


def refreshed(folder: Path, known: Index, damaged: Callable[[Path, InputError], None] | None = None) -> Index:
    """Return the index of the shards that are in the folder now.

    Args:
        folder: the store.
        known: an index that was right before, or is empty.
        damaged: called with the path of a shard that is damaged and new to the index, and the error.

    Raises:
        InputError: if a new shard is damaged and `damaged` is not given.
    """
    there = set(names(folder, "shard-"))
    covered = set(known.shards)
    if covered == there:
        return known
    return Index.of(chain(known.segments(there), _read(folder, sorted(there - covered), damaged)))


def _read(folder: Path, names: Sequence[str], damaged: Callable[[Path, InputError], None] | None) -> Iterator[Segment]:
    for name in names:
        try:
            archs = read_archs(folder / name)
        except FileNotFoundError:  # another process set it aside meanwhile
            continue
        except InputError as error:
            if damaged is None:
                raise
            damaged(folder / name, error)
            continue
        yield name, archs, _keys(archs.split(b"\n") if archs else ())
