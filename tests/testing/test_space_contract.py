"""The contract suite of spaces from outside the package: what it passes, and what it finds."""

import contextlib
import io
import subprocess
import sys

import pytest

from parzc.datasets.spaces import _registry

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


OPTIONS = ("-q", "-p", "no:cacheprovider")


def write(folder, space):
    (folder / "outside.py").write_text(space)
    (folder / "test_outside.py").write_text(TEST)


@pytest.fixture
def run_here(tmp_path, monkeypatch):
    """Run the suite, or a part of it, in this process; return what it prints and its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_registry, "_OPENED", {})

    def run(space, part):
        write(tmp_path, space)
        options = [*OPTIONS, "--capture=no", "--import-mode=importlib", "-k", part, "test_outside.py"]
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            status = pytest.main(options)
        return stream.getvalue(), status

    return run


def test_a_space_in_a_file_runs_through_the_suite_with_one_line(tmp_path):
    write(tmp_path, SPACE.replace("SLOTS", "()"))
    command = [sys.executable, "-m", "pytest", *OPTIONS, "test_outside.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "19 passed" in done.stdout


def test_a_missing_slot_is_found_and_named(run_here):
    slots = "__import__('parzc').datasets.Slot('1', 'first', 0, 0),"
    printed, status = run_here(SPACE.replace("SLOTS", f"({slots})"), "slots")
    assert status == 1 and "2 failed" in printed
    assert "layers that fill no slot: ['2']; add a Slot for each" in printed.replace('"', "")


def test_no_tasks_are_found_and_named(run_here):
    printed, status = run_here(SPACE.replace("SLOTS", "()") + "\nspace.tasks = {}\n", "name_and_tasks")
    assert status == 1 and "tasks is empty: a network is built for a task; give at least one" in printed


def test_pytest_is_not_needed_to_import_the_package():
    code = "import sys, parzc, parzc.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
    with pytest.raises(AttributeError, match=r"module 'parzc\.testing' has no attribute 'Nothing'"):
        getattr(__import__("parzc.testing").testing, "Nothing")  # noqa: B009
