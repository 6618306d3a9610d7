"""Comparison of tables that a store gave back."""

import numpy as np


def same(one, other):
    """Whether two tables hold the same rows; the numbering of the node names may differ."""
    assert one.archs == other.archs
    assert [one.names[i] for i in one.node] == [other.names[i] for i in other.node]
    assert one.offsets.tolist() == other.offsets.tolist()
    assert one.block_offsets.tolist() == other.block_offsets.tolist()
    assert (one.block_offsets.dtype, one.blocks.tolist()) == (np.int64, other.blocks.tolist())
    assert one.kinds.tolist() == other.kinds.tolist()
    assert [a.dtype for a in (one.offsets, one.node, one.fields)] == [np.int64, np.int32, np.int64]
    assert np.array_equal(one.fields, other.fields)
    for columns in ("statistics", "scores", "block_statistics"):
        ours, theirs = getattr(one, columns), getattr(other, columns)
        assert list(ours) == list(theirs)
        for name, values in ours.items():
            assert values.dtype == theirs[name].dtype
            np.testing.assert_array_equal(values, theirs[name])
    assert {k: dict(v) for k, v in one.reasons.items()} == {k: dict(v) for k, v in other.reasons.items()}
    assert one.definitions == other.definitions
    return True
