"""Sees every weight-bearing operation of any network while it runs, without touching the network.

A `TorchFunctionMode` is told of each call of the torch functions below, whether a module or plain code makes it. A
convolution or linear map with a weight is a *call*; all calls with one weight are a *node*. The order of nodes comes
from the autograd graph that the same forward pass leaves behind, so there is no second, symbolic tracing that could
fail or disagree with what was run.
"""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from parzc.features.passes.bits import ones_where_positive, pack_units
from parzc.features.passes.state import Members

KINDS: dict[Callable[..., Any], str] = {
    F.linear: "linear",
    F.conv1d: "conv1d",
    F.conv2d: "conv2d",
    F.conv3d: "conv3d",
    F.conv_transpose1d: "conv_transpose1d",
    F.conv_transpose2d: "conv_transpose2d",
    F.conv_transpose3d: "conv_transpose3d",
}
"""The functions that apply a weight, and what a node of each is called."""

RECTIFIERS: frozenset[Callable[..., Any]] = frozenset(
    {
        *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.prelu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.hardswish),
        *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    }
)
"""Activation functions with an active and an inactive side: a unit is active where its input is positive."""


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
        weight: the weight as a leaf of its own that shares the memory of the network's parameter, so that gradients
            are taken from it and never land in the network.
        inputs: what the weight was applied to, batch first.
        output: what came out, batch first.
        biased: whether a bias was added.
        run: the operation as a function of its input.
        tokens_first: whether tokens lie along the first axis, and the inputs of the network within each token.
        geometry: how a convolution slides; `None` for a linear map.

    `origin` and `source` are where the output and the input stand in the autograd graph, `version` tells whether
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
            return self.run(self.inputs.detach())


@dataclass(eq=False)
class Node:
    """All calls with one weight.

    Args:
        name: qualified name of the weight in the network, without a trailing `.weight`.
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


class Recorder(TorchFunctionMode):
    """Records each application of a weight while it is entered.

    Args:
        network: whose parameters give the nodes their names.
        batch: number of inputs that the network is given.
        replace: functions to run instead of others, for example batch norm as the identity.
        watch_activations: whether to record which units are active.
        members: those of the network, if they are known.

    Attributes:
        active: for each application of a rectifier, where they are watched, which units are active for which
            input, packed as by `parzc.features.passes.bits.pack`.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: int = 1,
        replace: dict[Callable[..., Any], Callable[..., Any]] | None = None,
        watch_activations: bool = False,
        members: Members | None = None,
    ) -> None:
        super().__init__()
        self._batch = batch
        self._watch = watch_activations
        self.active: list[Tensor] = []
        self.calls: list[tuple[str, Call]] = []
        parameters = (members or Members(network)).parameters
        self._names = {id(p): name.removesuffix(".weight") for name, p in parameters.items()}
        self._replace = replace or {}
        self._sequence_first = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`, or what replaces it, and note it if it applies a weight."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._apply_weight(func, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            # Within, tokens come first and inputs second, whatever the module was told.
            self._sequence_first = True
            try:
                with self:
                    return _attention(*args, **kwargs)
            finally:
                self._sequence_first = False
        if self._watch and func in RECTIFIERS:
            # Before the function runs: it may overwrite its input.
            units = (args[0] if args else kwargs["input"]).detach()
            self.active.append(pack_units(ones_where_positive(units), self._batch))
        return self._replace.get(func, func)(*args, **kwargs)

    def _apply_weight(
        self, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        name = self._name_of(weight)
        if name is None:
            result: Tensor = func(input, weight, bias, *args, **kwargs)
            return result
        leaf = weight.detach().requires_grad_()

        def run(x: Tensor) -> Tensor:
            result: Tensor = func(x, leaf, bias, *args, **kwargs)
            return result

        output = run(input)
        kind, tokens = KINDS[func], func is F.linear and input.ndim == 3 and len(input) != self._batch
        tokens_first = self._sequence_first or (tokens and input.shape[1] == self._batch)
        geometry = None if func is F.linear else _geometry(kind, weight, *args, **kwargs)
        self.calls.append((name, Call(kind, leaf, input, output, bias is not None, run, tokens_first, geometry)))
        return output

    def _name_of(self, weight: Tensor) -> str | None:
        """Return the name of a parameter, with the rows behind where only some of them are applied."""
        whole = weight._base
        if whole is None or id(weight) in self._names:
            return self._names.get(id(weight))
        name = self._names.get(id(whole))
        first = weight.storage_offset() // max(whole.stride(0), 1)
        return name and f"{name}[{first}:{first + len(weight)}]"

    def nodes(self) -> list[Node]:
        """Return the recorded nodes, depth first from the input (see `depth_first`)."""
        by_name: dict[str, Node] = {}
        for name, call in self.calls:
            by_name.setdefault(name, Node(name, self._batch)).calls.append(call)
        nodes = list(by_name.values())
        before = predecessors(nodes)
        for node, sources in zip(nodes, before, strict=True):
            node.depth = max((nodes[i].depth + 1 for i in sources), default=0)
        return [nodes[i] for i in depth_first(before)]


def _geometry(
    kind: str,
    weight: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    third: Any = None,
    fourth: Any = None,
    fifth: Any = None,
    **options: Any,
) -> Geometry:
    """Read the arguments of a convolution, whose order differs between the plain and the transposed ones."""
    axes = weight.ndim - 2

    def spread(value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, Iterable) else (value,)
        return values * axes if len(values) == 1 else values

    if kind.startswith("conv_transpose"):
        groups, dilation = fourth or options.get("groups", 1), fifth or options.get("dilation", 1)
    else:
        dilation, groups = third or options.get("dilation", 1), fourth or options.get("groups", 1)
    taps = spread(dilation)
    if padding == "same":
        whole = [d * (k - 1) for d, k in zip(taps, weight.shape[2:], strict=True)]
        pads = tuple((w // 2, w - w // 2) for w in whole)
    else:
        pads = tuple((p, p) for p in spread(0 if padding == "valid" else padding))
    return Geometry(spread(stride), pads, taps, groups)


def _never(_: object) -> bool:
    return False


# Torch hands a composite function to a mode as a whole and would do so again from within; without the check that asks
# for modes, its body runs under the mode step by step.
_attention = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.multi_head_attention_forward.__globals__, "has_torch_function": _never},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


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
