"""Hand-made features, so that the numbers of a test are in the test."""

from dataclasses import replace

import numpy as np
import pytest

from parzc.features import NodeFeatures


@pytest.fixture
def row():
    """Make the features of one network: `row({"a": weights, ...}, snip=[...], ...)`."""

    def make(nodes, scores=None, reasons=None, channels=1, **statistics):
        weights = list(nodes.values())
        fields = [(depth, n, channels, 10 * n) for depth, n in enumerate(weights)]
        return NodeFeatures(
            nodes=tuple(nodes),
            kinds=tuple("linear" if name == "head" else "conv2d" for name in nodes),
            fields=np.array(fields, dtype=np.int64),
            statistics={name: np.array(values, dtype=np.float64) for name, values in statistics.items()},
            scores=scores or {},
            reasons=reasons or {},
        )

    return make


@pytest.fixture
def rows(row):
    """Three networks: two nodes, one with a missing value; one node; three nodes."""
    return [
        row({"stem": 4, "head": 2}, {"snip": 3.0, "nwot": 7.0}, snip=[1.0, 2.0], synflow=[0.5, -np.inf]),
        row({"head": 2}, {"snip": np.nan, "nwot": 8.0}, {"snip": "overflow"}, snip=[np.nan], synflow=[1.5]),
        row(
            {"stem": 4, "edge": 9, "head": 2},
            {"snip": 12.0, "nwot": 9.0},
            snip=[3.0, 4.0, 5.0],
            synflow=[2.5, 3.5, 4.5],
        ),
    ]


@pytest.fixture
def block_rows(rows):
    """The same networks with primary blocks: two with both statistics, none, three without the second statistic."""
    cells = ("cells.0", "cells.1")
    both = {"expressivity": np.array([1.0, 2.0]), "trainability": np.array([0.0, -0.1])}
    one = {"expressivity": np.array([3.0, 4.0, 5.0])}
    cut = {"trainability": "the output of block 'cells.1' does not depend on the block before it"}
    return [
        replace(rows[0], blocks=cells, block_statistics=both),
        rows[1],
        replace(rows[2], blocks=("input of cells.0", *cells), block_statistics=one, reasons=cut),
    ]
