"""Activation patterns in bits: eight inputs to a byte."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pack(states: Tensor) -> Tensor:
    """Pack `(batch, units)` booleans into `(bytes, units)` bytes: bit `i % 8` of byte `i // 8` belongs to input `i`."""
    batch, units = states.shape
    bits = states.view(torch.uint8)
    packed = bits.new_zeros(-(-batch // 8), units)
    for i in range(batch):
        packed[i // 8] |= bits[i] << (i % 8)
    return packed


def pack_units(active: Tensor, batch: int) -> Tensor:
    """Pack the states of the units of any layer, booleans with the inputs along the first axis."""
    if active.ndim == 4 and active.is_contiguous(memory_format=torch.channels_last):
        # As they lie in memory: the order of the units does not matter, a copy takes time.
        active = active.permute(0, 2, 3, 1)
    return pack(active.reshape(batch, -1))


def unpack(packed: Tensor, batch: int) -> Tensor:
    """Return the states of `pack` as numbers 0 and 1 in single precision, `(batch, units)`."""
    return torch.stack([(packed[i // 8] >> (i % 8)) & 1 for i in range(batch)]).float()


def _counts(packed: list[Tensor]) -> NDArray[np.int64]:
    """Return how many units show each of the 65,536 patterns over a batch of at most 16 inputs."""
    counts = np.zeros(2**16, dtype=np.int64)
    for states in packed:
        rows = states.cpu().numpy()
        keys = rows[0] if len(rows) == 1 else rows[0] | rows[1].astype(np.uint16) << 8
        counts += np.bincount(keys, minlength=2**16)
    return counts


def agreement(packed: list[Tensor], batch: int) -> Tensor:
    """Return for each pair of inputs the number of units in the same state, `(batch, batch)` in float64."""
    if batch <= 16:
        # There are few patterns, so that units of one pattern are counted together.
        counts = _counts(packed)
        patterns = np.flatnonzero(counts)
        signs = 2.0 * (patterns >> np.arange(batch)[:, None] & 1) - 1
        weights = counts[patterns].astype(np.float64)
        return torch.from_numpy(((signs * weights) @ signs.T + weights.sum()) / 2)
    total = torch.zeros((), dtype=torch.float64)
    for states in packed:
        x = unpack(states, batch)
        counts_of = x.sum(1).double()
        # Both active: x x'. Both inactive: (1 - x)(1 - x)' = units - counts - counts' + x x'. Exact: counts < 2 ** 24.
        both = (x @ x.T).double()
        total = total.to(both) + 2 * both + states.shape[1] - counts_of[:, None] - counts_of[None, :]
    return total


def distinct_units(packed: list[Tensor]) -> int:
    """Return how many different patterns over the batch the units show."""
    if len(packed[0]) <= 2:
        return int((_counts(packed) > 0).sum())
    columns = torch.cat(packed, 1).cpu().numpy()
    if len(columns) > 8:
        rows = np.ascontiguousarray(columns.T)
        return len(np.unique(rows.view(f"V{len(columns)}")))
    keys = np.zeros(columns.shape[1], dtype=np.uint64)
    for byte in columns:
        keys = keys << np.uint64(8) | byte
    return len(np.unique(keys))


def distinct_inputs(packed: list[Tensor], batch: int) -> int:
    """Return how many different patterns over the units the inputs show."""
    units = sum(states.shape[1] for states in packed)
    same = agreement(packed, batch) == units
    # An input shows a new pattern where no earlier input agrees with it at every unit.
    return batch - int(same.tril(-1).any(1).sum())
