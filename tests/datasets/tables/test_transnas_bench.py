"""The reader of the official file of TransNAS-Bench-101, on small files of its structure."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from parzc.datasets import get_space, load_table
from parzc.datasets.tables import transnas_bench
from parzc.errors import InputError

METRICS = {
    "class_scene": "valid_top1", "class_object": "valid_top1", "room_layout": "valid_neg_loss", "jigsaw": "valid_top1",
    "segmentsemantic": "valid_acc", "normal": "valid_ssim", "autoencoder": "valid_ssim",
}  # fmt: skip
ARCHS = {
    "macro": ["64-2311-basic", "64-1234-basic"],
    "micro": ["64-41414-1_02_333", "64-41414-3_33_333"],
}


def content(best=60.0):
    """The best epoch is neither the first nor the last; numbers are floats, or scalars of numpy."""
    data = {}
    for part, archs in ARCHS.items():
        data[part] = OrderedDict()
        for i, arch in enumerate(archs):
            value = best + i + (10 if part == "micro" else 0)
            data[part][arch] = {
                task: {
                    "total_epochs": 3,
                    "model_info": {"inference_time": 0.01, "encoder_params": 3.1, "model_params": 3.2},
                    "metrics": {
                        "train_loss": [3.0, 2.0, 1.0],
                        metric: [value + j - 2, np.float64(value + j), value + j - 1],
                        metric.replace("valid", "test"): [1.0, 2.0, 3.0],
                        "time_elapsed": ["00:01", "00:02", "00:03"],
                    },
                }
                for j, (task, metric) in enumerate(METRICS.items())
            }
    return {
        "metrics_dict": {task: ["train_loss", metric] for task, metric in METRICS.items()},
        "info_names": ["inference_time", "encoder_params", "model_params"],
        "task_list": list(METRICS),
        "data": data,
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "transnas-bench_v10141024.pth"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", ARCHS)
def test_labels_are_the_best_validation_metrics(path, part, zipped):
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    space = get_space(f"transnas-{part}")
    base = 60.0 + (10 if part == "micro" else 0)
    table = load_table(path, space=space, target="jigsaw")
    assert (table.archs, table.source) == (tuple(ARCHS[part]), transnas_bench.SOURCE)
    assert set(table.columns) == set(space.tasks)
    for j, task in enumerate(METRICS):
        assert table.column(task).tolist() == [base + j, base + 1 + j]


def test_a_file_that_calls_something_is_refused(path):
    torch.save(content() | {"more": Path("x")}, path)
    with pytest.raises(InputError, match=r"v10141024\.pth refers to 'pathlib\S*Path', which transnas-bench_v1.*never"):
        load_table(path, space=get_space("transnas-micro"), target="normal")


@pytest.mark.parametrize("damaged", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_a_damaged_file_is_named(path, damaged):
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"v10141024\.pth is damaged; get the official transnas-bench_v10141024\.pth"):
        load_table(path, space=get_space("transnas-micro"), target="normal")


def without_metric():
    changed = content()
    del changed["data"]["micro"][ARCHS["micro"][1]]["normal"]["metrics"]["valid_ssim"]
    return changed


def never_trained():
    changed = content()
    changed["data"]["micro"][ARCHS["micro"][1]]["normal"]["metrics"]["valid_ssim"] = []
    return changed


@pytest.mark.parametrize(
    "other", [{"state_dict": {}}, [1, 2], {"data": {"micro": 7}}, without_metric(), never_trained()]
)
def test_another_torch_file_is_refused(path, other):
    torch.save(other, path)
    with pytest.raises(InputError, match=r"is a torch file but does not hold TransNAS-Bench-101 \(.*\); give the"):
        load_table(path, space=get_space("transnas-micro"), target="normal")
