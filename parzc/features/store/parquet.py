"""Export of a feature store to one Parquet file, for other programs."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.store import FeatureStore
from parzc.features.store.record import NODE_FIELDS
from parzc.features.store.table import FeatureTable
from parzc.files import writing

ROWS = 2000
"""Networks in one row group, which is what is in memory at a time."""


def export_parquet(store: FeatureStore, path: str | Path) -> int:
    """Write a store as a Parquet file, a row for each network in the order of the architectures; return their number.

    Columns: `arch`; a number for each proxy, under its name; lists with an entry for each node, `nodes` (names),
    `kinds`, `depth`, `weights`, `channels`, `macs` and `statistics.NAME`; lists with an entry for each primary block,
    `blocks` and `block_statistics.NAME`; `reasons`, as json, where a value is missing. The schema's metadata holds the
    configuration and the definitions, as json under `config` and `definitions`.

    Raises:
        InputError: if the store is empty or damaged.
        OSError: if the file cannot be written; nothing is left behind then.
    """
    path = Path(path)
    if not len(store):
        raise InputError(f"{store.path} holds no features to export; extract some first")
    metadata = {name: json.dumps(store.manifest[name]) for name in ("config", "definitions")}
    writer = None
    with writing(path) as file:
        for part in store.parts(ROWS):
            columns = _columns(part)
            if writer is None:
                writer = pq.ParquetWriter(file, columns.schema.with_metadata(metadata))
            if columns.schema.names != writer.schema.names:
                raise InputError(f"{store.path} holds shards that differ in their columns; extract into another folder")
            writer.write_table(columns.cast(writer.schema))
        assert writer is not None
        writer.close()
    return len(store)


def _columns(table: FeatureTable) -> Any:
    def nodes(values: Any) -> Any:
        return _lists(table.offsets, values)

    def blocks(values: Any) -> Any:
        return _lists(table.block_offsets, values)

    columns = {"arch": pa.array(table.archs, pa.string())}
    columns |= {name: pa.array(values) for name, values in table.scores.items()}
    columns["nodes"] = nodes(pa.array(table.names, pa.string()).take(pa.array(table.node)))
    columns["kinds"] = nodes(pa.array(table.kinds.tolist(), pa.string()))
    columns |= {name: nodes(pa.array(table.fields[:, i])) for i, name in enumerate(NODE_FIELDS)}
    columns |= {f"statistics.{name}": nodes(pa.array(values)) for name, values in table.statistics.items()}
    columns["blocks"] = blocks(pa.array(table.blocks.tolist(), pa.string()))
    columns |= {f"block_statistics.{name}": blocks(pa.array(values)) for name, values in table.block_statistics.items()}
    reasons = [json.dumps(table.reasons[arch]) if arch in table.reasons else None for arch in table.archs]
    return pa.table(columns | {"reasons": pa.array(reasons, pa.string())})


def _lists(offsets: NDArray[Any], values: Any) -> Any:
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)
