"""Architectures as padded graphs: operations, adjacency and a mask, for any search space."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Graph, Space
from parzc.errors import InputError
from parzc.features.encoders import Encoder, Inputs, whole_number
from parzc.features.table import FeatureTable

Flags = NDArray[np.bool_]


def vocabulary(space: Space) -> tuple[str, ...]:
    """Return the labels that vertices of the space's graphs may have: its operations, `input` and `output`."""
    return tuple(dict.fromkeys((*space.operations, "input", "output")))


def graph_arrays(archs: Sequence[str], space: Space, width: int = 0) -> tuple[Flags, Flags, Flags]:
    """Return the graphs of architectures, padded to one number of vertices V.

    The graph is that of the canonical architecture, so that all which compute one function have one encoding. Vertices
    keep the order in which the space gives them; padding comes last, without operation and without edges.

    Args:
        archs: `n` architectures of the space.
        space: the space.
        width: least number of vertices; larger graphs widen all.

    Returns:
        Operations `(n, V, len(vocabulary(space)))`, one-hot; adjacency `(n, V, V)`, true at `[:, i, j]` where vertex
        `j` reads from vertex `i`; mask `(n, V)`, true where there is a vertex.

    Raises:
        InputError: if one of `archs` is not in the space.
    """
    graphs = [_graph(arch, space) for arch in archs]
    sizes = np.array([len(graph.operations) for graph in graphs])
    vertices = max(width, int(sizes.max(initial=0)))
    label = {name: i for i, name in enumerate(vocabulary(space))}
    codes = np.full((len(graphs), vertices), -1)
    adjacency = np.zeros((len(graphs), vertices, vertices), dtype=np.bool_)
    for row, (graph, size) in enumerate(zip(graphs, sizes, strict=True)):
        codes[row, :size] = [label[operation] for operation in graph.operations]
        adjacency[row, :size, :size] = graph.adjacency
    return codes[:, :, None] == np.arange(len(label)), adjacency, codes >= 0


def _graph(arch: str, space: Space) -> Graph:
    try:
        return space.graph(space.canonical(arch))
    except InputError as reason:
        raise InputError(f"a row of features has no graph: {reason}; name each row by its architecture") from None


class GraphEncoder(Encoder):
    """The inputs of another encoder, and behind them the graphs of the architectures that the rows are named by.

    Returns the arrays of `statistics` and the three of `graph_arrays`. Only the scales of the other encoder are
    fitted, and the number of vertices of the largest graph.

    Args:
        nodes: encoder of the node statistics.
        space: search space of the architectures.
    """

    def __init__(self, nodes: Encoder, space: Space) -> None:
        super().__init__(nodes.statistics, nodes.scores)
        self.nodes, self.space = nodes, space

    def _fit(self, table: FeatureTable) -> None:
        self.nodes.fit(table)
        *_, mask = graph_arrays(table.archs, self.space)
        self.arrays = {**self.nodes.arrays, "vertices": np.array([mask.shape[1]], dtype=np.float64)}

    def _transform(self, table: FeatureTable) -> Inputs:
        # A ranker that was loaded sets the fitted values of this encoder alone.
        self.nodes.arrays = self.arrays
        graphs = graph_arrays(table.archs, self.space, width=int(self.arrays["vertices"][0]))
        return (*self.nodes._transform(table), *graphs)

    def _check_arrays(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self.nodes.arrays = self.arrays
        self.nodes._check_arrays(shapes[:-3])
        if not 0 < whole_number(self.arrays["vertices"]) <= shapes[-1][0]:
            raise ValueError("the number of vertices of the encoder does not fit the inputs")
