"""Reads ViT-Bench-101 (Wei et al. 2024, Auto-Prox, arXiv:2312.09059): AutoFormer networks trained on small data sets.

A file is a JSON list of records: `arch` with `hidden_dim`, `depth`, and `mlp_ratio` and `num_heads` for each layer,
next to accuracies in per cent. The networks trained there have no relative positions; those of the space have.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from parzc.datasets.tables._json_records import read_records

SOURCE = "ViT-Bench-101 (Wei et al. 2024), AutoFormer networks"


def read_json(path: Path) -> pd.DataFrame:
    """Return one row for each record, with the columns of the space's notation and those of the accuracies.

    Raises:
        InputError: if the file is no JSON of this structure; the record is named.
    """
    return read_records(path, "ViT-Bench-101", _row, "arch with hidden_dim, depth, mlp_ratio and num_heads")


def _row(record: dict[str, Any]) -> dict[str, object]:
    arch = record["arch"]
    return {
        "layer_num": int(arch["depth"]),
        "embed_dim": int(arch["hidden_dim"]),
        "mlp_ratio": "/".join(f"{float(ratio):g}" for ratio in arch["mlp_ratio"]),
        "num_heads": "/".join(str(int(heads)) for heads in arch["num_heads"]),
    } | {key: value for key, value in record.items() if key != "arch"}
