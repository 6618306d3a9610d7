"""Architectures as padded graphs: operations, adjacency and a mask, for any search space."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Graph, Space
from parzc.errors import InputError

Flags = NDArray[np.bool_]


def vocabulary(space: Space) -> tuple[str, ...]:
    """Return the labels that vertices of the space's graphs may have: its operations, `input` and `output`."""
    return tuple(dict.fromkeys((*space.operations, "input", "output")))


def graph_arrays(archs: Sequence[str], space: Space, width: int = 0) -> tuple[Flags, Flags, Flags]:
    """Return the graphs of architectures, padded to one number of vertices V.

    Architectures that compute one function have one graph here: that of their canonical architecture
    (`Space.canonical`, the one that stands for all of them). Vertices keep the order in which the space gives them;
    padding comes last, without operation and without edges.

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
