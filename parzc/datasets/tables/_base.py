"""Tables of architectures and their labels: embedded ones, CSV and Parquet files, official benchmark files.

Every row is checked on the way in, so that the rest of the package can rely on a table: known archs, each
once, with a finite label.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parzc.datasets.spaces._base import Space
from parzc.datasets.tables._formats import embedded_tables, formats
from parzc.errors import InputError


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of one space and what was measured on them.

    Args:
        name: the file or the embedded table, as it was asked for.
        source: where the figures come from, in one line.
        target: the label column that `labels` returns.
        archs: the architectures as the table writes them, each once.
        figures: label columns by name, each `(len(archs),)`; bigger is better.
    """

    name: str
    source: str
    target: str
    archs: tuple[str, ...]
    figures: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all label columns."""
        return tuple(self.figures)

    @property
    def labels(self) -> NDArray[np.float64]:
        """The labels of the target, `(len(archs),)`, all finite, in the units of the table."""
        return self.figures[self.target]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return any label column of the same archs, `(len(archs),)`; NaN where the table holds no number.

        Raises:
            InputError: if the table has no such label column.
        """
        if name not in self.figures:
            raise _no_column(self.name, name, self.columns)
        return self.figures[name]


def _listed(names: Iterable[str]) -> str:
    return (", ".join(names) or "none")[:300]


def _no_column(table: str, column: str, there: Iterable[str]) -> InputError:
    return InputError(f"{table} has no label column '{column}'; label columns there: {_listed(there)}")


def list_tables(space: Space) -> list[str]:
    """Return the names of the embedded tables of `space`."""
    return [name for name, table in embedded_tables().items() if table.space == space.name]


def load_table(source: str | Path, *, space: Space, target: str | None = None) -> Table:
    """Read and check a table.

    Args:
        source: name of an embedded table, or path of a CSV (`.csv`, `.csv.gz`) or Parquet file with a column `arch`
            (or the `columns` of the space), or of an official file or directory of the space (see `FORMATS`).
        space: the space that the archs belong to.
        target: the label column to use; not needed if there is only one, or for an embedded table.

    Raises:
        InputError: if the table is missing, damaged or empty; if it has no column `arch` or no such target;
            if an arch is unknown or there twice, or its label is not a finite number.
    """
    name = str(source)
    frame, description, default = _read(name, space)
    frame = _spelled(name, frame, space)
    if not len(frame):
        raise InputError(f"{name} holds no rows; give a table with at least one architecture")
    numbers = {column: _numbers(frame[column]) for column in frame.columns if column != "arch"}
    figures = {column: values for column, values in numbers.items() if not np.isnan(values).all()}
    if not (target or default):
        _refuse_written_otherwise(name, frame, figures)
    target = target or default or _only_column(name, tuple(figures))
    if target not in numbers:
        raise _no_column(name, target, figures)
    archs = _checked_archs(name, zip(frame.index, frame["arch"], strict=True), space)
    for place, found, number in zip(frame.index, frame[target], numbers[target], strict=True):
        if not np.isfinite(number):
            raise InputError(f"{name}, {place}: {target} is '{found}', not a finite number; correct or remove the row")
    return Table(name, description, target, archs, figures)


def _spelled(name: str, frame: pd.DataFrame, space: Space) -> pd.DataFrame:
    """Return the rows with a column `arch`, made of the columns that spell one where there is none."""
    if "arch" in frame.columns:
        return frame
    if not set(space.columns) <= set(frame.columns):
        wanted = " or ".join(dict.fromkeys(("'arch'", ", ".join(f"'{column}'" for column in space.columns))))
        raise InputError(f"{name} has no column {wanted}; columns there: {_listed(frame.columns)}")
    archs = []
    for place, *cells in frame[list(space.columns)].itertuples(name=None):
        try:
            archs.append(space.spell({key: str(cell) for key, cell in zip(space.columns, cells, strict=True)}))
        except InputError as error:
            raise InputError(f"{name}, {place}: {error}") from None
    return frame.drop(columns=list(space.columns)).assign(arch=archs)


def _read(name: str, space: Space) -> tuple[pd.DataFrame, str, str | None]:
    """Return the unchecked rows, where they come from, and the default target."""
    embedded = embedded_tables()
    if name in embedded:
        table = embedded[name]
        if table.space != space.name:
            raise InputError(f"table '{name}' is of the space {table.space}, not {space.name}; give another table")
        return table.read(), table.source, table.target
    path = Path(name)
    if not path.exists():
        raise InputError(
            f"there is no file {name}; correct the path, "
            f"or name an embedded table of {space.name}: {_listed(list_tables(space))}"
        )
    known = [format for format in formats() if not format.spaces or space.name in format.spaces]
    for candidate in known:
        if candidate.accepts(path):
            return candidate.read(path), candidate.source, None
    raise InputError(
        f"{name} has no format known for {space.name}; give one of: {_listed(format.label for format in known)}"
    )


def _number(cell: object) -> float:
    if isinstance(cell, str) and (not cell.isascii() or "_" in cell):
        return np.nan  # Python's own syntax: 90_5 would be 905
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan


def _numbers(cells: Iterable[object]) -> NDArray[np.float64]:
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def _refuse_written_otherwise(name: str, frame: pd.DataFrame, figures: Mapping[str, object]) -> None:
    """Name the first cell of a column that holds numbers, but none of them as a plain number, such as `93%`."""
    for column in frame.columns:
        if column == "arch" or column in figures:
            continue
        place, cell = frame.index[0], str(frame[column].iloc[0])
        if re.fullmatch(r"[+-]?\d[\d_.,' ]*%?", cell):
            raise InputError(
                f"{name}, {place}: {column} is '{cell}', not a finite number; write plain numbers, such as 93.5"
            )


def _only_column(name: str, columns: tuple[str, ...]) -> str:
    if not columns:
        raise InputError(f"{name} has no label column; add a column of numbers next to 'arch'")
    if len(columns) > 1:
        raise InputError(f"{name} has several label columns; name one with --target: {_listed(columns)}")
    return columns[0]


def _checked_archs(name: str, rows: Iterable[tuple[str, object]], space: Space) -> tuple[str, ...]:
    places: dict[str, str] = {}
    for place, arch in rows:
        if not isinstance(arch, str) or not arch:
            raise InputError(f"{name}, {place}: the arch is missing; fill it in or remove the row")
        try:
            space.canonical(arch)
        except InputError as error:
            raise InputError(f"{name}, {place}: {error}") from None
        if arch in places:
            raise InputError(f"{name}: {places[arch]} and {place} hold the same arch {arch}; remove one")
        places[arch] = place
    return tuple(places)
