"""The table of features: rows in, rows out, and the same values wherever they go."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import _safe_indexing

from parzc.errors import InputError
from parzc.features import NodeFeatures
from parzc.features.store.table import FeatureTable

DEFINITIONS = {"snip": {"definition": 1}}


@pytest.fixture
def table(rows):
    return FeatureTable.of(rows, ["a", "b", "c"], DEFINITIONS)


def contents(table):
    """Each row as plain values: name, node names, kinds, fields, statistics, scores, reasons."""
    out = []
    for i, arch in enumerate(table.archs):
        nodes = slice(table.offsets[i], table.offsets[i + 1])
        out.append(
            (
                arch,
                [table.names[j] for j in table.node[nodes]],
                table.kinds[nodes].tolist(),
                table.fields[nodes].tolist(),
                {name: [str(v) for v in values[nodes]] for name, values in table.statistics.items()},
                {name: str(values[i]) for name, values in table.scores.items()},
                dict(table.reasons.get(arch, {})),
            )
        )
    assert table.offsets[-1] == len(table.node) == len(table.kinds) == len(table.fields)
    return out


A = (
    "a",
    ["stem", "head"],
    ["conv2d", "linear"],
    [[0, 4, 1, 40], [1, 2, 1, 20]],
    {"snip": ["1.0", "2.0"], "synflow": ["0.5", "-inf"]},
    {"snip": "3.0", "nwot": "7.0"},
    {},
)
B = (
    "b",
    ["head"],
    ["linear"],
    [[0, 2, 1, 20]],
    {"snip": ["nan"], "synflow": ["1.5"]},
    {"snip": "nan", "nwot": "8.0"},
    {"snip": "overflow"},
)
C = (
    "c",
    ["stem", "edge", "head"],
    ["conv2d", "conv2d", "linear"],
    [[0, 4, 1, 40], [1, 9, 1, 90], [2, 2, 1, 20]],
    {"snip": ["3.0", "4.0", "5.0"], "synflow": ["2.5", "3.5", "4.5"]},
    {"snip": "12.0", "nwot": "9.0"},
    {},
)


def test_of_collects_rows(table):
    assert contents(table) == [A, B, C]
    assert (len(table), table.shape) == (3, (3,))
    assert table.offsets.tolist() == [0, 2, 3, 6]
    assert table.row.tolist() == [0, 0, 1, 2, 2, 2]
    assert table.position.tolist() == [0, 1, 0, 0, 1, 2]
    assert table.names == ("stem", "head", "edge")
    assert table.definitions == DEFINITIONS
    types = (table.offsets.dtype, table.node.dtype, table.fields.dtype)
    assert types == (np.int64, np.int32, np.int64)
    assert {v.dtype for v in table.statistics.values()} == {np.dtype(np.float32)}
    assert {v.dtype for v in table.scores.values()} == {np.dtype(np.float64)}


def test_of_names_rows_by_number_where_no_names_are_given(rows):
    assert FeatureTable.of(rows).archs == ("network-0", "network-1", "network-2")
    assert FeatureTable.of(rows).reasons == {"network-1": {"snip": "overflow"}}


def test_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"^no features were given"):
        FeatureTable.of([])


@pytest.mark.parametrize("other", [{"snip": [1.0]}, {"synflow": [1.0], "snip": [1.0]}])
def test_rows_with_other_statistics_are_refused(row, other):
    first = row({"stem": 4}, snip=[1.0], synflow=[2.0])
    with pytest.raises(InputError, match="the features of network 1 hold other statistics than those of network 0"):
        FeatureTable.of([first, row({"stem": 4}, **other)])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, [B]),
        (-1, [C]),
        (np.int64(0), [A]),
        (slice(None), [A, B, C]),
        (slice(1, None), [B, C]),
        (slice(None, None, -1), [C, B, A]),
        ([2, 0], [C, A]),
        ([1, 1, 0], [B, B, A]),
        ((2, Ellipsis), [C]),
        (np.array([2, 0, 1]), [C, A, B]),
        (np.array([True, False, True]), [A, C]),
        ([False, True, False], [B]),
        ((np.array([2]), Ellipsis), [C]),
        ([], []),
        (np.array([], dtype=np.int64), []),
        (np.zeros(3, dtype=bool), []),
    ],
)
def test_rows_are_selected_as_from_an_array(table, key, expected):
    selected = table[key]
    assert contents(selected) == expected
    assert selected.reasons == ({"b": {"snip": "overflow"}} if B in expected else {})
    assert selected.definitions == DEFINITIONS


def test_selecting_what_is_not_there_is_an_index_error(table):
    with pytest.raises(IndexError):
        table[3]
    with pytest.raises(IndexError):
        table[[True, False]]


def test_iterating_gives_one_row_after_the_other(table):
    assert [contents(one) for one in table] == [[A], [B], [C]]


def test_selecting_leaves_the_table_alone(table):
    selected = table[[0]]
    selected.statistics["snip"][:] = 99
    selected.scores["nwot"][:] = 99
    assert contents(table) == [A, B, C]


def test_rename_changes_names_only(table):
    renamed = table.rename(["x", "y", "z"])
    assert contents(renamed) == [(name, *old[1:]) for name, old in zip("xyz", (A, B, C), strict=True)]
    assert table.archs == ("a", "b", "c")
    with pytest.raises(InputError, match=r"^2 names for 3 rows of features"):
        table.rename(["x", "y"])


def test_rename_can_give_two_rows_the_reasons_of_one(table):
    twins = table[[1, 1]].rename(["y", "z"])
    assert twins.reasons == {"y": {"snip": "overflow"}, "z": {"snip": "overflow"}}


def test_count_is_what_a_value_is_summed_over(table, row):
    assert table.count("weights").tolist() == [4, 2, 2, 4, 9, 2]
    assert table.count("node").tolist() == [1] * 6
    wide = FeatureTable.of([row({"stem": 4, "head": 2}, channels=3, snip=[1.0, 2.0])])
    assert wide.count("channels").tolist() == [3, 3]


def test_concatenate_stacks_tables_with_other_nodes(table):
    parts = [table[[2]], table[[1]], table[[0, 0]]]
    assert contents(FeatureTable.concatenate(parts)) == [C, B, A, A]
    assert FeatureTable.concatenate(parts).definitions == DEFINITIONS
    assert FeatureTable.concatenate([table]) is table


def test_concatenate_translates_the_node_names(rows):
    one, other = FeatureTable.of(rows[1:2], ["b"]), FeatureTable.of([rows[2], rows[0]], ["c", "a"])
    assert (one.names, other.names) == (("head",), ("stem", "edge", "head"))
    both = FeatureTable.concatenate([one, other])
    assert contents(both) == [B, C, A]
    assert both.names == ("head", "stem", "edge")


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), max_size=6), st.data())
def test_selecting_and_stacking_undo_each_other(picked, data):
    rows = [
        NodeFeatures(
            ("n",) * k, ("linear",) * k, np.arange(4 * k).reshape(k, 4), {"snip": np.arange(k) + 10.0 * k}, {"snip": k}
        )
        for k in (1, 2, 3)
    ]
    table = FeatureTable.of(rows, ["a", "b", "c"])[picked]
    cut = data.draw(st.integers(0, len(picked)))
    assert contents(FeatureTable.concatenate([table[:cut], table[cut:]])) == contents(table)
    assert [table.archs[i] for i in range(len(table))] == ["abc"[i] for i in picked]
    expected = [v for i in picked for v in rows[i].statistics["snip"]]
    assert table.statistics["snip"].tolist() == expected


def test_scikit_learn_splits_a_table_like_an_array(table):
    labels = np.array([0.1, 0.2, 0.3])
    train, test, y_train, y_test = train_test_split(table, labels, test_size=1, random_state=0)
    by_label = {0.1: A, 0.2: B, 0.3: C}
    assert contents(train) == [by_label[y] for y in y_train]
    assert contents(test) == [by_label[y] for y in y_test]
    assert (len(train), len(test)) == (2, 1)


@pytest.mark.parametrize("key", [[2, 0], np.array([2, 0]), (2, 0)])
def test_scikit_learn_indexes_a_table(table, key):
    assert contents(_safe_indexing(table, key)) == [C, A]


def test_scikit_learn_indexes_a_table_by_mask_and_slice(table):
    assert contents(_safe_indexing(table, np.array([False, True, True]))) == [B, C]
    assert contents(_safe_indexing(table, slice(0, 2))) == [A, B]


def test_scikit_learn_folds_a_table(table):
    folds = [contents(_safe_indexing(table, test)) for _, test in KFold(3).split(table)]
    assert folds == [[A], [B], [C]]


@pytest.fixture
def blocks(block_rows):
    return FeatureTable.of(block_rows, ["a", "b", "c"], DEFINITIONS)


def block_contents(table):
    """Each row's block columns as plain values: names, statistics."""
    bounds = list(zip(table.block_offsets, table.block_offsets[1:], strict=False))
    assert len(bounds) == len(table) and table.block_offsets[0] == 0
    assert table.block_offsets[-1] == len(table.blocks)
    assert (table.block_offsets.dtype, table.blocks.dtype.kind) == (np.int64, "U")
    assert {(v.dtype, v.shape) for v in table.block_statistics.values()} <= {(np.dtype(np.float32), table.blocks.shape)}
    columns = {"names": table.blocks, **table.block_statistics}
    return [{name: [str(v) for v in values[i:j]] for name, values in columns.items()} for i, j in bounds]


BLOCKS_A = {"names": ["cells.0", "cells.1"], "expressivity": ["1.0", "2.0"], "trainability": ["0.0", "-0.1"]}
BLOCKS_B = {"names": [], "expressivity": [], "trainability": []}
BLOCKS_C = {
    "names": ["input of cells.0", "cells.0", "cells.1"],
    "expressivity": ["3.0", "4.0", "5.0"],
    "trainability": ["nan"] * 3,
}
NO_BLOCKS = {"names": []}


def test_of_collects_blocks(blocks, table):
    assert block_contents(blocks) == [BLOCKS_A, BLOCKS_B, BLOCKS_C]
    assert blocks.block_offsets.tolist() == [0, 2, 2, 5]
    assert list(blocks.block_statistics) == ["expressivity", "trainability"]
    assert contents(blocks)[:2] == contents(table)[:2]
    assert list(blocks.reasons["c"]) == ["trainability"]


def test_of_takes_the_block_statistics_of_any_row(block_rows):
    backwards = FeatureTable.of(block_rows[::-1])
    assert block_contents(backwards) == [BLOCKS_C, BLOCKS_B, BLOCKS_A]
    other = replace(block_rows[2], block_statistics={"trainability": np.array([0.0, -1.0, -2.0])})
    apart = FeatureTable.of([replace(block_rows[0], block_statistics={"expressivity": np.array([1.0, 2.0])}), other])
    assert apart.block_statistics["expressivity"].astype(str).tolist() == ["1.0", "2.0", "nan", "nan", "nan"]
    assert apart.block_statistics["trainability"].astype(str).tolist() == ["nan", "nan", "0.0", "-1.0", "-2.0"]


def test_rows_without_blocks_make_a_table_without_blocks(table):
    assert block_contents(table) == [NO_BLOCKS] * 3
    assert block_contents(FeatureTable.of([row_of(0), row_of(0)])) == [NO_BLOCKS] * 2


def test_a_table_has_no_blocks_unless_told_otherwise(blocks):
    given = {f.name: getattr(blocks, f.name) for f in fields(blocks) if "block" not in f.name}
    plain = FeatureTable(**given)
    assert block_contents(plain) == [NO_BLOCKS] * 3
    assert block_contents(plain[[2, 0]]) == [NO_BLOCKS] * 2
    assert block_contents(plain[[]]) == []
    assert contents(plain) == contents(blocks)
    plain.block_offsets[-1] = 7
    assert FeatureTable(**given).block_offsets.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (0, [BLOCKS_A]),
        (-1, [BLOCKS_C]),
        (1, [BLOCKS_B]),
        (slice(None), [BLOCKS_A, BLOCKS_B, BLOCKS_C]),
        (slice(1, None), [BLOCKS_B, BLOCKS_C]),
        (slice(None, None, -1), [BLOCKS_C, BLOCKS_B, BLOCKS_A]),
        (slice(3, None), []),
        (np.array([True, False, True]), [BLOCKS_A, BLOCKS_C]),
        ([False, False, True], [BLOCKS_C]),
        ([2, 0, 2], [BLOCKS_C, BLOCKS_A, BLOCKS_C]),
        ([1, 1], [BLOCKS_B, BLOCKS_B]),
        ((np.array([0, 0]), Ellipsis), [BLOCKS_A, BLOCKS_A]),
        ([], []),
    ],
)
def test_blocks_go_with_their_rows(blocks, key, expected):
    selected = blocks[key]
    assert block_contents(selected) == expected
    assert list(selected.block_statistics) == ["expressivity", "trainability"]
    selected.block_statistics["expressivity"][:] = 99
    selected.blocks[:] = "x"
    assert block_contents(blocks) == [BLOCKS_A, BLOCKS_B, BLOCKS_C]


def test_rename_keeps_the_blocks(blocks):
    renamed = blocks.rename(["x", "y", "z"])
    assert renamed.archs == ("x", "y", "z")
    assert block_contents(renamed) == [BLOCKS_A, BLOCKS_B, BLOCKS_C]


def test_concatenate_stacks_blocks(blocks):
    parts = [blocks[[2]], blocks[[1]], blocks[[0, 0]], blocks[[]]]
    both = FeatureTable.concatenate(parts)
    assert block_contents(both) == [BLOCKS_C, BLOCKS_B, BLOCKS_A, BLOCKS_A]
    assert both.block_offsets.tolist() == [0, 3, 3, 5, 7]
    assert contents(both) == contents(blocks[[2, 1, 0, 0]])


def test_concatenate_stacks_tables_with_and_without_blocks(blocks, rows):
    without = FeatureTable.of(rows[:2], ["y", "z"])
    assert block_contents(FeatureTable.concatenate([without, blocks])) == [BLOCKS_B] * 2 + block_contents(blocks)
    assert block_contents(FeatureTable.concatenate([blocks, without])) == block_contents(blocks) + [BLOCKS_B] * 2
    assert block_contents(FeatureTable.concatenate([without, without])) == [NO_BLOCKS] * 4


def test_concatenate_fills_block_statistics_that_a_table_lacks(block_rows):
    first = FeatureTable.of([replace(block_rows[0], block_statistics={"trainability": np.array([0.5, 0.25])})])
    second = FeatureTable.of([block_rows[2]])
    lacking = BLOCKS_A | {"expressivity": ["nan", "nan"], "trainability": ["0.5", "0.25"]}
    for tables, expected in (((first, second), [lacking, BLOCKS_C]), ((second, first), [BLOCKS_C, lacking])):
        assert block_contents(FeatureTable.concatenate(tables)) == expected


def row_of(n):
    """One node and `n` blocks with the values `n`, `n + 0.5` and so on; no statistic where there is no block."""
    node = NodeFeatures(("n",), ("linear",), np.ones((1, 4), dtype=np.int64), {"snip": np.array([n])}, {"snip": n})
    values = {"expressivity": n + np.arange(n) / 2} if n else {}
    return replace(node, blocks=tuple(f"b{i}" for i in range(n)), block_statistics=values)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_selecting_and_stacking_undo_each_other_for_blocks(sizes, data):
    picked = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=8))
    cut = data.draw(st.integers(0, len(picked)))
    table = FeatureTable.of([row_of(n) for n in sizes])[picked]
    both = FeatureTable.concatenate([table[:cut], table[cut:]])
    assert block_contents(both) == block_contents(table)
    assert np.diff(both.block_offsets).tolist() == [sizes[i] for i in picked]
    assert both.blocks.tolist() == [f"b{j}" for i in picked for j in range(sizes[i])]
    expected = [sizes[i] + j / 2 for i in picked for j in range(sizes[i])]
    assert [v for values in both.block_statistics.values() for v in values.tolist()] == expected
