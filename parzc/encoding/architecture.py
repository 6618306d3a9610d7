"""The architecture encoding: what architectures consist of, as columns, without anything that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.encoding._base import whole_number
from parzc.encoding.graphs import graph_arrays
from parzc.encoding.inputs import ARCH_PARTS, ArchEncoding, Shapes

Arrays = dict[str, NDArray[np.float64]]


def encode_archs(archs: Sequence[str], space: Space, vertices: int) -> Arrays:
    """Return the architecture encoding: the graphs of architectures as columns, in three parts.

    A vertex of a graph is the input, the output, or one operation of the architecture; its label is which operation.

    - `places`: the label of each vertex, one-hot, and its edges.
    - `summary`: what does not depend on the order of the vertices: how often each label occurs; its largest count on
      one path; the length of the longest path; the numbers of vertices, of edges and of paths (as a logarithm of 1 plus
      it); the most edges into one vertex.
    - `states`: for each vertex and each label, how often the label occurs on a path from the first vertex to this one,
      itself included: the largest number over all paths. Behind the last vertex they stay the same. In a chain whose
      labels stand for doubling the channels and halving the image, they give the width and the resolution of a network
      at each depth.

    Args:
        archs: `n` architectures of the space.
        space: the space.
        vertices: number of vertices whose label, edges and state are columns; larger graphs are cut behind them.

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
    """Return the indices of those columns of a part in which architectures differ.

    These are the columns that vary. `states` repeat over many vertices: of equal columns only the first is kept.

    Args:
        name: of the part.
        columns: `(n, columns)` of `n` architectures.
    """
    varying = np.flatnonzero((columns != columns[:1]).any(0))
    if name == "states" and len(varying):
        varying = varying[np.sort(np.unique(columns[:, varying], axis=1, return_index=True)[1])]
    return varying


@dataclass(frozen=True)
class ArchScaling:
    """The architecture encoding as a model input: its informative columns, scaled to mean 0 and standard deviation 1.

    Args:
        space: of the architectures.
        most: largest number of vertices that are encoded.
    """

    space: Space
    most: int

    def fit(self, archs: Sequence[str]) -> Arrays:
        """Return what `transform` needs: `vertices`, and of each part `(3, columns)` index, mean and deviation."""
        *_, mask = graph_arrays(archs, self.space)
        vertices = min(mask.shape[1], self.most)
        arrays = {"vertices": np.array([vertices], dtype=np.float64)}
        for name, columns in encode_archs(archs, self.space, vertices).items():
            kept = informative_columns(name, columns)
            arrays[name] = np.stack([kept, columns[:, kept].mean(0), columns[:, kept].std(0)])
        return arrays

    def transform(self, archs: Sequence[str], arrays: Mapping[str, NDArray[np.float64]]) -> ArchEncoding:
        """Return the encoding of architectures on the scale that `fit` found."""
        scaled = {}
        for name, columns in encode_archs(archs, self.space, int(arrays["vertices"][0])).items():
            which, mean, deviation = arrays[name]
            values = ((columns[:, which.astype(np.int64)] - mean) / deviation).astype(np.float32)
            scaled[name] = torch.from_numpy(values)
        return ArchEncoding(**scaled)

    def check(self, arrays: Mapping[str, NDArray[np.float64]], shapes: Shapes) -> None:
        """Raise `ValueError` if `arrays` are none that `fit` could have returned for rows of `shapes`."""
        vertices = whole_number(arrays["vertices"])
        if not 0 < vertices <= self.most:
            raise ValueError("the architecture encoding has no vertices, or too many")
        known = encode_archs((), self.space, vertices)
        for name in ARCH_PARTS:
            own = arrays[name]
            if own.dtype != np.float64 or own.shape != (3, *shapes[name]) or not np.isfinite(own).all():
                raise ValueError(f"'{name}' of the encoder does not fit the inputs")
            if not np.isin(own[0], np.arange(known[name].shape[1])).all() or not (own[2] > 0).all():
                raise ValueError(f"'{name}' of the encoder is not that of architectures of this space")


def _states(
    operations: NDArray[np.bool_], adjacency: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the largest count of each label on one path to each vertex, `(n, vertices, labels)`."""
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

    `on_path`, `(n, labels)`, is the largest count of each label on one path through the whole graph.
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
