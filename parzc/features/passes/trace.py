"""Records every weight-bearing operation of any network while it runs, without touching the network.

A `TorchFunctionMode` receives each call of the torch functions below, whether a module or plain code makes it. A
convolution or linear map with a weight is a *call*; all calls with one weight are a *node*.
"""

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from parzc.features.passes.bits import ones_where_positive, pack_units
from parzc.features.passes.nodes import Call, Geometry, Node, depth_first, predecessors
from parzc.features.passes.state import Contents

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


class Recorder(TorchFunctionMode):
    """Records each application of a weight; a context manager, inside which the network has to run.

    Args:
        network: whose parameters give the nodes their names.
        batch: number of inputs that the network is given.
        replace: functions to run instead of others, for example batch norm as the identity.
        watch_activations: whether to record which units are active.
        contents: of the network, if they are known.

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
        contents: Contents | None = None,
    ) -> None:
        super().__init__()
        self._batch = batch
        self._watch = watch_activations
        self.active: list[Tensor] = []
        self.calls: list[tuple[str, Call]] = []
        parameters = (contents or Contents(network)).parameters
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
            # Within, tokens come first and inputs second, whatever `batch_first` of the module is.
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
