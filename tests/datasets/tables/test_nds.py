"""Official files of NDS, written here with the structure of the published ones."""

import json

import pytest
from genotypes import AMOEBA, NASNET

from parzc.datasets import get_space, load_table
from parzc.errors import InputError


def record(space, arch, width, depth, errors, **changes):
    """One trained network with all keys of a published record."""
    genotype = get_space(space).parse(arch)
    cells = {}
    for kind, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        cells |= {kind: [list(edge) for edge in cell.edges], f"{kind}_concat": list(cell.concat)}
    return {
        "job_id": 7, "rng_seed": 1, "exp_mem": 1.5, "act_mem": 10, "params": 3_145_078, "flops": 500_000_000,
        "iter_time": 0.1, "prec_time": {"train_fw_bw": 0.2, "test_fw": 0.1}, "min_test_top1": min(errors),
        "net": {"genotype": cells, "width": width, "depth": depth, "aux": False, "drop_prob": 0.0},
        "optim": {"base_lr": 0.1, "wd": 0.0005, "max_ep": len(errors), "lr_policy": "cos"},
        "train_ep_top1": [50.0] * len(errors), "train_ep_loss": [1.0] * len(errors),
        "train_it_top1": [50.0], "train_it_loss": [1.0], "test_ep_top1": errors,
    } | changes  # fmt: skip


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_list_of_records(tmp_path):
    one, two = record("nds-amoeba", AMOEBA, 36, 20, [60.5, 7.25, 8.0]), record("nds-amoeba", AMOEBA, 16, 4, [9.5])
    table = load_table(
        write(tmp_path / "Amoeba.json", [one, two]), space=get_space("nds-amoeba"), target="test_accuracy"
    )
    assert table.labels.tolist() == [92.0, 90.5]
    assert table.column("best_test_accuracy").tolist() == [92.75, 90.5]
    assert table.column("params_m").tolist() == [3.145078, 3.145078]
    assert "NDS" in table.source
    space = get_space("nds-amoeba")
    assert space.canonical(table.archs[0]) == space.canonical(AMOEBA)
    assert space.cost(table.archs[0]).params == 3_145_078
    assert table.archs[1].endswith("width=16, depth=4)")


def test_the_two_parts_of_a_sweep(tmp_path):
    parts = {
        "mid": [record("nds-nasnet", NASNET, 24, 8, [20.0])],
        "top": [record("nds-nasnet", NASNET, 32, 8, [10.0, 12.0])],
    }
    table = load_table(write(tmp_path / "NASNet_in.json", parts), space=get_space("nds-nasnet"), target="test_accuracy")
    assert table.labels.tolist() == [88.0, 80.0]


def test_other_files_are_refused_with_the_record(tmp_path):
    space = get_space("nds-amoeba")
    good = record("nds-amoeba", AMOEBA, 36, 20, [8.0])
    resnet = good | {"net": {"block_type": "res_basic_block", "ds": [1, 2, 3], "ws": [16, 32, 64]}}
    for wrong, message in (
        ([good, resnet], r"record 1: KeyError \('genotype'\) where a record of NDS has net"),
        ([good | {"test_ep_top1": []}], "record 0: IndexError"),
        ([3], "record 0: TypeError"),
        ("text", "holds no list of records"),
        ([], "holds no list of records"),
        ([record("nds-amoeba", AMOEBA, 35, 20, [8.0])], "record 0: .*the width is 35"),
        ([good, good], "record 0 and record 1 hold the same arch"),
    ):
        with pytest.raises(InputError, match=message):
            load_table(write(tmp_path / "file.json", wrong), space=space, target="test_accuracy")
    (tmp_path / "file.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_table(tmp_path / "file.json", space=space, target="test_accuracy")
    with pytest.raises(InputError, match="no format known for nb201"):
        load_table(tmp_path / "file.json", space=get_space("nb201"))
