"""Architectures as columns: what they are made of, without anything that was measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.encoding.graphs import graph_arrays


def encode_archs(archs: Sequence[str], space: Space, vertices: int) -> dict[str, NDArray[np.float64]]:
    """Return what the graphs of architectures say, as columns.

    `places` are the label of each vertex, one-hot, and its edges. `summary` is what does not depend on the order of the
    vertices: how often each label occurs, how often at most on one path, the length of the longest path, the number of
    vertices, edges, and paths (as a logarithm), and the most edges into one vertex. `states` are how often each label
    occurs at most on one path from the first vertex to each, itself included; behind the last vertex they stay what
    they were. In a chain whose labels say where channels double and the image is halved, they say how wide and how
    fine a network is at each depth.

    Args:
        archs: `n` architectures of the space.
        space: the space.
        vertices: of which label, edges and state are told; those of larger graphs are cut.

    Returns:
        `places`, `summary` and `states`, `(n, columns)` each; how many columns depends on the space and on `vertices`
        alone.

    Raises:
        InputError: if one of `archs` is not in the space.
    """
    operations, adjacency, mask = graph_arrays(archs, space, vertices)
    parts = operations[:, :vertices], adjacency[:, :vertices, :vertices]
    places = [part.reshape(len(archs), part.shape[1] * part.shape[2]) for part in parts]
    states = _states(operations, adjacency, mask)
    return {
        "places": np.concatenate(places, axis=1, dtype=np.float64),
        "summary": _summary(operations, adjacency, mask, states[:, -1]),
        "states": states[:, :vertices].reshape(len(archs), vertices * states.shape[2]),
    }


def informative_columns(name: str, columns: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which columns of a part of a description tell architectures apart.

    These are the columns that vary. Of `states`, which stand still over many vertices, it is the first of those alike.

    Args:
        name: of the part.
        columns: `(n, columns)` of `n` architectures.
    """
    varying = np.flatnonzero((columns != columns[:1]).any(0))
    if name == "states" and len(varying):
        varying = varying[np.sort(np.unique(columns[:, varying], axis=1, return_index=True)[1])]
    return varying


def _states(
    operations: NDArray[np.bool_], adjacency: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return how often each label occurs at most on one path to each vertex, `(n, vertices, labels)`."""
    states = np.zeros(operations.shape)
    for vertex in range(operations.shape[1]):
        before = adjacency[:, :, vertex, None]
        reached = np.where(before, states, 0).max(1) + operations[:, vertex]
        states[:, vertex] = np.where(mask[:, vertex, None], reached, states[:, vertex - 1])
    return states


def _summary(
    operations: NDArray[np.bool_],
    adjacency: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    on_path: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the columns that do not depend on the order of vertices, `(n, 2 * labels + 5)`.

    `on_path`, `(n, labels)`, is how often each label occurs at most on one path.
    """
    n, vertices, _ = operations.shape
    length, paths = np.zeros((n, vertices)), np.zeros((n, vertices))
    paths[:, 0] = 1
    for vertex in range(vertices):
        before = adjacency[:, :, vertex]
        length[:, vertex] = np.where(before, length, 0).max(1) + 1
        if vertex:
            paths[:, vertex] = (before * paths).sum(1)
    sizes, rows = mask.sum(1), np.arange(n)
    numbers = [length[rows, sizes - 1], sizes, adjacency.sum((1, 2)), np.log1p(paths[rows, sizes - 1])]
    return np.column_stack([operations.sum(1), on_path, *numbers, adjacency.sum(1).max(1)])
