"""What a store keeps in addition to node statistics: primary blocks, and how long everything took."""

import json
import os

import numpy as np
import pytest
from tables import same

from parzc.errors import InputError
from parzc.features.store import FeatureStore
from parzc.features.store.table import FeatureTable

CONFIG = {"space": "nb201", "batch": 4}
DEFINITIONS = {
    name: {"definition": i} for i, name in enumerate(("expressivity", "trainability", "snip", "synflow", "nwot"))
}
CELLS = ["cells.0", "cells.1"]


@pytest.fixture
def blocks(block_rows):
    return FeatureTable.of(block_rows, ["a", "b", "c"], DEFINITIONS)


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "store", CONFIG, DEFINITIONS)


def files(store, start):
    return sorted(name for name in os.listdir(store.path) if name.startswith(start))


def test_blocks_come_out_as_they_were_put_in(store, blocks):
    store.append(blocks)
    assert same(store.read(), blocks)
    table = FeatureStore.open(store.path).read()
    assert same(table, blocks)
    assert table.block_offsets.tolist() == [0, 2, 2, 5]
    assert table.blocks.tolist() == [*CELLS, "input of cells.0", *CELLS]
    assert table.block_statistics["expressivity"].tolist() == [1, 2, 3, 4, 5]
    assert np.isnan(table.block_statistics["trainability"]).tolist() == [False, False, True, True, True]
    assert same(store.read(["c", "b", "a", "c"]), blocks[[2, 1, 0, 2]])
    assert same(store.read([]), blocks[[]])


def test_blocks_of_several_shards_are_read_as_one_table(store, blocks):
    for i in (2, 0, 1):
        store.append(blocks[[i]])
    assert len(files(store, "shard-")) == 3
    assert same(FeatureStore.open(store.path).read(), blocks)
    assert same(store.read(["b"]), blocks[[1]])


def test_shards_with_and_without_blocks_are_read_as_one_table(store, blocks, rows):
    store.append(FeatureTable.of(rows[:1], ["d"]))
    assert store.read().block_statistics == {}
    store.append(blocks)
    table = store.read()
    assert same(table[:3], blocks)
    assert table.block_offsets.tolist() == [0, 2, 2, 5, 5]
    assert list(table.block_statistics) == ["expressivity", "trainability"]


def test_a_store_without_blocks_has_empty_columns(store, rows):
    store.append(FeatureTable.of(rows, ["a", "b", "c"]))
    table = FeatureStore.open(store.path).read()
    assert (table.block_offsets.tolist(), len(table.blocks), table.block_statistics) == ([0, 0, 0, 0], 0, {})


def test_block_columns_are_in_the_order_of_the_definitions(store, block_rows):
    first, *_ = block_rows
    first.block_statistics["expressivity"] = first.block_statistics.pop("expressivity")
    assert list(first.block_statistics) == ["trainability", "expressivity"]
    store.append(FeatureTable.of([first], ["a"]))
    assert list(store.read().block_statistics) == ["expressivity", "trainability"]


@pytest.mark.parametrize(("size", "shards"), [(1, 3), (2, 2), (3, 1), (2000, 1)])
def test_compacting_keeps_blocks_and_seconds(store, blocks, tmp_path, size, shards):
    store.append(blocks[[2]], {"blocks": 5.0, "expressivity": 0.5})
    store.append(blocks[:2], {"blocks": 1.0, "expressivity": 0.25})
    compact = FeatureStore.open(store.compact(tmp_path / "compact", rows=size).path)
    assert same(compact.read(), blocks)
    assert len(files(compact, "shard-")) == len(files(compact, "seconds-")) == shards
    assert store.seconds == {"blocks": 2.0, "expressivity": 0.25}
    assert compact.seconds == pytest.approx(store.seconds, rel=1e-12)
    assert compact.compact(tmp_path / "again", rows=2).seconds == pytest.approx(store.seconds, rel=1e-12)


def test_compacting_leaves_seconds_out_where_there_are_none(store, blocks, tmp_path):
    store.append(blocks)
    compact = store.compact(tmp_path / "compact")
    assert compact.seconds == {} and files(compact, "seconds-") == []


def test_compacting_keeps_the_mean_of_rows_that_were_extracted_twice_or_not_timed(store, blocks, tmp_path):
    store.append(blocks[[0, 1]], {"snip": 3.0})
    store.append(blocks[[1]], {"snip": 0.5})
    store.append(blocks[[2]])
    compact = store.compact(tmp_path / "compact", rows=1)
    assert len(compact) == 3
    assert compact.seconds == pytest.approx({"snip": 3.5 / 3}, rel=1e-12)


def test_seconds_are_kept_beside_the_shard(store, blocks):
    path = store.append(blocks, seconds={"forward": 0.75, "snip": 0.5})
    name = path.name.replace("shard-", "seconds-").replace(".safetensors", ".json")
    assert sorted(os.listdir(store.path)) == sorted(["manifest.json", path.name, name])
    record = json.loads((store.path / name).read_text())
    assert record == {"archs": 3, "seconds": {"forward": 0.75, "snip": 0.5}}
    assert store.seconds == {"forward": 0.25, "snip": 0.5 / 3}


@pytest.mark.parametrize("seconds", [None, {}])
def test_a_store_without_seconds_says_nothing_of_them(store, blocks, seconds):
    assert store.seconds == {}
    store.append(blocks, seconds)
    assert FeatureStore.open(store.path).seconds == {}
    assert files(store, "seconds-") == []


def test_seconds_are_the_mean_over_architectures(store, blocks):
    store.append(blocks[[1]], {"forward": 1.0, "snip": 0.5})
    assert store.seconds == {"forward": 1.0, "snip": 0.5}
    store.append(blocks[[0, 2]], {"forward": 5.0, "snip": 0.25})
    assert store.seconds == FeatureStore.open(store.path).seconds == {"forward": 2.0, "snip": 0.25}


def test_what_took_no_time_is_listed(store, blocks):
    store.append(blocks, {"params": 0.0, "snip": 1.5})
    assert store.seconds == {"params": 0.0, "snip": 0.5}


def test_shards_do_not_depend_on_seconds(store, blocks, tmp_path):
    other = FeatureStore.create(tmp_path / "other", CONFIG, DEFINITIONS)
    path = store.append(blocks, {"snip": 3.0})
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    for seconds in (None, {"snip": 6.0}):
        twin = other.append(blocks, seconds)
        assert (twin.name, twin.read_bytes()) == (path.name, content)
    assert store.append(blocks, {"snip": 9.0}) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, changed)
    # Who extracts again says how long it took this time.
    assert store.seconds == {"snip": 3.0}
    assert len(files(store, "shard-")) == len(files(store, "seconds-")) == 1


DAMAGED = {
    "empty": b"",
    "cut short": b'{"archs": 1, "secon',
    "bytes": b"\xff\xfe",
    "a list": b"[1]",
    "a number": b"1",
    "no architectures": b'{"seconds": {"snip": 1.0}}',
    "no seconds": b'{"archs": 1}',
    "a word for the architectures": b'{"archs": "all", "seconds": {"snip": 1.0}}',
    "a word for the seconds": b'{"archs": 1, "seconds": {"snip": "fast"}}',
    "of nothing": b'{"archs": 0, "seconds": {"snip": 1.0}}',
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_seconds_file_is_named(store, blocks, tmp_path, damage):
    path = store.append(blocks, {"snip": 1.0})
    (name,) = files(store, "seconds-")
    (store.path / name).write_bytes(DAMAGED[damage])
    sentence = rf"{name} cannot be read \(.+\); delete it, the features do not need it$"
    with pytest.raises(InputError, match=sentence):
        _ = FeatureStore.open(store.path).seconds
    with pytest.raises(InputError, match=sentence):
        store.compact(tmp_path / "compact")
    assert same(FeatureStore.open(store.path).read(), blocks)
    (store.path / name).unlink()
    assert store.seconds == {} and path.exists()
