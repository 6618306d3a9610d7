"""The contract of search spaces over all of them: a new space is covered by being registered."""

import re
from pathlib import Path

import pytest
from choice_spaces import SPACES as CHOICES

from parzc.datasets import get_space, list_spaces
from parzc.testing import SpaceContract

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "spaces.md"


def space_of_the_guide():
    """The class of the guide, which must keep all promises, too."""
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "class Kernels(Space)" in block]
    names = {"__name__": "guide"}
    exec(compile(code, GUIDE.name, "exec"), names)
    return names["Kernels"]()


SPACES = [*map(get_space, list_spaces()), space_of_the_guide(), *CHOICES]


@pytest.mark.parametrize("subject", SPACES, ids=lambda space: space.name)
class TestEverySpace(SpaceContract):
    pass
