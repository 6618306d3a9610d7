"""Activation patterns in bits: eight inputs to a byte."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pack(states: Tensor) -> Tensor:
    """Pack `(batch, units)` booleans into `(bytes, units)` bytes: bit `i % 8` of byte `i // 8` belongs to input `i`."""
    batch, units = states.shape
    bits = states.view(torch.uint8)
    if batch % 8:
        bits = torch.cat([bits, bits.new_zeros(-batch % 8, units)])
    bits = bits.view(len(bits) // 8, 8, units)
    # Each row takes in the one half a byte, then two bits, then one bit on.
    for half in (4, 2, 1):
        bits = torch.add(bits[:, :half], bits[:, half:], alpha=1 << half)
    return bits[:, 0]


def ones_where_positive(t: Tensor) -> Tensor:
    """Return one where a number is positive and zero elsewhere, in the format and the memory layout of `t`."""
    return torch.gt(t, 0, out=torch.empty_like(t))


def pack_units(active: Tensor, batch: int) -> Tensor:
    """Pack the states of the units of any layer, zero where inactive, with the inputs along the first axis."""
    active = active.bool()
    if active.ndim == 4 and active.is_contiguous(memory_format=torch.channels_last):
        # As they lie in memory: the order of the units does not matter, a copy takes time.
        active = active.permute(0, 2, 3, 1)
    return pack(active.reshape(batch, -1))


def unpack(packed: Tensor, batch: int) -> Tensor:
    """Return the states of `pack` as numbers 0 and 1 in single precision, `(batch, units)`."""
    return torch.stack([(packed[i // 8] >> (i % 8)) & 1 for i in range(batch)]).float()


class Patterns(list[Tensor]):
    """Packed patterns, one entry for each application of a rectifier, with what proxies count in them.

    Args:
        packed: as from `pack`.
        batch: number of inputs.
    """

    def __init__(self, packed: Iterable[Tensor], batch: int) -> None:
        super().__init__(packed)
        self.batch = batch

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Return how many units show each of the 65,536 patterns over a batch of at most 16 inputs."""
        columns = torch.cat(list(self), 1).cpu().numpy()
        keys = columns[0] if len(columns) == 1 else columns[0] | columns[1].astype(np.uint16) << 8
        return np.bincount(keys, minlength=2**16)

    @cached_property
    def agreement(self) -> Tensor:
        """Return for each pair of inputs the number of units in the same state, `(batch, batch)` in float64."""
        if self.batch <= 16:
            # There are few patterns, so that units of one pattern are counted together: second byte by first byte.
            counts = self.counts.reshape(256, 256).astype(np.float64)
            signs = 2.0 * (np.arange(256) >> np.arange(8)[:, None] & 1) - 1
            first, second = (signs * counts.sum(axis) @ signs.T for axis in (0, 1))
            mixed = signs @ counts @ signs.T
            balance = np.block([[first, mixed.T], [mixed, second]])[: self.batch, : self.batch]
            return torch.from_numpy((balance + counts.sum()) / 2)
        total = torch.zeros((), dtype=torch.float64)
        for states in self:
            x = unpack(states, self.batch)
            active = x.sum(1).double()
            # Both active: x x'. Both inactive: (1 - x)(1 - x)' = units - active - active' + x x'. Exact below 2 ** 24.
            both = (x @ x.T).double()
            total = total.to(both) + 2 * both + states.shape[1] - active[:, None] - active[None, :]
        return total

    @property
    def distinct_units(self) -> int:
        """Return how many different patterns over the batch the units show."""
        if self.batch <= 16:
            return int((self.counts > 0).sum())
        columns = torch.cat(list(self), 1).cpu().numpy()
        if len(columns) > 8:
            rows = np.ascontiguousarray(columns.T)
            return len(np.unique(rows.view(f"V{len(columns)}")))
        keys = np.zeros(columns.shape[1], dtype=np.uint64)
        for byte in columns:
            keys = keys << np.uint64(8) | byte
        return len(np.unique(keys))

    @property
    def distinct_inputs(self) -> int:
        """Return how many different patterns over the units the inputs show."""
        same = self.agreement == sum(states.shape[1] for states in self)
        # An input shows a new pattern where no earlier input agrees with it at every unit.
        return self.batch - int(same.tril(-1).any(1).sum())
