"""What a recorded pass consists of: calls, which apply a weight, and nodes, which are all calls with one weight.

The order of nodes comes from the autograd graph that the same forward pass leaves behind, so that there is no second,
symbolic tracing that could fail or disagree with what was run.
"""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """How a convolution slides over its input: one number for each spatial axis.

    Args:
        stride: step between two positions.
        padding: zeros `(before, behind)` each axis.
        dilation: distance between two taps.
        groups: number of independent channel groups.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1


@dataclass(eq=False)
class Call:
    """One application of one weight.

    Args:
        kind: one of the values of `KINDS`.
        weight: the weight as a leaf of its own, in the memory of the network's parameter, so that gradients
            are taken from it and never land in the network.
        inputs: what the weight was applied to, batch first.
        output: what came out, batch first.
        biased: whether a bias was added.
        run: the operation as a function of its input.
        tokens_first: whether tokens lie along the first axis, and the inputs of the network within each token.
        geometry: how a convolution slides; `None` for a linear map.

    `origin` and `source` are where the output and the input stand in the autograd graph, `version` shows whether
    `output` was overwritten since, and `logit_grad` is the gradient of the summed logits with respect to `output`, once
    a pass has taken it.
    """

    kind: str
    weight: Tensor
    inputs: Tensor
    output: Tensor
    biased: bool
    run: Callable[[Tensor], Tensor] = field(repr=False)
    tokens_first: bool = False
    geometry: Geometry | None = None
    logit_grad: Tensor | None = field(init=False, repr=False, default=None)
    origin: Any = field(init=False, repr=False)
    source: Any = field(init=False, repr=False)
    _gradients: list[Tensor] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self.origin, self.source = self.output.grad_fn, self.inputs.grad_fn
        self.version = self.output._version
        if self.output.requires_grad:
            # The list, not the call: a hook that knew the call would keep it and all its tensors alive in a cycle.
            self.output.register_hook(self._gradients.append)  # type: ignore[no-untyped-call]

    @property
    def output_grad(self) -> Tensor | None:
        """Return the gradient of the loss with respect to `output`, `None` where the loss does not depend on it."""
        return self._gradients[-1] if self._gradients else None

    @output_grad.setter
    def output_grad(self, gradient: Tensor | None) -> None:
        self._gradients[:] = [] if gradient is None else [gradient]

    def by_sample(self, t: Tensor, batch: int) -> Tensor | None:
        """Return `inputs`, `output` or a gradient of them as `(batch, parts, ...)`, `None` where that is impossible.

        Windows or tokens that were folded into the batch axis are parts of the sample they come from.
        """
        if self.tokens_first and math.prod(t.shape[:-1]) % batch == 0:
            return t.reshape(-1, batch, t.shape[-1]).transpose(0, 1)
        if self.geometry is not None and t.ndim == len(self.geometry.stride) + 1:
            t = t.unsqueeze(0)
        return t.reshape(batch, -1, *t.shape[1:]) if len(t) % batch == 0 else None

    def original_output(self) -> Tensor:
        """Return the output as it left the operation, even if the network has overwritten it in place since."""
        if self.output._version == self.version:
            return self.output.detach()
        with torch.no_grad():
            # The format of the weight and back, where the network casts what it computes with.
            return self.run(self.inputs.detach().to(self.weight.dtype)).to(self.output.dtype)


@dataclass(eq=False)
class Node:
    """All calls with one weight.

    Args:
        name: qualified name of the weight in the network, without a trailing `.weight`: mostly the name of its module.
        batch: number of inputs in the batch that the network was given.
        calls: its applications, in the order in which they ran (one, unless the weight is shared).
        depth: number of nodes before it on the longest path from the input.
    """

    name: str
    batch: int = 1
    calls: list[Call] = field(default_factory=list)
    depth: int = 0

    @property
    def kind(self) -> str:
        """Return what sort of operation the weight belongs to."""
        return self.calls[0].kind

    @property
    def weight(self) -> Tensor:
        """Return the weight, detached."""
        return self.calls[0].weight.detach()

    @property
    def gradient(self) -> Tensor:
        """Return the gradient with respect to the weight, summed over its calls, after a backward pass."""
        gradients = [call.weight.grad for call in self.calls if call.weight.grad is not None]
        return torch.stack(gradients).sum(0) if len(gradients) > 1 else gradients[0]

    @property
    def channels(self) -> int:
        """Return the number of output channels."""
        return self.calls[0].output.shape[-1 if self.kind == "linear" else 1]

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of all calls for one input; a bias counts one addition per output."""
        return sum(_macs(call) for call in self.calls) // self.batch


def _macs(call: Call) -> int:
    transposed = call.kind.startswith("conv_transpose")
    positions = call.inputs.numel() if transposed else call.output.numel()
    additions = call.output.numel() if call.biased else 0
    return positions * call.weight[0].numel() + additions


def predecessors(nodes: Sequence[Node]) -> list[set[int]]:
    """Return for each node the nodes whose output reaches its input with no other node between.

    Args:
        nodes: in the order of their first call, with the autograd graph of the pass still alive.
    """
    owner = {call.origin: i for i, node in enumerate(nodes) for call in node.calls if call.origin is not None}
    found: list[set[int]] = []
    for i, node in enumerate(nodes):
        sources: set[int] = set()
        for call in node.calls:
            sources |= {owner[function] for function in functions_before(call.source, owner) if function in owner}
        found.append({s for s in sources if s < i})
    return found


def functions_before(start: Any, ends: Container[Any]) -> Iterator[Any]:
    """Yield the functions of an autograd graph from `start` back, each once; none of what is before one of `ends`."""
    seen: set[Any] = set()
    stack = [start]
    while stack:
        function = stack.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        yield function
        if function not in ends:
            stack += [following for following, _ in function.next_functions]


def depth_first(before: Sequence[Iterable[int]]) -> list[int]:
    """Order the vertices of a directed acyclic graph depth first from the input.

    Algorithm 1 of the ParZC paper appends a node after its children, which lists the network from its output; this is
    that list read backwards. So the first position is at the input, every node comes after all nodes it reads from,
    and the nodes of one branch stay together. Children are taken in the order in which they first ran.

    Args:
        before: for each vertex those it reads from, all with smaller indices.
    """
    children: list[list[int]] = [[] for _ in before]
    for vertex, sources in enumerate(before):
        for source in sources:
            children[source].append(vertex)
    finished: list[int] = []
    seen = [False] * len(before)
    for root in reversed([v for v, sources in enumerate(before) if not list(sources)]):
        stack = [(root, False)]
        while stack:
            vertex, done = stack.pop()
            if done:
                finished.append(vertex)
            elif not seen[vertex]:
                seen[vertex] = True
                stack.append((vertex, True))
                stack += [(child, False) for child in sorted(children[vertex]) if not seen[child]]
    return finished[::-1]
