"""The store: what was put in comes out, and damage, mixtures and half-written files are noticed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from tables import same

import parzc
from parzc.errors import InputError
from parzc.features.store import MANIFEST, FeatureStore, shipped
from parzc.features.store.table import FeatureTable
from parzc.files import write_atomically

CONFIG = {"space": "nb201", "batch": 4, "proxies": ["snip", "synflow"]}
DEFINITIONS = {
    "snip": {"source": "Lee et al.", "definition": 1},
    "synflow": {"source": "Tanaka et al.", "definition": 1},
    "nwot": {"source": "Mellor et al.", "definition": 1},
}


@pytest.fixture
def table(rows):
    return FeatureTable.of(rows, ["a", "b", "c"], DEFINITIONS)


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "store", CONFIG, DEFINITIONS)


def test_what_was_put_in_comes_out(store, table):
    store.append(table)
    assert same(store.read(), table)
    assert same(FeatureStore.open(store.path).read(), table)
    assert store.archs == ("a", "b", "c")
    assert len(store) == 3
    assert "b" in store and "z" not in store and 3 not in store


def test_rows_are_read_in_the_order_asked_for(store, table):
    store.append(table)
    assert same(store.read(["c", "a", "c"]), table[[2, 0, 2]])
    assert same(store.read([]), table[[]])


def test_shards_are_read_as_one_sorted_table(store, table):
    for i in (2, 0, 1):
        store.append(table[[i]])
    assert len(list(store.path.glob("shard-*.safetensors"))) == 3
    assert same(store.read(), table)


def test_the_columns_are_in_the_order_of_the_definitions(store, row):
    backwards = row({"a": 1}, {"nwot": 1.0, "snip": 2.0}, synflow=[3.0], snip=[4.0])
    store.append(FeatureTable.of([backwards], ["a"]))
    assert list(store.read().statistics) == ["snip", "synflow"]
    assert list(store.read().scores) == ["snip", "nwot"]
    assert store.read().scores["nwot"].tolist() == [1.0]


def test_a_store_is_filled_in_several_sessions(store, table):
    store.append(table[[0]])
    again = FeatureStore.create(store.path, CONFIG, DEFINITIONS)
    assert again.archs == ("a",)
    again.append(table[1:])
    assert again.archs == ("a", "b", "c")
    assert same(FeatureStore.open(store.path).read(), table)


def test_appending_the_same_content_changes_nothing(store, table):
    path = store.append(table)
    before = (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(store.path)))
    assert store.append(table) == path
    assert FeatureStore.open(store.path).append(table) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(store.path))) == before
    assert len(store) == 3


def test_rows_in_two_shards_count_once(store, table):
    store.append(table[:2])
    store.append(table[1:])
    assert len(store) == 3
    assert same(store.read(), table)


def test_an_arch_that_is_not_there_is_named(store, table):
    store.append(table)
    with pytest.raises(InputError, match=r"lacks the features of 2 of 3 architectures, 'x' the first; extract them"):
        store.read(["a", "x", "y"])


def test_an_empty_store_has_nothing_to_read(store):
    assert (len(store), store.archs) == (0, ())
    with pytest.raises(InputError, match=r"store lacks the features of 1 of 1 architectures, 'a' the first"):
        store.read(["a"])
    with pytest.raises(InputError, match=r"lacks the features"):
        store.read()


def test_large_counts_survive(store, row):
    large = FeatureTable.of([row({"a": 2**40, "b": 300}, {"nwot": 1.0}, snip=[1.0, 2.0])], ["large"])
    store.append(large)
    assert store.read().fields.tolist() == [[0, 2**40, 1, 10 * 2**40], [1, 300, 1, 3000]]


def test_compacting_keeps_the_content_in_order(store, table, tmp_path):
    for i in (2, 0, 1):
        store.append(table[[i]])
    compact = store.compact(tmp_path / "compact", rows=2)
    assert same(FeatureStore.open(compact.path).read(), table)
    assert compact.manifest == store.manifest
    assert len(list(compact.path.glob("shard-*"))) == 2
    assert same(store.read(), table)


def test_no_features_are_shipped_of_a_space_that_is_not_there():
    with pytest.raises(InputError, match=r"^no features of nb999 come with parzc; extract them"):
        shipped("nb999")


def damage_one_byte(path, content):
    middle = len(content) - 3
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def truncate(path, content):
    path.write_bytes(content[: len(content) // 2])


def empty(path, _content):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_one_byte, truncate, empty])
def test_a_damaged_shard_is_named(store, table, damage):
    store.append(table[[0]])
    path = store.append(table[1:])
    damage(path, path.read_bytes())
    with pytest.raises(InputError, match=rf"{path.name} is damaged.*delete it and extract again"):
        FeatureStore.open(store.path).read(["a"])
    path.unlink()
    assert FeatureStore.open(store.path).archs == ("a",)


@pytest.mark.parametrize(
    ("config", "definitions", "difference"),
    [
        ({"batch": 8}, {}, "batch is 4 there and 8 here"),
        ({"extra": 1}, {}, "extra is 'absent' there and 1 here"),
        ({"proxies": ["snip"]}, {}, r"proxies is \['snip', 'synflow'\] there and \['snip'\] here"),
        ({}, {"snip": {"source": "Lee et al.", "definition": 2}}, "snip: definition is 1 there and 2 here"),
        ({}, {"zen": {"source": "Lin et al."}}, "zen is 'absent' there and .*Lin et al.* here"),
    ],
)
def test_another_configuration_is_refused_and_the_difference_named(store, table, config, definitions, difference):
    store.append(table)
    sentence = f"holds features of another configuration: {difference}; use another folder$"
    with pytest.raises(InputError, match=sentence):
        FeatureStore.create(store.path, CONFIG | config, DEFINITIONS | definitions)
    assert same(FeatureStore.open(store.path).read(), table)


def test_tuples_and_lists_are_one_configuration(store):
    again = FeatureStore.create(store.path, CONFIG | {"proxies": ("snip", "synflow")}, DEFINITIONS)
    assert again.manifest == store.manifest


def test_the_manifest_says_what_was_asked_for(store):
    manifest = json.loads((store.path / MANIFEST).read_text())
    assert manifest == {"format": 1, "config": CONFIG, "definitions": DEFINITIONS}
    assert FeatureStore.open(str(store.path)).definitions == DEFINITIONS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"is not a feature store: it has no manifest\.json$"),
        ("{", r"manifest\.json cannot be read .*restore it or extract into another folder$"),
        ("[]", r"manifest\.json is not of format 1"),
        ('{"format": 2}', r"manifest\.json is not of format 1"),
    ],
)
def test_a_folder_that_is_no_store_is_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=sentence):
        FeatureStore.open(tmp_path)


def test_writing_replaces_a_file_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_writing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
        with pytest.raises(OSError, match="no space left"):
            write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_an_append_that_fails_leaves_the_store_as_it_was(store, table, monkeypatch):
    store.append(table[[0]])
    before = sorted(os.listdir(store.path))

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            store.append(table[1:])
    assert sorted(os.listdir(store.path)) == before
    assert FeatureStore.open(store.path).archs == ("a",)


def test_what_a_crash_left_half_written_is_not_read(store, table):
    path = store.append(table)
    (store.path / f".{path.name}.123.partial").write_bytes(path.read_bytes()[:50])
    assert same(FeatureStore.open(store.path).read(), table)


APPEND = """
import sys
import numpy as np
from parzc.features import NodeFeatures
from parzc.features.store import FeatureStore
from parzc.features.store.table import FeatureTable

path, first = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for i in [*range(first, first + 20), 100]:
    row = NodeFeatures(("stem",), ("linear",), np.full((1, 4), i), {"snip": np.array([i / 2])}, {"snip": float(i)})
    FeatureStore.open(path).append(FeatureTable.of([row], [f"arch-{i:03}"]))
"""


def test_two_processes_append_at_once(store):
    """Each adds rows of its own and one that both add."""
    environment = os.environ | {"PYTHONPATH": str(Path(parzc.__file__).parents[1])}
    command = [sys.executable, "-c", APPEND, str(store.path)]
    processes = [
        subprocess.Popen([*command, first], stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, text=True)
        for first in ("0", "20")
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    numbers = [*range(40), 100]
    table = FeatureStore.open(store.path).read()
    assert table.archs == tuple(f"arch-{i:03}" for i in numbers)
    assert table.scores["snip"].tolist() == numbers
    assert table.statistics["snip"].tolist() == [i / 2 for i in numbers]
    assert len(os.listdir(store.path)) == 1 + len(numbers)
