"""The passes over a network that proxies read: each runs at most once, whatever the number of proxies."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from parzc.features.passes.batch import STRIDE, Batch
from parzc.features.passes.bits import Patterns
from parzc.features.passes.blocks import Blocks, measure_blocks
from parzc.features.passes.derivatives import backward
from parzc.features.passes.maps import FeatureMaps
from parzc.features.passes.masked import masked_patterns
from parzc.features.passes.nodes import Node
from parzc.features.passes.once import Undefined, once
from parzc.features.passes.own_weights import (
    OwnWeights,
    channels_last,
    require_rectifiers,
    undefined_on_failure,
)
from parzc.features.passes.perturbed import Perturbed, perturb
from parzc.features.passes.state import Drawn, Transform, gaussian, with_gradients
from parzc.features.passes.trace import Recorder

__all__ = ["Passes", "Undefined"]


class Passes(OwnWeights):
    """What a proxy reads of one network and one batch; each attribute runs its pass when it is first read.

    A pass that has no result raises `Undefined`, which becomes the reason of every proxy that reads it. The network is
    in training mode during a pass, and comes back as it was. A *node* is one weight of a convolution or linear map
    (`parzc.features.passes.nodes.Node`: `name`, `kind`, `weight`, `gradient`, `channels`, `macs`, `depth`, `calls`).

    With the weights of the network and the inputs of the batch:

    - `forward`: list of nodes, depth first from the input, after one forward pass.
    - `gradients`: the same nodes after one backward pass of the loss, which is the mean cross-entropy unless one was
      given; read `node.gradient`.
    - `double_backward`: name of node to the Hessian of the loss times its gradient, in the shape of the weight.
    - `patterns`: which units of ReLU and the like are active for which input (`bits.Patterns`: `agreement`,
      `distinct_units`, `distinct_inputs`).
    - `jacobian`: gradient of the logits, summed over the batch and its classes, with respect to each input,
      `(batch, input size)`.
    - `samples`: means and variances, over the inputs of the batch, of the gradient that each of them gives at each
      node, summed over its weights (`samples.Samples`: `n`, `sums`).
    - `kernel`: neural tangent kernel at each node, `(nodes, batch, batch)`: scalar products of the gradients that two
      inputs give.
    - `labels`, `classes`: class indices `(batch,)`, drawn with the seed where none were given; number of logits.
    - `feature_maps`: smallest eigenvalues of the correlations between channels, for the first input
      (`maps.FeatureMaps`).
    - `masked`: patterns as above, with half of the activations set to zero and layer norm in place of batch norm.

    With other weights or inputs:

    - `synaptic_flow`: list of nodes after a forward and backward pass of the summed output, for one input of ones, with
      absolute weights, without batch norm, in float64; `synaptic_flow_bn`: the same with batch norm.
    - `blocks`: spectra of the outputs of primary blocks and of the Jacobians between them, for Gaussian inputs and
      Kaiming weights (`blocks.Blocks`).
    - `perturbed`: features of Gaussian inputs before and after a small step, with normal weights
      (`perturbed.Perturbed`).

    Not passes, for proxies that need them: `network` (the module itself), `inputs` `(batch, ...)` (of several tensors
    the first floating one; `batch` has all), `seed`, and `seconds` (what each pass took, by name, without the passes
    that it builds on).

    Args:
        network: any module.
        inputs: one batch: a tensor, or the arguments of one call.
        labels: `(batch,)` class indices, drawn uniformly with `seed` where they are not given; or what the loss takes.
        seed: of everything random.
        wanted: the passes that will be read, so that one forward pass records what all of them need.
        objective: how the output is found, and the loss.
    """

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
        _ = self.forward
        with with_gradients(), self._untouched(_absolute):
            ones = self.batch.part(0, 1).map(_double).replaced(_ones)
            recorder = Recorder(self.network, replace=replace, contents=self._contents)
            with undefined_on_failure("the network does not run on one input of ones in float64"), recorder:
                output = self._objective.find(ones.run(self.network))
                if output.ndim != self._logits.ndim:
                    raise ValueError(f"it returned {tuple(output.shape)}, which has other axes than for the batch")
                total = output.sum()
            nodes = recorder.nodes()
            if not math.isfinite(total.item()):
                what = "not a number" if math.isnan(total.item()) else "too large for float64"
                raise Undefined(f"the synaptic flow is {what}")
            backward(total, nodes)
        return nodes

    @once
    def _drawn(self) -> Drawn:
        return Drawn(self.network, self.seed, self._contents)

    @contextmanager
    def _redrawn(self, name: str, weights: Transform) -> Iterator[Batch]:
        """Give the network other weights for the time of the block, which gets Gaussian inputs like the batch."""
        _ = self.forward
        failed = undefined_on_failure("the network does not run on Gaussian inputs")
        with self._timed(name), self._untouched(weights), failed:
            yield self._gaussian(self.seed)

    def _gaussian(self, seed: int) -> Batch:
        def draw(i: int, t: Tensor) -> Tensor:
            noise = gaussian(t, seed + i * STRIDE)
            return noise if t.is_contiguous() else channels_last(noise)

        return self.batch.replaced(draw)

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
            return perturb(self.network, inputs, self._gaussian(self.seed + 1), self._contents)

    @once
    def feature_maps(self) -> FeatureMaps:
        """How correlated the channels of each feature map of the first input are."""
        _ = self.forward
        failed = undefined_on_failure("the network does not run on a single input")
        with self._timed("feature_maps"), self._untouched(), failed:
            return FeatureMaps(self.network, self.batch.part(0, 1).clone(), self.seed, self._contents)

    @once
    def masked(self) -> Patterns:
        """Patterns as in `patterns`, of a network with masked activations and layer norm for batch norm."""
        _ = self.forward
        failed = undefined_on_failure("the network does not run with masked activations and layer norm")
        with self._timed("masked"), self._untouched(), failed:
            return require_rectifiers(masked_patterns(self.network, self.batch, self.seed, contents=self._contents))


def _absolute(_: str, t: Tensor) -> Tensor:
    return t.detach().double().abs()


def _double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def _ones(_: int, t: Tensor) -> Tensor:
    return torch.ones(t.shape, dtype=torch.float64, device=t.device)


def _identity(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input
