"""A large store: what is not asked for costs nothing."""

import tracemalloc

import numpy as np
import pytest
from tables import same

from parzc.features import FeatureStore, FeatureTable
from parzc.features.store import store as module
from parzc.features.store.shard import digest, encode

ARCHS, CHUNK, NODES = 6000, 12, 40
DEFINITIONS = {"snip": {"definition": 1}}


def table(start):
    """The features of some made-up networks, whose values say which they are."""
    numbers = np.arange(start, start + CHUNK)
    return FeatureTable(
        archs=tuple(f"a rather long name of an architecture, number {i:06}" for i in numbers),
        offsets=np.arange(0, (CHUNK + 1) * NODES, NODES),
        names=tuple(f"node-{i}" for i in range(NODES)),
        node=np.tile(np.arange(NODES, dtype=np.int32), CHUNK),
        kinds=np.full(CHUNK * NODES, "conv2d"),
        fields=np.full((CHUNK * NODES, 4), 9),
        statistics={"snip": np.repeat(numbers, NODES).astype(np.float32)},
        scores={"snip": numbers.astype(np.float64)},
        definitions=DEFINITIONS,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = FeatureStore.create(tmp_path_factory.mktemp("large") / "store", {}, DEFINITIONS)
    for start in range(0, ARCHS, CHUNK):
        content = encode(table(start))
        (store.path / f"shard-{digest(content)}.safetensors").write_bytes(content)
    store.write_index()
    return store.path


def peak(call):
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_part_is_read_without_the_rest(folder, monkeypatch):
    read, original = [], module.decode
    monkeypatch.setattr(module, "decode", lambda path, *a, **k: read.append(path) or original(path, *a, **k))
    expected = table(5 * CHUNK)
    _, opening = peak(lambda: len(FeatureStore.open(folder)))
    assert read == []
    found, memory = peak(lambda: FeatureStore.open(folder).read(expected.archs[3:7]))
    assert same(found, expected[3:7]) and len(read) == 1
    whole = sum(path.stat().st_size for path in folder.glob("shard-*"))
    assert whole > 3e6 and opening < 0.1 * whole and memory - opening < 0.02 * whole


def test_every_row_is_found(folder):
    store = FeatureStore.open(folder)
    archs = [f"a rather long name of an architecture, number {i:06}" for i in range(ARCHS)]
    assert store.archs == tuple(archs) and store.lacking([*archs, "x"]) == ["x"]
    picked = np.random.default_rng(0).permutation(ARCHS)[:300]
    found = store.read([archs[i] for i in picked])
    assert found.scores["snip"].tolist() == picked.tolist()
    assert found.statistics["snip"].tolist() == np.repeat(picked, NODES).tolist()
    assert [len(part) for part in store.parts(2500)] == [2500, 2500, 1000]
