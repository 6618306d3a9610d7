"""The commands that look after a store: status, verify, export."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from parzc.commands import _proxies
from parzc.commands.features import main
from parzc.features import FeatureStore, FeatureTable, NodeFeatures

CONFIG = {"space": "nb201", "task": "cifar10", "batch": 4, "proxies": ["snip", "nwot"]}
DEFINITIONS = {"snip": {"definition": 1}, "nwot": {"definition": 1}}


def network(i):
    return NodeFeatures(("head",), ("linear",), np.full((1, 4), i), {"snip": np.array([0.5])}, {"snip": float(i)})


@pytest.fixture
def store(tmp_path):
    """Four shards of ten networks, one stored every ten seconds, the last an hour after the others."""
    store = FeatureStore.create(tmp_path / "store", CONFIG, DEFINITIONS, {"torch": "2.9", "numpy": "2.2"})
    for i, time in enumerate((1_000_000, 1_000_010, 1_000_020, 1_003_600)):
        archs = [f"arch-{i}{j}" for j in range(10)]
        path = store.append(FeatureTable.of([network(i)] * 10, archs), {"forward": 5.0, "snip": 1.0})
        os.utime(path, (time, time))
    return store


def run(capsys, *arguments):
    main([*map(str, arguments)])
    return capsys.readouterr().out.splitlines()


def test_status_says_how_much_how_fast_and_what_failed(capsys, store):
    store.note(wanted=100, failed={"x": "RuntimeError: odd", "y": "RuntimeError: odd", "z": "killed", "arch-00": "old"})
    lines = run(capsys, "status", store.path)
    assert lines[0] == f"{store.path}: 40 of 100 functions of nb201 are done, 3 failed"
    assert lines[1:] == [
        "configuration: task cifar10, batch 4; 2 proxies: snip, nwot",
        "made with torch 2.9, numpy 2.2",
        "failed, 2 of them (x the first): RuntimeError: odd",
        "failed, 1 of them (z the first): killed",
        "0.600 seconds for one arch: forward 0.500, snip 0.100, ...",
    ]
    last = store.path / store.index.shards[store.index.places(store.index.find(["arch-30"]))[0][0]]
    os.utime(last, (1_000_030, 1_000_030))
    lines = run(capsys, "status", store.path)
    # Thirty in thirty seconds: what was stored first was computed before.
    assert lines[1].startswith("1.00 a second in the last minutes of work, until ")
    assert lines[1].endswith(", 1 minutes left at that rate")


def test_status_of_an_empty_store(capsys, tmp_path):
    FeatureStore.create(tmp_path, CONFIG, DEFINITIONS)
    assert run(capsys, "status", tmp_path) == [
        f"{tmp_path}: 0 of 0 functions of nb201 are done",
        "configuration: task cifar10, batch 4; 2 proxies: snip, nwot",
    ]


def test_verify_sets_damaged_shards_aside_and_renews_the_index(capsys, store):
    assert run(capsys, "verify", store.path) == [f"{store.path}: 4 shards with 40 functions are intact"]
    assert len(list(store.path.glob("index-*"))) == 1
    path = next(store.path.glob("shard-*"))
    path.write_bytes(path.read_bytes()[:-1])
    (store.path / ".shard-1.safetensors.1.a.partial").touch()
    assert run(capsys, "verify", store.path) == [
        f"{path.name} is damaged and was set aside as {path.name.replace('shard', 'damaged')}; "
        "extract again to make it good",
        "1 half-written files of killed processes were removed",
        f"{store.path}: 3 shards with 30 functions are intact",
    ]
    assert len(FeatureStore.open(store.path)) == 30


def test_status_names_proxies_without_a_value_for_most_architectures(capsys, tmp_path):
    store = FeatureStore.create(tmp_path, CONFIG, DEFINITIONS)
    scores = [(np.nan, "odd"), (np.nan, "no batch norm"), (np.nan, "no batch norm"), (1.0, "")]
    networks = [
        NodeFeatures(("head",), ("linear",), np.ones((1, 4)), {}, {"snip": np.nan if i < 2 else 1.0, "nwot": value},
                     reasons={"nwot": why} if why else {})
        for i, (value, why) in enumerate(scores)
    ]  # fmt: skip
    store.append(FeatureTable.of(networks, ["a", "b", "c", "d"]))
    # Half is not most.
    assert run(capsys, "status", tmp_path)[-1] == "no value for 3 of 4 architectures (no batch norm): nwot"


def test_a_large_store_is_looked_at_in_part(tmp_path, monkeypatch):
    store = FeatureStore.create(tmp_path, CONFIG, DEFINITIONS)
    for part in range(3):
        store.append(FeatureTable.of([network(part)] * 10, [f"arch-{part}{i}" for i in range(10)]))
    monkeypatch.setattr(_proxies, "LOOKED_AT", 11)
    looked = _proxies.first_archs(store)
    assert len(looked) == 20 and len({arch[:6] for arch in looked}) == 2
    monkeypatch.setattr(_proxies, "LOOKED_AT", 2000)
    assert tuple(_proxies.first_archs(store)) == store.archs


def test_archs_are_listed_or_drawn(capsys, store):
    archs = [f"arch-{i}{j}" for i in range(4) for j in range(10)]
    assert run(capsys, "archs", store.path) == archs
    drawn = run(capsys, "archs", store.path, "--sample", 5)
    assert len(set(drawn)) == 5 and set(drawn) < set(archs)
    assert run(capsys, "archs", store.path, "--sample", 5, "--seed", 0) == drawn
    assert run(capsys, "archs", store.path, "--sample", 5, "--seed", 1) != drawn
    assert sorted(run(capsys, "archs", store.path, "--sample", 40)) == archs


def test_export_writes_parquet(capsys, store, tmp_path):
    target = tmp_path / "out.parquet"
    assert run(capsys, "export", store.path, target) == [f"40 functions written to {target}"]
    assert pq.read_table(target, columns=["arch", "snip"]).to_pydict()["snip"] == [i // 10 for i in range(40)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("status", "none"), "none is not a feature store: it has no manifest.json"),
        (("verify", "none"), "none is not a feature store: it has no manifest.json"),
        (("export", "none", "x.parquet"), "none is not a feature store: it has no manifest.json"),
        (("export", "STORE", "x.csv"), "x.csv is not named like a Parquet file; give one that ends in .parquet"),
        (
            ("export", "STORE", "no/x.parquet"),
            "no/x.parquet is in a folder that does not exist; make it first",
        ),
        (("archs", "none"), "none is not a feature store: it has no manifest.json"),
        (("archs", "STORE", "--sample", "41"), "cannot draw 41 of 40 architectures; ask for 1 to 40"),
        (("archs", "STORE", "--sample", "0"), "cannot draw 0 of 40 architectures; ask for 1 to 40"),
        (("archs", "STORE", "--sample", "1", "--seed", "-1"), "--seed -1 is no seed; "),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, store, arguments, sentence):
    with pytest.raises(SystemExit) as caught:
        main([str(store.path) if a == "STORE" else a for a in arguments])
    assert caught.value.code == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {sentence}")
