"""Official accuracies of NATS-Bench and NAS-Bench-201, read from the files that their authors publish.

NATS-Bench (Dong et al., TPAMI 2021, arXiv:2009.00437) is a directory with one compressed pickle for each
architecture, for example `NATS-tss-v1_0-3ffb9-simple`; NAS-Bench-201 (Dong and Yang, ICLR 2020,
arXiv:2001.00326) is one file that `torch.save` wrote, `NAS-Bench-201-v1_1-096897.pth`. Both keep the same
records. Labels are accuracies in percent after the last epoch of the longest training (200 epochs in the
topology space, 90 in the size space), averaged over the seeds that were run.
"""

import bz2
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from parzc.datasets.tables import _unpickle
from parzc.errors import InputError

COLUMNS = {
    "cifar10_valid": ("cifar10-valid", "x-valid"),
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar100_valid": ("cifar100", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "imagenet16_valid": ("ImageNet16-120", "x-valid"),
    "imagenet16_test": ("ImageNet16-120", "x-test"),
}
"""The data set and the split that each label column is measured on, as the official files call them."""

DIRECTORY_SOURCE = "NATS-Bench, official directory: accuracy in % after the longest training, mean over seeds"
CHECKPOINT_SOURCE = "NAS-Bench-201, official file: accuracy in % after 200 epochs, mean over seeds"
_CHECKPOINT = "NAS-Bench-201-v1_1-096897.pth"


class _DType:
    """Stands in for `numpy.dtype`, whose own state setter trusts what it is given."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _scalar(dtype: _DType, data: bytes) -> float:
    """Stands in for numpy's function that rebuilds a scalar."""
    return float(np.frombuffer(data, dtype.order + dtype.code)[0])


ALLOWED: _unpickle.Globals = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
"""The globals of plain records with numbers of numpy."""


def _row(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arch and its labels from the record of one training budget; NaN where nothing was run."""
    accuracies: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for (dataset, _), run in results["all_results"].items():
        for column, (name, split) in COLUMNS.items():
            if name == dataset:
                accuracies[column].append(run["eval_acc1es"][f"{split}@{run['epochs'] - 1}"])
    means = {column: float(np.mean(values)) if values else np.nan for column, values in accuracies.items()}
    return {"arch": results["arch_str"], **means}


def _frame(rows: list[dict[str, Any]], places: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["arch", *COLUMNS], index=places)


def _read_architecture(path: Path) -> dict[str, Any]:
    """Return the row of one `NNNNNN.pickle.pbz2`, whose keys are the training budgets in epochs."""
    with bz2.open(path) as stream:
        budgets = _unpickle.load(stream, ALLOWED, file=str(path))
    try:
        return _row(budgets[max(budgets, key=int)])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path} is not a NATS-Bench record; get the file again from its official source") from error


def read_directory(path: Path) -> pd.DataFrame:
    """Return the labels of the architectures whose records are in a NATS-Bench directory.

    Any part of the directory will do, and either search space. A record takes about 10 ms, so that the full
    topology space takes about three minutes; a terminal shows the progress.

    Raises:
        InputError: if the directory holds no records, or one of them is damaged.
    """
    files = sorted(file for file in path.iterdir() if re.fullmatch(r"\d{6}\.pickle\.pbz2", file.name))
    if not files:
        raise InputError(
            f"directory {path} holds no NATS-Bench records (000000.pickle.pbz2 and so on); "
            "give the unpacked directory, for example NATS-tss-v1_0-3ffb9-simple"
        )
    rows = [_read_architecture(file) for file in tqdm(files, desc=path.name, disable=None)]
    return _frame(rows, [f"file {file.name}" for file in files])


def read_checkpoint(path: Path) -> pd.DataFrame:
    """Return the labels of every architecture in an official `NAS-Bench-201-v1_*.pth`.

    The file is read as a whole and takes several times its size in memory; a NATS-Bench directory holds the
    same trainings and needs little.

    Raises:
        InputError: if the file is damaged, is not NAS-Bench-201, or names a global that it never uses.
    """
    content = _unpickle.load_checkpoint(path, ALLOWED, official=_CHECKPOINT)
    try:
        records = sorted(content["arch2infos"].items())
        rows = [_row(record["full"]) for _, record in records]
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{path} is a torch file but does not hold NAS-Bench-201; give the official {_CHECKPOINT}"
        ) from error
    return _frame(rows, [f"index {index}" for index, _ in records])
