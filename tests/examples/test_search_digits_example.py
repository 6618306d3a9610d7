"""The example of a whole search: its space, its trainings, and the command of its README in small."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from parzc.commands import search
from parzc.datasets import get_space
from parzc.testing import SpaceContract

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "search_digits"
VALIDATION = 1197
"""Digits that are not trained on."""


class TestExample(SpaceContract):
    space = f"{FOLDER / 'space.py'}:space"


def command():
    """The command of the README, and the value of its option `--train`, with this Python and absolute paths."""
    line = next(row for row in (FOLDER / "README.md").read_text().splitlines() if row.startswith("$ python search.py"))
    words = shlex.split(line.removeprefix("$ python search.py").replace("examples/search_digits", str(FOLDER)))
    train = words.index("--train") + 1
    words[train] = shlex.quote(sys.executable) + words[train].removeprefix("python")
    return words, words[train]


def test_the_space_is_large_enough_to_search():
    assert get_space(f"{FOLDER / 'space.py'}:space").size == 10368


def test_the_command_of_the_readme_trains(tmp_path):
    words, train = command()
    words[words.index(train)] = train = f"{train} --epochs 2"
    words[words.index("--trainings") + 1] = "1"
    search.main([*words, "--algorithm", "random", "--out", str(tmp_path / "out")])
    trials = json.loads((tmp_path / "out" / "search.json").read_text())["seeds"][0]["trials"]
    assert [trial["state"] for trial in trials] == ["complete"]
    for trial in trials:
        right = trial["value"] / 100 * VALIDATION
        assert right == pytest.approx(round(right)) and 50 < right <= VALIDATION
    # An architecture always gets the same value.
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run(train.replace("{arch}", trials[0]["arch"]).replace("{folder}", str(again)), shell=True, check=True)
    assert json.loads((again / "result.json").read_text())["value"] == trials[0]["value"]
