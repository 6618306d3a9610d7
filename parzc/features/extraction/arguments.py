"""What people give to `score` and `extract`, converted where the meaning is clear, else refused in one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from parzc.errors import InputError
from parzc.features.passes.batch import Batch
from parzc.features.passes.state import Contents, untouched, with_gradients

BYTE = 255
"""What bytes of images are divided by, so that they lie in [0, 1]."""


def as_network(network: Any) -> nn.Module:
    """Return a network.

    Raises:
        InputError: for a class, a function or anything else that is no `torch.nn.Module`.
    """
    if isinstance(network, nn.Module):
        return network
    name = getattr(network, "__name__", type(network).__name__)
    if isinstance(network, type):
        raise InputError(f"{name} is a class; give a network, such as {name}(...)")
    raise InputError(f"{name} is no torch.nn.Module; give a network, with its weights as parameters")


def as_batch(inputs: Any, network: nn.Module) -> Batch:
    """Return the arguments of one call of a network, in its number format.

    Raises:
        InputError: for what holds no tensor, or text and other objects in an array.
    """
    if isinstance(inputs, tuple | list) and inputs and not _holds_arrays(inputs):
        inputs = _tensor(inputs, "inputs")
    batch = Batch.of(_converted(inputs))
    if not batch.tensors:
        raise InputError(
            f"inputs must be a tensor or array, or several in a tuple, list or mapping, not {type(inputs).__name__}"
        )
    formats = {p.dtype for p in network.parameters() if p.is_floating_point()}
    if len(formats) == 1 and (own := formats.pop()) in (torch.float32, torch.float64):
        batch = batch.map(lambda t: t.to(own) if t.is_floating_point() else t)
    return batch


def with_floats_for_bytes(batch: Batch, network: nn.Module, seed: int) -> Batch:
    """Return images of bytes as floating-point numbers in [0, 1], unless the network takes bytes."""
    images = [t for t in batch.tensors if t.dtype == torch.uint8 and t.ndim > 2]
    if not images or not any(p.is_floating_point() for p in network.parameters()):
        return batch
    try:
        with torch.no_grad(), untouched(network, seed):
            batch.clone().run(network)
    except (RuntimeError, TypeError, ValueError):
        own = next(p.dtype for p in network.parameters() if p.is_floating_point())
        return batch.map(lambda t: t.to(own) / BYTE if any(t is image for image in images) else t)
    return batch


def as_labels(labels: Any) -> Tensor | None:
    """Return labels as a tensor.

    Raises:
        InputError: if they are no numbers.
    """
    return labels if labels is None or isinstance(labels, Tensor) else _tensor(labels, "labels")


def materialise(network: nn.Module, batch: Batch, seed: int) -> None:
    """Let lazy layers learn their sizes from one run on the inputs; their weights are drawn with the seed."""
    contents = Contents(network)
    lazy = [
        module
        for module in contents.modules.values()
        if any(isinstance(t, UninitializedParameter | UninitializedBuffer) for t in _own(module))
    ]
    if not lazy:
        return
    kept = {n: t for n, t in contents.buffers.items() if not isinstance(t, UninitializedBuffer)}
    contents.buffers = kept
    with with_gradients(), torch.no_grad(), untouched(network, seed, contents=contents):
        batch.clone().run(network)
    for module in lazy:
        # The run has moved the statistics of a norm.
        reset = getattr(module, "reset_running_stats", None)
        if callable(reset):
            reset()


@contextmanager
def own_formats() -> Iterator[None]:
    """Switch off an autocast of the caller, so that a network runs in the number formats that it has."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _own(module: nn.Module) -> Iterator[Tensor]:
    for t in (*module._parameters.values(), *module._buffers.values()):
        if t is not None:
            yield t


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_arrays, value.values()))
    if isinstance(value, tuple | list):
        return any(map(_holds_arrays, value))
    return isinstance(value, Tensor | np.ndarray)


def _converted(value: Any) -> Any:
    """Return nested tuples, lists and mappings with arrays turned into tensors."""
    if isinstance(value, np.ndarray):
        return _tensor(value, "inputs")
    if isinstance(value, Mapping):
        return {key: _converted(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_converted(item) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _tensor(value: Any, name: str) -> Tensor:
    """Copy numbers into a tensor; Python's own floats in the default format."""
    try:
        # A copy: torch warns of arrays that cannot be written to.
        return torch.tensor(value if not isinstance(value, np.ndarray) else np.array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{type(value).__name__}" + (f" of {value.dtype}" if isinstance(value, np.ndarray) else "")
        raise InputError(f"{name} cannot be made a tensor from {what} ({error}); give numbers") from error
