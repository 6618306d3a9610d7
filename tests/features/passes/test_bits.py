"""Packed activation patterns against plain arrays."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.features.passes.bits import Patterns, ones_where_positive, pack, pack_units, unpack


def drawn(n, sizes, seed, kinds):
    """Booleans `(n, units)` for each application of a rectifier, with few kinds of inputs, so that some are equal."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(kinds, size=n)
    return [(rng.random((kinds, units)) < rng.random())[kind] for units in sizes]


BATCHES = st.one_of(st.integers(1, 20), st.integers(60, 70), st.integers(120, 140))
STATES = st.builds(
    drawn, BATCHES, st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 2**32), st.integers(1, 80)
)
any_states = given(STATES)
without_deadline = settings(deadline=None)


def packed(states):
    return [pack(torch.from_numpy(part)) for part in states]


@any_states
@without_deadline
def test_pack_puts_eight_inputs_into_a_byte(states):
    for part, found in zip(states, packed(states), strict=True):
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found.numpy(), np.packbits(part, axis=0, bitorder="little"))


@any_states
@without_deadline
def test_unpack_gives_the_states_back(states):
    for part, found in zip(states, packed(states), strict=True):
        back = unpack(found, len(part))
        assert back.dtype == torch.float32
        np.testing.assert_array_equal(back.numpy(), part)


@any_states
@without_deadline
def test_agreement_counts_the_units_in_the_same_state(states):
    rows = np.concatenate(states, 1)
    found = Patterns(packed(states), len(rows)).agreement
    assert found.dtype == torch.float64 and found.shape == (len(rows), len(rows))
    np.testing.assert_array_equal(found.numpy(), [(rows == row).sum(1) for row in rows])


@any_states
@without_deadline
def test_distinct_units_and_inputs_are_unique_columns_and_rows(states):
    rows = np.concatenate(states, 1)
    assert Patterns(packed(states), len(rows)).distinct_units == len(np.unique(rows, axis=1).T)
    assert Patterns(packed(states), len(rows)).distinct_inputs == len(np.unique(rows, axis=0))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 17, 62, 63, 64, 65, 72, 73])
def test_inputs_that_differ_in_one_unit_only_are_told_apart(n):
    """One unit for each input, and one that is never active: no two columns or rows are equal."""
    states = np.eye(n, n + 1, dtype=bool)
    one, each = packed([states]), packed(np.split(states, n + 1, axis=1))
    for found in (one, each):
        assert Patterns(found, n).distinct_units == n + 1
        assert Patterns(found, n).distinct_inputs == n
        np.testing.assert_array_equal(Patterns(found, n).agreement.numpy(), n + 1 - 2 * (1 - np.eye(n)))


def test_agreement_is_exact_for_many_units():
    states = np.ones((20, 3_000_001), dtype=bool)
    states[3, 5] = False
    found = Patterns(packed([states, states]), 20).agreement
    assert found[0, 1] == 6_000_002 and found[3, 0] == found[0, 3] == 6_000_000


def test_states_may_lie_in_memory_in_any_order():
    states = torch.rand(13, 11) < 0.5
    assert torch.equal(pack(states.T.contiguous().T), pack(states))


@pytest.mark.parametrize("shape", [(10, 7), (10, 4, 6), (10, 3, 4, 5), (10, 1, 4, 5), (30, 3, 4, 5), (20, 2, 3, 2, 2)])
def test_units_of_any_layer_are_packed_in_some_order(shape):
    """The inputs lie along the first axis, or several parts of each do."""
    active = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = sorted(pack(active.reshape(10, -1)).T.tolist())
    layouts = [active, active.transpose(0, -1).contiguous().transpose(0, -1)]
    if len(shape) == 4:
        layouts.append(active.contiguous(memory_format=torch.channels_last))
    for t in layouts:
        assert torch.equal(t, active)
        assert sorted(pack_units(t, 10).T.tolist()) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int32])
def test_ones_stand_where_numbers_are_positive(dtype):
    numbers = (
        torch.tensor([-2.0, -0.0, 0.0, 1.0, 3.0])
        if dtype == torch.int32
        else torch.tensor([-math.inf, -1e-30, -0.0, 0.0, 1e-30, 2.0, math.inf, math.nan])
    )
    numbers = numbers.to(dtype)
    found = ones_where_positive(numbers)
    assert found.dtype == dtype and found.tolist() == [float(number > 0) for number in numbers.tolist()]


def test_ones_are_laid_out_like_the_numbers_and_packed_like_booleans():
    numbers = torch.randn(9, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    for laid_out in (numbers, numbers.contiguous(memory_format=torch.channels_last), numbers[:, ::2]):
        found = ones_where_positive(laid_out)
        assert torch.equal(found.bool(), laid_out > 0)
        assert found.stride() == torch.empty_like(laid_out).stride()
        assert torch.equal(pack_units(found, 9), pack_units(found.bool(), 9))
