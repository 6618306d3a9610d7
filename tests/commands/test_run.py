"""What the commands share: lists of architectures, checks of numbers and paths, output that nobody reads to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parzc.commands._run import at_least, check_file, check_seed, read_archs
from parzc.datasets import get_space
from parzc.errors import InputError

SPACE = get_space("nb201")
ARCHS = list(SPACE.archs()[:3])
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ARCHS),
        "arch\n" + "\n".join(ARCHS),
        "\n\n  arch \n\n" + "\n\n".join(ARCHS) + "\n",
        "\ufeffarch\r\n" + "\r\n".join(ARCHS),
        "arch\n" + "\n".join(f'"{arch}"' for arch in ARCHS),
        "accuracy,arch\n" + "\n".join(f'{i},"{arch}"' for i, arch in enumerate(ARCHS)),
        "arch, accuracy\n" + "\n".join(f"{arch}, {i}" for i, arch in enumerate(ARCHS)),
    ],
    ids=["plain", "header", "blanks", "windows", "quotes", "second column", "first column"],
)
def test_archs_are_read_with_a_header_and_without(tmp_path, text):
    (tmp_path / "archs.txt").write_bytes(text.encode())
    assert read_archs(str(tmp_path / "archs.txt"), SPACE) == ARCHS


@pytest.mark.parametrize("quote", ["", '"'])
def test_commas_of_a_notation_are_no_cells(tmp_path, quote):
    space = get_space("autoformer-tiny")
    archs = space.sample(2, 0)
    assert all("," in arch for arch in archs)
    for header in ("arch\n", "" if not quote else "arch\n"):
        path = tmp_path / "archs.txt"
        path.write_text(header + "\n".join(f"{quote}{arch}{quote}" for arch in archs))
        assert read_archs(str(path), space) == archs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("arch\n", "names no architecture; write one per line"),
        (f"arch\n{ARCHS[0]}\nresnet\n", "line 3: 'resnet' is not an nb201 arch"),
        (f"arch,accuracy\n{ARCHS[0]},1\n\n{ARCHS[1]}\n", "line 4: 1 cells where the header has 2; correct the line"),
        ("x" * 200_000, "line 1: "),
    ],
)
def test_the_line_that_is_wrong_is_named(tmp_path, text, sentence):
    (tmp_path / "archs.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        read_archs(str(tmp_path / "archs.txt"), SPACE)
    assert sentence in str(caught.value)


def test_numbers_are_checked_against_what_they_mean():
    at_least(1, "workers", 1, "is no number of processes")
    at_least(1, "workers", None, "is no number of processes")
    with pytest.raises(InputError, match=r"^--workers 0 is no number of processes; give at least 1$"):
        at_least(1, "workers", 0, "is no number of processes")
    with pytest.raises(InputError, match=r"^--tune -1 is no number of trials; give 0 or more$"):
        at_least(0, "tune", -1, "is no number of trials")
    check_seed(0)
    check_seed(2**63 - 1)
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match=f"^--seed {seed} is no seed; give a whole number from 0 to "):
            check_seed(seed)


def test_a_file_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_file("new.csv")
    (tmp_path / "folder").mkdir()
    check_file("folder/new.csv", "--out")
    with pytest.raises(InputError, match=r"^--out none/new\.csv is in a folder that does not exist; make it first$"):
        check_file("none/new.csv", "--out")
    with pytest.raises(InputError, match=r"^folder is a folder; name a file$"):
        check_file("folder")


def test_a_reader_that_stops_is_no_error():
    store = ROOT / "parzc" / "datasets" / "data" / "nb201"
    command = [sys.executable, "-m", "parzc.features", "archs", str(store)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"|")
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_help_names_the_command_as_it_is_started(capsys):
    from parzc.commands import features

    for arguments, name in ((["--help"], "parzc.features"), (["archs", "--help"], "parzc.features archs")):
        with pytest.raises(SystemExit):
            features.main(arguments)
        assert capsys.readouterr().out.startswith(f"usage: python -m {name} ")
