"""The passes over a network with the weights that it has: forward, backward, Jacobian, single inputs, Hessian."""

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.errors import InputError
from parzc.features.passes.batch import Batch
from parzc.features.passes.bits import Patterns
from parzc.features.passes.derivatives import backward, hessian_gradient, plain_attention
from parzc.features.passes.nodes import Node
from parzc.features.passes.once import Undefined, once
from parzc.features.passes.outputs import Objective, require_classes
from parzc.features.passes.samples import Samples, of_inputs
from parzc.features.passes.state import Contents, Transform, untouched, with_gradients
from parzc.features.passes.trace import Recorder


class OwnWeights:
    """What the passes over one network with its own weights record; the arguments are those of `Passes`."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor | Batch,
        labels: Tensor | None = None,
        seed: int = 0,
        wanted: Collection[str] = (),
        objective: Objective | None = None,
    ) -> None:
        self.network, self.seed, self._objective = network, seed, objective or Objective()
        self._contents = Contents(network)
        self._wanted = frozenset(wanted) | ({"samples", "jacobian"} if "kernel" in wanted else set())
        batch = Batch.of(inputs)
        device = next((p.device for p in network.parameters()), batch.inputs.device)
        self.batch = batch.map(lambda t: channels_last(_usable(t, device)))
        self._labels = None if labels is None else _usable(labels, device)
        self.seconds: dict[str, float] = {}

    @property
    def inputs(self) -> Tensor:
        """The tensor that the network is called with; of several the first floating one, else the first."""
        return self.batch.inputs

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
        if all(t.is_contiguous() for t in self.batch.tensors):
            return False
        self.batch = self.batch.map(torch.Tensor.contiguous)
        recorded = ("forward", "patterns", "gradients", "jacobian", "samples", "kernel", "_measured", "_logit_backward")
        for cached in (*recorded, "_reasons"):
            self.__dict__.pop(cached, None)
        return True

    def _run(self) -> list[Node]:
        with self._untouched():
            watch = "patterns" in self._wanted
            recorder = Recorder(self.network, len(self.batch), watch_activations=watch, contents=self._contents)
            self._leaves = self.batch.leaves()
            with recorder:
                self._logits = self._objective.find(self._leaves.clone().run(self.network))
            self._active = recorder.active
            return recorder.nodes()

    @once
    def patterns(self) -> Patterns:
        """Which units are active in `forward`: packed bits for each application of a rectifier."""
        self._record("patterns")
        return require_rectifiers(Patterns(self._active, len(self.batch)))

    @once
    def gradients(self) -> list[Node]:
        """The nodes of `forward` after one backward pass of the loss: the mean cross-entropy unless one was given.

        `Node.gradient` is the gradient of a weight, zero where the loss does not depend on it; `Call.output_grad` is
        the one at the output of a call, `None` where the loss does not depend on that.
        """
        nodes = self.forward
        with self._timed("gradients"), with_gradients():
            self._require_finite()
            backward(self._loss(self._logits), nodes, keep="jacobian" in self._wanted)
        return nodes

    def _loss(self, output: Tensor) -> Tensor:
        if self._objective.loss is not None:
            return self._objective.of(output, self._labels)
        return F.cross_entropy(output, self.labels)

    @property
    def labels(self) -> Tensor:
        """The labels given, or else labels drawn uniformly with the seed: `(batch,)` class indices."""
        batch, classes = len(self.batch), self.classes
        if self._labels is not None:
            try:
                return _class_indices(self._labels, len(self._logits), classes)
            except InputError as reason:
                if self._objective.loss is None:
                    raise
                raise Undefined(str(reason)) from reason
        generator = torch.Generator().manual_seed(self.seed)
        labels = torch.randint(classes, (batch,), generator=generator)
        return _class_indices(labels.to(self._logits.device), len(self._logits), classes)

    @property
    def classes(self) -> int:
        """The number of outputs of the network."""
        _ = self.forward
        require_classes(self._logits)
        return self._logits.shape[1]

    @once
    def jacobian(self) -> Tensor:
        """Gradient of the summed logits with respect to the inputs, `(batch, input size)`."""
        gradients = self._logit_backward
        if not gradients:
            raise Undefined("the inputs are not floating point, so that there is no gradient with respect to them")
        rows = [gradient.flatten(1) for gradient in gradients]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    @once
    def samples(self) -> Samples:
        """Moments of the gradients of the single inputs of the batch at each node, see `parzc.features.passes.samples`.

        Where a proxy compares batches and several are given, the samples are the gradients of the batches.
        """
        self._record("samples")
        if "kernel" in self._wanted:
            _ = self._logit_backward
        _ = self.gradients
        return self._measured

    @once
    def _measured(self) -> Samples:
        """Moments and kernels from the gradients that have been recorded."""
        with self._timed("samples"), torch.no_grad():
            samples = of_inputs(self.forward, len(self.batch), "kernel" in self._wanted)
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
        _ = self._logit_backward
        return self._measured.kernel

    @once
    def _logit_backward(self) -> list[Tensor]:
        """Take the gradient of the summed logits, keep it with every call, and return that of each floating input."""
        self._record("jacobian")
        if "samples" in self._wanted:
            # The kernel has a value without them.
            with suppress(Undefined):
                _ = self.gradients
        with self._timed("jacobian"), with_gradients():
            self._require_finite()
            calls = [call for node in self.forward for call in node.calls]
            of_loss = [call.output_grad for call in calls]
            total, floating = self._logits.sum(), self._leaves.differentiable
            # With these weights among the targets, every call lies on the way to one of them.
            first = [node for node in self.forward if node.depth == 0 or len(node.calls) > 1]
            targets = [call.weight for node in first for call in node.calls]
            if not total.requires_grad:
                return [torch.zeros_like(leaf) for leaf in floating]
            wanted = [*targets, *floating]
            found = torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
            for call, kept in zip(calls, of_loss, strict=True):
                changed = call.output_grad is not kept
                call.logit_grad = call.output_grad if changed else None
                call.output_grad = kept
        return list(found[len(targets) :])

    def _record(self, *names: str) -> None:
        """Run a forward pass that records what the passes `names` need, again if they were not in `wanted`."""
        if not self._wanted.issuperset(names):
            self._wanted |= set(names)
            for cached in ("forward", "gradients", "samples", "_measured", "_logit_backward"):
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
            recorder = Recorder(self.network, len(self.batch), contents=self._contents)
            with recorder:
                output = self._objective.find(self.batch.map(torch.Tensor.detach).clone().run(self.network))
            loss = self._loss(output)
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
