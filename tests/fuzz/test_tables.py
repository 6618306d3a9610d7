"""Tables: CSV, compressed CSV, Parquet, official checkpoints and directories."""

import bz2
import gzip
import io
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from damage import Payload, damaged, fuzz, works_or_says_why
from hypothesis import given
from hypothesis import strategies as st

from parzc.datasets import get_space, load_table

SPACE = get_space("nb201")
FRAME = pd.DataFrame({"arch": SPACE.sample(6, 0), "acc": np.linspace(80, 90, 6), "time": range(6)})
CSV = FRAME.to_csv(index=False).encode()
PARQUET = FRAME.to_parquet()
ARCH = SPACE.sample(1, 0)[0]


def record(arch, epochs=12):
    runs = {
        (name, seed): {"epochs": epochs, "eval_acc1es": {f"{split}@{epochs - 1}": np.float64(50.0)}}
        for name, split in (("cifar10-valid", "x-valid"), ("cifar10", "ori-test"))
        for seed in (777, 888)
    }
    return {"arch_str": arch, "all_results": runs}


CHECKPOINT = io.BytesIO()
torch.save({"arch2infos": {0: {"full": record(ARCH)}}}, CHECKPOINT)
PICKLE = pickle.dumps({"12": record(ARCH), "200": record(ARCH, 200)}, 4)


def check(path):
    table = works_or_says_why(load_table, path, space=SPACE, target=None)
    if table is None:
        table = works_or_says_why(load_table, path, space=SPACE, target="acc")
    if table is not None:
        assert len(table.archs) == len(table.labels) > 0
        assert np.isfinite(table.labels).all() and all(SPACE.canonical(arch) for arch in table.archs)


@fuzz
@given(damaged(CSV))
def test_csv(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)
    check(tmp_path / "table.csv")


@fuzz
@given(st.lists(st.lists(st.text(max_size=6) | st.sampled_from(["arch", "acc", ARCH, "1", "nan", '"']), max_size=3)))
def test_csv_of_anything(tmp_path, rows):
    (tmp_path / "table.csv").write_text("\n".join(",".join(row) for row in rows), encoding="utf-8", errors="replace")
    check(tmp_path / "table.csv")


@fuzz
@given(damaged(CSV) | damaged(gzip.compress(CSV)).map(gzip.compress), st.booleans())
def test_compressed_csv(tmp_path, content, twice):
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(content) if twice else content)
    check(tmp_path / "table.csv.gz")


@fuzz
@given(damaged(PARQUET))
def test_parquet(tmp_path, content):
    (tmp_path / "table.parquet").write_bytes(content)
    check(tmp_path / "table.parquet")


@fuzz
@given(damaged(CHECKPOINT.getvalue()))
def test_checkpoints(tmp_path, content):
    (tmp_path / "table.pth").write_bytes(content)
    check(tmp_path / "table.pth")


@fuzz
@given(damaged(PICKLE), st.booleans())
def test_directories(tmp_path, content, intact):
    """The pickle within is damaged, or, now and then, its compression."""
    compressed = bz2.compress(content)
    (tmp_path / "nats").mkdir(exist_ok=True)
    (tmp_path / "nats" / "000000.pickle.pbz2").write_bytes(compressed if intact else compressed[: len(content) // 3])
    check(tmp_path / "nats")


plain = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["arch2infos", "full", "all_results", "arch_str", "12", "epochs"]), inner)
    ),
)


@fuzz
@given(plain)
def test_official_files_of_anything(tmp_path, value):
    (tmp_path / "nats").mkdir(exist_ok=True)
    (tmp_path / "nats" / "000000.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(value)))
    torch.save(value, tmp_path / "table.pth")
    check(tmp_path / "nats")
    check(tmp_path / "table.pth")


@pytest.mark.parametrize("name", ["table.pth", "table.csv", "table.parquet", "nats/000000.pickle.pbz2"])
@pytest.mark.parametrize("zipped", [True, False])
def test_payloads(tmp_path, marker, name, zipped):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith("pth") and zipped:
        torch.save({"arch2infos": Payload(marker)}, path)
    else:
        content = pickle.dumps({"12": Payload(marker)})
        path.write_bytes(bz2.compress(content) if zipped else content)
    check(path.parent if "nats" in name else path)
