"""The accuracies that the installed package analog-nasbench brings."""

import pickle
import sys
import types
from importlib import metadata

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from parzc.datasets import get_space, list_tables, load_table
from parzc.datasets.tables import embedded
from parzc.errors import InputError

SPACE = get_space("nb201")


@pytest.fixture(scope="module")
def table():
    return load_table("analog-nasbench", space=SPACE)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package whose data file is what the test pickles into it."""

    class Distribution:
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda _: Distribution())
    (tmp_path / "analognasbench").mkdir()
    return tmp_path / "analognasbench" / "data.anb"


def test_it_is_listed_for_its_space_only():
    assert list_tables(SPACE) == ["analog-nasbench"]
    other = types.SimpleNamespace(name="other")
    assert list_tables(other) == []
    with pytest.raises(InputError, match=r"^table 'analog-nasbench' is of the space nb201, not other;"):
        load_table("analog-nasbench", space=other)


def test_it_covers_exactly_the_space(table):
    assert table.archs == tuple(SPACE.archs())
    assert (table.target, table.columns, len(table)) == ("cifar10_test", ("cifar10_test",), 15_625)
    assert (table.name, table.source.split(" ")[0]) == ("analog-nasbench", "analog-nasbench")


def test_every_label_is_what_the_package_says_of_that_cell(table, monkeypatch):
    """An independent reading: the standard unpickler with a stub module, the string written out by hand."""
    stub = types.ModuleType("analognasbench.data")
    stub.Architecture = type("Architecture", (), {"__module__": stub.__name__})
    stub.DriftMeasurement = type("DriftMeasurement", (), {"__module__": stub.__name__})
    monkeypatch.setitem(sys.modules, "analognasbench", types.ModuleType("analognasbench"))
    monkeypatch.setitem(sys.modules, "analognasbench.data", stub)
    path = metadata.distribution("analog-nasbench").locate_file("analognasbench/data.anb")
    records = pickle.loads(path.read_bytes())
    names = {0: "skip_connect", 1: "none", 2: "nor_conv_3x3", 3: "nor_conv_1x1", 4: "avg_pool_3x3"}
    labels = dict(zip(table.archs, table.labels, strict=True))
    for (a, b, c, d, e, f), record in records.items():
        first, second = f"|{names[a]}~0|", f"|{names[b]}~0|{names[d]}~1|"
        third = f"|{names[c]}~0|{names[e]}~1|{names[f]}~2|"
        assert labels.pop(f"{first}+{second}+{third}") == record.baseline_accuracy
    assert not labels


def test_the_order_of_operations_is_right(table):
    """Cells without a path from input to output are at chance, and parameters rank as the literature says."""
    dead = SPACE.canonical("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    at_chance = np.array([SPACE.canonical(arch) == dead for arch in table.archs])
    assert at_chance.sum() == 341
    assert set(table.labels[at_chance]) == {10.0}
    assert 94 < table.labels.max() < 95
    params = [SPACE.cost(arch).params for arch in table.archs]
    assert spearmanr(params, table.labels).statistic == pytest.approx(0.744, abs=0.001)


def test_it_agrees_with_the_official_accuracies(table, data_dir):
    official = load_table(data_dir / "nb201.csv.gz", space=SPACE, target="cifar10_test")
    labels = dict(zip(official.archs, official.labels, strict=True))
    tau = kendalltau([labels[arch] for arch in table.archs], table.labels).statistic
    assert tau == pytest.approx(0.924, abs=0.001)


def test_the_package_is_not_imported(table):
    assert len(table) and not any(name.split(".")[0] == "analognasbench" for name in sys.modules)


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(InputError, match=r"not installed; run: pip install analog-nasbench$"):
        load_table("analog-nasbench", space=SPACE)


def test_a_missing_data_file_is_named(package):
    with pytest.raises(InputError, match=r"data\.anb, a part of the package analog-nasbench, is missing; reinstall"):
        embedded.read_analog_nasbench()
    assert not package.exists()


@pytest.mark.parametrize(
    "content",
    [{}, [], {(0,) * 6: 1.0}, {(0, 0, 0, 0, 0, 5): 1.0}, {(0, 0): 1.0}, {7: 1.0}],
    ids=["empty", "a list", "one cell", "unknown operation", "short cell", "no cell"],
)
def test_another_content_is_refused(package, content):
    package.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"data\.anb does not hold the 15,625 cells of nb201; reinstall"):
        embedded.read_analog_nasbench()


def test_a_damaged_data_file_is_named(package):
    package.write_bytes(pickle.dumps({1: 2})[:-3])
    with pytest.raises(InputError, match=r"data\.anb is truncated or damaged"):
        embedded.read_analog_nasbench()
