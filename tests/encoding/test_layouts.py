"""Columns of node statistics against hand-made cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.encoding.layouts import encoded, node_matrix, reduced, slot_columns
from parzc.errors import InputError
from parzc.features import NodeFeatures
from parzc.features.store.table import FeatureTable

SLOTS = ("stem", "edge", "empty", "head")
INF, NAN = math.inf, math.nan


@pytest.fixture
def table(row):
    """Two networks of two and three nodes; `snip` counts weights, `fisher` channels, `grad_norm` nothing."""
    return FeatureTable.of(
        [
            row(
                {"stem": 4, "head": 2},
                channels=5,
                snip=[8.0, 1.0],
                plain=[-2.0, 1.0],
                fisher=[10.0, 5.0],
                grad_norm=[3.0, 6.0],
                synflow=[math.log(8.0), math.log(2.0)],
            ),
            row(
                {"stem": 4, "edge": 9, "head": 2},
                channels=5,
                snip=[4.0, 0.0, 2.0],
                plain=[0.0, 9.0, -4.0],
                fisher=[5.0, 20.0, 0.0],
                grad_norm=[2.0, 2.0, 2.0],
                synflow=[-INF, math.log(9.0), math.log(18.0)],
            ),
        ]
    )


def test_padded_lists_the_nodes_in_order_and_fills_up_with_zeros(table):
    matrix = node_matrix(table, ["snip", "fisher"], layout="padded", reduction="sum", encoding="raw")
    assert matrix.tolist() == [[[8, 1, 0], [10, 5, 0]], [[4, 0, 2], [5, 20, 0]]]


@pytest.mark.parametrize(
    ("width", "expected"),
    [(2, [[[8, 1]], [[4, 0]]]), (5, [[[8, 1, 0, 0, 0]], [[4, 0, 2, 0, 0]]]), (1, [[[8]], [[4]]])],
)
def test_padded_has_the_width_asked_for(table, width, expected):
    matrix = node_matrix(table, ["snip"], width=width, layout="padded", reduction="sum", encoding="raw")
    assert matrix.tolist() == expected


def test_aligned_puts_each_node_at_its_slot(table):
    matrix = node_matrix(table, ["snip", "fisher"], slots=SLOTS, reduction="sum", encoding="raw")
    assert matrix.tolist() == [[[8, 0, 0, 1], [10, 0, 0, 5]], [[4, 0, 0, 2], [5, 20, 0, 0]]]


def test_aligned_follows_the_order_of_the_slots(table):
    assert slot_columns(table, SLOTS).tolist() == [0, 3, 0, 1, 3]
    assert slot_columns(table, SLOTS[::-1]).tolist() == [3, 0, 3, 2, 0]
    matrix = node_matrix(table, ["snip"], slots=SLOTS[::-1], reduction="sum", encoding="raw")
    assert matrix.tolist() == [[[1, 0, 0, 8]], [[2, 0, 0, 4]]]


def test_the_defaults_are_aligned_mean_log(table):
    expected = node_matrix(table, ["snip"], slots=SLOTS, layout="aligned", reduction="mean", encoding="log")
    np.testing.assert_array_equal(node_matrix(table, ["snip"], slots=SLOTS), expected)
    np.testing.assert_allclose(expected[0, 0], [math.log(2.0), 0, 0, math.log(0.5)])


def test_a_node_without_a_slot_is_named(table):
    with pytest.raises(
        InputError, match=r"^node 'edge' fills no slot of this space; add Slot\('edge', \.\.\.\) to the slots"
    ):
        node_matrix(table, ["snip"], slots=("stem", "head"))


def test_only_the_nodes_of_the_rows_need_slots(table):
    matrix = node_matrix(table[[0]], ["snip"], slots=("stem", "head"), reduction="sum", encoding="raw")
    assert matrix.tolist() == [[[8, 1]]]


def test_a_statistic_that_is_not_there_is_named(table):
    with pytest.raises(
        InputError, match=r"^the features hold no statistic 'l2_norm', only snip, plain, .*; extract it"
    ):
        node_matrix(table, ["snip", "l2_norm"], slots=SLOTS)


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("snip", [2, 0.5, 1, 0, 1]),
        ("fisher", [2, 1, 1, 4, 0]),
        ("grad_norm", [3, 6, 2, 2, 2]),
        ("synflow", [math.log(2), 0, -INF, 0, math.log(9)]),
    ],
)
def test_the_mean_is_over_what_the_statistic_sums(table, statistic, expected):
    np.testing.assert_allclose(reduced(table, statistic, "mean"), expected, rtol=1e-6, atol=1e-7)
    stored = table.statistics[statistic].astype(np.float64)
    np.testing.assert_array_equal(reduced(table, statistic, "sum"), stored)


def test_raw_leaves_the_values_alone(table):
    assert encoded(table, "plain", "sum", "raw").tolist() == [-2, 1, 0, 9, -4]
    assert encoded(table, "synflow", "sum", "raw")[2] == -INF


def test_log_is_of_the_absolute_value(table):
    expected = [math.log(2), 0, -INF, math.log(9), math.log(4)]
    np.testing.assert_allclose(encoded(table, "plain", "sum", "log"), expected, rtol=1e-6)
    expected = [math.log(2), math.log(0.5), 0, -INF, 0]
    np.testing.assert_allclose(encoded(table, "snip", "mean", "log"), expected, rtol=1e-6)


def test_log_leaves_logarithms_alone(table):
    expected = [math.log(8), math.log(2), -INF, math.log(9), math.log(18)]
    np.testing.assert_allclose(encoded(table, "synflow", "sum", "log"), expected, rtol=1e-6)
    expected = [math.log(2), 0, -INF, 0, math.log(9)]
    np.testing.assert_allclose(encoded(table, "synflow", "mean", "log"), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("encoding", ["minmax", "log", "raw"])
@pytest.mark.parametrize("statistic", ["snip", "plain", "synflow"])
def test_the_values_of_a_network_do_not_depend_on_the_others(table, statistic, encoding):
    together = encoded(table, statistic, "mean", encoding)
    alone = [encoded(table[[i]], statistic, "mean", encoding) for i in (0, 1)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_minmax_maps_each_network_to_the_unit_interval(table):
    # Row 0: 8, 1. Row 1: 4, 0, 2.
    np.testing.assert_allclose(encoded(table, "snip", "sum", "minmax"), [1, 0, 1, 0, 0.5])
    # Row 0: -2, 1. Row 1: 0, 9, -4.
    np.testing.assert_allclose(encoded(table, "plain", "sum", "minmax"), [0, 1, 4 / 13, 1, 0])


def test_minmax_of_equal_values_is_zero(table):
    np.testing.assert_allclose(encoded(table, "grad_norm", "sum", "minmax"), [0, 1, 0, 0, 0])


def test_minmax_of_logarithms_is_that_of_the_plain_values(table):
    # Plain values 8, 2 and 0, 9, 18; their means over 4, 2 and 4, 9, 2 weights are 2, 1 and 0, 1, 9.
    np.testing.assert_allclose(encoded(table, "synflow", "sum", "minmax"), [1, 0, 0, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(encoded(table, "synflow", "mean", "minmax"), [1, 0, 0, 1 / 9, 1], rtol=1e-6)


def test_minmax_of_logarithms_does_not_overflow(row):
    values = [1e5 + math.log(3), 1e5, -INF]
    table = FeatureTable.of([row({"a": 1, "b": 1, "c": 1}, synflow=values)])
    np.testing.assert_allclose(encoded(table, "synflow", "sum", "minmax"), [1, 1 / 3, 0], rtol=0.01)


def test_minmax_where_nothing_flows_is_zero(row):
    table = FeatureTable.of(
        [row({"a": 1, "b": 1}, synflow=[-INF, -INF]), row({"a": 1, "b": 1}, synflow=[0.0, math.log(2)])]
    )
    np.testing.assert_allclose(encoded(table, "synflow", "sum", "minmax"), [0, 0, 0, 1])


@pytest.mark.parametrize("encoding", ["minmax", "log", "raw"])
@pytest.mark.parametrize("statistic", ["snip", "synflow"])
def test_missing_values_stay_missing_and_do_not_spread(row, statistic, encoding):
    table = FeatureTable.of(
        [row({"stem": 4, "head": 2}, **{statistic: [NAN, NAN]}), row({"stem": 4, "head": 2}, **{statistic: [1.0, 3.0]})]
    )
    alone = encoded(table[[1]], statistic, "sum", encoding)
    assert np.isfinite(alone).all()
    values = encoded(table, statistic, "sum", encoding)
    assert np.isnan(values[:2]).all()
    np.testing.assert_array_equal(values[2:], alone)
    matrix = node_matrix(table, [statistic], slots=SLOTS, reduction="sum", encoding=encoding)
    assert np.isnan(matrix[0, 0]).tolist() == [True, False, False, True]
    assert matrix[0, 0, 1:3].tolist() == [0, 0]


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5), min_size=1, max_size=4))
def test_minmax_is_the_formula_of_the_paper(networks):
    rows = [
        NodeFeatures(
            tuple(f"n{i}" for i in range(len(values))),
            ("linear",) * len(values),
            np.ones((len(values), 4), dtype=np.int64),
            {"plain": np.array(values)},
            {},
        )
        for values in networks
    ]
    matrix = node_matrix(FeatureTable.of(rows), ["plain"], layout="padded", reduction="sum", encoding="minmax")
    assert matrix.shape == (len(networks), 1, max(map(len, networks)))
    for row, values in zip(matrix[:, 0], networks, strict=True):
        low, high = min(values), max(values)
        expected = [(v - low) / (high - low) if high > low else 0.0 for v in values]
        np.testing.assert_allclose(row, expected + [0.0] * (len(row) - len(values)), rtol=1e-12, atol=1e-12)
