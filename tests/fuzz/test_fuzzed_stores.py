"""Feature stores: the manifest, shards, seconds and indices of a stranger."""

import json
import pickle
import shutil

import numpy as np
import pytest
from damage import Payload, damaged, fuzz, tampered, works_or_says_why
from hypothesis import given
from hypothesis import strategies as st

from parzc.commands.feature_store import status, verify
from parzc.features import FeatureStore, FeatureTable, NodeFeatures
from parzc.features.store.parquet import export_parquet
from parzc.features.store.shard import digest, encode

CONFIG = {"space": "nb201", "task": "cifar10", "proxies": ["snip", "zen"]}
DEFINITIONS = {"snip": {"definition": 1}, "zen": {"definition": 1}}
ROW = NodeFeatures(
    ("stem", "head"), ("conv2d", "linear"), np.ones((2, 4), np.int64), {"snip": np.ones(2)},
    {"snip": 2.0, "zen": float("nan")}, ("cell",), {"zen": np.ones(1)}, {"zen": "overflow"},
)  # fmt: skip
TABLE = FeatureTable.of([ROW, ROW], ["a", "b"])
SHARD = encode(TABLE)
HEADER = json.loads(SHARD[8 : 8 + int.from_bytes(SHARD[:8], "little")])
DATA = SHARD[8 + int.from_bytes(SHARD[:8], "little") :]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    store = FeatureStore.create(folder, CONFIG, DEFINITIONS, {"torch": "2"})
    store.append(TABLE, {"snip": 1.0})
    store.note(failed={"c": "why"}, wanted=3)
    store.write_index()
    return store


def use(folder):
    """Do everything that reads a store."""
    before = {path.name for path in folder.parent.iterdir()}
    store = works_or_says_why(FeatureStore.open, folder)
    if store is None:
        return
    table = works_or_says_why(store.read, ["a"])
    assert table is None or (len(table) == 1 and table.archs == ("a",))
    works_or_says_why(lambda: (store.archs, len(store), "a" in store, store.failed, store.seconds))
    works_or_says_why(status, FeatureStore.open(folder))
    works_or_says_why(export_parquet, FeatureStore.open(folder), folder.parent / "out.parquet")
    assert not list(folder.parent.glob(".*.partial"))
    works_or_says_why(FeatureStore.create, folder, CONFIG, DEFINITIONS)
    works_or_says_why(verify, store)
    assert {path.name for path in folder.parent.iterdir()} <= before | {"out.parquet"}


@fuzz
@given(st.data())
def test_manifests(folder, data):
    fresh(folder)
    manifest = folder / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(data.draw(damaged(content) | tampered(json.loads(content))))
    use(folder)


@fuzz
@given(damaged(SHARD), st.booleans())
def test_shards(folder, content, named):
    """A shard that is damaged, or that is of somebody's making and bears the right name."""
    store = fresh(folder)
    (path,) = folder.glob("shard-*")
    path.unlink()
    (folder / f"shard-{digest(content)}.safetensors" if named else path).write_bytes(content)
    for index in folder.glob("index-*") if named else ():
        index.unlink()
    use(store.path)


@fuzz
@given(tampered(HEADER))
def test_headers_of_shards(folder, header):
    fresh(folder)
    for path in (*folder.glob("shard-*"), *folder.glob("index-*")):
        path.unlink()
    content = len(header).to_bytes(8, "little") + header + DATA
    (folder / f"shard-{digest(content)}.safetensors").write_bytes(content)
    use(folder)


@fuzz
@given(st.data())
def test_indices(folder, data):
    fresh(folder)
    (path,) = folder.glob("index-*")
    content = data.draw(damaged(path.read_bytes()))
    path.unlink()
    (folder / f"index-{digest(content)}.safetensors").write_bytes(content)
    use(folder)


@fuzz
@given(st.data())
def test_seconds(folder, data):
    fresh(folder)
    (path,) = folder.glob("seconds-*")
    content = path.read_bytes()
    path.write_bytes(data.draw(damaged(content) | tampered(json.loads(content))))
    use(folder)


@pytest.mark.parametrize("kind", ["shard", "index", "seconds", "manifest"])
def test_payloads(folder, marker, kind):
    fresh(folder)
    content = pickle.dumps(Payload(marker))
    names = {
        "shard": f"shard-{digest(content)}.safetensors", "index": f"index-{digest(content)}.safetensors",
        "seconds": "seconds-1.json", "manifest": "manifest.json",
    }  # fmt: skip
    (folder / names[kind]).write_bytes(content)
    use(folder)
