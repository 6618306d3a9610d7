"""Records of a TFRecord file, with their checksums, without TensorFlow.

A record is its length (8 bytes, little endian), the masked CRC-32C of these bytes, the data, and the masked CRC-32C of
the data.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError

CHUNK = 4096
"""Records whose checksums are computed together."""


def _table() -> NDArray[np.uint32]:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ 0x82F63B78, crc >> 1).astype(np.uint32)
    return crc


_TABLE = _table()


def masked_crc32c(records: Sequence[bytes]) -> NDArray[np.uint32]:
    """Return the masked CRC-32C (Castagnoli) of each record, all records one byte after another at once."""
    lengths = np.array([len(record) for record in records])
    order = np.argsort(-lengths, kind="stable")
    content = np.frombuffer(b"".join(records), dtype=np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    # Records that are at least so long, for each place: with the longest first, those are the first ones.
    active = len(records) - np.cumsum(np.bincount(lengths))[:-1]
    crc = np.full(len(records), 0xFFFFFFFF, dtype=np.uint32)
    for place, n in enumerate(active):
        crc[:n] = _TABLE[(crc[:n] ^ content[starts[:n] + place]) & 0xFF] ^ (crc[:n] >> 8)
    crc ^= np.uint32(0xFFFFFFFF)
    masked = np.empty_like(crc)
    masked[order] = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    return masked


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of each record of a TFRecord file.

    Raises:
        InputError: if a record is truncated or does not have its checksum; its number, from 0, is named.
    """
    with path.open("rb") as stream:
        frames = _frames(stream, path)
        first = 0
        while chunk := list(itertools.islice(frames, CHUNK)):
            data, stored = zip(*chunk, strict=True)
            wrong = np.flatnonzero(masked_crc32c(data) != np.array(stored, dtype=np.uint32))
            if len(wrong):
                raise _damaged(path, first + int(wrong[0]))
            yield from data
            first += len(chunk)


def _frames(stream: BinaryIO, path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield data and stored checksum of each record; a length is used only once its checksum has been compared."""
    for number in itertools.count():
        header = stream.read(12)
        if not header:
            return
        if len(header) < 12 or _checksum_of_length(header[:8]) != struct.unpack("<I", header[8:])[0]:
            raise _damaged(path, number)
        (length,) = struct.unpack("<Q", header[:8])
        frame = stream.read(length + 4)
        if len(frame) < length + 4:
            raise _damaged(path, number)
        yield frame[:-4], struct.unpack("<I", frame[-4:])[0]


@lru_cache(maxsize=4096)
def _checksum_of_length(length: bytes) -> int:
    """Remembered, because the records of a file have few different lengths."""
    return int(masked_crc32c([length])[0])


def _damaged(path: Path, number: int) -> InputError:
    return InputError(f"{path}, record {number} is truncated or damaged; get the file again from its official source")
