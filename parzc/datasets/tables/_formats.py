"""The kinds of files that hold tables, and the tables that need no file; those of other packages among them."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd

from parzc.datasets.tables import nas_bench_101, nats_bench, nds, transnas_bench, vitbench
from parzc.datasets.tables.embedded import EMBEDDED, EmbeddedTable
from parzc.errors import InputError


@dataclass(frozen=True)
class Format:
    """A kind of file or directory that holds a table.

    Args:
        label: what to call it in messages.
        source: where its figures come from, in one line.
        accepts: whether a path that exists looks like this kind.
        read: returns the columns that name an arch and the label columns as found; the index says where a row stands.
        spaces: whose files these are; of any space if empty.
    """

    label: str
    source: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path], pd.DataFrame]
    spaces: tuple[str, ...] = ()


def _ends_with(*endings: str) -> Callable[[Path], bool]:
    return lambda path: path.name.lower().endswith(endings)


def _read_csv(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV file as text, without blank lines and unnamed columns."""
    places, rows = [], []
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as raw:
            text = raw.read().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, row {reader.line_num}: {len(cells)} cells where the header has {len(header)}; "
                    "correct the row"
                )
            places.append(f"row {reader.line_num}")
            rows.append([cell.strip() for cell in cells])
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}); give an intact UTF-8 file") from error
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise InputError(f"{path} has more than one column '{repeated[0]}'; rename or remove one")
    # An unnamed column is the row number that pandas writes in front.
    return pd.DataFrame(rows, columns=header, index=places).loc[:, [bool(name) for name in header]]


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
        for i in range(frame.shape[1]):
            list(frame.iloc[:, i])  # text is decoded only when it is looked at
    except Exception as error:  # a damaged file raises nearly anything, and claims any size
        raise InputError(f"{path} cannot be read as Parquet; give an intact file") from error
    if "arch" in frame.index.names:
        frame = frame.reset_index()
    frame.columns = frame.columns.map(str)
    # Numbered like the rows of a spreadsheet, whose first row is the header.
    return frame.set_axis([f"row {i}" for i in range(2, len(frame) + 2)], axis=0)


FORMATS: tuple[Format, ...] = (
    Format(".csv, .csv.gz", "CSV file", _ends_with(".csv", ".csv.gz"), _read_csv),
    Format(".parquet", "Parquet file", _ends_with(".parquet"), _read_parquet),
    Format(
        "NATS-Bench directory",
        nats_bench.DIRECTORY_SOURCE,
        Path.is_dir,
        nats_bench.read_directory,
        ("nb201", "nats-sss"),
    ),
    Format(
        "NAS-Bench-201 .pth", nats_bench.CHECKPOINT_SOURCE, _ends_with(".pth"), nats_bench.read_checkpoint, ("nb201",)
    ),
    Format(
        "NAS-Bench-101 .tfrecord",
        nas_bench_101.SOURCE,
        _ends_with(".tfrecord"),
        nas_bench_101.read_tfrecord,
        ("nb101",),
    ),
    Format(
        "TransNAS-Bench-101 .pth",
        transnas_bench.SOURCE,
        _ends_with(".pth"),
        transnas_bench.read_micro,
        ("transnas-micro",),
    ),
    Format(
        "TransNAS-Bench-101 .pth",
        transnas_bench.SOURCE,
        _ends_with(".pth"),
        transnas_bench.read_macro,
        ("transnas-macro",),
    ),
    Format("NDS .json", nds.SOURCE, _ends_with(".json"), nds.read_json, nds.SPACES),
    Format("ViT-Bench-101 .json", vitbench.SOURCE, _ends_with(".json"), vitbench.read_json, ("autoformer-tiny",)),
)
"""What this package can read: a new format is one file with its reader and one line here, or an entry point of the
group `parzc.tables` in another package."""


GROUP = "parzc.tables"
"""Entry points by which an installed package gives further formats and embedded tables."""


@cache
def _given() -> dict[str, Format | EmbeddedTable]:
    """Return what other packages give, by the name of the entry point.

    Raises:
        InputError: if one cannot be imported, or is neither a format nor an embedded table.
    """
    found: dict[str, Format | EmbeddedTable] = {}
    for point in entry_points(group=GROUP):
        where = f"{point.value}, the table '{point.name}' of the package {point.dist.name if point.dist else '?'},"
        try:
            given = point.load()
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(f"{where} cannot be imported ({why}); repair or remove the package") from error
        if not isinstance(given, Format | EmbeddedTable):
            raise InputError(f"{where} is neither a Format nor an EmbeddedTable of parzc.datasets.tables; correct it")
        found[point.name] = given
    return found


def formats() -> tuple[Format, ...]:
    """Return every format of files: those of this package, then those of other packages."""
    return (*FORMATS, *(given for given in _given().values() if isinstance(given, Format)))


def embedded_tables() -> dict[str, EmbeddedTable]:
    """Return every table that needs no file, by name: those of this package, and those of other packages."""
    return {name: given for name, given in _given().items() if isinstance(given, EmbeddedTable)} | dict(EMBEDDED)
