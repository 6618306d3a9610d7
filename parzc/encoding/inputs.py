"""What models read: records of named tensors, each with one row for each candidate network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

ARCH_PARTS = ("places", "summary", "states")
"""The parts of the architecture encoding, as `parzc.encoding.architecture.encode_archs` names them."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name of each tensor of a record to the shape of one row of it."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Base of the records: fields are tensors `(n, ...)`, further records, or None where a part does not enter."""

    @property
    def parts(self) -> dict[str, Tensor]:
        """Return all tensors by name, those of a record inside this one in its place."""
        named: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Inputs):
                named |= value.parts
            elif value is not None:
                named[field.name] = value
        return named

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row of each tensor."""
        return {name: tuple(part.shape[1:]) for name, part in self.parts.items()}

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: Any) -> Self:
        """Return the networks at `rows`, a slice or an array of indices."""
        return self._each(lambda part: part[rows])

    def columns(self, names: Sequence[str] | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return tensors flattened and concatenated, `(n, columns)`.

        Args:
            names: of the tensors; all if not given.
            dtype: of the result.

        Raises:
            KeyError: if one of `names` is not part of this record.
        """
        parts = self.parts
        return torch.cat([parts[name].to(dtype).flatten(1) for name in (parts if names is None else names)], 1)

    def batches(self, numbers: int = 2**22, most: int = 4096) -> Iterator[Self]:
        """Yield all rows in order, in batches that bound the memory of a model.

        Args:
            numbers: how many numbers the largest tensor of a batch may hold; models take memory in proportion, for
                example for the attention between the vertices of large graphs.
            most: largest number of rows of a batch.
        """
        largest = max(part[:1].numel() for part in self.parts.values())
        size = max(1, min(most, numbers // max(largest, 1)))
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {
            name: value._each(change) if isinstance(value, Inputs) else change(value)
            for name, value in values.items()
            if value is not None
        }
        return replace(self, **changed)


@dataclass(frozen=True, eq=False)
class ArchEncoding(Inputs):
    """What architectures consist of, as columns; see `parzc.encoding.architecture.encode_archs`.

    Args:
        places: `(n, columns)` label and edges of each vertex.
        summary: `(n, columns)` counts and path lengths.
        states: `(n, columns)` counts of each label on the way to each vertex.
    """

    places: Tensor
    summary: Tensor
    states: Tensor


@dataclass(frozen=True, eq=False)
class Graphs(Inputs):
    """Architectures as directed acyclic graphs, padded to one number of vertices V.

    Args:
        operations: `(n, V, labels)` booleans, one-hot.
        adjacency: `(n, V, V)` booleans, true at `[:, i, j]` where vertex `j` reads from vertex `i`.
        mask: `(n, V)` booleans, true where there is a vertex.
    """

    operations: Tensor
    adjacency: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class TokenInputs(Inputs):
    """Inputs of the preset `default`: one token for each position of the search space.

    Args:
        tokens: `(n, tokens, channels)` scaled node statistics of each position: one channel for each statistic in each
            stage, and a last one that is 1 where the position holds a node.
        scores: `(n, scores)` scaled values of proxies.
        blocks: `(n, columns)` scaled block statistics.
        arch: the architecture encoding; None where it does not enter.
    """

    tokens: Tensor
    scores: Tensor
    blocks: Tensor
    arch: ArchEncoding | None = None


@dataclass(frozen=True, eq=False)
class PaddedInputs(Inputs):
    """Inputs of the preset `paper`: the nodes of each network in order, padded to one length.

    Args:
        nodes: `(n, columns)` node statistics.
        graphs: of the architectures; None where they do not enter.
    """

    nodes: Tensor
    graphs: Graphs | None = None
