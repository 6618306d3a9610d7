"""What a network is called with: one tensor, or several among positional and keyword arguments."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parzc.errors import InputError

STRIDE = 2**20
"""How far apart the seeds of the Gaussian noise for several tensors lie."""


class Batch:
    """The arguments of one call of a network; inputs of the batch lie along the first axis of its tensors.

    The batch has as many inputs as the first tensor with an axis is long. Tensors of another length (tables, scalars)
    and what is no tensor go to the network as they are, whatever part of the batch it is given.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.args, self.kwargs = args, dict(kwargs)
        self.tensors: list[Tensor] = list(_tensors((self.args, self.kwargs)))
        self._size = next((len(t) for t in self.tensors if t.ndim), 0)

    @classmethod
    def of(cls, inputs: Any) -> "Batch":
        """Return a batch as it is, and anything else as the arguments that it stands for.

        A tuple or list stands for positional arguments, a mapping for keyword arguments.
        """
        if isinstance(inputs, Batch):
            return inputs
        if isinstance(inputs, Mapping):
            return cls((), inputs)
        return cls(tuple(inputs), {}) if isinstance(inputs, tuple | list) else cls((inputs,), {})

    def __len__(self) -> int:
        return self._size

    @property
    def inputs(self) -> Tensor:
        """The tensor that the network is called with; of several the first floating one, else the first."""
        return next((t for t in self.tensors if t.is_floating_point()), self.tensors[0])

    @property
    def differentiable(self) -> list[Tensor]:
        """The floating tensors that hold inputs of the batch."""
        return [t for t in self.tensors if t.is_floating_point() and self._holds_inputs(t)]

    def run(self, network: nn.Module) -> Any:
        """Call the network.

        Raises:
            InputError: if it does not take these arguments.
        """
        try:
            return network(*self.args, **self.kwargs)
        except TypeError as error:
            why = _refusal(network, self.args, self.kwargs)
            if why:
                raise InputError(why) from error
            raise

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with every tensor changed."""
        return Batch(_mapped(self.args, change), _mapped(self.kwargs, change))

    def clone(self) -> "Batch":
        """Return a copy, because networks may overwrite their input."""
        return self.map(torch.clone)

    def leaves(self) -> "Batch":
        """Return the batch with tensors that gradients can be taken of, where they are floating."""
        return self.map(lambda t: t.detach().requires_grad_(t.is_floating_point()))

    def part(self, start: int, stop: int) -> "Batch":
        """Return some of the inputs."""
        return self.map(lambda t: t[start:stop] if self._holds_inputs(t) else t)

    def replaced(self, make: Callable[[int, Tensor], Tensor]) -> "Batch":
        """Return the batch with other data: `make(i, t)` for the `i`-th tensor of data.

        Data are the floating tensors that hold inputs. Where there are none, they are all tensors that hold inputs.
        """
        data = self.differentiable or [t for t in self.tensors if self._holds_inputs(t)]
        order = {id(t): i for i, t in reversed(list(enumerate(data)))}
        return self.map(lambda t: make(order[id(t)], t) if id(t) in order else t)

    def moved(self, noise: "Batch", step: float) -> "Batch":
        """Return the data plus `step` times that of `noise`, a batch of the same form."""
        other = iter(noise.tensors)

        def move(t: Tensor) -> Tensor:
            own = next(other)
            return t + step * own if t.is_floating_point() and self._holds_inputs(t) else t

        return self.map(move)

    def _holds_inputs(self, t: Tensor) -> bool:
        return t.ndim > 0 and len(t) == self._size


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return nested tuples, lists and mappings with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_mapped(item, change) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _refusal(network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say why a network does not take arguments; empty where it does, or where that is not known."""
    try:
        signature = inspect.signature(network.forward)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return (
            f"{type(network).__name__} does not take these inputs ({error}); a tuple or list stands for positional "
            "arguments, a mapping for keyword arguments, one tensor for the only argument"
        )
    return ""
