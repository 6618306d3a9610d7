"""Feature maps of one input: how correlated their channels are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from parzc.features.passes.batch import Batch
from parzc.features.passes.nodes import Call
from parzc.features.passes.state import Contents, generator
from parzc.features.passes.trace import Recorder

SAMPLED = 8
"""Channels that MeCo_opt draws (sec. 5.2)."""
CACHED = 2**16
"""Numbers that are worked on at once."""


class FeatureMaps:
    """The smallest eigenvalues of the correlations between the channels of feature maps.

    Attributes:
        all_channels: node name to the smallest eigenvalue of the correlation of all channels, summed over its calls.
        sampled: the same for at most 8 channels drawn with the seed, times channels over channels drawn.
        modules: sum of the first over the outputs of all modules, containers and the network itself included.
    """

    def __init__(self, network: nn.Module, one: Tensor | Batch, seed: int, contents: Contents | None = None) -> None:
        recorder = Recorder(network, contents=contents)
        with torch.no_grad(), _module_outputs() as outputs, recorder:
            Batch.of(one).run(network)
        names, weights, whole, part = [], [], [], []
        for name, call in recorder.calls:
            maps = _channels_first(call)
            chosen = torch.randperm(len(maps), generator=generator(seed, name))[:SAMPLED]
            names.append(name)
            weights.append(len(maps) / len(chosen))
            # What a module has put out as well is worked out once for both.
            copy = None if call.geometry is None else outputs.known.get((id(call.output), call.version))
            whole.append(maps if copy is None else copy.maps)
            part.append(maps[chosen.to(maps.device)])
        every = smallest_correlations([*whole, *(copy.maps for copy in outputs.seen)])
        self.all_channels = _sums(names, every[: len(whole)])
        self.sampled = _sums(names, [w * v for w, v in zip(weights, smallest_correlations(part), strict=True)])
        self.modules = sum(every[len(whole) :])


@dataclass(frozen=True)
class _Copy:
    """What a module put out, kept so that its id stays its own, and its maps, as others may overwrite it."""

    output: Tensor
    maps: Tensor


class _Outputs:
    """What the modules put out: every time, and each tensor once."""

    def __init__(self) -> None:
        self.seen: list[_Copy] = []
        self.known: dict[tuple[int, int], _Copy] = {}

    def keep(self, _: nn.Module, __: Any, output: Any) -> None:
        # Not part of the network, so that the recorder must not see it.
        with torch._C.DisableTorchFunction():
            if isinstance(output, Tensor) and output.ndim > 1 and output.is_floating_point():
                key = (id(output), output._version)
                if key not in self.known:
                    self.known[key] = _Copy(output, output[0].detach().clone().reshape(output.shape[1], -1))
                self.seen.append(self.known[key])


@contextmanager
def _module_outputs() -> Iterator[_Outputs]:
    outputs = _Outputs()
    handle = register_module_forward_hook(outputs.keep)
    try:
        yield outputs
    finally:
        handle.remove()


def _sums(names: list[str], values: list[float]) -> dict[str, float]:
    totals = dict.fromkeys(names, 0.0)
    for name, value in zip(names, values, strict=True):
        totals[name] += value
    return totals


def _channels_first(call: Call) -> Tensor:
    """Return the output of a call for one input as `(channels, positions)`."""
    output = call.original_output()
    if call.geometry is None:
        return output.reshape(-1, output.shape[-1]).T
    if output.ndim == len(call.geometry.stride) + 1:
        return output.flatten(1)
    return output.transpose(0, 1).flatten(1)


def smallest_correlations(maps: list[Tensor]) -> list[float]:
    """Return the smallest eigenvalue of the Pearson correlation between the rows of each `(channels, positions)`.

    It is zero where the rows are linearly dependent by number (with their means removed, `positions` rows or more
    are), and where a row is constant, so that there is no correlation; NaN where a number is not finite.
    """
    different = {id(rows): rows for rows in maps}
    values: dict[int, float] = {}
    by_shape: dict[torch.Size, list[int]] = {}
    for key, rows in different.items():
        by_shape.setdefault(rows.shape, []).append(key)
    # Several of one shape at once, as many as a cache holds: a call for each takes longer than the eigenvalues.
    for shape, keys in by_shape.items():
        step = max(CACHED // max(shape.numel(), 1), 1)
        for start in range(0, len(keys), step):
            part = keys[start : start + step]
            values |= zip(part, _smallest(torch.stack([different[key] for key in part])), strict=True)
    return [values[id(rows)] for rows in maps]


def _smallest(maps: Tensor) -> list[float]:
    """Return the same for maps of one shape, `(n, channels, positions)`."""
    rows = maps.double()
    mean = rows.mean(2, keepdim=True)
    centred = rows - mean
    products = centred @ centred.transpose(1, 2)
    norms = products.diagonal(dim1=1, dim2=2).sqrt()
    finite = norms.isfinite().all(1)
    # A constant channel is left with the rounding error of its mean.
    constant = (norms <= 1e-12 * maps.shape[2] ** 0.5 * mean.squeeze(2).abs()).any(1)
    values = torch.where(finite, 0.0, torch.nan).double()
    regular = finite & ~constant
    if maps.shape[2] > maps.shape[1] and regular.any():
        scales = norms[regular]
        correlations = products[regular] / (scales[:, :, None] * scales[:, None, :])
        values[regular] = torch.linalg.eigvalsh(correlations)[:, 0].clamp_min(0)
    found: list[float] = values.tolist()
    return found
