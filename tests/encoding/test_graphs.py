"""Architectures as padded graphs: the cells of NAS-Bench-201, and a made-up space of graphs of many sizes."""

import time

import numpy as np
import pytest
from helpers import TABLE

from parzc.datasets import Graph, Space, get_space
from parzc.encoding.graphs import graph_arrays, vocabulary
from parzc.encoding.padded import PaddedEncoder
from parzc.errors import InputError

NB201 = get_space("nb201")
CELL = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
"""One that represents the architectures of its function."""
TWIN = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
"""A skip connection and dead parts."""


class Chains(Space):
    """`n` is a chain of `n` convolutions between input and output; `n*` also holds a pooling that nothing uses."""

    name = "chains"
    operations = ("conv", "pool")

    # Encoding a graph must neither build a network nor draw: calling these fails.
    network = cost = mutate = size = None

    def canonical(self, arch):
        if not arch.removesuffix("*").isdigit():
            raise InputError(f"'{arch}' is not a chain; write a number")
        return arch

    def graph(self, arch):
        length = int(arch.removesuffix("*"))
        spare = ("pool",) * arch.endswith("*")
        adjacency = np.zeros((length + 2 + len(spare),) * 2, dtype=np.bool_)
        chain = [0, *range(1 + len(spare), length + 2 + len(spare))]
        adjacency[chain[:-1], chain[1:]] = True
        return Graph(("input", *spare, *("conv",) * length, "output"), adjacency)


def edges(adjacency):
    return {(int(i), int(j)) for i, j in np.argwhere(adjacency)}


def test_a_cell_of_nb201_written_out():
    operations, adjacency, mask = graph_arrays([CELL], NB201)
    assert (operations.shape, adjacency.shape, mask.tolist()) == ((1, 8, 7), (1, 8, 8), [[True] * 8])
    names = np.array(vocabulary(NB201))
    assert operations.sum(2).tolist() == [[1] * 8]
    cell = ["nor_conv_1x1", "nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3", "nor_conv_3x3"]
    assert names[operations[0].argmax(1)].tolist() == ["input", *cell, "output"]
    # Vertices 1 to 6 are the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.
    assert edges(adjacency[0]) == {
        (0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7),
    }  # fmt: skip


def test_graphs_of_many_sizes_are_padded():
    operations, adjacency, mask = graph_arrays(["2", "0*", "1"], Chains())
    assert vocabulary(Chains()) == ("conv", "pool", "input", "output")
    assert mask.astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]
    # Columns: convolution, pooling, input, output; padding has no operation.
    assert operations.astype(int).tolist() == [
        [[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
        [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
    ]
    assert [edges(a) for a in adjacency] == [{(0, 1), (1, 2), (2, 3)}, {(0, 2)}, {(0, 1), (1, 2)}]
    assert [x.dtype for x in (operations, adjacency, mask)] == [np.bool_] * 3


def test_a_width_is_a_lower_bound():
    assert [x.shape for x in graph_arrays(["1"], Chains(), width=5)] == [(1, 5, 4), (1, 5, 5), (1, 5)]
    assert [x.shape for x in graph_arrays(["4"], Chains(), width=5)] == [(1, 6, 4), (1, 6, 6), (1, 6)]


def test_large_graphs_fit():
    operations, adjacency, mask = graph_arrays(["150", "1"], Chains())
    assert operations.shape == (2, 152, 4) and mask.sum(1).tolist() == [152, 3]
    assert edges(adjacency[0]) == {(i, i + 1) for i in range(151)}


def test_architectures_of_one_function_have_one_graph():
    one, other = (graph_arrays([arch], NB201) for arch in (TWIN, NB201.canonical(TWIN)))
    assert NB201.canonical(TWIN) != TWIN
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_whole_of_nb201_has_one_graph_for_each_function():
    start = time.process_time()
    operations, adjacency, mask = graph_arrays(NB201.archs(), NB201)
    assert time.process_time() - start < 5
    assert mask.all() and (operations.sum(2) == 1).all() and not adjacency[:, *np.tril_indices(8)].any()
    assert len(np.unique(operations.argmax(2), axis=0)) == 4930
    assert (adjacency == adjacency[0]).all()


@pytest.mark.parametrize("space", [NB201, Chains()])
def test_what_is_no_architecture_is_named(space):
    with pytest.raises(InputError, match=r"^a row of features has no graph: 'net-3' is not .*; name each row by its "):
        graph_arrays([CELL if space is NB201 else "1", "net-3"], space)


# the encoder

ARCHS = [NB201.canonical(arch) for arch in NB201.sample(110, 0)]
NAMED = TABLE.rename(ARCHS)


def test_graphs_come_behind_the_inputs_of_the_other_encoder():
    nodes = PaddedEncoder(("snip", "fisher"))
    encoder = PaddedEncoder(("snip", "fisher"), graphs=NB201).fit(NAMED)
    first, *graphs = encoder.transform(NAMED[:7]).parts.values()
    np.testing.assert_array_equal(first, nodes.fit(NAMED).transform(NAMED[:7]).nodes)
    for got, expected in zip(graphs, graph_arrays(ARCHS[:7], NB201), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert encoder.definitions == nodes.definitions and set(encoder.definitions) == {"snip", "fisher"}


def test_what_was_fitted_is_all_that_is_needed():
    encoder = PaddedEncoder(("snip",), graphs=NB201).fit(NAMED)
    other = PaddedEncoder(("snip",), graphs=NB201)
    other.arrays, other.definitions = encoder.arrays, encoder.definitions
    for got, expected in zip(
        other.transform(NAMED[[5, 2]]).parts.values(), encoder.transform(NAMED[[5, 2]]).parts.values(), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_graphs_are_as_wide_as_when_fitted_or_wider():
    encoder = PaddedEncoder(("snip",), graphs=Chains()).fit(TABLE[:3].rename(["3", "1", "7*"]))
    assert encoder.transform(TABLE[:2].rename(["1", "2"])).graphs.mask.shape == (2, 10)
    assert encoder.transform(TABLE[:1].rename(["20"])).graphs.mask.shape == (1, 22)


def test_rows_that_are_no_architectures_are_refused():
    with pytest.raises(InputError, match=r"has no graph: 'arch-0' is not an nb201 arch; .*; name each row by its arch"):
        PaddedEncoder(("snip",), graphs=NB201).fit(TABLE)


def test_a_missing_statistic_is_named_as_without_graphs():
    statistics = {"snip": NAMED.statistics["snip"]}
    lacking = type(NAMED)(**{**NAMED.__dict__, "statistics": statistics})
    encoder = PaddedEncoder(("snip", "fisher"), graphs=NB201)
    with pytest.raises(InputError, match="the features lack the statistic 'fisher'"):
        encoder.fit(lacking)
