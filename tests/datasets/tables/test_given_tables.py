"""Formats and tables of other packages, by entry points."""

import sys

import pytest

from parzc.datasets import get_space, list_tables, load_table
from parzc.datasets.tables import _formats
from parzc.errors import InputError

ARCHS = get_space("nb201").sample(3, 0)
MODULE = f"""
import pandas as pd
from parzc.datasets.tables import EmbeddedTable, Format

ARCHS = {ARCHS!r}
lines = Format(
    ".lines", "one accuracy a line", lambda path: path.suffix == ".lines",
    lambda path: pd.DataFrame(dict(arch=ARCHS, acc=path.read_text().split())), ("nb201",),
)
three = EmbeddedTable("nb201", "three cells", "acc", lambda: pd.DataFrame(dict(arch=ARCHS, acc=[1.0, 2.0, 3.0])))
nothing = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    def install(points):
        (tmp_path / "table_package.py").write_text(MODULE)
        info = tmp_path / "table_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: table-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[parzc.tables]\n{points}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        _formats._given.cache_clear()

    yield install
    _formats._given.cache_clear()
    sys.modules.pop("table_package", None)


def test_a_format_and_a_table_of_another_package_are_read(package, tmp_path):
    package("lines = table_package:lines\nthree = table_package:three")
    assert list_tables(get_space("nb201")) == ["three", "analog-nasbench"]
    assert load_table("three", space=get_space("nb201")).labels.tolist() == [1, 2, 3]
    (tmp_path / "a.lines").write_text("90\n91.5\n92\n")
    table = load_table(tmp_path / "a.lines", space=get_space("nb201"))
    assert table.archs == tuple(ARCHS) and table.labels.tolist() == [90, 91.5, 92]
    with pytest.raises(InputError, match=r"a\.lines has no format known for nb101; give one of"):
        load_table(tmp_path / "a.lines", space=get_space("nb101"))


def test_what_is_no_table_is_named(package):
    package("nothing = table_package:nothing")
    with pytest.raises(
        InputError, match="the table 'nothing' of the package table-package, is neither a Format nor an"
    ):
        list_tables(get_space("nb201"))
