"""The passes over a network with the weights that it has: forward, backward, Jacobian, single inputs, Hessian."""

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features.passes.bits import Patterns
from parzc.features.passes.derivatives import backward, hessian_gradient, plain_attention
from parzc.features.passes.nodes import Node
from parzc.features.passes.once import Undefined, once
from parzc.features.passes.samples import Samples, of_inputs
from parzc.features.passes.state import Contents, Transform, untouched, with_gradients
from parzc.features.passes.trace import Recorder


class OwnWeights:
    """What the passes over one network with its own weights record; the arguments are those of `Passes`."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        seed: int = 0,
        wanted: Collection[str] = (),
    ) -> None:
        self.network, self.seed = network, seed
        self._contents = Contents(network)
        self._wanted = frozenset(wanted) | ({"samples", "jacobian"} if "kernel" in wanted else set())
        device = next((p.device for p in network.parameters()), inputs.device)
        self.inputs = channels_last(_usable(inputs, device))
        self._labels = None if labels is None else _usable(labels, device)
        self.seconds: dict[str, float] = {}

    @once
    def forward(self) -> list[Node]:
        """One forward pass: the nodes, depth first from the input, with the inputs and outputs of each call."""
        with self._timed("forward"), with_gradients():
            nodes = self._run()
        if not nodes:
            kind = type(self.network).__name__
            raise InputError(f"{kind} applied no convolution or linear weight of its own; there is nothing to measure")
        return nodes

    def make_contiguous(self) -> bool:
        """Make the inputs contiguous and drop what was recorded with another memory layout.

        Returns:
            Whether anything changed: `False` where they were contiguous before.
        """
        if self.inputs.is_contiguous():
            return False
        self.inputs = self.inputs.contiguous()
        recorded = ("forward", "patterns", "gradients", "jacobian", "samples", "kernel", "_logit_backward")
        for cached in (*recorded, "_reasons"):
            self.__dict__.pop(cached, None)
        return True

    def _run(self) -> list[Node]:
        with self._untouched():
            watch = "patterns" in self._wanted
            recorder = Recorder(self.network, len(self.inputs), watch_activations=watch, contents=self._contents)
            self._leaf = self.inputs.detach().requires_grad_(self.inputs.is_floating_point())
            with recorder:
                # A copy, because networks may overwrite their input.
                self._logits = logits(self.network(self._leaf.clone()))
            self._active = recorder.active
            return recorder.nodes()

    @once
    def patterns(self) -> Patterns:
        """Which units are active in `forward`: packed bits for each application of a rectifier."""
        self._record("patterns")
        return require_rectifiers(Patterns(self._active, len(self.inputs)))

    @once
    def gradients(self) -> list[Node]:
        """The nodes of `forward` after one backward pass of the mean cross-entropy.

        `Node.gradient` is the gradient of a weight, zero where the loss does not depend on it; `Call.output_grad` is
        the one at the output of a call, `None` where the loss does not depend on that.
        """
        nodes = self.forward
        with self._timed("gradients"), with_gradients():
            self._require_finite()
            backward(F.cross_entropy(self._logits, self.labels), nodes, keep="jacobian" in self._wanted)
        return nodes

    @property
    def labels(self) -> Tensor:
        """The labels given, or else labels drawn uniformly with the seed: `(batch,)` class indices."""
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
        """Moments of the gradients of the single inputs of the batch at each node, see `parzc.features.passes.samples`.

        Where a proxy compares batches and several are given, the samples are the gradients of the batches.
        """
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
        """The neural tangent kernel of the `n` inputs of the batch at each node, `(nodes, n, n)`.

        Entry `(i, j)` is the scalar product of the gradients of the summed logits of the inputs `i` and `j` with
        respect to the weight of the node; it is taken along with `samples`.
        """
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
        """Run a forward pass that records what the passes `names` need, again if they were not in `wanted`."""
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
        """The Hessian of the loss times its gradient, by name of node, in the shape of its weight.

        It takes a forward pass of its own, which keeps what a second derivative needs.
        """
        _ = self.forward
        with self._timed("double_backward"), with_gradients(), self._untouched(), plain_attention():
            self._require_finite()
            recorder = Recorder(self.network, len(self.inputs), contents=self._contents)
            with recorder:
                loss = F.cross_entropy(logits(self.network(self.inputs.detach().clone())), self.labels)
            nodes = recorder.nodes()
            try:
                with undefined_on_failure("the network has no second derivative"):
                    return hessian_gradient(loss, nodes)
            finally:
                for call in (call for node in nodes for call in node.calls):
                    # Gradients that can be derived again hold the graph that holds them.
                    call.output_grad = None

    def _untouched(self, transform: Transform | None = None) -> AbstractContextManager[None]:
        return untouched(self.network, self.seed, transform, self._contents)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start, inner = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            within = sum(self.seconds.values()) - inner
            self.seconds[name] = time.perf_counter() - start - within


@contextmanager
def undefined_on_failure(why: str) -> Iterator[None]:
    """Turn an error of a pass on other inputs than those of the caller into `Undefined`, as it is not their mistake."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise Undefined(f"{why}: {error}") from error


def require_rectifiers(active: Patterns) -> Patterns:
    """Return the patterns, or raise `Undefined` if no rectifier ran."""
    if not active:
        raise Undefined("the network applies no rectifier such as ReLU or GELU")
    return active


def _usable(t: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return (t.clone() if t.is_inference() else t).to(device)


def channels_last(t: Tensor) -> Tensor:
    """Lay images out with channels last, which convolutions on a CPU prefer."""
    if t.ndim != 4 or t.device.type != "cpu" or not t.is_floating_point():
        return t
    return t.contiguous(memory_format=torch.channels_last)


def logits(output: Any) -> Tensor:
    """Return the output of a network, which must be logits `(batch, classes)`; `InputError` for anything else."""
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
