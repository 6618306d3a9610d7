"""Arrange node statistics in columns, so that a learner can read them.

Two layouts of the same values. `padded`, as in the ParZC paper, lists the nodes of each network in order and fills up
with zeros; one column then means different places in different networks. `aligned` has a column for each slot of the
space (a place that a node may fill, called after the module there), so that one column means one place.

In this file `n` is the number of networks and `m` the number of all their nodes together. The elements of a node are
what its statistic was summed over: weights, output channels, or only the node itself.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.features.store.table import FeatureTable

Layout = Literal["padded", "aligned"]
Reduction = Literal["sum", "mean"]
Encoding = Literal["minmax", "log", "raw"]


def reduced(table: FeatureTable, statistic: str, reduction: Reduction) -> NDArray[np.float64]:
    """Return the `(m,)` values of a statistic as the sum or the mean over each node's elements.

    Raises:
        InputError: if the table does not hold the statistic.
    """
    if statistic not in table.statistics:
        raise InputError(
            f"the features hold no statistic '{statistic}', only {', '.join(table.statistics)}; extract it"
        )
    values = table.statistics[statistic].astype(np.float64)
    if reduction == "sum":
        return values
    info = table.info(statistic)
    count = table.count(info.elements)
    return values - np.log(count) if info.scale == "log" else values / count


def encoded(table: FeatureTable, statistic: str, reduction: Reduction, encoding: Encoding) -> NDArray[np.float64]:
    """Return the `(m,)` values of a statistic, encoded for learning.

    `minmax` maps the nodes of each network to [0, 1] (ParZC paper, sec. 3.2; all zero where a network's values are all
    equal); statistics kept as logarithms enter with their plain value, relative to the network's largest so that
    nothing overflows. `log` is the logarithm of the absolute value, -inf for zero. `raw` leaves the values alone.
    Missing values stay NaN.
    """
    values = reduced(table, statistic, reduction)
    is_log = table.info(statistic).scale == "log"
    if encoding == "raw":
        return values
    if encoding == "log":
        with np.errstate(divide="ignore"):
            return values if is_log else np.log(np.abs(values))
    starts, row = table.offsets[:-1], table.row
    if is_log:
        top = np.maximum.reduceat(values, starts)[row]
        values = np.exp(values - np.where(np.isneginf(top), 0.0, top))
    low, high = np.minimum.reduceat(values, starts)[row], np.maximum.reduceat(values, starts)[row]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(high > low, (values - low) / (high - low), np.where(np.isnan(high), np.nan, 0.0))


def slot_columns(table: FeatureTable, slots: Sequence[str]) -> NDArray[np.int64]:
    """Return the `(m,)` index of each node's slot.

    Raises:
        InputError: if a node fills none of the slots.
    """
    index = {name: i for i, name in enumerate(slots)}
    used = [table.names[i] for i in np.unique(table.node)]
    unknown = [name for name in used if name not in index]
    if unknown:
        raise InputError(
            f"node '{unknown[0]}' fills no slot of this space; add Slot('{unknown[0]}', ...) to the slots of the "
            "space, or name no space for other networks"
        )
    return np.array([index.get(name, -1) for name in table.names], dtype=np.int64)[table.node]


def node_matrix(
    table: FeatureTable,
    statistics: Sequence[str],
    *,
    slots: Sequence[str] = (),
    width: int | None = None,
    layout: Layout = "aligned",
    reduction: Reduction = "mean",
    encoding: Encoding = "log",
) -> NDArray[np.float64]:
    """Return node statistics in columns.

    Args:
        table: features of `n` networks.
        statistics: names of `k` statistics.
        slots: the slots of the space, needed for `aligned`.
        width: number of columns of `padded`; the largest number of nodes if not given. Longer networks are cut.
        layout: where each node goes.
        reduction: over the elements of a node.
        encoding: see `encoded`.

    Returns:
        `(n, k, columns)`; zero where a network has no node, NaN where its value is missing.
    """
    if layout == "aligned":
        columns, width = slot_columns(table, slots), len(slots)
    else:
        columns = table.position
        width = int(np.diff(table.offsets).max()) if width is None else width
    keep = columns < width
    out = np.zeros((len(table), len(statistics), width))
    for k, statistic in enumerate(statistics):
        out[table.row[keep], k, columns[keep]] = encoded(table, statistic, reduction, encoding)[keep]
    return out
