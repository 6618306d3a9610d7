"""Reads the official files of NDS (Radosavovic et al. 2019, https://github.com/facebookresearch/nds).

A file is a JSON list of records of trained networks, or the lists `top` and `mid` of one sweep. Of a record, `net` is
the architecture (`genotype`, `width`, `depth`) and `test_ep_top1` the test error in per cent after each epoch.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from parzc.datasets.spaces._genotype import Cell, Genotype
from parzc.datasets.tables._json_records import read_records

SOURCE = "NDS (Radosavovic et al. 2019), official file of one family"
SPACES = ("nds-darts", "nds-enas", "nds-nasnet", "nds-amoeba", "nds-pnas")


def read_json(path: Path) -> pd.DataFrame:
    """Return one row for each record of a file of a cell-based family.

    Columns: `arch`, `test_accuracy` (after the last epoch), `best_test_accuracy` (of all epochs), both in per cent,
    and `params_m` and `flops_m` (millions) where the records hold them.

    Raises:
        InputError: if the file is no JSON of this structure; the record is named.
    """
    return read_records(path, "NDS", _row, "net and test_ep_top1")


def _row(record: dict[str, Any]) -> dict[str, object]:
    net, errors = record["net"], [float(error) for error in record["test_ep_top1"]]
    genotype = net["genotype"]
    cells = [
        Cell(
            tuple((str(operation), int(source)) for operation, source in genotype[kind]),
            tuple(int(node) for node in genotype[f"{kind}_concat"]),
        )
        for kind in ("normal", "reduce")
    ]
    row: dict[str, object] = {
        "arch": str(Genotype(cells[0], cells[1], int(net["width"]), int(net["depth"]))),
        "test_accuracy": 100 - errors[-1],
        "best_test_accuracy": 100 - min(errors),
    }
    return row | {f"{key}_m": float(record[key]) / 1e6 for key in ("params", "flops") if key in record}
