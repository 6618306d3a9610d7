"""Export to Parquet: the same values, whatever the row groups; nothing half-written."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from parzc.errors import InputError
from parzc.features import FeatureStore, FeatureTable
from parzc.features.store import parquet
from parzc.features.store.parquet import export_parquet

DEFINITIONS = {name: {"definition": 1} for name in ("expressivity", "trainability", "snip", "synflow", "nwot")}


@pytest.fixture
def store(tmp_path, block_rows):
    store = FeatureStore.create(tmp_path / "store", {"space": "nb201"}, DEFINITIONS)
    table = FeatureTable.of(block_rows, ["a", "b", "c"])
    for i in (2, 0, 1):
        store.append(table[[i]])
    return store


@pytest.mark.parametrize("size", [1, 2, 2000])
def test_every_value_is_there_in_the_order_of_the_architectures(store, tmp_path, monkeypatch, size):
    monkeypatch.setattr(parquet, "ROWS", size)
    assert export_parquet(store, tmp_path / "out.parquet") == 3
    table = pq.read_table(tmp_path / "out.parquet")
    columns = table.to_pydict()
    assert columns.pop("arch") == ["a", "b", "c"]
    assert columns.pop("nodes") == [["stem", "head"], ["head"], ["stem", "edge", "head"]]
    assert columns.pop("kinds") == [["conv2d", "linear"], ["linear"], ["conv2d", "conv2d", "linear"]]
    assert columns.pop("depth") == [[0, 1], [0], [0, 1, 2]]
    assert columns.pop("weights") == [[4, 2], [2], [4, 9, 2]]
    assert columns.pop("channels") == [[1, 1], [1], [1, 1, 1]]
    assert columns.pop("macs") == [[40, 20], [20], [40, 90, 20]]
    assert columns.pop("nwot") == [7, 8, 9]
    np.testing.assert_array_equal(columns.pop("snip"), [3, np.nan, 12])
    assert [str(values) for values in columns.pop("statistics.snip")] == ["[1.0, 2.0]", "[nan]", "[3.0, 4.0, 5.0]"]
    assert columns.pop("statistics.synflow") == [[0.5, -np.inf], [1.5], [2.5, 3.5, 4.5]]
    cells = ["cells.0", "cells.1"]
    assert columns.pop("blocks") == [cells, [], ["input of cells.0", *cells]]
    assert columns.pop("block_statistics.expressivity") == [[1, 2], [], [3, 4, 5]]
    assert str(columns.pop("block_statistics.trainability")[2]) == "[nan, nan, nan]"
    reasons = [why and json.loads(why) for why in columns.pop("reasons")]
    assert reasons[:2] == [None, {"snip": "overflow"}] and list(reasons[2]) == ["trainability"]
    assert columns == {}
    metadata = {name.decode(): json.loads(value) for name, value in table.schema.metadata.items()}
    assert metadata == {"config": {"space": "nb201"}, "definitions": DEFINITIONS}
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == -(-3 // size)


def test_an_export_that_fails_leaves_nothing_behind(store, tmp_path, row):
    store.append(FeatureTable.of([row({"head": 1}, {"nwot": 1.0}, snip=[1.0])], ["d"]))
    (tmp_path / "out.parquet").write_text("old")
    with pytest.raises(InputError, match="holds shards that differ in"):
        export_parquet(store, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "store"]
    with pytest.raises(FileNotFoundError):
        export_parquet(store, tmp_path / "none" / "out.parquet")


def test_an_empty_store_is_not_exported(tmp_path):
    empty = FeatureStore.create(tmp_path / "empty", {}, DEFINITIONS)
    with pytest.raises(InputError, match=r"empty holds no features to export; extract some first$"):
        export_parquet(empty, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
