"""Features to model inputs: fitted on features alone, saved with the ranker.

An encoder turns a `FeatureTable` of `n` networks into float32 arrays with `n` rows and refuses features whose
definitions differ from those it was fitted on.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Slot, Space
from parzc.encoding.architecture import encode_archs, informative_columns
from parzc.encoding.graphs import graph_arrays
from parzc.encoding.layouts import Reduction, encoded, node_matrix, slot_columns
from parzc.encoding.scaling import RankGauss
from parzc.errors import InputError
from parzc.features.proxies._registry import proxy_info
from parzc.features.store.table import FeatureTable

MOST_BLOCKS = 32
"""Positions of block statistics along a network."""
MOST_VERTICES = 64
"""Vertices whose labels and edges are columns of a description."""

Inputs = tuple[NDArray[np.float32] | NDArray[np.bool_], ...]


class Encoder(ABC):
    """What every encoder does; `arrays` are its fitted values.

    Args:
        statistics: node statistics that enter.
        scores: network proxies that enter.
        blocks: block statistics that enter.
    """

    def __init__(self, statistics: Sequence[str], scores: Sequence[str] = (), blocks: Sequence[str] = ()) -> None:
        self.statistics, self.scores, self.blocks = tuple(statistics), tuple(scores), tuple(blocks)
        self.definitions: dict[str, Mapping[str, object]] = {}
        self.arrays: dict[str, NDArray[np.float64]] = {}

    @abstractmethod
    def _fit(self, table: FeatureTable) -> None: ...

    @abstractmethod
    def _transform(self, table: FeatureTable) -> Inputs: ...

    @abstractmethod
    def _check_arrays(self, shapes: Sequence[tuple[int, ...]]) -> None: ...

    def fit(self, table: FeatureTable) -> "Encoder":
        """Learn scales from features, labelled or not, and remember what they mean."""
        self._define(table)
        self._fit(table)
        return self

    def refit(self, table: FeatureTable) -> "Encoder":
        """Return an encoder with the scales of other networks, whose model inputs have the same shapes."""
        other = copy.copy(self)
        other._define(table)
        other.arrays = self.arrays | other._scales(table)
        return other

    def _scales(self, _: FeatureTable) -> dict[str, NDArray[np.float64]]:
        """Return those of `arrays` that are scales, of other networks; none where each is scaled by itself."""
        return {}

    def _define(self, table: FeatureTable) -> None:
        self._check_columns(table)
        names = dict.fromkeys((*self.statistics, *self.scores, *self.blocks))
        self.definitions = {name: dict(table.definitions.get(name) or proxy_info(name).define()) for name in names}

    def transform(self, table: FeatureTable) -> Inputs:
        """Return the model inputs, each with one row for each network.

        Rows of `parzc.extract` do not say which task and batch they come from; of those, the definitions of the
        statistics alone are compared.

        Raises:
            InputError: if the features lack a statistic or were defined otherwise; both are named.
        """
        self._check_columns(table)
        for name, trained in self.definitions.items():
            recorded = table.definitions.get(name)
            given = dict(recorded or proxy_info(name).define())
            for key, value in trained.items():
                if given.get(key) != value and (recorded or key in given):
                    raise InputError(
                        f"'{name}' of these features has {key} {given.get(key)!r}, but the ranker was trained on "
                        f"{value!r}; extract the features with the same definitions"
                    )
        return self._transform(table)

    def restore(
        self, definitions: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        """Take what `fit` learned from a file.

        Args:
            definitions: of everything that enters.
            arrays: fitted values.
            shapes: of one row of each model input.

        Raises:
            ValueError: if they are not those of this encoder, or do not give rows of these shapes.
        """
        names = {*self.statistics, *self.scores, *self.blocks}
        if not isinstance(definitions, dict) or definitions.keys() != names:
            raise ValueError("the definitions are not those of what enters")
        if not all(isinstance(definition, dict) for definition in definitions.values()):
            raise ValueError("a definition is no mapping")
        self.definitions, self.arrays = definitions, dict(arrays)
        self._check_arrays(shapes)

    def _check_columns(self, table: FeatureTable) -> None:
        for kind, names, there in (
            ("statistic", self.statistics, table.statistics),
            ("proxy", self.scores, table.scores),
            ("block statistic", self.blocks, table.block_statistics),
        ):
            missing = [name for name in names if name not in there]
            if missing:
                raise InputError(
                    f"the features lack the {kind} '{missing[0]}'; extract it (there are {', '.join(there)})"
                )


class PaddedEncoder(Encoder):
    """The input of the ParZC paper (sec. 3.2, A.3): nodes in order, min-max per network and statistic, zeros behind.

    Returns one array `(n, statistics * width)`; missing values are 0.

    Args:
        statistics: node statistics, concatenated in this order.
        width: nodes of the longest network; taken from the features it is fitted on if 0. Longer networks are cut.
        reduction: over the elements of a node.
    """

    def __init__(self, statistics: Sequence[str], width: int = 0, reduction: Reduction = "mean") -> None:
        super().__init__(statistics)
        self.width, self.reduction = width, reduction

    def _fit(self, table: FeatureTable) -> None:
        self.arrays = {"width": np.array([self.width or np.diff(table.offsets).max()], dtype=np.float64)}

    def _transform(self, table: FeatureTable) -> Inputs:
        matrix = node_matrix(
            table,
            self.statistics,
            width=int(self.arrays["width"][0]),
            layout="padded",
            reduction=self.reduction,
            encoding="minmax",
        )
        return (np.nan_to_num(matrix).reshape(len(table), -1).astype(np.float32),)

    def _check_arrays(self, shapes: Sequence[tuple[int, ...]]) -> None:
        if list(shapes) != [(len(self.statistics) * whole_number(self.arrays["width"]),)]:
            raise ValueError("the width of the encoder does not fit the inputs")


class TokenEncoder(Encoder):
    """One token for each searchable position, with the statistics of every stage; network scores and blocks beside.

    Nodes that fill the same position of a cell in the same stage are averaged (in the log domain), and each column is
    mapped to a standard normal distribution over the networks it was fitted on (`RankGauss`), so that one column means
    one place whatever else a network holds. A position without weights is 0 and says so in a column of its own.
    Networks of no known space get one position for each eighth of their depth. Block statistics have as many positions
    as the network with most blocks among those it was fitted on, at most 32; the blocks of others are spread over them.
    What the architecture is made of comes last if a space is given whose architectures the rows are named by: the
    columns that tell apart the networks it was fitted on, with mean 0 and spread 1 over these.

    Returns `(n, tokens, stages * statistics + 1)`, `(n, scores)`, `(n, positions * blocks)`, and where they enter the
    three parts of `parzc.encoding.architecture.encode_archs`, `(n, columns)` each.

    Args:
        statistics: node statistics.
        scores: network proxies.
        slots: places of the space; none for networks of no known space.
        blocks: block statistics.
        reduction: over the elements of a node.
        described: space of the architectures, if their description enters.
    """

    def __init__(
        self,
        statistics: Sequence[str],
        scores: Sequence[str],
        slots: Sequence[Slot] = (),
        blocks: Sequence[str] = (),
        reduction: Reduction = "mean",
        described: Space | None = None,
    ) -> None:
        super().__init__(statistics, scores, blocks)
        self.reduction, self.described = reduction, described
        self.slots = tuple(slots)
        self.edges = list(dict.fromkeys(slot.edge for slot in slots)) or [f"depth {i}/8" for i in range(8)]
        self.stages = 1 + max((slot.stage for slot in slots), default=0)

    def _fit(self, table: FeatureTable) -> None:
        positions = min(int(np.diff(table.block_offsets).max()), MOST_BLOCKS) if self.blocks else 0
        self.arrays = {"blocks": np.zeros((positions * len(self.blocks), 0))}
        self.arrays = self._scales(table)
        if self.described is not None:
            *_, mask = graph_arrays(table.archs, self.described)
            vertices = min(mask.shape[1], MOST_VERTICES)
            self.arrays["vertices"] = np.array([vertices], dtype=np.float64)
            for name, columns in encode_archs(table.archs, self.described, vertices).items():
                kept = informative_columns(name, columns)
                self.arrays[name] = np.stack([kept, columns[:, kept].mean(0), columns[:, kept].std(0)])

    def _scales(self, table: FeatureTable) -> dict[str, NDArray[np.float64]]:
        values, present = self._cells(table)
        n = len(table)
        flags = np.repeat(present[..., None], len(self.statistics), axis=-1)
        cells = RankGauss().fit(values.reshape(n, -1), flags.reshape(n, -1))
        scores = RankGauss().fit(self._score_matrix(table))
        blocks = RankGauss().fit(self._block_matrix(table, self._positions))
        return {"cells": cells.quantiles, "scores": scores.quantiles, "blocks": blocks.quantiles}

    @property
    def _positions(self) -> int:
        """Places along a network at which block statistics are told."""
        return len(self.arrays["blocks"]) // max(len(self.blocks), 1)

    def _transform(self, table: FeatureTable) -> Inputs:
        values, present = self._cells(table)
        n = len(table)
        scaled = _scale(self.arrays["cells"], values.reshape(n, -1)).reshape(values.shape) * present[..., None]
        tokens = np.concatenate([scaled.reshape(n, len(self.edges), -1), present.any(2, keepdims=True)], axis=2)
        scores = _scale(self.arrays["scores"], self._score_matrix(table))
        blocks = _scale(self.arrays["blocks"], self._block_matrix(table, self._positions))
        inputs = tokens.astype(np.float32), scores.astype(np.float32), blocks.astype(np.float32)
        return inputs if self.described is None else (*inputs, *self._description(table, self.described))

    def _description(self, table: FeatureTable, space: Space) -> list[NDArray[np.float32]]:
        scaled = []
        for name, columns in encode_archs(table.archs, space, int(self.arrays["vertices"][0])).items():
            which, mean, spread = self.arrays[name]
            scaled.append(((columns[:, which.astype(np.int64)] - mean) / spread).astype(np.float32))
        return scaled

    def _check_description(self, shapes: Sequence[tuple[int, ...]], space: Space) -> None:
        vertices = whole_number(self.arrays["vertices"])
        if not 0 < vertices <= MOST_VERTICES:
            raise ValueError("the description of architectures has no vertices, or too many")
        for (name, known), shape in zip(encode_archs((), space, vertices).items(), shapes, strict=True):
            own = self.arrays[name]
            if own.dtype != np.float64 or own.shape != (3, *shape) or not np.isfinite(own).all():
                raise ValueError(f"'{name}' of the encoder does not fit the inputs")
            if not np.isin(own[0], np.arange(known.shape[1])).all() or not (own[2] > 0).all():
                raise ValueError(f"'{name}' of the encoder is not a description of this space")

    def _check_arrays(self, shapes: Sequence[tuple[int, ...]]) -> None:
        if self.described is not None:
            self._check_description(shapes[3:], self.described)
            shapes = shapes[:3]
        cells = self.stages * len(self.statistics)
        rows = {"cells": len(self.edges) * cells, "scores": len(self.scores), "blocks": len(self.arrays["blocks"])}
        if rows["blocks"] != self._positions * len(self.blocks) or list(shapes) != [
            (len(self.edges), cells + 1),
            (rows["scores"],),
            (rows["blocks"],),
        ]:
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
            total = np.bincount(cell, weights=encoded(table, name, self.reduction, "log"), minlength=np.prod(shape))
            columns.append(total / np.maximum(count, 1))
        return np.stack(columns, axis=-1).reshape(*shape, -1), (count > 0).reshape(shape)

    def _places(self, table: FeatureTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not self.slots:
            return 8 * table.position // np.diff(table.offsets)[table.row], np.zeros(len(table.node), dtype=np.int64)
        columns = slot_columns(table, [slot.name for slot in self.slots])
        edge = np.array([self.edges.index(slot.edge) for slot in self.slots])
        return edge[columns], np.array([slot.stage for slot in self.slots])[columns]

    def _score_matrix(self, table: FeatureTable) -> NDArray[np.float64]:
        return (
            np.stack([table.scores[name] for name in self.scores], axis=1) if self.scores else np.zeros((len(table), 0))
        )

    def _block_matrix(self, table: FeatureTable, positions: int) -> NDArray[np.float64]:
        """Return block statistics at `positions` places along each network, `(n, positions * blocks)`, or NaN."""
        counts = np.diff(table.block_offsets)
        out = np.full((len(table), positions, len(self.blocks)), np.nan)
        rows = np.flatnonzero(counts)
        index = table.block_offsets[rows, None] + np.arange(positions) * counts[rows, None] // max(positions, 1)
        for j, name in enumerate(self.blocks):
            out[rows, :, j] = table.block_statistics[name][index]
        return out.reshape(len(table), -1)


def whole_number(values: NDArray[Any]) -> int:
    """Return the one number of a fitted array; raise `ValueError` if it holds anything else."""
    if values.dtype != np.float64 or values.shape != (1,) or not values[0].is_integer():
        raise ValueError(f"the encoder has {values.dtype} {values.shape} where a whole number should be")
    return int(values[0])


def _scale(quantiles: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaling = RankGauss(quantiles.shape[1])
    scaling.quantiles = quantiles
    return scaling.transform(values)
