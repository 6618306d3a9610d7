"""The inputs of the preset `default`: one token for each position of the space, proxies, block statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parzc.datasets import Slot, Space
from parzc.encoding._base import Encoder
from parzc.encoding.architecture import ArchScaling
from parzc.encoding.inputs import ARCH_PARTS, Shapes, TokenInputs
from parzc.encoding.layouts import Reduction, encoded, slot_columns
from parzc.encoding.scaling import RankGauss
from parzc.errors import InputError
from parzc.features.store.table import FeatureTable

MOST = 4096
"""Beyond this, sizes that are read from a file are taken for damage before memory is."""


@dataclass(frozen=True)
class TokenConfig:
    """Sizes of the inputs.

    Args:
        reduction: of a statistic over the elements of a node; a mean does not depend on the width of a layer.
        quantiles: how many `RankGauss` keeps of each column: with 257, values are resolved to a 256th of the networks,
            and a saved ranker stays small.
        positions: parts of equal length into which the nodes of a network of no known space are cut, in their order:
            most networks have several nodes in each eighth.
        block_positions: most positions of block statistics along a network, so that one very deep network among many
            does not widen the inputs of all.
        vertices: most vertices of a graph whose label, edges and state are columns; edges grow with the square of it.
    """

    reduction: Reduction = "mean"
    quantiles: int = 257
    positions: int = 8
    block_positions: int = 32
    vertices: int = 64

    def __post_init__(self) -> None:
        for name in ("quantiles", "positions", "block_positions", "vertices"):
            if not 1 <= getattr(self, name) <= MOST:
                raise InputError(f"{name} cannot be {getattr(self, name)}; choose 1 to {MOST}")


class TokenEncoder(Encoder[TokenInputs]):
    """One token for each position of a space, with the statistics of every stage; next to them proxies and blocks.

    A position is what the slots with one `edge` share: an edge of the cell in all cells of the space, or a fixed part
    such as the stem. A stage is the part of a network at one resolution. Nodes at one position in one stage are
    averaged: the mean of the logarithms of their absolute values. Each column is then mapped to a standard normal
    distribution over the networks that the encoder was fitted on (`RankGauss`). Where a position holds no node in a
    stage, its statistics are 0 there; the last channel of a token is 1 if the position holds a node in any stage, else
    0.

    Networks of no known space get one position for each eighth of their nodes, and one stage. Block statistics have as
    many positions as the network with most blocks among those that the encoder was fitted on, up to a bound; the blocks
    of others are spread over them. The architecture encoding comes last, if `arch_space` is given; rows of features are
    then named by their architectures. It holds the columns in which the networks that the encoder was fitted on differ,
    with mean 0 and standard deviation 1 over these.

    Args:
        statistics: names of node statistics.
        scores: names of proxies.
        slots: places that nodes of the space may fill; none for networks of no known space.
        blocks: names of block statistics.
        arch_space: space of the architectures, if their encoding enters.
        config: sizes.
    """

    def __init__(
        self,
        statistics: Sequence[str],
        scores: Sequence[str],
        slots: Sequence[Slot] = (),
        blocks: Sequence[str] = (),
        arch_space: Space | None = None,
        config: TokenConfig | None = None,
    ) -> None:
        super().__init__(statistics, scores, blocks)
        self.config = config or TokenConfig()
        self.arch = None if arch_space is None else ArchScaling(arch_space, self.config.vertices)
        self.slots, depths = tuple(slots), self.config.positions
        self.edges = list(dict.fromkeys(slot.edge for slot in slots)) or [f"depth {i}/{depths}" for i in range(depths)]
        self.stages = 1 + max((slot.stage for slot in slots), default=0)

    def _fit(self, table: FeatureTable) -> None:
        longest = int(np.diff(table.block_offsets).max()) if self.blocks else 0
        positions = min(longest, self.config.block_positions)
        self.arrays = {"blocks": np.zeros((positions * len(self.blocks), 0))}
        self.arrays = self._scales(table)
        if self.arch is not None:
            self.arrays |= self.arch.fit(table.archs)

    def _scales(self, table: FeatureTable) -> dict[str, NDArray[np.float64]]:
        values, present = self._cells(table)
        n = len(table)
        flags = np.repeat(present[..., None], len(self.statistics), axis=-1)
        cells = RankGauss(self.config.quantiles).fit(values.reshape(n, -1), flags.reshape(n, -1))
        scores = RankGauss(self.config.quantiles).fit(self._score_matrix(table))
        blocks = RankGauss(self.config.quantiles).fit(self._block_matrix(table, self._positions))
        return {"cells": cells.quantiles, "scores": scores.quantiles, "blocks": blocks.quantiles}

    @property
    def _positions(self) -> int:
        """Positions along a network that have block statistics."""
        return len(self.arrays["blocks"]) // max(len(self.blocks), 1)

    def _transform(self, table: FeatureTable) -> TokenInputs:
        values, present = self._cells(table)
        n = len(table)
        scaled = _scale(self.arrays["cells"], values.reshape(n, -1)).reshape(values.shape) * present[..., None]
        tokens = np.concatenate([scaled.reshape(n, len(self.edges), -1), present.any(2, keepdims=True)], axis=2)
        scores = _scale(self.arrays["scores"], self._score_matrix(table))
        blocks = _scale(self.arrays["blocks"], self._block_matrix(table, self._positions))
        arch = None if self.arch is None else self.arch.transform(table.archs, self.arrays)
        measured = [torch.from_numpy(x.astype(np.float32)) for x in (tokens, scores, blocks)]
        return TokenInputs(measured[0], measured[1], measured[2], arch)

    def _check_arrays(self, shapes: Shapes) -> None:
        arch = ARCH_PARTS if self.arch is not None else ()
        if tuple(shapes) != ("tokens", "scores", "blocks", *arch):
            raise ValueError("the encoder does not fit the inputs")
        if self.arch is not None:
            self.arch.check(self.arrays, shapes)
        cells = self.stages * len(self.statistics)
        rows = {"cells": len(self.edges) * cells, "scores": len(self.scores), "blocks": len(self.arrays["blocks"])}
        expected = {"tokens": (len(self.edges), cells + 1), "scores": (rows["scores"],), "blocks": (rows["blocks"],)}
        if rows["blocks"] != self._positions * len(self.blocks) or any(
            shapes[name] != shape for name, shape in expected.items()
        ):
            raise ValueError("the encoder does not fit the inputs")
        for name, count in rows.items():
            quantiles = self.arrays[name]
            if quantiles.dtype != np.float64 or (quantiles.ndim, len(quantiles)) != (2, count):
                raise ValueError(f"'{name}' of the encoder is {quantiles.dtype} {quantiles.shape}")
            # A column without any finite value has no quantiles; otherwise all of them are there.
            missing = np.isnan(quantiles)
            if (missing.any(1) != missing.all(1)).any():
                raise ValueError(f"'{name}' of the encoder holds NaN")

    def _cells(self, table: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the mean of each statistic, `(n, edges, stages, statistics)`, and where there is a node at all."""
        shape = (len(table), len(self.edges), self.stages)
        cell = np.ravel_multi_index((table.row, *self._places(table)), shape)
        count = np.bincount(cell, minlength=np.prod(shape))
        columns = []
        for name in self.statistics:
            logarithms = encoded(table, name, self.config.reduction, "log")
            total = np.bincount(cell, weights=logarithms, minlength=np.prod(shape))
            columns.append(total / np.maximum(count, 1))
        return np.stack(columns, axis=-1).reshape(*shape, -1), (count > 0).reshape(shape)

    def _places(self, table: FeatureTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not self.slots:
            nodes = np.diff(table.offsets)[table.row]
            return self.config.positions * table.position // nodes, np.zeros(len(table.node), dtype=np.int64)
        columns = slot_columns(table, [slot.name for slot in self.slots])
        edge = np.array([self.edges.index(slot.edge) for slot in self.slots])
        return edge[columns], np.array([slot.stage for slot in self.slots])[columns]

    def _score_matrix(self, table: FeatureTable) -> NDArray[np.float64]:
        return (
            np.stack([table.scores[name] for name in self.scores], axis=1) if self.scores else np.zeros((len(table), 0))
        )

    def _block_matrix(self, table: FeatureTable, positions: int) -> NDArray[np.float64]:
        """Return block statistics at `positions` along each network, `(n, positions * blocks)`, or NaN."""
        counts = np.diff(table.block_offsets)
        out = np.full((len(table), positions, len(self.blocks)), np.nan)
        rows = np.flatnonzero(counts)
        index = table.block_offsets[rows, None] + np.arange(positions) * counts[rows, None] // max(positions, 1)
        for j, name in enumerate(self.blocks):
            out[rows, :, j] = table.block_statistics[name][index]
        return out.reshape(len(table), -1)


def _scale(quantiles: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaling = RankGauss(quantiles.shape[1])
    scaling.quantiles = quantiles
    return scaling.transform(values)
