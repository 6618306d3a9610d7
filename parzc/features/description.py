"""Architectures as columns: what they are made of, without anything that was measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.features.graphs import graph_arrays


def describe(archs: Sequence[str], space: Space, vertices: int) -> dict[str, NDArray[np.float64]]:
    """Return what the graphs of architectures say, as columns.

    `places` are the label of each vertex, one-hot, and its edges. `summary` is what does not depend on the order of the
    vertices: how often each label occurs, how often at most on one path, the length of the longest path, the number of
    vertices, edges, and paths (as a logarithm), and the most edges into one vertex.

    Args:
        archs: `n` architectures of the space.
        space: the space.
        vertices: of which label and edges are told; those of larger graphs are cut.

    Returns:
        `places` and `summary`, `(n, columns)` each; how many columns depends on the space and on `vertices` alone.

    Raises:
        InputError: if one of `archs` is not in the space.
    """
    operations, adjacency, mask = graph_arrays(archs, space, vertices)
    parts = operations[:, :vertices], adjacency[:, :vertices, :vertices]
    places = [part.reshape(len(archs), part.shape[1] * part.shape[2]) for part in parts]
    return {
        "places": np.concatenate(places, axis=1, dtype=np.float64),
        "summary": _summary(operations, adjacency, mask),
    }


def _summary(
    operations: NDArray[np.bool_], adjacency: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the columns that do not depend on the order of vertices, `(n, 2 * labels + 5)`."""
    n, vertices, labels = operations.shape
    on_path = np.zeros((n, vertices, labels))
    length, paths = np.zeros((n, vertices)), np.zeros((n, vertices))
    paths[:, 0] = 1
    for vertex in range(vertices):
        before = adjacency[:, :, vertex]
        on_path[:, vertex] = np.where(before[:, :, None], on_path, 0).max(1) + operations[:, vertex]
        length[:, vertex] = np.where(before, length, 0).max(1) + 1
        if vertex:
            paths[:, vertex] = (before * paths).sum(1)
    sizes, rows = mask.sum(1), np.arange(n)
    numbers = [length[rows, sizes - 1], sizes, adjacency.sum((1, 2)), np.log1p(paths[rows, sizes - 1])]
    return np.column_stack([operations.sum(1), on_path[rows, sizes - 1], *numbers, adjacency.sum(1).max(1)])
