"""The passes over a network that proxies share: each runs at most once, whatever the number of proxies."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features.passes.bits import Patterns
from parzc.features.passes.blocks import Blocks, measure_blocks
from parzc.features.passes.derivatives import backward, hessian_gradient, plain_attention
from parzc.features.passes.maps import FeatureMaps
from parzc.features.passes.masked import masked_patterns
from parzc.features.passes.perturbed import Perturbed, perturb
from parzc.features.passes.samples import Samples, of_inputs
from parzc.features.passes.state import Drawn, Members, Transform, gaussian, untouched, with_gradients
from parzc.features.passes.trace import Node, Recorder


class Undefined(ArithmeticError):
    """A proxy has no value for this network; the message says why."""


class _Once(cached_property[Any]):
    """A cached property that also remembers that, and why, it is undefined.

    Where it fails on inputs with channels last, it is tried again in the usual layout, which networks may ask for (with
    `Tensor.view`, for example).
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None or self.attrname in instance.__dict__:
            return super().__get__(instance, owner)
        reasons = instance.__dict__.setdefault("_reasons", {})
        if self.attrname in reasons:
            raise Undefined(reasons[self.attrname])
        try:
            return super().__get__(instance, owner)
        except Undefined as reason:
            if not isinstance(reason.__cause__, RuntimeError) or not instance.take_usual_layout():
                reasons[self.attrname] = str(reason)
                raise
        except RuntimeError:
            if not instance.take_usual_layout():
                raise
        return self.__get__(instance, owner)


if TYPE_CHECKING:
    once = cached_property
else:
    once = _Once


class Passes:
    """What the passes over one network recorded.

    Args:
        network: any module whose output is `(batch, classes)`.
        inputs: one batch, on the device of the network.
        labels: `(batch,)` class indices; drawn uniformly with `seed` where they are not given.
        seed: of everything random.
        wanted: the passes that will be read, so that one forward pass records what all of them need.

    Attributes:
        seconds: seconds that each pass took, by name, without the passes that it builds on.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        seed: int = 0,
        wanted: Collection[str] = (),
    ) -> None:
        self.network, self.seed = network, seed
        self._members = Members(network)
        self._wanted = frozenset(wanted) | ({"samples", "jacobian"} if "kernel" in wanted else set())
        device = next((p.device for p in network.parameters()), inputs.device)
        self.inputs = _channels_last(_usable(inputs, device))
        self._labels = None if labels is None else _usable(labels, device)
        self.seconds: dict[str, float] = {}

    @once
    def forward(self) -> list[Node]:
        """One forward pass: the nodes, depth first, with what went in and came out."""
        with self._timed("forward"), with_gradients():
            nodes = self._run()
        if not nodes:
            kind = type(self.network).__name__
            raise InputError(f"{kind} applied no convolution or linear weight of its own; there is nothing to measure")
        return nodes

    def take_usual_layout(self) -> bool:
        """Lay the inputs out as usual and forget what was recorded; `False` where they are laid out like that."""
        if self.inputs.is_contiguous():
            return False
        self.inputs = self.inputs.contiguous()
        of_layout = ("forward", "patterns", "gradients", "jacobian", "samples", "kernel", "_logit_backward")
        for cached in (*of_layout, "_reasons"):
            self.__dict__.pop(cached, None)
        return True

    def _run(self) -> list[Node]:
        with self._untouched():
            watch = "patterns" in self._wanted
            recorder = Recorder(self.network, len(self.inputs), watch_activations=watch, members=self._members)
            self._leaf = self.inputs.detach().requires_grad_(self.inputs.is_floating_point())
            with recorder:
                # A copy, because networks may overwrite their input.
                self._logits = _logits(self.network(self._leaf.clone()))
            self._active = recorder.active
            return recorder.nodes()

    @once
    def patterns(self) -> Patterns:
        """Which units are active in `forward`: packed bits for each application of a rectifier."""
        self._record("patterns")
        return _some(Patterns(self._active, len(self.inputs)))

    @once
    def gradients(self) -> list[Node]:
        """The nodes of `forward` after one backward pass of the mean cross-entropy.

        Weight gradients are in `.grad` of each call's own weight, zero where the loss does not depend on it.
        """
        nodes = self.forward
        with self._timed("gradients"), with_gradients():
            self._require_finite()
            backward(F.cross_entropy(self._logits, self.labels), nodes, keep="jacobian" in self._wanted)
        return nodes

    @property
    def labels(self) -> Tensor:
        """The labels given, or labels drawn uniformly with the seed: `(batch,)` class indices."""
        _ = self.forward
        if self._labels is None:
            generator = torch.Generator().manual_seed(self.seed)
            labels = torch.randint(self._logits.shape[1], (len(self.inputs),), generator=generator)
            self._labels = labels.to(self.inputs.device)
        return _class_indices(self._labels, *self._logits.shape)

    @property
    def classes(self) -> int:
        """The number of outputs of the network."""
        _ = self.forward
        return self._logits.shape[1]

    @once
    def jacobian(self) -> Tensor:
        """Gradient of the summed logits with respect to the inputs, `(batch, input size)`."""
        gradient = self._logit_backward
        if gradient is None:
            raise Undefined("the inputs are not floating point, so that there is no gradient with respect to them")
        return gradient.flatten(1)

    @once
    def samples(self) -> Samples:
        """Gradients of the single inputs of the batch with respect to the weights of each node (see `_samples`)."""
        self._record("samples")
        kernel = "kernel" in self._wanted
        if kernel:
            _ = self._logit_backward
        nodes = self.gradients
        with self._timed("samples"), torch.no_grad():
            samples = of_inputs(nodes, len(self.inputs), kernel)
        if samples is None:
            raise Undefined("a node does not keep the inputs of the batch apart, so that they have no gradients each")
        return samples

    @once
    def kernel(self) -> NDArray[np.float64]:
        """The tangent kernel of the inputs of the batch at each node, `(nodes, n, n)`, taken along with `samples`."""
        self._record("samples", "kernel", "jacobian")
        return self.samples.kernel

    @once
    def _logit_backward(self) -> Tensor | None:
        """Take the gradient of the summed logits, keep it with every call, and return that of the inputs."""
        self._record("jacobian")
        if "samples" in self._wanted:
            _ = self.gradients
        with self._timed("jacobian"), with_gradients():
            self._require_finite()
            calls = [call for node in self.forward for call in node.calls]
            of_loss = [call.output_grad for call in calls]
            total, floating = self._logits.sum(), self._leaf.requires_grad
            # With these weights among the targets, every call lies on the way to one of them.
            first = [node for node in self.forward if node.depth == 0 or len(node.calls) > 1]
            targets = [call.weight for node in first for call in node.calls]
            targets += [self._leaf] * floating
            if not total.requires_grad:
                return torch.zeros_like(self._leaf)
            found = torch.autograd.grad(total, targets, retain_graph=True, allow_unused=True, materialize_grads=True)
            for call, kept in zip(calls, of_loss, strict=True):
                changed = call.output_grad is not kept
                call.logit_grad = call.output_grad if changed else None
                call.output_grad = kept
        return found[-1] if floating else None

    def _record(self, *names: str) -> None:
        """Have a forward pass with what the passes `names` need, run again if they were not asked for before."""
        if not self._wanted.issuperset(names):
            self._wanted |= set(names)
            for cached in ("forward", "gradients", "samples", "_logit_backward"):
                self.__dict__.pop(cached, None)
            self.__dict__.pop("_reasons", None)
        _ = self.forward

    def _require_finite(self) -> None:
        if not self._logits.isfinite().all():
            raise Undefined("the network's output is not finite")

    @once
    def double_backward(self) -> dict[str, Tensor]:
        """The Hessian of the loss times its gradient, at each node by name, from a forward pass of its own."""
        _ = self.forward
        with self._timed("double_backward"), with_gradients(), self._untouched(), plain_attention():
            self._require_finite()
            recorder = Recorder(self.network, len(self.inputs), members=self._members)
            with recorder:
                loss = F.cross_entropy(_logits(self.network(self.inputs.detach().clone())), self.labels)
            nodes = recorder.nodes()
            try:
                with _reason("the network has no second derivative"):
                    return hessian_gradient(loss, nodes)
            finally:
                for call in (call for node in nodes for call in node.calls):
                    # Gradients that can be derived again hold the graph that holds them.
                    call.output_grad = None

    @once
    def synaptic_flow(self) -> list[Node]:
        """A pass over absolute weights with batch norm removed; weight gradients of the summed output, in float64."""
        with self._timed("synaptic_flow"):
            return self._flow({F.batch_norm: _identity})

    @once
    def synaptic_flow_bn(self) -> list[Node]:
        """The same with batch norm kept, normalising over the positions of the one input."""
        with self._timed("synaptic_flow_bn"):
            return self._flow({})

    def _flow(self, replace: dict[Callable[..., Any], Callable[..., Any]]) -> list[Node]:
        with with_gradients(), self._untouched(_absolute):
            ones = torch.ones(1, *self.inputs.shape[1:], dtype=torch.float64, device=self.inputs.device)
            recorder = Recorder(self.network, replace=replace, members=self._members)
            with _reason("the network does not run on one input of ones in float64"), recorder:
                total = _logits(self.network(ones)).sum()
            nodes = recorder.nodes()
            if not math.isfinite(total.item()):
                what = "not a number" if math.isnan(total.item()) else "too large for float64"
                raise Undefined(f"the synaptic flow is {what}")
            backward(total, nodes)
        return nodes

    @once
    def _drawn(self) -> Drawn:
        return Drawn(self.network, self.seed, self._members)

    @contextmanager
    def _redrawn(self, name: str, weights: Transform) -> Iterator[Tensor]:
        """Have the network with other weights, and Gaussian inputs of the shape of the batch."""
        _ = self.forward
        failed = _reason("the network does not run on Gaussian inputs")
        with self._timed(name), self._untouched(weights), failed:
            yield self._gaussian(self.seed)

    def _gaussian(self, seed: int) -> Tensor:
        noise = gaussian(self.inputs, seed)
        return noise if self.inputs.is_contiguous() else _channels_last(noise)

    @once
    def blocks(self) -> Blocks:
        """The outputs of the primary blocks for Gaussian inputs and Kaiming weights, and the Jacobians between them."""
        with self._redrawn("blocks", self._drawn.kaiming) as inputs, with_gradients():
            blocks = measure_blocks(self.network, inputs, self.seed)
        if len(blocks.names) < 2:
            raise Undefined("the network has fewer than two primary blocks")
        return blocks

    @once
    def perturbed(self) -> Perturbed:
        """Features of Gaussian inputs before and after a small perturbation, with standard normal weights."""
        with self._redrawn("perturbed", self._drawn.normal) as inputs:
            return perturb(self.network, inputs, self._gaussian(self.seed + 1), self._members)

    @once
    def feature_maps(self) -> FeatureMaps:
        """How correlated the channels of each feature map of the first input are."""
        _ = self.forward
        failed = _reason("the network does not run on a single input")
        with self._timed("feature_maps"), self._untouched(), failed:
            return FeatureMaps(self.network, self.inputs[:1].clone(), self.seed, self._members)

    @once
    def masked(self) -> Patterns:
        """Patterns as in `patterns`, of a network with masked activations and layer norm for batch norm."""
        _ = self.forward
        failed = _reason("the network does not run with masked activations and layer norm")
        with self._timed("masked"), self._untouched(), failed:
            return _some(masked_patterns(self.network, self.inputs, self.seed, members=self._members))

    def _untouched(self, transform: Transform | None = None) -> AbstractContextManager[None]:
        return untouched(self.network, self.seed, transform, self._members)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start, inner = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            within = sum(self.seconds.values()) - inner
            self.seconds[name] = time.perf_counter() - start - within


@contextmanager
def _reason(why: str) -> Iterator[None]:
    """Turn a failure of a pass that the caller's own inputs have not caused into a reason."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise Undefined(f"{why}: {error}") from error


def _some(active: Patterns) -> Patterns:
    if not active:
        raise Undefined("the network applies no rectifier such as ReLU or GELU")
    return active


def _usable(t: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return (t.clone() if t.is_inference() else t).to(device)


def _channels_last(t: Tensor) -> Tensor:
    """Lay images out with channels last, which convolutions on a CPU prefer."""
    if t.ndim != 4 or t.device.type != "cpu" or not t.is_floating_point():
        return t
    return t.contiguous(memory_format=torch.channels_last)


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


def _absolute(_: str, t: Tensor) -> Tensor:
    return t.detach().double().abs()


def _identity(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input
