"""Architecture strings, and files of them."""

import pytest
from damage import damaged, fuzz, works_or_says_why
from hypothesis import given
from hypothesis import strategies as st

from parzc.commands._run import read_archs
from parzc.datasets import get_space, list_spaces

SPACES = [get_space(name) for name in list_spaces()]
ARCHS = {space.name: space.sample(20, 0) for space in SPACES}


@st.composite
def strings(draw, space):
    """Strings close to architectures of a space, and strings that are nothing of the kind."""
    arch = draw(st.sampled_from(ARCHS[space.name]))
    kind = draw(st.sampled_from(["same", "cut", "swap", "splice", "text", "other"]))
    at, other = draw(st.integers(0, len(arch))), draw(st.sampled_from(ARCHS[space.name]))
    if kind == "cut":
        return arch[:at]
    if kind == "swap":
        return arch[:at] + draw(st.sampled_from(sorted({*arch, "", " ", "\n", "9", "-", "é"}))) + arch[at + 1 :]
    if kind == "splice":
        return arch[:at] + other[draw(st.integers(0, len(other))) :]
    if kind == "text":
        return draw(st.text(max_size=40))
    if kind == "other":
        return draw(st.sampled_from([a for archs in ARCHS.values() for a in archs]))
    return arch


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@fuzz
@given(st.data())
def test_arch_strings(space, data):
    arch = data.draw(strings(space))
    canonical = works_or_says_why(space.canonical, arch)
    graph, cost = works_or_says_why(space.graph, arch), works_or_says_why(space.cost, arch)
    assert (canonical is None) == (graph is None) == (cost is None)
    if canonical is not None:
        assert space.canonical(canonical) == canonical
        assert graph.adjacency.shape == (len(graph.operations),) * 2 and cost.params > 0


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@fuzz
@given(st.data())
def test_files_of_archs(space, tmp_path, data):
    path = tmp_path / "archs.txt"
    path.write_bytes(data.draw(damaged("\n".join(ARCHS[space.name]).encode())))
    archs = works_or_says_why(read_archs, str(path), space)
    assert archs is None or len(archs) > 0
