"""Tables: what is read from CSV and Parquet files, and the sentence that each mistake gets."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.datasets import Space, get_space, list_spaces, load_table
from parzc.datasets.spaces.nb201 import NB201
from parzc.errors import InputError

SPACE = get_space("nb201")
A, B, C = SPACE.sample(3, seed=0)


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file and return its path."""

    def writer(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return writer


def refuse(path, message, **options):
    """Expect the one sentence `message` about `path`, in which `{}` stands for the path."""
    with pytest.raises(InputError) as caught:
        load_table(path, space=SPACE, **options)
    assert re.fullmatch(message.replace("{}", re.escape(str(path))), str(caught.value)), str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.csv.gz"])
def test_csv(write, name):
    path = write(f"arch,acc,note\n{A},93.25,first\n{B},0.1,\n", name)
    table = load_table(path, space=SPACE)
    assert (table.name, table.source, table.target, len(table)) == (str(path), "CSV file", "acc", 2)
    assert (table.archs, table.columns) == ((A, B), ("acc",))
    assert table.labels.dtype == np.float64
    assert list(table.labels) == list(table.column("acc")) == [93.25, 0.1]


def test_csv_as_editors_and_pandas_write_it(write, tmp_path):
    table = load_table(write(f"\ufeff arch , acc\r\n\r\n{A} , 1\r\n,\r\n{B},2\r\n\r\n"), space=SPACE)
    assert (table.archs, list(table.labels)) == ((A, B), [1, 2])
    frame = pd.DataFrame({"acc": [1.5, 2.5], "arch": [A, B]})
    frame.to_csv(tmp_path / "pandas.csv")
    assert list(load_table(tmp_path / "pandas.csv", space=SPACE).labels) == [1.5, 2.5]


def test_target_chooses_among_the_label_columns(write):
    path = write(f"index,valid,arch,test\n0,1,{A},3\n1,,{B},4\n")
    refuse(path, "{} has several label columns; name one with --target: index, valid, test")
    table = load_table(str(path), space=SPACE, target="test")
    assert list(table.labels) == [3, 4]
    np.testing.assert_array_equal(table.column("valid"), [1, np.nan])
    with pytest.raises(InputError, match=r"has no label column 'tset'; label columns there: index, valid, test$"):
        table.column("tset")
    refuse(path, "{} has no label column 'tset'; label columns there: index, valid, test", target="tset")
    refuse(path, "{} has no label column 'arch'; label columns there: index, valid, test", target="arch")
    refuse(path, "{}, row 3: valid is '', not a finite number; correct or remove the row", target="valid")


@pytest.mark.parametrize("label", ["", "nan", "NA", "inf", "-inf", "1e999", "93.1%", "high", "1,5", "90_5", "\u0661"])
def test_labels_must_be_finite_numbers(write, label):
    path = write(f'arch,acc\n{A},1\n{B},"{label}"\n')
    refuse(path, f"{{}}, row 3: acc is '{re.escape(label)}', not a finite number; correct or remove the row")


@pytest.mark.parametrize("cells", [("93%", "91 %"), ("90_5", "9_1"), ("93,5", "1.234,5")])
def test_a_column_of_numbers_that_are_written_otherwise_is_not_passed_over(write, cells):
    first, second = cells
    path = write(f'arch,params,acc\n{A},1,"{first}"\n{B},2,"{second}"\n')
    sentence = f"{{}}, row 2: acc is '{re.escape(first)}', not a finite number"
    refuse(path, sentence + "; write plain numbers, such as 93.5")
    refuse(path, sentence + "; correct or remove the row", target="acc")
    assert list(load_table(path, space=SPACE, target="params").labels) == [1, 2]
    named = write(f"arch,note,acc\n{A},first,1\n{B},second,2\n")
    assert load_table(named, space=SPACE).target == "acc"


def test_rows_are_numbered_as_an_editor_shows_them(write):
    refuse(write(f"arch,acc\n\n{A},1\n\n{B},x\n"), "{}, row 5: acc is 'x', .*")
    refuse(write(f"arch,acc\n{A},1\n\nresnet,2\n"), "{}, row 4: 'resnet' is not an nb201 arch; write it like .*")
    refuse(
        write(f"arch,acc\n{A},1\n{B},2\n{A},3\n"),
        re.escape(f"{{}}: row 2 and row 4 hold the same arch {A}; remove one").replace(r"\{\}", "{}"),
    )
    refuse(write(f"arch,acc\n{A},1\n,2\n"), "{}, row 3: the arch is missing; fill it in or remove the row")
    refuse(write(f"arch,acc\n{A},1,2\n"), "{}, row 2: 3 cells where the header has 2; correct the row")
    refuse(write(f"arch,acc\n{A},1\n{B}\n"), "{}, row 3: 1 cells where the header has 2; correct the row")


def test_files_without_a_table(write, tmp_path):
    refuse(
        tmp_path / "absent.csv",
        "there is no file {}; correct the path, or name an embedded table of nb201: analog-nasbench",
    )
    refuse(write(""), "{} has no column 'arch'; columns there: none")
    refuse(write("architecture,acc\nx,1\n"), "{} has no column 'arch'; columns there: architecture, acc")
    refuse(write("arch;acc\nx;1\n"), "{} has no column 'arch'; columns there: arch;acc")
    refuse(write("arch,acc\n"), "{} holds no rows; give a table with at least one architecture")
    refuse(write(f"arch\n{A}\n"), "{} has no label column; add a column of numbers next to 'arch'")
    refuse(write(f"arch,a,a\n{A},1,2\n"), "{} has more than one column 'a'; rename or remove one")
    refuse(
        write("x", "t.xlsx"), "{} has no format known for nb201; give one of: .csv, .csv.gz, .parquet, NATS-Bench .*"
    )


def test_damaged_files(write, tmp_path):
    whole = gzip.compress(f"arch,acc\n{A},1\n".encode())
    advice = "; give an intact UTF-8 file"
    for content in (whole[: len(whole) // 2], whole[:20] + b"\0\0\0\0" + whole[24:], b"arch,acc\n"):
        path = tmp_path / "bad.csv.gz"
        path.write_bytes(content)
        refuse(path, rf"{{}} cannot be read as CSV \(.+\){advice}")
    refuse(write(b"\x89PNG\r\n\x1a\n\xff\xfe"), rf"{{}} cannot be read as CSV \('utf-8' codec .+\){advice}")
    refuse(write('arch,acc\n"x,1\n'), rf"{{}} cannot be read as CSV \(unexpected end of data\){advice}")
    for content in (b"", b"garbage", b"PAR1garbagePAR1"):
        refuse(write(content, "bad.parquet"), "{} cannot be read as Parquet; give an intact file")


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"arch": [A, B], "acc": [1.5, 2.5], "runs": pd.array([3, None], dtype="Int64")})
    frame.to_parquet(path)
    table = load_table(path, space=SPACE, target="acc")
    assert (table.source, table.archs, table.columns) == ("Parquet file", (A, B), ("acc", "runs"))
    assert list(table.labels) == [1.5, 2.5]
    np.testing.assert_array_equal(table.column("runs"), [3, np.nan])
    refuse(path, "{}, row 3: runs is '<NA>', not a finite number; correct or remove the row", target="runs")
    frame.set_index("arch")[["acc"]].to_parquet(path)
    assert load_table(path, space=SPACE).archs == (A, B)
    pd.DataFrame({"arch": [A, None], "acc": [1, 2]}).to_parquet(path)
    refuse(path, "{}, row 3: the arch is missing; fill it in or remove the row")
    pd.DataFrame({"acc": [1]}).to_parquet(path)
    refuse(path, "{} has no column 'arch'; columns there: acc")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.booleans())
def test_labels_survive_to_the_last_bit(tmp_path_factory, labels, as_csv):
    path = tmp_path_factory.mktemp("bits") / ("t.csv" if as_csv else "t.parquet")
    frame = pd.DataFrame({"arch": SPACE.sample(len(labels), seed=1), "acc": labels})
    frame.to_csv(path, index=False) if as_csv else frame.to_parquet(path)
    table = load_table(path, space=SPACE)
    assert table.labels.tobytes() == np.array(labels, dtype=np.float64).tobytes()
    assert table.archs == tuple(frame["arch"])


def test_the_published_table(data_dir):
    table = load_table(data_dir / "nb201.csv.gz", space=SPACE, target="cifar10_test")
    assert len(table) == 15_625
    assert set(table.archs) == set(SPACE.archs())
    best = {name: round(float(table.column(name).max()), 3) for name in table.columns if name.startswith("cifar")}
    assert (best["cifar10_test"], best["cifar100_test"], best["cifar100_valid"]) == (94.373, 73.513, 73.493)


def test_twins_differ_by_training_noise_only(data_dir):
    """Cells of one function were trained separately: the spread about their mean is the noise."""
    table = load_table(data_dir / "nb201.csv.gz", space=SPACE, target="cifar10_test")
    function = np.unique([SPACE.canonical(arch) for arch in table.archs], return_inverse=True)[1]
    size = np.bincount(function)
    spreads = []
    for column in ("cifar10_test", "cifar100_test", "imagenet16_test"):
        labels = table.column(column)
        deviation = labels - (np.bincount(function, labels) / size)[function]
        spreads.append(round(float(np.sqrt(np.mean(deviation[size[function] > 1] ** 2))), 2))
    assert spreads == [0.26, 0.43, 0.60]


def test_spaces_are_found_by_name():
    assert "nb201" in list_spaces()
    assert isinstance(get_space("nb201"), NB201)
    assert all(isinstance(get_space(name), Space) and get_space(name).name == name for name in list_spaces())
    with pytest.raises(InputError, match=r"^there is no search space 'nb2001'; choose one of nb201"):
        get_space("nb2001")
