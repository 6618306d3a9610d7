"""The contract suite of spaces from outside the package: what it passes, and what it finds."""

import subprocess
import sys

import pytest

SPACE = """
from torch import nn
from parzc import Choices


def build(width, extra):
    layers = [nn.Flatten(), nn.Linear(12, width), *([nn.Linear(width, width)] if extra else []), nn.Linear(width, 3)]
    return nn.Sequential(*layers)


space = Choices(
    build, {"width": [2, 4, 8, 16], "extra": [False, True]}, name="outside", input_shape=(3, 2, 2), classes=3,
    slots=SLOTS,
)
"""
TEST = """
from parzc.testing import SpaceContract


class TestMine(SpaceContract):
    space = "outside.py:space"
"""


def run(folder, slots, *options):
    (folder / "outside.py").write_text(SPACE.replace("SLOTS", slots))
    (folder / "test_outside.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_outside.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_space_in_a_file_runs_through_the_suite_with_one_line(tmp_path):
    done = run(tmp_path, "()")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "19 passed" in done.stdout


def test_a_missing_slot_is_found_and_named(tmp_path):
    slots = "__import__('parzc').datasets.Slot('1', 'first', 0, 0),"
    done = run(tmp_path, f"({slots})", "-k", "slots")
    assert done.returncode == 1 and "2 failed" in done.stdout
    assert "layers that fill no slot: ['2']; add a Slot for each" in done.stdout.replace('"', "")


def test_no_tasks_are_found_and_named(tmp_path):
    space = SPACE.replace("SLOTS", "()") + "\nspace.tasks = {}\n"
    (tmp_path / "outside.py").write_text(space)
    (tmp_path / "test_outside.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "name_and_tasks",
        "test_outside.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "tasks is empty: a network is built for a task; give at least one" in done.stdout


def test_pytest_is_not_needed_to_import_the_package():
    code = "import sys, parzc, parzc.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
    with pytest.raises(AttributeError, match=r"module 'parzc\.testing' has no attribute 'Nothing'"):
        getattr(__import__("parzc.testing").testing, "Nothing")  # noqa: B009
