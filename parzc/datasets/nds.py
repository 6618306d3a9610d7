"""Reads the official files of NDS (Radosavovic et al. 2019, https://github.com/facebookresearch/nds).

A file is a JSON list of records of trained networks, or the lists `top` and `mid` of one sweep. Of a record, `net` is
the architecture (`genotype`, `width`, `depth`) and `test_ep_top1` the test error in per cent after each epoch.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from parzc.datasets._genotype import Cell, Genotype
from parzc.errors import InputError

SOURCE = "NDS (Radosavovic et al. 2019), official file of one family"
SPACES = ("nds-darts", "nds-enas", "nds-nasnet", "nds-amoeba", "nds-pnas")


def read_json(path: Path) -> pd.DataFrame:
    """Return one row for each record of a file of a cell-based family.

    Columns: `arch`, `test_accuracy` (after the last epoch), `best_test_accuracy` (of all epochs), both in per cent,
    and `params_m` and `flops_m` (millions) where the records hold them.

    Raises:
        InputError: if the file is no JSON of this structure; the record is named.
    """
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); give an intact file of NDS") from error
    if isinstance(records, dict):
        records = [record for part in ("top", "mid") for record in records.get(part, [])]
    if not isinstance(records, list) or not records:
        raise InputError(f"{path} holds no list of records; give an official file of NDS")
    rows = []
    for number, record in enumerate(records):
        try:
            rows.append(_row(record))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{path}, record {number}: {type(error).__name__} ({error}) where a record of NDS has net and "
                "test_ep_top1; give the official file of a cell-based family"
            ) from error
    return pd.DataFrame(rows, index=[f"record {number}" for number in range(len(rows))])


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
