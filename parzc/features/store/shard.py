"""One shard: a table of features as the bytes of a safetensors file, and back, mapped into memory."""

import hashlib
import json
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from parzc.errors import InputError
from parzc.features.store.record import NODE_FIELDS
from parzc.features.store.table import FeatureTable

Arrays = Mapping[str, NDArray[Any]]
_TYPES = {
    "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_HEADER_LIMIT = 100_000_000
"""Bytes of a header, as the safetensors library limits them."""


def digest(content: bytes | mmap.mmap) -> str:
    """Return what a file with this content is named after: the first 16 digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def is_intact(path: Path) -> bool:
    """Return whether the content of a file is the one that it is named after, `kind-<digest>.safetensors`."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return path.stem.rpartition("-")[2] == found


def text(values: Sequence[str]) -> NDArray[np.uint8]:
    """Return strings as UTF-8, one to a line."""
    return np.frombuffer("\n".join(values).encode(), dtype=np.uint8)


def lines(values: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return the strings that `text` made bytes of."""
    return tuple(values.tobytes().decode().split("\n")) if len(values) else ()


def small(values: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Return the same counts in the smallest unsigned type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def encode(table: FeatureTable) -> bytes:
    """Return the table as a safetensors file; equal tables give equal bytes."""
    used, node = np.unique(table.node, return_inverse=True)
    kinds, kind = np.unique(table.kinds, return_inverse=True)
    arrays: dict[str, NDArray[Any]] = {
        "archs": text(table.archs),
        "offsets": small(table.offsets),
        "names": text([table.names[i] for i in used]),
        "node": small(node),
        "kinds": text(list(kinds)),
        "kind": small(kind),
    }
    for i, name in enumerate(NODE_FIELDS):
        # Networks of one space have few different sizes, so that numbers of them take less room.
        sizes, size = np.unique(table.fields[:, i], return_inverse=True)
        arrays |= {f"sizes.{name}": small(sizes), f"size.{name}": small(size)}
    arrays |= {f"statistics.{name}": values for name, values in table.statistics.items()}
    if len(table.blocks):
        used, block = np.unique(table.blocks, return_inverse=True)
        arrays |= {"block_offsets": small(table.block_offsets), "blocks": text(list(used)), "block": small(block)}
    arrays |= {f"block_statistics.{name}": values for name, values in table.block_statistics.items()}
    arrays |= {f"scores.{name}": values for name, values in table.scores.items()}
    # One metadata key only: the order of several is not fixed, and the bytes give the shard its name.
    metadata = {"reasons": json.dumps(table.reasons, sort_keys=True)}
    return save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata)


def map_file(path: Path, checked: bool = False) -> tuple[Arrays, Mapping[str, str]]:
    """Return the arrays of a safetensors file without reading them, and its metadata.

    Args:
        path: the file, named after the digest of its content.
        checked: whether its content was compared with its name before.

    Raises:
        InputError: if the content does not match the name, or is not what safetensors files hold.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    if not checked and path.stem.rpartition("-")[2] != digest(content):
        raise InputError(
            f"{path} is damaged: its content does not match its name; python -m parzc.features verify {path.parent} "
            "sets it aside, or delete it and extract again"
        )
    try:
        return _parse(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as reason:
        raise foreign(path, reason) from None


def pieces(arrays: Arrays) -> list[bytes | memoryview]:
    """Return the parts of a safetensors file of some arrays, one behind the other, without a copy of the arrays."""
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header, start = {}, 0
    for name, values in sorted(arrays.items(), key=lambda item: -item[1].itemsize):  # so that each is aligned
        end = start + values.nbytes
        header[name] = {"dtype": names[values.dtype], "shape": list(values.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    buffers = [np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data for name in header]
    return [len(text).to_bytes(8, "little"), text, *buffers]


def _parse(content: bytes | mmap.mmap) -> tuple[Arrays, Mapping[str, str]]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_HEADER_LIMIT, len(content) - 8):
        raise ValueError("its header is cut short")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        kind, (start, end) = np.dtype(_TYPES[entry["dtype"]]), entry["data_offsets"]
        count = math.prod(entry["shape"])
        if not 0 <= start <= end <= len(content) - 8 - length or count * kind.itemsize != end - start:
            raise ValueError(f"'{name}' is not within the file")
        arrays[name] = np.frombuffer(content, kind, count, 8 + length + start if count else 0).reshape(entry["shape"])
    return arrays, metadata


def read_archs(path: Path) -> bytes:
    """Return the architectures of a shard as UTF-8, one to a line, after a look at every byte of the file.

    Raises:
        InputError: if it is damaged.
    """
    arrays, _ = map_file(path)
    try:
        column = arrays["archs"]
        if column.dtype != np.uint8 or column.ndim != 1:
            raise ValueError("its architectures are no text")
        content = column.tobytes()
        content.decode()
    except (ValueError, KeyError) as reason:
        raise foreign(path, reason) from None
    return content


def decode(path: Path, definitions: Mapping[str, Mapping[str, object]], checked: bool = False) -> FeatureTable:
    """Return the table of a shard; its columns stay on disk until they are used.

    Args:
        path: the shard.
        definitions: what the store defines; columns come in this order.
        checked: whether the content was compared with the name before.

    Raises:
        InputError: if it is damaged, or not what this package writes.
    """
    arrays, metadata = map_file(path, checked)
    try:
        table = _table(arrays, json.loads(metadata["reasons"]), definitions)
        _check(table)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as reason:
        raise foreign(path, reason) from None
    return table


def _table(arrays: Arrays, reasons: Any, definitions: Mapping[str, Mapping[str, object]]) -> FeatureTable:
    blocks = np.zeros(0, dtype=np.str_)
    if "blocks" in arrays:
        blocks = np.array(lines(arrays["blocks"]), dtype=np.str_)[arrays["block"]]
    return FeatureTable(
        archs=lines(arrays["archs"]),
        offsets=arrays["offsets"].astype(np.int64),
        names=lines(arrays["names"]),
        node=arrays["node"].astype(np.int32),
        kinds=np.array(lines(arrays["kinds"]), dtype=np.str_)[arrays["kind"]],
        fields=np.stack([_field(arrays, name) for name in NODE_FIELDS], axis=1),
        statistics={k: arrays[f"statistics.{k}"] for k in definitions if f"statistics.{k}" in arrays},
        scores={k: arrays[f"scores.{k}"] for k in definitions if f"scores.{k}" in arrays},
        block_offsets=arrays["block_offsets"].astype(np.int64) if "block_offsets" in arrays else np.zeros(0, np.int64),
        blocks=blocks,
        block_statistics={k: arrays[f"block_statistics.{k}"] for k in definitions if f"block_statistics.{k}" in arrays},
        reasons=reasons,
        definitions=definitions,
    )


def _field(arrays: Arrays, name: str) -> NDArray[np.int64]:
    """Return a field of the nodes; older shards hold it itself, under another name, instead of numbers of sizes."""
    older = arrays.get(f"fields.{name}")
    return (arrays[f"sizes.{name}"][arrays[f"size.{name}"]] if older is None else older).astype(np.int64)


def _check(table: FeatureTable) -> None:
    """Raise `ValueError` if the columns of a table do not fit together, as those of a foreign file may not."""
    n, m, b = len(table), len(table.node), len(table.blocks)
    for name, offsets, end in (("offsets", table.offsets, m), ("block_offsets", table.block_offsets, b)):
        rising = offsets.shape == (n + 1,) and offsets[0] == 0 and offsets[-1] == end and (np.diff(offsets) >= 0).all()
        if not rising:
            raise ValueError(f"its {name} do not cut its rows")
    if table.node.shape != (m,) or (m and not 0 <= table.node.min() <= table.node.max() < len(table.names)):
        raise ValueError("its nodes have no names")
    if table.kinds.shape != (m,) or table.fields.shape != (m, len(NODE_FIELDS)):
        raise ValueError("its nodes have no kinds or fields")
    for columns, length in ((table.statistics, m), (table.scores, n), (table.block_statistics, b)):
        for name, values in columns.items():
            if values.shape != (length,) or values.dtype.kind != "f":
                raise ValueError(f"'{name}' does not hold {length} real numbers")
    if not all(
        isinstance(why, dict) and all(isinstance(w, str) for w in why.values()) for why in table.reasons.values()
    ):
        raise ValueError("its reasons are no sentences")


def foreign(path: Path, reason: Exception) -> InputError:
    """Return the error for a file that is whole but not of this package's making."""
    why = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
    return InputError(f"{path} is not a file of a feature store ({why}); delete it and extract again")
