"""The passes over a network that proxies share: each runs at most once, whatever the number of proxies."""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features._trace import Node, Recorder


class Undefined(ArithmeticError):
    """A proxy has no value for this network; the message says why."""


@contextmanager
def untouched(network: nn.Module, seed: int, transform: Callable[[Tensor], Tensor] | None = None) -> Iterator[None]:
    """Run `network` in training mode on copies of its state and leave it, and the random state, as they were.

    Args:
        network: any module.
        seed: of whatever the network draws, such as dropout masks.
        transform: applied to every floating parameter and buffer for the time being; parameters stay as they are where
            it is not given.
    """
    modes = [(module, module.training) for module in network.modules()]
    state = [t for t in network.parameters() if transform and t.is_floating_point()]
    kept = [(t, t.data) for t in (*state, *network.buffers())]
    buffers = [(module, dict(module._buffers)) for module in network.modules()]
    devices = sorted({t.device.index for t in network.parameters() if t.device.type == "cuda"})
    with _seeded(seed, devices):
        try:
            for t, data in kept:
                t.data = transform(data) if transform and data.is_floating_point() else data.clone()
            network.train()
            yield
        finally:
            for module, own in buffers:
                module._buffers.update(own)
            for t, data in kept:
                t.data = data
            for module, mode in modes:
                module.training = mode


@contextmanager
def _seeded(seed: int, devices: list[int]) -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextmanager
def _with_gradients() -> Iterator[None]:
    """Record gradients, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class Passes:
    """What the passes over one network recorded.

    Args:
        network: any module whose output is `(batch, classes)`.
        inputs: one batch, on the device of the network.
        labels: `(batch,)` class indices; drawn uniformly with `seed` where they are not given.
        seed: of everything random.
        wanted: the passes that will be read, so that one forward pass records what all of them need.

    Attributes:
        seconds: seconds that each pass took, by name.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        seed: int = 0,
        wanted: Collection[str] = (),
    ) -> None:
        self.network, self.seed, self._wanted = network, seed, frozenset(wanted)
        device = next((p.device for p in network.parameters()), inputs.device)
        self.inputs = _usable(inputs, device)
        self._labels = None if labels is None else _usable(labels, device)
        self.seconds: dict[str, float] = {}

    @cached_property
    def forward(self) -> list[Node]:
        """One forward pass: the nodes, depth first, with what went in and came out."""
        with self._timed("forward"), _with_gradients(), untouched(self.network, self.seed):
            recorder = Recorder(self.network, len(self.inputs), watch_activations="patterns" in self._wanted)
            self._leaf = self.inputs.detach().requires_grad_(self.inputs.is_floating_point())
            with recorder:
                # A copy, because networks may overwrite their input.
                self._logits = _logits(self.network(self._leaf.clone()))
            nodes = recorder.nodes()
        self._active = recorder.active
        if not nodes:
            kind = type(self.network).__name__
            raise InputError(f"{kind} applied no convolution or linear weight of its own; there is nothing to measure")
        return nodes

    @cached_property
    def patterns(self) -> list[Tensor]:
        """Which units are active in `forward`: `(batch, units)` booleans for each application of a rectifier."""
        self._record("patterns")
        if not self._active:
            raise Undefined("the network applies no rectifier such as ReLU or GELU")
        return self._active

    @cached_property
    def jacobian(self) -> Tensor:
        """Gradient of the summed logits with respect to the inputs, `(batch, input size)`."""
        self._record("jacobian")
        with self._timed("jacobian"), _with_gradients():
            if not self._leaf.requires_grad:
                raise Undefined("the inputs are not floating point, so that there is no gradient with respect to them")
            if not self._logits.isfinite().all():
                raise Undefined("the network's output is not finite")
            total = self._logits.sum()
            if not total.requires_grad:
                return torch.zeros_like(self._leaf).flatten(1)
            calls = [call for node in self.forward for call in node.calls]
            of_loss = [call.output_grad for call in calls]
            (gradient,) = torch.autograd.grad(
                total, [self._leaf], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for call, kept in zip(calls, of_loss, strict=True):
                call.output_grad = kept
        return gradient.flatten(1)

    def _record(self, name: str) -> None:
        """Have a forward pass with what the pass `name` needs, running it again if it was not asked for before."""
        if name not in self._wanted:
            self._wanted |= {name}
            for cached in ("forward", "gradients"):
                self.__dict__.pop(cached, None)
        _ = self.forward

    @cached_property
    def gradients(self) -> list[Node]:
        """The nodes of `forward` after one backward pass of the mean cross-entropy.

        Weight gradients are in `.grad` of each call's own weight, zero where the loss does not depend on it.
        """
        nodes = self.forward
        with self._timed("gradients"), _with_gradients():
            if not self._logits.isfinite().all():
                raise Undefined("the network's output is not finite")
            _backward(F.cross_entropy(self._logits, self.labels), nodes, keep="jacobian" in self._wanted)
        return nodes

    @property
    def labels(self) -> Tensor:
        """The labels given, or labels drawn uniformly with the seed: `(batch,)` class indices."""
        if self._labels is None:
            generator = torch.Generator().manual_seed(self.seed)
            labels = torch.randint(self._logits.shape[1], (len(self.inputs),), generator=generator)
            self._labels = labels.to(self.inputs.device)
        return _class_indices(self._labels, *self._logits.shape)

    @cached_property
    def synaptic_flow(self) -> list[Node]:
        """A pass over absolute weights with batch norm removed; weight gradients of the summed output, in float64."""
        with self._timed("synaptic_flow"):
            return self._flow({F.batch_norm: _identity})

    @cached_property
    def synaptic_flow_bn(self) -> list[Node]:
        """The same with batch norm kept, normalising over the positions of the one input."""
        with self._timed("synaptic_flow_bn"):
            return self._flow({})

    def _flow(self, replace: dict[Callable[..., Any], Callable[..., Any]]) -> list[Node]:
        with _with_gradients(), untouched(self.network, self.seed, _absolute):
            ones = torch.ones_like(self.inputs[:1], dtype=torch.float64)
            recorder = Recorder(self.network, replace=replace)
            try:
                with recorder:
                    total = _logits(self.network(ones)).sum()
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise Undefined(f"the network does not run on one input of ones in float64: {error}") from error
            nodes = recorder.nodes()
            if not math.isfinite(total.item()):
                what = "not a number" if math.isnan(total.item()) else "too large for float64"
                raise Undefined(f"the synaptic flow is {what}")
            _backward(total, nodes)
        return nodes

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def _usable(t: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return (t.clone() if t.is_inference() else t).to(device)


def _backward(value: Tensor, nodes: list[Node], keep: bool = False) -> None:
    weights = [call.weight for node in nodes for call in node.calls]
    if value.requires_grad:
        gradients = torch.autograd.grad(value, weights, retain_graph=keep, allow_unused=True, materialize_grads=True)
    else:
        gradients = tuple(torch.zeros_like(w) for w in weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient


def _logits(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"the network must return logits of shape (batch, classes), but it returned {shape}; wrap it")
    return output


def _class_indices(labels: Tensor, batch: int, classes: int) -> Tensor:
    if labels.shape != (batch,) or labels.is_floating_point():
        raise InputError(
            f"labels must be {batch} class indices, one for each input, but they are {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"labels must be class indices from 0 to {classes - 1}, as the network has {classes} outputs, but they "
            f"range from {labels.min()} to {labels.max()}"
        )
    return labels.long()


def _absolute(t: Tensor) -> Tensor:
    return t.detach().double().abs()


def _identity(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input
