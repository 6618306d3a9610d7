"""The readers of official files, on genuine samples and on small files of the same structure."""

import bz2
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from parzc.datasets import get_space, load_table
from parzc.datasets.tables import nats_bench
from parzc.errors import InputError

SPACE = get_space("nb201")
ARCHS = (
    "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|",
    "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",
)
TOPOLOGY = "nats_samples/NATS-tss-v1_0-3ffb9-simple"
SIZE = "nats_samples/NATS-sss-v1_0-50262-simple"


def results(arch, epochs, accuracies):
    """A record of one training budget; `accuracies` maps (data set, seed) to {split: last accuracy}."""
    runs = {}
    for (dataset, seed), last in accuracies.items():
        evaluations = {f"{split}@{epochs - 1}": value for split, value in last.items()}
        runs[dataset, seed] = {
            "name": dataset,
            "params": np.float64(0.5),
            "seed": f"{seed:04d}",
            "epochs": epochs,
            "eval_acc1es": {f"{next(iter(last))}@0": 1.0, **evaluations},
            "train_times": OrderedDict({0: 1.5}),
            "latency": [np.float64(0.01)],
            "net_state_dict": None,
        }
    return {"arch_index": 0, "arch_str": arch, "all_results": runs, "clear_net_done": True}


def accuracies(base):
    return {
        ("cifar10-valid", 777): {"x-valid": base, "ori-test": 3.0},
        ("cifar10-valid", 888): {"x-valid": base + 1, "ori-test": 3.0},
        ("cifar10", 777): {"ori-test": base + 2},
        ("cifar100", 777): {"ori-test": 4.0, "x-valid": base + 3, "x-test": base + 4},
        ("ImageNet16-120", 999): {"ori-test": 5.0, "x-valid": base + 5, "x-test": base + 6},
    }


EXPECTED = {
    "cifar10_valid": 0.5,
    "cifar10_test": 2,
    "cifar100_valid": 3,
    "cifar100_test": 4,
    "imagenet16_valid": 5,
    "imagenet16_test": 6,
}


def write_record(folder: Path, index: int, record) -> Path:
    path = folder / f"{index:06d}.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps(record, 4)))
    return path


def checkpoint_content():
    infos = {
        index: {"less": results(arch, 12, accuracies(0.0)), "full": results(arch, 200, accuracies(base))}
        for index, arch, base in ((7, ARCHS[1], 60.0), (3, ARCHS[0], 50.0))
    }
    return {"meta_archs": list(ARCHS), "arch2infos": infos, "evaluated_indexes": {3, 7}, "total_archs": 2}


def test_genuine_topology_records_give_the_published_labels(data_dir):
    table = load_table(data_dir / TOPOLOGY, space=SPACE, target="cifar10_test")
    published = load_table(data_dir / "nb201.csv.gz", space=SPACE, target="cifar10_test")
    assert len(table) == 3
    assert table.columns == tuple(nats_bench.COLUMNS)
    rows = [published.archs.index(arch) for arch in table.archs]
    assert [published.column("index")[row] for row in rows] == [0, 11, 284]
    for column in table.columns:
        # The published table is rounded to four digits.
        np.testing.assert_allclose(table.column(column), published.column(column)[rows], rtol=0, atol=5.1e-5)


def test_genuine_size_records_are_read_by_the_same_reader(data_dir):
    frame = nats_bench.read_directory(data_dir / SIZE)
    assert list(frame["arch"]) == ["8:8:8:8:8", "8:8:8:16:32", "8:8:40:32:40"]
    assert list(frame.index) == [
        "file 000000.pickle.pbz2",
        "file 000011.pickle.pbz2",
        "file 000284.pickle.pbz2",
    ]
    assert list(frame["cifar10_test"]) == [79.79, 85.77, 89.51]
    assert frame.loc["file 000000.pickle.pbz2", "cifar100_test"] == pytest.approx(32.3)
    with pytest.raises(InputError, match=r"simple, file 000000\.pickle\.pbz2: '8:8:8:8:8' is not an nb201 arch"):
        load_table(data_dir / SIZE, space=SPACE, target="cifar10_test")


def test_longest_budget_last_epoch_mean_over_seeds(tmp_path):
    for index, (arch, base) in enumerate(zip(ARCHS, (50.0, 60.0), strict=True)):
        budgets = {"12": results(arch, 12, accuracies(0.0)), "200": results(arch, 200, accuracies(base))}
        write_record(tmp_path, index, OrderedDict(reversed(budgets.items()) if index else budgets.items()))
    (tmp_path / "meta.pickle.pbz2").write_bytes(b"not needed")
    table = load_table(tmp_path, space=SPACE, target="cifar10_valid")
    assert table.archs == ARCHS
    assert table.source == nats_bench.DIRECTORY_SOURCE
    for column, offset in EXPECTED.items():
        assert list(table.column(column)) == [50 + offset, 60 + offset]


def test_a_data_set_that_was_not_run_is_missing(tmp_path):
    only_cifar10 = {key: value for key, value in accuracies(50.0).items() if key[0] == "cifar10"}
    write_record(tmp_path, 0, {"200": results(ARCHS[0], 200, accuracies(50.0))})
    write_record(tmp_path, 1, {"200": results(ARCHS[1], 200, only_cifar10)})
    table = load_table(tmp_path, space=SPACE, target="cifar10_test")
    assert list(table.labels) == [52, 52]
    np.testing.assert_array_equal(table.column("cifar100_test"), [54, np.nan])
    with pytest.raises(InputError, match=r"file 000001\.pickle\.pbz2: cifar100_test is 'nan', not a finite number"):
        load_table(tmp_path, space=SPACE, target="cifar100_test")


@pytest.mark.parametrize("kept", [slice(-30), slice(0), slice(30, None)])
def test_damaged_records_are_named(tmp_path, kept):
    for index in range(4):
        path = write_record(tmp_path, index, {"200": results(ARCHS[0], 200, accuracies(50.0))})
        if index == 2:
            path.write_bytes(path.read_bytes()[kept])
    with pytest.raises(InputError, match=r"/000002\.pickle\.pbz2 is truncated or damaged"):
        load_table(tmp_path, space=SPACE, target="cifar10_test")


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"200": {}},
        {"best": results(ARCHS[0], 200, {})},
        {"200": {"arch_str": "x", "all_results": {"a": {}}}},
    ],
)
def test_other_records_are_refused(tmp_path, record):
    write_record(tmp_path, 5, record)
    with pytest.raises(InputError, match=r"000005\.pickle\.pbz2 is not a NATS-Bench record; get the file again"):
        nats_bench.read_directory(tmp_path)


def test_a_record_that_calls_something_is_refused(tmp_path):
    write_record(tmp_path, 5, {"200": Path("x")})
    with pytest.raises(InputError, match=r"000005\.pickle\.pbz2 refers to 'pathlib.*Path', which the form read here"):
        nats_bench.read_directory(tmp_path)


def test_a_directory_without_records_is_refused(tmp_path):
    (tmp_path / "meta.pickle.pbz2").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no NATS-Bench records .*; give the unpacked directory"):
        load_table(tmp_path, space=SPACE)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_in_both_formats_of_torch(tmp_path, zipped):
    path = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(checkpoint_content(), path, _use_new_zipfile_serialization=zipped)
    if not zipped:  # the official file was written by a numpy that named its scalars so
        old = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        assert b"numpy.core.multiarray" in old
        path.write_bytes(old)
    allowed_before = set(torch.serialization.get_safe_globals())
    table = load_table(path, space=SPACE, target="cifar100_valid")
    assert table.archs == ARCHS
    assert table.source == nats_bench.CHECKPOINT_SOURCE
    for column, offset in EXPECTED.items():
        assert list(table.column(column)) == [50 + offset, 60 + offset]
    assert set(torch.serialization.get_safe_globals()) == allowed_before


def test_numpy_scalars_keep_their_value(tmp_path):
    for index, dtype in enumerate(("<f8", ">f8", "<f4", "<i8")):
        values = {("cifar10", 0): {"ori-test": np.array([52], dtype)[0]}}
        write_record(tmp_path, index, {"200": results(ARCHS[0], 200, values)})
    assert list(nats_bench.read_directory(tmp_path)["cifar10_test"]) == [52, 52, 52, 52]


def test_a_checkpoint_that_calls_something_is_refused(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"arch2infos": {0: Path("x")}}, path)
    with pytest.raises(
        InputError,
        match=r"bad\.pth refers to 'pathlib\S*Path', which NAS.* never .*another official form",
    ):
        nats_bench.read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.pth is damaged; get the official NAS-Bench-201-v1_1-096897\.pth"):
        nats_bench.read_checkpoint(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"arch2infos": {0: {"less": {}}}}])
def test_another_torch_file_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"other\.pth is a torch file but does not hold NAS-Bench-201; give the"):
        nats_bench.read_checkpoint(path)
