"""Reads JSON files that hold one record for each trained network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from parzc.errors import InputError


def read_records(path: Path, benchmark: str, row: Callable[[Any], dict[str, object]], expected: str) -> pd.DataFrame:
    """Return one row for each record of a JSON list, or of the lists `top` and `mid` of a JSON object.

    Args:
        path: the file.
        benchmark: what its records are of, for messages.
        row: makes a row of a record; what it raises says that the record is no such record.
        expected: what a record holds, for messages.

    Raises:
        InputError: if the file is no JSON of this structure; the record is named.
    """
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); give an intact file of {benchmark}") from error
    if isinstance(records, dict):
        records = [record for part in ("top", "mid") for record in records.get(part, [])]
    if not isinstance(records, list) or not records:
        raise InputError(f"{path} holds no list of records; give an official file of {benchmark}")
    rows = []
    for number, record in enumerate(records):
        try:
            rows.append(row(record))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{path}, record {number}: {type(error).__name__} ({error}) where a record of {benchmark} has "
                f"{expected}; give an official file"
            ) from error
    return pd.DataFrame(rows, index=[f"record {number}" for number in range(len(rows))])
