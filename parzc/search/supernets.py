"""Scores networks of partial architectures, and complete ones, on batches that are drawn anew each time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parzc.datasets import Partial, Size, Space, Supernet, Task
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureTable, extract
from parzc.features.extraction.many_archs import load_batch
from parzc.search.scores import Score

Batch = tuple[Tensor, Tensor | None]
"""Inputs, and class indices if there are any."""


class Inputs:
    """Draws batches of inputs.

    Args:
        space: whose networks take them.
        task: of the space.
        data: `gaussian` for standard normal inputs, or an `.npz` file as `ExtractionConfig` takes it.

    Raises:
        InputError: if the file cannot be read or does not fit the task.
    """

    def __init__(self, space: Space, task: str, data: str = "gaussian") -> None:
        self.task: Task = space.task(task)
        self._images: Tensor | None = None
        self._labels: Tensor | None = None
        if data != "gaussian":
            config = ExtractionConfig(space, self.task.name, _count(data), data)
            self._images, self._labels = load_batch(config)

    def draw(self, n: int, rng: np.random.Generator, shape: Sequence[int] = ()) -> Batch:
        """Return `n` inputs of the task, or a part of each of another shape, `(channels, height, width)`."""
        if self._images is None:
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            return torch.randn((n, *(shape or self.task.input_shape)), generator=generator), None
        rows = torch.from_numpy(rng.choice(len(self._images), size=n, replace=n > len(self._images)))
        images = self._images[rows]
        if shape:
            down, right = (int(rng.integers(images.shape[axis] - shape[axis - 1] + 1)) for axis in (2, 3))
            images = images[:, : shape[0], down : down + shape[1], right : right + shape[2]]
        return images, None if self._labels is None else self._labels[rows]


def _count(data: str) -> int:
    """Return how many images a file holds; 1 where it cannot be read, so that the reader says why."""
    try:
        with np.load(data, allow_pickle=False) as file:
            return max(len(file["y_train"]), 1)
    except Exception:  # a damaged archive raises nearly anything
        return 1


class Networks:
    """Measures what a score reads of networks.

    Args:
        space: a search space.
        task: of the space.
        proxies: what to measure; those of a score.

    Raises:
        InputError: if the space has no supernet, for `partial`.
    """

    def __init__(self, space: Space, task: str, proxies: Sequence[str]) -> None:
        self.space, self.task, self.proxies = space, space.task(task), tuple(proxies)

    @property
    def supernet(self) -> Supernet:
        """The supernet of the space."""
        if self.space.supernet is None:
            raise InputError(
                f"{self.space.name} has no supernet, from which operations could be removed; choose random, evolution "
                "or local"
            )
        return self.space.supernet

    def partial(self, partial: Partial, size: Size, batch: Batch, seed: int) -> FeatureTable:
        """Return the features of a partial architecture, its weights drawn from `seed`."""
        return self.features(self.supernet.build(partial, self.task.classes, size, seed), batch, seed)

    def complete(self, arch: str, batch: Batch, batches: int, seed: int) -> FeatureTable:
        """Return the features of an architecture as the space builds it, on inputs that are cut into `batches`."""
        return self.features(self.space.network(arch, self.task.name, seed), batch, seed, batches)

    def features(self, network: nn.Module, batch: Batch, seed: int, batches: int = 1) -> FeatureTable:
        """Return the features of any network."""
        return FeatureTable.of([extract(network, *batch, self.proxies, seed, batches)])


def sized(supernet: Supernet, name: str, depth: int = 0) -> Size:
    """Return a size of a supernet by its name, with another depth if one is given.

    Raises:
        InputError: if there is no such size.
    """
    if name not in supernet.sizes:
        raise InputError(f"there is no size '{name[:100]}' of supernets; choose one of {', '.join(supernet.sizes)}")
    return replace(supernet.sizes[name], depth=depth) if depth else supernet.sizes[name]


def score_of_any_network(score: Score, algorithm: str) -> Score:
    """Return a score, unless it can be computed of members of a space alone.

    Raises:
        InputError: in that case.
    """
    if not score.of_any_network:
        raise InputError(
            f"the algorithm {algorithm} scores supernets, of which a ranker knows nothing; give a proxy, or several "
            "joined with +"
        )
    return score


def even(operations: Sequence[str], of: int = 0) -> dict[str, float]:
    """Return operations with the same weight each: one over their number, or over `of`."""
    return {operation: 1.0 / (of or len(operations)) for operation in operations}


def without(partial: Partial, edge: str, operation: str | None = None) -> dict[str, Mapping[str, float]]:
    """Return a partial architecture without an operation of an edge, or without the edge; other weights stay."""
    kept = {} if operation is None else {op: weight for op, weight in partial[edge].items() if op != operation}
    return {**partial, edge: kept}


def ranks(changes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return dense ranks from 0, smallest first, of `(n,)` numbers; NaN counts as the smallest of all."""
    plain = np.where(np.isnan(changes), -np.inf, changes)
    found: NDArray[np.int64] = np.unique(plain, return_inverse=True)[1].astype(np.int64)
    return found
