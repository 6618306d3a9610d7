"""Accuracies that come with an installed package, so that everything runs before any download.

`analog-nasbench` ships one training on CIFAR-10 of each of the 15,625 NAS-Bench-201 cells, independent of the
official ones (`baseline_accuracy`). Importing that package fails where `pkg_resources` is gone, so its data
file is located and read directly. Nothing of it is copied here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from parzc.datasets.spaces.nb201 import NB201
from parzc.datasets.tables import _unpickle
from parzc.errors import InputError

# The order of the operations in NASLib, whose six-digit cells are the keys of the file.
_NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_CELL = "|{0}~0|+|{1}~0|{3}~1|+|{2}~0|{4}~1|{5}~2|"
_REINSTALL = "reinstall it with: pip install --force-reinstall analog-nasbench"


@dataclass(frozen=True)
class EmbeddedTable:
    """A table that needs no file from the user.

    Args:
        space: name of the space whose archs it holds.
        source: where the figures come from, in one line.
        target: the label column that is meant when none is named.
        read: returns column `arch` and the label columns; the index says where each row stands.
    """

    space: str
    source: str
    target: str
    read: Callable[[], pd.DataFrame]


class _Record:
    """Stands in for the two plain classes of the file; the unpickler fills in the attributes."""

    baseline_accuracy: float


_ALLOWED: _unpickle.Globals = {
    ("analognasbench.data", "Architecture"): _Record,
    ("analognasbench.data", "DriftMeasurement"): _Record,
}


def _data_file() -> Path:
    """Return the path of the package's data file without importing the package."""
    try:
        path = Path(str(metadata.distribution("analog-nasbench").locate_file("analognasbench/data.anb")))
    except metadata.PackageNotFoundError:
        raise InputError(
            "table 'analog-nasbench' needs a package that is not installed; run: pip install analog-nasbench"
        ) from None
    if not path.is_file():
        raise InputError(f"{path}, a part of the package analog-nasbench, is missing; {_REINSTALL}")
    return path


def _arch(cell: tuple[int, ...]) -> str:
    """Return the official string of a cell that is written as six indices into NASLib's operations."""
    return _NASLIB_CELL.format(*(_NASLIB_OPERATIONS[i] for i in cell))


def read_analog_nasbench() -> pd.DataFrame:
    """Return the CIFAR-10 test accuracy (%, one training) of every NAS-Bench-201 cell, in the space's order.

    Raises:
        InputError: if the package is not installed, or its file is damaged or is not exactly the space.
    """
    path = _data_file()
    with path.open("rb") as stream:
        records = _unpickle.load(stream, _ALLOWED, file=str(path))
    archs = NB201().archs()
    try:
        accuracy = {_arch(cell): record.baseline_accuracy for cell, record in records.items()}
    except (AttributeError, IndexError, TypeError):
        accuracy = {}
    if accuracy.keys() != set(archs):
        raise InputError(f"{path} does not hold the {len(archs):,} cells of nb201; {_REINSTALL}")
    columns = {"arch": archs, "cifar10_test": [accuracy[arch] for arch in archs]}
    return pd.DataFrame(columns, index=[f"arch {i}" for i in range(len(archs))])


EMBEDDED: Mapping[str, EmbeddedTable] = MappingProxyType(
    {
        "analog-nasbench": EmbeddedTable(
            space="nb201",
            source="analog-nasbench (PyPI): CIFAR-10 test accuracy in %, one training of each NB201 cell",
            target="cifar10_test",
            read=read_analog_nasbench,
        ),
    }
)
"""The embedded tables by name: a new one is one line here and a function that reads it."""
