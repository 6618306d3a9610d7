"""Official accuracies of NAS-Bench-101, read from the file that its authors publish.

`nasbench_only108.tfrecord` and `nasbench_full.tfrecord` (Ying et al., ICML 2019, arXiv:1902.09635) hold one record for
each training: a JSON list of the hash of the cell, the number of epochs, the matrix row by row, the operations, and the
metrics as a base64 protocol buffer. Labels are accuracies in percent at the end of the longest training (108 epochs),
averaged over its repetitions (three).
"""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from parzc.datasets.spaces.nb101 import NB101
from parzc.datasets.tables._tfrecord import read_records
from parzc.errors import InputError

SOURCE = "NAS-Bench-101, official file: accuracy in % after 108 epochs, mean over three trainings"
_EVALUATIONS, _VALID, _TEST = 1, 4, 5
"""Fields of the messages ModelMetrics and EvaluationData."""
_FINAL = 2
"""Evaluations are made before training, halfway, and at the end."""


@dataclass
class _Trainings:
    """What the trainings of one cell with most epochs gave so far, summed."""

    arch: str
    epochs: int = 0
    count: int = 0
    valid: float = 0.0
    test: float = 0.0


def read_tfrecord(path: Path) -> pd.DataFrame:
    """Return the labels `cifar10_valid` and `cifar10_test` of every cell in an official TFRecord file.

    The file of the whole benchmark holds 1.27 million trainings and takes a few minutes; a terminal shows the progress.

    Raises:
        InputError: if a record is damaged or is none of NAS-Bench-101.
    """
    cells: dict[str, _Trainings] = {}
    space = NB101()
    records = tqdm(read_records(path), desc=path.name, unit=" trainings", disable=None)
    for number, record in enumerate(records):
        try:
            cell, epochs, adjacency, operations, metrics = json.loads(record)
            valid, test = _accuracies(base64.b64decode(metrics, validate=True))
            if cell not in cells:
                cells[cell] = _Trainings(space.spell({"adjacency": adjacency, "ops": operations}))
            _add(cells[cell], int(epochs), valid, test)
        except (ValueError, TypeError, AttributeError, LookupError, struct.error) as error:
            raise InputError(
                f"{path}, record {number} is none of NAS-Bench-101 ({error}); get the official file again"
            ) from error
    rows = [(t.arch, 100 * t.valid / t.count, 100 * t.test / t.count) for t in cells.values()]
    return pd.DataFrame(
        rows, columns=["arch", "cifar10_valid", "cifar10_test"], index=[f"cell {cell}" for cell in cells]
    )


def _add(trainings: _Trainings, epochs: int, valid: float, test: float) -> None:
    if epochs > trainings.epochs:
        trainings.epochs, trainings.count, trainings.valid, trainings.test = epochs, 0, 0.0, 0.0
    if epochs == trainings.epochs:
        trainings.count += 1
        trainings.valid += valid
        trainings.test += test


def _accuracies(metrics: bytes) -> tuple[float, float]:
    """Return validation and test accuracy at the end of the training that a message ModelMetrics describes."""
    evaluations = [value for field, value in _fields(metrics) if field == _EVALUATIONS]
    final = dict(_fields(evaluations[_FINAL]))
    return float(final[_VALID]), float(final[_TEST])


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protocol buffer: integers, doubles, and bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value: Any
            value, at = _varint(message, at)
        elif kind == 1:
            (value,) = struct.unpack_from("<d", message, at)
            at += 8
        elif kind == 2:
            length, at = _varint(message, at)
            value = message[at : at + length]
            at += length
        else:
            raise ValueError(f"field {key >> 3} has the unknown type {kind}")
        if at > len(message):
            raise ValueError("the metrics end within a field")
        yield key >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the integer at a place, seven bits in each byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
