"""The architecture encoding, against values worked out by hand and the enumeration of every path."""

import math
from itertools import chain

import numpy as np
import pytest

from parzc.datasets import get_space
from parzc.encoding.architecture import encode_archs, informative_columns
from parzc.encoding.graphs import vocabulary
from parzc.errors import InputError

NB101, NB201, DARTS, TINY = (get_space(name) for name in ("nb101", "nb201", "darts", "autoformer-tiny"))
CONV = "nor_conv_3x3"
CELL = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
"""One that represents the architectures of its function."""
FULL = f"|{CONV}~0|+|{CONV}~0|{CONV}~1|+|{CONV}~0|{CONV}~1|{CONV}~2|"
C3, C1, MP = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
INCEPTION = f"{C1}:1|{C3}:10|{C3}:100|{C3}:0001|{MP}:10000|output:011011"
RESIDUAL = f"{C3}:1|output:11"
AUTOFORMER_T = "embed_dim=192, mlp_ratio=3.5/3.5/3/3.5/3/3/4/4/3.5/4/3.5/4/3.5, num_heads=3/3/3/3/3/3/3/3/3/3/4/3/3"


def summary(space, arch):
    (row,) = encode_archs([arch], space, 4)["summary"]
    labels = len(vocabulary(space))
    return row[:labels].tolist(), row[labels : 2 * labels].tolist(), row[2 * labels :].tolist()


joined = chain.from_iterable


def test_cells_of_nb201_by_hand():
    # Between input and output: edges 0-1, 1-2, 2-3; 0-1, 1-3; 0-2, 2-3; 0-3. The output reads from three.
    rest = [5, 8, 10, math.log(5), 3]
    assert vocabulary(NB201)[1:6] == ("none", "skip_connect", "nor_conv_1x1", CONV, "avg_pool_3x3")
    assert summary(NB201, CELL) == ([1, 1, 1, 1, 2, 1, 1], [1, 1, 1, 1, 2, 1, 1], pytest.approx(rest))
    assert summary(NB201, FULL) == ([1, 0, 0, 0, 6, 0, 1], [1, 0, 0, 0, 3, 0, 1], pytest.approx(rest))


def test_cells_of_nb101_by_hand():
    # Four branches, one of which has two convolutions behind one another.
    assert vocabulary(NB101) == ("input", C3, C1, MP, "output")
    branches = ([1, 3, 1, 1, 1], [1, 2, 1, 1, 1], pytest.approx([4, 7, 9, math.log(5), 4]))
    assert summary(NB101, INCEPTION) == branches
    assert summary(NB101, RESIDUAL) == ([1, 1, 0, 0, 1], [1, 1, 0, 0, 1], pytest.approx([3, 3, 3, math.log(3), 2]))
    assert summary(NB101, "output:1") == ([1, 0, 0, 0, 1], [1, 0, 0, 0, 1], pytest.approx([2, 2, 1, math.log(2), 1]))


def test_a_transformer_by_hand():
    # 13 layers of attention and MLP behind the embedding: a chain, so all labels are on its one path.
    names = ["input", "192 channels", "3 heads", "4 heads", "MLP ratio 3", "MLP ratio 3.5", "MLP ratio 4", "output"]
    counts = dict.fromkeys(vocabulary(TINY), 0) | dict(zip(names, [1, 1, 12, 1, 3, 6, 4, 1], strict=True))
    expected = [*counts.values()]
    assert summary(TINY, AUTOFORMER_T) == (expected, expected, pytest.approx([29, 29, 28, math.log(2), 1]))


def test_places_by_hand():
    labels = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    edges = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    (row,) = encode_archs([RESIDUAL], NB101, 3)["places"]
    assert row.tolist() == [*joined(labels), *joined(edges)]
    # Behind the cell is nothing: no label and no edge.
    (row,) = encode_archs([RESIDUAL], NB101, 4)["places"]
    assert row.tolist() == [*joined(labels), *[0] * 5, *joined([*edge, 0] for edge in edges), *[0] * 4]


def states(space, arch, vertices):
    labels = len(vocabulary(space))
    return encode_archs([arch], space, vertices)["states"].reshape(vertices, labels).tolist()


def test_states_by_hand():
    # Behind the output nothing changes any more.
    chain = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 1]]
    assert states(NB101, RESIDUAL, 3) == chain
    assert states(NB101, RESIDUAL, 5) == [*chain, chain[-1], chain[-1]]
    assert states(NB101, RESIDUAL, 2) == chain[:2]
    # Where branches meet, the most on any one of them.
    assert states(NB101, INCEPTION, 7)[-1] == [1, 2, 1, 1, 1]
    assert states(NB201, CELL, 8)[-1] == [1, 1, 1, 1, 2, 1, 1]


def test_the_state_on_a_chain_is_the_number_of_parts_so_far():
    for space, arch in ((get_space("transnas-macro"), "64-1234-basic"), (TINY, AUTOFORMER_T)):
        graph = space.graph(arch)
        size = len(graph.operations)
        found = states(space, arch, size + 1)
        for vertex in range(size):
            before = graph.operations[: vertex + 1]
            assert found[vertex] == [before.count(name) for name in vocabulary(space)]
        assert found[size] == found[size - 1]


def test_the_vertices_of_larger_graphs_are_cut():
    found = encode_archs([CELL, FULL], NB201, 3)
    labels = [[[1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0]]]
    labels += [[[1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0]]]
    edges = [0, 1, 1, *[0] * 6]
    assert found["places"].tolist() == [[*joined(rows), *edges] for rows in labels]
    np.testing.assert_array_equal(found["states"], encode_archs([CELL, FULL], NB201, 8)["states"][:, : 3 * 7])
    # The summary is that of the whole graph.
    np.testing.assert_array_equal(found["summary"], encode_archs([CELL, FULL], NB201, 8)["summary"])


def paths_of(graph):
    """Every path from the first vertex to the last."""

    def onwards(path):
        if path[-1] == len(graph.operations) - 1:
            return [path]
        after = [i for i in range(len(graph.operations)) if graph.adjacency[path[-1], i]]
        return [found for vertex in after for found in onwards([*path, vertex])]

    return onwards([0])


def counted(space, arch):
    graph = space.graph(space.canonical(arch))
    paths = [[graph.operations[vertex] for vertex in path] for path in paths_of(graph)]
    edges = [(i, j) for i, row in enumerate(graph.adjacency) for j, there in enumerate(row) if there]
    into = [sum(j == vertex for _, j in edges) for vertex in range(len(graph.operations))]
    return [
        *(graph.operations.count(label) for label in vocabulary(space)),
        *(max(path.count(label) for path in paths) for label in vocabulary(space)),
        *(max(map(len, paths)), len(graph.operations), len(edges), math.log(1 + len(paths)), max(into)),
    ]


@pytest.mark.parametrize("space", [NB101, DARTS, get_space("nds-amoeba")], ids=lambda space: space.name)
def test_the_summary_is_that_of_all_paths_enumerated(space):
    archs = space.sample(20, 3)
    found = encode_archs(archs, space, 5)["summary"]
    expected = np.array([counted(space, arch) for arch in archs])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    labels = len(vocabulary(space))
    assert (found[:, :labels] > found[:, labels : 2 * labels]).any() and np.ptp(found[:, -2]) > 0


@pytest.mark.parametrize("space", [NB101, DARTS, get_space("nds-amoeba")], ids=lambda space: space.name)
def test_states_are_those_of_all_paths_to_a_vertex_enumerated(space):
    names = vocabulary(space)
    for arch in space.sample(5, 4):
        graph = space.graph(space.canonical(arch))
        found, size = np.array(states(space, arch, 30)), len(graph.operations)
        for vertex in range(size):
            paths = [[graph.operations[v] for v in path] for path in paths_to(graph, vertex)]
            assert found[vertex].tolist() == [max(path.count(name) for path in paths) for name in names]
        assert (found[size:] == found[size - 1]).all()


def paths_to(graph, vertex):
    """Every path to a vertex from one that nothing leads to."""
    before = [i for i in range(len(graph.operations)) if graph.adjacency[i][vertex]]
    return [[*path, vertex] for one in before for path in paths_to(graph, one)] or [[vertex]]


def test_of_columns_that_vary_equal_states_are_kept_once():
    columns = np.array([[1.0, 2, 5, 2, 0], [1, 3, 5, 3, 1], [1, 4, 5, 4, 0]])
    assert informative_columns("states", columns).tolist() == [1, 4]
    assert informative_columns("places", columns).tolist() == [1, 3, 4]
    assert (
        informative_columns("states", columns[:1]).tolist()
        == []
        == informative_columns("summary", columns[:, :0]).tolist()
    )


def test_places_are_labels_and_edges_of_the_canonical_graph():
    archs = DARTS.sample(5, 1)
    names, found = vocabulary(DARTS), encode_archs(archs, DARTS, 24)["places"]
    for row, arch in zip(found, archs, strict=True):
        graph = DARTS.graph(DARTS.canonical(arch))
        assert [names[i] for i in row[: 24 * len(names)].reshape(24, -1).argmax(1)] == [*graph.operations]
        np.testing.assert_array_equal(row[24 * len(names) :].reshape(24, 24), graph.adjacency)
        assert row.sum() == 24 + graph.adjacency.sum()


def test_architectures_of_one_function_have_one_encoding():
    twin = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
    one, other = (encode_archs([arch], NB201, 8) for arch in (twin, NB201.canonical(twin)))
    assert NB201.canonical(twin) != twin
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_rows_do_not_depend_on_each_other():
    archs = [INCEPTION, RESIDUAL, *NB101.sample(4, 0)]
    together = encode_archs(archs, NB101, 5)
    for name, columns in together.items():
        alone = np.concatenate([encode_archs([arch], NB101, 5)[name] for arch in archs])
        np.testing.assert_array_equal(columns, alone)


@pytest.mark.parametrize("vertices", [1, 5, 64])
@pytest.mark.parametrize("space", [NB101, NB201, DARTS, TINY], ids=lambda space: space.name)
def test_the_number_of_columns_is_that_of_the_space(space, vertices):
    labels = len(vocabulary(space))
    columns = {"places": vertices * (labels + vertices), "summary": 2 * labels + 5, "states": vertices * labels}
    for archs in ((), space.sample(3, 0)):
        found = encode_archs(archs, space, vertices)
        assert {name: x.shape for name, x in found.items()} == {name: (len(archs), n) for name, n in columns.items()}
        assert {x.dtype for x in found.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("space", [NB101, NB201, DARTS, TINY], ids=lambda space: space.name)
def test_what_is_no_architecture_is_named(space):
    with pytest.raises(InputError, match=r"^a row of features has no graph: 'net-3' is not .*; name each row by its "):
        encode_archs([*space.sample(1, 0), "net-3"], space, 4)
