"""Damage of a store: named, set aside, made good; and an index that may be missing, old or wrong."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from tables import same

from parzc.errors import InputError
from parzc.features.store import MANIFEST, FeatureStore
from parzc.features.store import index as index_module
from parzc.features.store.index import Index
from parzc.features.store.shard import digest, encode
from parzc.features.store.table import FeatureTable

CONFIG = {"space": "nb201"}
DEFINITIONS = {"snip": {"definition": 1}, "synflow": {"definition": 1}, "nwot": {"definition": 1}}


@pytest.fixture
def table(rows):
    return FeatureTable.of(rows, ["a", "b", "c"], DEFINITIONS)


@pytest.fixture
def store(tmp_path, table):
    """A store of three shards, one row each."""
    store = FeatureStore.create(tmp_path / "store", CONFIG, DEFINITIONS)
    for i in range(3):
        store.append(table[[i]], {"snip": 1.0})
    return store


def names(store, start=""):
    return sorted(name for name in os.listdir(store.path) if name.startswith(start))


def shard_of(store, arch):
    index = store.index
    return store.path / index.shards[index.places(index.find([arch]))[0][0]]


def flip(path, position=-3):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.write_bytes(b"")], ids=["flip", "cut", "empty"])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_damaged_shard_is_set_aside_and_recomputed(store, table, damage, indexed):
    if indexed:
        store.write_index()
    path = shard_of(store, "b")
    damage(path)
    again = FeatureStore.create(store.path, CONFIG, DEFINITIONS)
    renamed = again.set_aside_damaged(["a", "b", "c"])
    assert renamed == [(path.name, path.name.replace("shard", "damaged"))]
    assert not path.exists() and (store.path / renamed[0][1]).exists()
    assert again.lacking(["c", "b", "a"]) == ["b"]
    assert same(again.read(["a", "c"]), table[[0, 2]])
    assert again.append(table[[1]]) == path
    assert same(FeatureStore.open(store.path).read(), table)
    # A second time it gets another name.
    damage(path)
    assert again.set_aside_damaged()[0][1] == path.name.replace("shard", "damaged-2")
    assert len(names(store, "damaged")) == 2


def test_only_the_shards_that_are_asked_for_are_looked_at(store, table):
    store.write_index()
    flip(shard_of(store, "b"))
    reader = FeatureStore.open(store.path)
    assert reader.archs == ("a", "b", "c")
    assert same(reader.read(["a", "c"]), table[[0, 2]])
    with pytest.raises(InputError, match=rf"{shard_of(store, 'b').name} is damaged: .*verify .*delete it and extract"):
        reader.read(["b"])
    assert FeatureStore.open(store.path).set_aside_damaged(["a", "c"]) == []
    assert len(FeatureStore.open(store.path).set_aside_damaged()) == 1


def test_reading_does_not_touch_what_is_not_asked_for(store, table):
    """The other shards are not even there."""
    store.write_index()
    kept = shard_of(store, "b")
    reader = FeatureStore.open(store.path)
    assert len(reader) == 3
    for path in store.path.glob("shard-*"):
        if path != kept:
            path.unlink()
    assert same(reader.read(["b"]), table[[1]])
    with pytest.raises(InputError, match="was removed while it was read; read the store again"):
        reader.read(["a"])
    assert FeatureStore.open(store.path).archs == ("b",)


def test_an_append_replaces_a_damaged_shard_of_the_same_content(store, table):
    path = shard_of(store, "b")
    intact = path.read_bytes()
    cut(path)
    assert store.append(table[[1]]) == path
    assert path.read_bytes() == intact


def test_the_index_is_read_instead_of_the_shards(store, monkeypatch):
    store.write_index()
    (name,) = names(store, "index-")
    monkeypatch.setattr(index_module, "read_archs", lambda path: pytest.fail(f"read {path}"))
    reader = FeatureStore.open(store.path)
    assert reader.archs == ("a", "b", "c") and "b" in reader and "z" not in reader
    assert names(store, "index-") == [name]


def test_an_old_index_is_brought_up_to_date(store, table, row):
    store.write_index()
    more = FeatureTable.of([row({"head": 1}, {"snip": 1.0, "nwot": 2.0}, snip=[1.0], synflow=[2.0])], ["B"])
    FeatureStore.open(store.path).append(more)
    assert "B" not in store
    store.refresh()
    assert store.archs == FeatureStore.open(store.path).archs == ("B", "a", "b", "c")
    shard_of(store, "a").unlink()
    assert FeatureStore.open(store.path).archs == ("B", "b", "c")
    assert same(FeatureStore.open(store.path).read(["c", "b"]), table[[2, 1]])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.write_bytes(b"")], ids=["flip", "cut", "empty"])
def test_a_damaged_index_is_made_good(store, table, damage):
    store.write_index()
    (name,) = names(store, "index-")
    damage(store.path / name)
    assert Index.load(store.path) is None
    reader = FeatureStore.open(store.path)
    assert same(reader.read(), table)
    reader.write_index()
    assert Index.load(store.path) is not None and len(names(store, "index-")) == 1


def forged(store, **changes):
    """Put an index in place that is not what the shards say."""
    (name,) = names(store, "index-")
    content = save({k: np.ascontiguousarray(v) for k, v in (load_file(store.path / name) | changes).items()})
    (store.path / name).unlink()
    (store.path / f"index-{digest(content)}.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"starts": np.array([0, 1, 2], np.uint8)},
        {"starts": np.array([0, 1, 2, 9], np.uint8)},
        {"order": np.array([0, 1, 7], np.uint8)},
        {"order": np.array([0.0, 1.0, 2.0])},
        {"ends": np.array([1, 3], np.uint8)},
        {"ends": np.array([1, 3, 99], np.uint8)},
        {"keys": np.zeros((3, 2), np.uint64)},
        {"keys": np.zeros(3)},
        {"shards": np.frombuffer(b"\xff\xfe", np.uint8)},
    ],
    ids=str,
)
def test_an_index_that_does_not_fit_together_is_not_used(store, table, changes):
    store.write_index()
    forged(store, **changes)
    assert same(FeatureStore.open(store.path).read(), table)


def test_an_index_that_lies_gives_no_wrong_values(store):
    store.write_index()
    (name,) = names(store, "index-")
    shards = load_file(store.path / name)["shards"].tobytes().decode().split("\n")
    swapped = [shards[1], shards[0], shards[2]]
    forged(store, shards=np.frombuffer("\n".join(swapped).encode(), np.uint8))
    with pytest.raises(InputError, match=r"the index of .* is wrong about shard-.*; delete its index-\*\.safetensors"):
        FeatureStore.open(store.path).read()


def test_the_index_is_written_by_itself_once_many_shards_are_outside(store, row, monkeypatch):
    from parzc.features.store import store as module

    monkeypatch.setattr(module, "FEW", 4)
    for i in range(3):
        store.append(FeatureTable.of([row({"head": 1}, {"nwot": float(i)}, snip=[1.0], synflow=[1.0])], [f"x{i}"]))
        assert len(store) == 4 + i
        assert len(names(store, "index-")) == (len(names(store, "shard-")) > 4)
    assert FeatureStore.open(store.path).archs == ("a", "b", "c", "x0", "x1", "x2")


def test_a_folder_that_cannot_be_written_is_read_without_an_index(store, table, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(index_module, "writing", fail)
    store.write_index()
    assert names(store, "index-") == []
    assert same(store.read(), table)


def test_architectures_with_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(index_module, "_keys", lambda archs: np.array([len(arch) for arch in archs], np.uint64))
    parts = {"shard-b": b"bb\naa", "shard-a": b"cc\nd", "shard-c": b"aa\nbb\nee", "shard-d": b""}
    index = Index.of((k, v, index_module._keys(v.split(b"\n") if v else ())) for k, v in parts.items())
    assert index.shards == ("shard-a", "shard-b", "shard-c", "shard-d")
    assert len(index) == 5
    assert index.archs == ["aa", "bb", "cc", "d", "ee"]
    rows = index.find(["ee", "aa", "bb", "cc", "d", "zz", "", "three"])
    assert rows.tolist() == [6, 3, 2, 0, 1, -1, -1, -1]
    shard, row = index.places(rows[:5])
    assert [(index.shards[s], int(r)) for s, r in zip(shard, row, strict=True)] == [
        ("shard-c", 2), ("shard-b", 1), ("shard-b", 0), ("shard-a", 0), ("shard-a", 1),
    ]  # fmt: skip


def test_an_index_comes_back_from_its_file(tmp_path):
    parts = {f"shard-{i}": "\n".join(f"arch-{i}-{j}-é" for j in range(i)).encode() for i in range(20)}
    index = Index.of((k, v, index_module._keys(v.split(b"\n") if v else ())) for k, v in parts.items())
    index.write(tmp_path)
    again = Index.load(tmp_path)
    assert again.shards == index.shards == tuple(sorted(parts))
    assert again.archs == index.archs and len(again) == 190
    archs = [f"arch-{i}-{j}-é" for i in range(20) for j in range(i)]
    rows = again.find(archs)
    assert sorted(rows) == list(range(190))
    shard, row = again.places(rows)
    assert [f"{index.shards[s]}-{r}" for s, r in zip(shard, row, strict=True)] == [
        arch.replace("arch", "shard").removesuffix("-é") for arch in archs
    ]
    assert {name: (text, keys.tolist()) for name, text, keys in again.segments({"shard-3", "shard-0", "x"})} == {
        "shard-0": (b"", []), "shard-3": (parts["shard-3"], index_module._keys(parts["shard-3"].split(b"\n")).tolist()),
    }  # fmt: skip


def test_failures_and_versions_are_in_the_manifest(store, table):
    store.note(failed={"z": "ValueError: too big", "a": "was slow"})
    other = FeatureStore.open(store.path)
    assert other.failed == {"z": "ValueError: too big"}
    with pytest.raises(InputError, match=r"lacks .* 'z' the first \(it failed: ValueError: too big\); extract them$"):
        other.read(["z"])
    assert FeatureStore.create(store.path, CONFIG, DEFINITIONS, {"torch": "1"}).failed == other.failed
    for versions in ({"torch": "1"}, {"torch": "2"}, {"torch": "1"}):
        FeatureStore.create(store.path, CONFIG, DEFINITIONS, versions)
    manifest = json.loads((store.path / MANIFEST).read_text())
    assert manifest["versions"] == [{"torch": "1"}, {"torch": "2"}]
    assert manifest["failed"]["z"] == "ValueError: too big"
    assert same(FeatureStore.open(store.path).compact(store.path.parent / "compact").read(), table)
    assert FeatureStore.open(store.path.parent / "compact").manifest == manifest


def test_two_writers_of_the_manifest_lose_nothing(store):
    other = FeatureStore.open(store.path)
    store.note(wanted=5)
    other.note(failed={"z": "why"})
    assert FeatureStore.open(store.path).manifest == other.manifest
    assert (other.manifest["wanted"], other.manifest["failed"]) == (5, {"z": "why"})


@pytest.mark.parametrize(
    "entries", [{"config": 1}, {"definitions": []}, {"definitions": {"snip": 1}}, {"failed": {"a": 1}}, {"versions": 1}]
)
def test_a_manifest_that_makes_no_sense_is_refused(store, entries):
    manifest = json.loads((store.path / MANIFEST).read_text()) | entries
    (store.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json is damaged; restore it or extract into another folder$"):
        FeatureStore.open(store.path)


def test_half_written_files_of_dead_writers_are_removed_by_the_next_writer(store):
    (store.path / ".shard-0.safetensors.1.aa.partial").write_bytes(b"half")
    FeatureStore.open(store.path).read()
    assert names(store, ".") != []
    FeatureStore.create(store.path, CONFIG, DEFINITIONS)
    assert names(store, ".") == []


def foreign(store, **arrays):
    """Put a shard in place whose name fits its content, but whose content is not of our making."""
    path = shard_of(store, "c")
    content = encode_with(path, arrays)
    path.unlink()
    new = store.path / f"shard-{digest(content)}.safetensors"
    new.write_bytes(content)
    return new


def encode_with(path, arrays):
    there = {name: values for name, values in (load_file(path) | arrays).items() if values is not None}
    return save({k: np.ascontiguousarray(v) for k, v in there.items()}, {"reasons": "{}"})


@pytest.mark.parametrize(
    "arrays",
    [
        {"archs": None},
        {"archs": np.frombuffer(b"\xff\xfe", np.uint8)},
        {"archs": np.zeros(1)},
        {"offsets": np.array([0, 9], np.uint8)},
        {"offsets": np.array([1, 3], np.uint8)},
        {"offsets": np.array([0], np.uint8)},
        {"node": np.array([0, 1, 7], np.uint8)},
        {"node": np.array([[0, 1, 2]], np.uint8)},
        {"kind": np.array([0, 9, 0], np.uint8)},
        {"kind": np.array([0.0, 0.0, 0.0])},
        {"size.depth": None},
        {"size.macs": np.zeros(7, np.uint8)},
        {"statistics.snip": np.zeros(2, np.float32)},
        {"statistics.snip": np.zeros(3, np.int32)},
        {"scores.nwot": np.zeros((1, 1))},
    ],
    ids=lambda arrays: "-".join(f"{k} {None if v is None else v.tolist()}" for k, v in arrays.items()),
)
def test_a_shard_that_is_not_of_this_package_is_named(store, arrays):
    path = foreign(store, **arrays)
    sentence = rf"{path.name} is not a file of a feature store \(.+\); delete it and extract again$"
    with pytest.raises(InputError, match=sentence):
        FeatureStore.open(store.path).read(None)
    assert FeatureStore.open(store.path).set_aside_damaged() == [(path.name, path.name.replace("shard", "damaged"))]
    assert FeatureStore.open(store.path).archs == ("a", "b")


def test_equal_tables_give_equal_bytes(table, store, tmp_path):
    assert encode(table) == encode(table[[0, 1, 2]]) == encode(FeatureTable.concatenate([table[:1], table[1:]]))
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    assert same(FeatureStore.open(copy).read(), table)
