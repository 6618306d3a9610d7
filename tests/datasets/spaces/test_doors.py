"""Spaces from files, modules and other packages, and how other processes find them."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from choice_spaces import PLAIN, STAGED

from parzc.datasets import Choices, get_space, list_spaces
from parzc.datasets.spaces import _doors, _registry
from parzc.errors import InputError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "choices" / "space.py"
SOURCE = """
from dataclasses import dataclass
from torch import nn
from neighbour import WIDTHS
from parzc import Choices
from parzc.datasets.spaces.nb201 import NB201


@dataclass
class Settings:
    classes: "int" = 10


def build(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, width), nn.Linear(width, Settings().classes))


space = Choices(build, {"width": WIDTHS}, name="filed", input_shape=(3, 1, 1))
other = Choices(build, {"width": WIDTHS}, name="other")


class Renamed(NB201):
    name = "renamed"


class Taken(NB201):
    pass


class Unfinished(NB201):
    def __init__(self, n):
        pass


number = 3
if __name__ == "__main__":
    raise SystemExit("the program ran")
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(_registry, "_OPENED", {})
    (tmp_path / "neighbour.py").write_text("WIDTHS = [2, 4, 8]\n")
    monkeypatch.delitem(sys.modules, "neighbour", raising=False)
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("neighbour", None)


def test_a_file_gives_objects_and_classes_and_is_imported_once(file):
    space = get_space(f"{file}:space")
    assert isinstance(space, Choices) and get_space(f"{file}:space") is space
    assert space.reference == f"{file}:space" and space.archs() == ("width=2", "width=4", "width=8")
    assert get_space(f"{file}:Renamed").sample(1, 0) == get_space("nb201").sample(1, 0)
    assert get_space(space) is space and get_space("filed") is space
    assert "filed" not in list_spaces()


def test_a_space_travels_as_its_reference(file):
    space = get_space(f"{file}:space")
    assert file.parent.name.encode() in pickle.dumps(space) and b"width" not in pickle.dumps(space)
    assert pickle.loads(pickle.dumps(space)) is space is copy.deepcopy(space)
    assert type(pickle.loads(pickle.dumps(get_space("nb201")))) is type(get_space("nb201"))
    with pytest.raises(InputError, match="no other process can find the space 'here', which is defined in this"):
        pickle.dumps(Choices(lambda: None, {"a": [1]}, name="here"))


def test_the_name_may_be_left_out_of_a_file_with_one_space(file):
    assert get_space(EXAMPLE).reference == f"{EXAMPLE}:space"
    with pytest.raises(InputError, match=r"own\.py does not say which space is meant; .* spaces there: space, other"):
        get_space(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spice", r"own\.py has no 'spice'; spaces there: space, other, Renamed, Taken, Unfinished"),
        ("number", r"'number' of .*own\.py is no search space; give a subclass of parzc\.datasets\.Space, or a parzc"),
        ("build", "is no search space"),
        ("Unfinished", r"'Unfinished' of .* cannot be made \(TypeError: .*'n'\); give a class without arguments"),
        ("Taken", "is called 'nb201', which is another space of parzc; choose another name"),
    ],
)
def test_what_is_no_space_in_a_file_is_said(file, name, message):
    with pytest.raises(InputError, match=message):
        get_space(f"{file}:{name}")


def test_a_file_that_cannot_be_imported_is_named_with_its_line(tmp_path, file):
    with pytest.raises(InputError, match=rf"^there is no file {tmp_path}/gone\.py on this machine; correct the path"):
        get_space(f"{tmp_path}/gone.py:space")
    for source, why in (
        ("a = 1\nb = a / 0\n", "ZeroDivisionError: division by zero at line 2"),
        ("def a():\n    b\n\n\na()\n", "NameError: name 'b' is not defined at line 2"),
        ("a = 1\nb = (\n", "SyntaxError: .* at line 2"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name' at line 1"),
        ("raise SystemExit(3)\n", "SystemExit: 3 at line 1"),
    ):
        file.write_text(source)
        with pytest.raises(InputError, match=rf"^{file} cannot be imported: {why}; correct the file"):
            get_space(f"{file}:space")


def test_modules_give_spaces_too():
    assert type(get_space("parzc.datasets.spaces.nb201:NB201")) is type(get_space("nb201"))
    assert get_space("choice_spaces:STAGED") is STAGED
    with pytest.raises(InputError, match="there is no module 'no_such_module' for the space 'no_such_module:x'"):
        get_space("no_such_module:x")
    for text in ("a b:c", ":c", "1:2", "../x:y"):
        with pytest.raises(InputError, match=r"names no space; give a name, path/to/file\.py:Name, or module:Name"):
            get_space(text)


def test_objects_and_classes_of_modules_are_found_by_module_or_file(file):
    assert get_space("nb201").reference == "nb201"
    assert (PLAIN.reference, STAGED.reference) == ("choice_spaces:PLAIN", "choice_spaces:STAGED")
    assert type(get_space(f"{file}:Renamed"))().reference == f"{file}:Renamed"

    class Local(type(get_space("nb201"))):
        name = "local"

    assert Local().reference == ""


SCRIPT = """
from torch import nn
import parzc
from parzc.datasets import register_space
from parzc.datasets.spaces.nb201 import NB201


@register_space
class Mine(NB201):
    name = "mine"


space = parzc.Choices(lambda a: nn.Linear(a, a), {"a": [1, 2]})
if __name__ == "__main__":
    inner = parzc.Choices(lambda a: nn.Linear(a, a), {"a": [1, 2]})
    print(parzc.datasets.get_space("mine").reference, space.reference, type(parzc.datasets.get_space(space.reference)))
    print(parzc.datasets.get_space(__file__ + ":Mine").reference)
    try:
        parzc.datasets.get_space(inner.reference)
    except parzc.InputError as error:
        print(error)
"""


def test_what_a_script_defines_is_found_in_its_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{script}:Mine {script}:space <class 'parzc.datasets.spaces._choices.Choices'>",
        f"{script}:Mine",
        f"{script} has no 'inner'; spaces there: Mine, space",
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with entry points."""
    (tmp_path / "space_package.py").write_text(SOURCE.replace("from neighbour import WIDTHS", "WIDTHS = [2, 4]"))
    info = tmp_path / "space_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: space-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[parzc.spaces]\nfiled = space_package:space\nbroken = space_package:gone\nnb201 = space_package:space\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    _doors.space_entry_points.cache_clear()
    yield
    _doors.space_entry_points.cache_clear()
    sys.modules.pop("space_package", None)


@pytest.mark.usefixtures("package")
def test_an_installed_package_makes_spaces_known():
    assert list_spaces()[-2:] == ["filed", "broken"]
    space = get_space("filed")
    assert (space.name, space.size, space.reference) == ("filed", 2, "filed")
    assert get_space("nb201").size == 15_625
    with pytest.raises(
        InputError, match=r"the package space-package calls the space 'broken', cannot be imported \(Attr.*; repair or"
    ):
        get_space("broken")
