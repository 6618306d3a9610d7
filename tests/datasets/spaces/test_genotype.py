"""The notation of genotypes, and when two cells are one function."""

import itertools
import math

import pytest
from genotypes import ALL4, DARTS_V2, V2_NORMAL, V2_REDUCE, cells, genotypes, text
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.datasets import get_space
from parzc.datasets.spaces._genotype import Cell, canonical_cell, ordered, read_genotype, read_indices

DARTS, NDS_DARTS, NDS_NASNET = (get_space(name).family for name in ("darts", "nds-darts", "nds-nasnet"))


def test_a_genotype_is_read_as_it_is_printed():
    found = read_genotype(DARTS_V2)
    assert found.normal.edges[:3] == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0))
    assert found.normal.into(5) == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert found.reduce.edges[-1] == ("max_pool_3x3", 1)
    assert found.normal.concat == found.reduce.concat == (2, 3, 4, 5)
    assert (found.width, found.depth) == (36, 20)


def test_other_spellings_of_one_genotype():
    plain = read_genotype(text(V2_NORMAL, ALL4, V2_REDUCE, ALL4))
    assert (plain.width, plain.depth) == (0, 0)
    assert read_genotype(text(V2_NORMAL, "[2, 3, 4, 5]", V2_REDUCE, ALL4)) == plain
    assert read_genotype(text(V2_NORMAL, ALL4, V2_REDUCE, ALL4).replace("'", '"').replace(" ", "\n ")) == plain


def test_index_pairs_name_source_and_operation():
    pairs = "[[(0, 0), (1, 5), (1, 1), (0, 1)], [(1, 2), (0, 6), (2, 3), (0, 4)]]"
    found = read_indices(pairs, DARTS.operations)
    assert found.normal.edges == (
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("avg_pool_3x3", 1), ("avg_pool_3x3", 0),
    )  # fmt: skip
    assert found.reduce.edges == (
        ("skip_connect", 1), ("dil_conv_5x5", 0), ("sep_conv_3x3", 2), ("sep_conv_5x5", 0),
    )  # fmt: skip
    assert found.normal.concat == (2, 3)
    assert read_indices(pairs.replace("[", "(").replace("]", ")"), DARTS.operations) == found
    assert read_indices(pairs.replace("(0, 6)", "(0, 7)"), DARTS.operations) is None


@settings(deadline=None)
@given(genotypes(NDS_NASNET))
def test_any_genotype_round_trips(genotype):
    assert read_genotype(str(genotype)) == genotype
    assert str(read_genotype(str(genotype))) == str(genotype)


@settings(deadline=None)
@given(st.text(alphabet="Genotype(nrmal=[]'_,012 )", max_size=80))
def test_other_text_is_no_genotype(words):
    assert read_genotype(words) is None


@pytest.mark.parametrize("wrong", ["", DARTS_V2[:-1], DARTS_V2 + ")", DARTS_V2.replace("reduce=", "reduced=", 1)])
def test_damaged_text_is_no_genotype(wrong):
    assert read_genotype(wrong) is None
    assert read_indices(wrong, DARTS.operations) is None


def terms(cell):
    """What each node of the output computes, written out; what is zero is empty."""
    states = ["x0", "x1"]
    for node in cell.nodes:
        found = [f"{op}({states[source]})" for op, source in cell.into(node) if op != "none" and states[source]]
        states.append("+".join(sorted(found)))
    return sorted(states[node] for node in cell.concat)


@settings(deadline=None)
@given(cells(NDS_DARTS), st.permutations(range(4)), st.lists(st.booleans(), min_size=4, max_size=4))
def test_order_of_edges_and_nodes_does_not_matter(cell, order, swaps):
    canonical = canonical_cell(cell)
    assert canonical_cell(canonical) == canonical
    assert terms(canonical) == terms(cell)
    # Renumber the nodes, where that order still puts sources first, and swap edges.
    number = {0: 0, 1: 1} | {2 + old: 2 + new for new, old in enumerate(order)}
    edges = [None] * 8
    for node, swap in zip(cell.nodes, swaps, strict=True):
        into = [(operation, number[source]) for operation, source in cell.into(node)]
        edges[2 * number[node] - 4 : 2 * number[node] - 2] = into[::-1] if swap else into
    other = Cell(tuple(edges), tuple(number[node] for node in cell.concat))
    if all(source < node for node in other.nodes for _, source in other.into(node)):
        assert canonical_cell(other) == canonical


def test_canonical_cells_are_as_many_as_there_are_functions():
    """All cells of two nodes with three operations, against brute force over all renumberings."""
    operations, nodes = ("none", "skip_connect", "sep_conv_3x3"), 2
    choices = [
        list(itertools.product(itertools.product(operations, repeat=2), itertools.product(range(n), repeat=2)))
        for n in range(2, 2 + nodes)
    ]

    def edges(choice):
        (first, second), sources = choice
        return ((first, sources[0]), (second, sources[1]))

    classes = {}
    for choice in itertools.product(*choices):
        cell = Cell(tuple(edge for part in choice for edge in edges(part)), (2, 3))
        classes.setdefault(canonical_cell(cell), set()).add(_smallest(cell))
    assert all(len(found) == 1 for found in classes.values())
    assert len({form for found in classes.values() for form in found}) == len(classes) == 302


def _smallest(cell):
    """The smallest writing of a cell of two nodes whose zeros are crossed out, over all ways to number its nodes."""
    zero, crossed = set(), []
    for node in (2, 3):
        into = [("", 0) if op == "none" or source in zero else (op, source) for op, source in cell.into(node)]
        zero |= {node} if into == [("", 0)] * 2 else set()
        crossed.append(into)
    forms = []
    for number in ({0: 0, 1: 1, 2: 2, 3: 3}, {0: 0, 1: 1, 2: 3, 3: 2}):
        form = {
            number[n]: tuple(sorted((number[s], o) for o, s in into)) for n, into in zip((2, 3), crossed, strict=True)
        }
        if all(source < node for node, into in form.items() for source, _ in into):
            forms.append((form[2], form[3]))
    return min(forms)


def test_operations_on_nothing_are_nothing():
    cell = Cell((("none", 0), ("none", 1), ("sep_conv_3x3", 2), ("skip_connect", 1)), (2, 3))
    assert canonical_cell(cell).edges == (("none", 0), ("none", 0), ("none", 0), ("skip_connect", 1))


def test_loose_ends_are_what_no_node_reads():
    cell = Cell((("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 2), ("skip_connect", 0)), (3,))
    assert cell.loose_ends() == (3,)
    assert ordered(Cell(cell.edges, (3, 2))) == Cell((*cell.edges[:2], *cell.edges[:1], cell.edges[2]), (2, 3))


def test_the_number_of_genotypes_is_the_published_one():
    assert get_space("darts").size == (math.prod((1, 3, 6, 10)) * 7**8) ** 2
    # Table 1 of the NDS paper, in billions of cells; fifteen widths and depths.
    for name, billions in (
        ("darts", 242), ("enas", 5_063), ("nasnet", 71_465_842), ("amoeba", 556_628), ("pnas", 556_628),
    ):  # fmt: skip
        cell = math.isqrt(get_space(f"nds-{name}").size // 15)
        assert int(cell / 1e9 + 0.5) == billions
