"""Features of many networks in columns: what a store reads and what rankers take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.proxies._registry import ProxyInfo, known_info
from parzc.features.store.record import NODE_FIELDS, NodeFeatures


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The features of `n` networks with `m` nodes in all.

    Networks have different numbers of nodes: the nodes of all stand in one column, one network behind the other, and
    `offsets` says where each begins. A table of features holds no labels.

    Args:
        archs: what each row is called (`n` entries), in a store the canonical architecture.
        offsets: `(n + 1,)`: the nodes of row `i` are `offsets[i]:offsets[i + 1]`.
        names: the different node names.
        node: `(m,)` index of each node's name in `names`; depth first within a row.
        kinds: `(m,)` sort of operation of each node.
        fields: `(m, 4)` integers as in `NodeFeatures.fields`.
        statistics: name to `(m,)` values.
        scores: proxy name to `(n,)` values.
        block_offsets: `(n + 1,)`: the primary blocks of row `i` are `block_offsets[i]:block_offsets[i + 1]`; none if
            empty.
        blocks: `(b,)` names of the primary blocks.
        block_statistics: name to `(b,)` values, NaN where `reasons` says why.
        reasons: for each arch with a missing value, statistic or proxy name to why.
        definitions: statistic or proxy name to what fixes its numbers; empty where they were not recorded.
    """

    archs: tuple[str, ...]
    offsets: NDArray[np.int64]
    names: tuple[str, ...]
    node: NDArray[np.int32]
    kinds: NDArray[np.str_]
    fields: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float32]]
    scores: Mapping[str, NDArray[np.float64]]
    block_offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    blocks: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, dtype=np.str_))
    block_statistics: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    definitions: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.block_offsets):
            object.__setattr__(self, "block_offsets", np.zeros(len(self.archs) + 1, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def shape(self) -> tuple[int]:
        """Return `(n,)`; with `__getitem__` this lets scikit-learn split a table like an array."""
        return (len(self.archs),)

    @property
    def row(self) -> NDArray[np.int64]:
        """Return the row of each node, `(m,)`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def position(self) -> NDArray[np.int64]:
        """Return the place of each node within its row, depth first from 0, `(m,)`."""
        return np.arange(len(self.node)) - self.offsets[self.row]

    def __getitem__(self, key: Any) -> "FeatureTable":
        """Return the rows that an integer array, boolean mask, slice or list selects, in its order."""
        index = key[0] if isinstance(key, tuple) else key
        rows = np.atleast_1d(np.arange(len(self))[index])
        offsets, nodes = _selected(self.offsets, rows)
        block_offsets, blocks = _selected(self.block_offsets, rows)
        archs = tuple(self.archs[i] for i in rows)
        return FeatureTable(
            archs=archs,
            offsets=offsets,
            names=self.names,
            node=self.node[nodes],
            kinds=self.kinds[nodes],
            fields=self.fields[nodes],
            statistics={name: values[nodes] for name, values in self.statistics.items()},
            scores={name: values[rows] for name, values in self.scores.items()},
            block_offsets=block_offsets,
            blocks=self.blocks[blocks],
            block_statistics={name: values[blocks] for name, values in self.block_statistics.items()},
            reasons={arch: self.reasons[arch] for arch in archs if arch in self.reasons},
            definitions=self.definitions,
        )

    def rename(self, archs: Sequence[str]) -> "FeatureTable":
        """Return the same rows under other names, for example those of the architectures they represent."""
        if len(archs) != len(self):
            raise InputError(f"{len(archs)} names for {len(self)} rows of features; give one for each row")
        reasons = {new: self.reasons[old] for old, new in zip(self.archs, archs, strict=True) if old in self.reasons}
        return FeatureTable(**{**self.__dict__, "archs": tuple(archs), "reasons": reasons})

    def info(self, name: str) -> ProxyInfo:
        """Return the record of a statistic or proxy; where its file is not loaded, the one that was kept with it.

        Raises:
            InputError: if there is no such proxy, and nothing was recorded of it.
        """
        return known_info(name, self.definitions.get(name, {}))

    def count(self, elements: str) -> NDArray[np.float64]:
        """Return what each node's value is summed over, `(m,)`: its `weights`, its `channels`, or 1 for `node`."""
        if elements == "node":
            return np.ones(len(self.node))
        return self.fields[:, NODE_FIELDS.index(elements)].astype(np.float64)

    @classmethod
    def of(
        cls,
        rows: Sequence[NodeFeatures],
        archs: Sequence[str] | None = None,
        definitions: Mapping[str, Mapping[str, object]] | None = None,
    ) -> "FeatureTable":
        """Collect the features of single networks, all with the same statistics and proxies, into a table.

        Raises:
            InputError: if there are none, if they are no features, or do not hold the same statistics and proxies.
        """
        _check_alike(rows)
        archs = tuple(archs) if archs is not None else tuple(f"network-{i}" for i in range(len(rows)))
        nodes = [name for features in rows for name in features.nodes]
        names = tuple(dict.fromkeys(nodes))
        index = {name: i for i, name in enumerate(names)}
        of_blocks = dict.fromkeys(name for features in rows for name in features.block_statistics)
        return cls(
            archs=archs,
            offsets=np.cumsum([0, *(len(features) for features in rows)], dtype=np.int64),
            names=names,
            node=np.array([index[name] for name in nodes], dtype=np.int32),
            kinds=np.array([kind for features in rows for kind in features.kinds], dtype=np.str_),
            fields=np.concatenate([features.fields for features in rows]),
            statistics={
                name: np.concatenate([features.statistics[name] for features in rows]).astype(np.float32)
                for name in rows[0].statistics
            },
            scores={name: np.array([features.scores[name] for features in rows]) for name in rows[0].scores},
            block_offsets=np.cumsum([0, *(len(features.blocks) for features in rows)], dtype=np.int64),
            blocks=np.array([name for features in rows for name in features.blocks], dtype=np.str_),
            block_statistics={
                name: np.concatenate(
                    [f.block_statistics.get(name, np.full(len(f.blocks), np.nan)) for f in rows]
                ).astype(np.float32)
                for name in of_blocks
            },
            reasons={arch: dict(f.reasons) for arch, f in zip(archs, rows, strict=True) if f.reasons},
            definitions=definitions or {},
        )

    @classmethod
    def concatenate(cls, tables: Sequence["FeatureTable"]) -> "FeatureTable":
        """Stack tables with the same statistics and proxies."""
        if len(tables) == 1:
            return tables[0]
        names = tuple(dict.fromkeys(name for table in tables for name in table.names))
        index = {name: i for i, name in enumerate(names)}
        first = tables[0]
        counts = np.concatenate([np.diff(table.offsets) for table in tables])
        block_counts = np.concatenate([np.diff(table.block_offsets) for table in tables])
        return cls(
            archs=tuple(arch for table in tables for arch in table.archs),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            names=names,
            node=np.concatenate([np.array([index[n] for n in t.names], dtype=np.int32)[t.node] for t in tables]),
            kinds=np.concatenate([table.kinds for table in tables]),
            fields=np.concatenate([table.fields for table in tables]),
            statistics={k: np.concatenate([table.statistics[k] for table in tables]) for k in first.statistics},
            scores={k: np.concatenate([table.scores[k] for table in tables]) for k in first.scores},
            block_offsets=np.concatenate([[0], np.cumsum(block_counts)]).astype(np.int64),
            blocks=np.concatenate([table.blocks for table in tables]),
            block_statistics={
                k: np.concatenate(
                    [t.block_statistics.get(k, np.full(len(t.blocks), np.nan, np.float32)) for t in tables]
                )
                for k in dict.fromkeys(k for table in tables for k in table.block_statistics)
            },
            reasons={arch: why for table in tables for arch, why in table.reasons.items()},
            definitions=first.definitions,
        )


def _check_alike(rows: object) -> None:
    """Raise `InputError` unless these are features of networks, all with the same statistics and proxies."""
    if not isinstance(rows, Sequence):
        raise InputError(
            f"a {type(rows).__name__} is no list of features; give [parzc.extract(network, inputs), ...], one for each "
            "network"
        )
    if not rows:
        raise InputError("no features were given; extract those of at least one network")
    for i, other in enumerate(rows):
        if not isinstance(other, NodeFeatures):
            raise InputError(
                f"entry {i} is a {type(other).__name__}, no features of a network; extract them first: "
                "parzc.extract(network, inputs)"
            )
        if (*other.statistics, *other.scores) != (*rows[0].statistics, *rows[0].scores):
            raise InputError(
                f"the features of network {i} hold other statistics than those of network 0; extract all alike"
            )


def _selected(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets of some rows of a ragged column, and the indices of their entries."""
    starts, counts = offsets[rows], np.diff(offsets)[rows]
    new = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return new, np.repeat(starts - new[:-1], counts) + np.arange(new[-1])
