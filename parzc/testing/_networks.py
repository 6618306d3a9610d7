"""Networks seen in another way than the package sees them, for the contract suites."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from parzc.datasets import Space, Task

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class Shapes(TorchFunctionMode):
    """Initialises no weights, which networks on the device `meta` do not have: most of the time of building them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor that a function of `torch.nn.init` would fill as it is."""
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def smallest(task: Task) -> Task:
    """Return the task on its smallest inputs that have more than one pixel after all halvings of any space."""
    return task.resized(str(task.step * -(-64 // task.step))) if task.step and task.input_shape[1] > 64 else task


def layers_of(network: nn.Module) -> list[str]:
    """Return the names of the layers with weights."""
    return [name for name, module in network.named_modules() if isinstance(module, WEIGHTED)]


def outputs_of(space: Space, arch: str) -> Tensor:
    """Return the outputs of a network with weights that know no order of vertices or channels."""
    network = space.network(arch).double().eval()
    for name in layers_of(network):
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, _Constant(network.get_submodule(name)))
    shape = smallest(space.task()).input_shape
    inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        outputs: Tensor = network(inputs)
    return outputs


class _Constant(nn.Module):
    """A layer whose weights depend on the size of its kernel alone, so that channels do not matter."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            weight = layer.weight
            weight.fill_((0.7 + 0.1 * weight[0, 0].numel()) / weight[0].numel())
            if layer.bias is not None:
                layer.bias.fill_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs


def counted(network: nn.Module, task: Task) -> tuple[int, int, int]:
    """Return parameters, multiply-accumulates and layers, the second from torch's counter, which leaves biases out.

    Products of two activations, as in attention, are batched ones and do not count.
    """
    biases: list[int] = []

    def note(layer: Any, _: Any, output: Tensor) -> None:
        biases.append(0 if layer.bias is None else output.numel())

    for name in layers_of(network):
        network.get_submodule(name).register_forward_hook(note)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, *task.input_shape))
    params = sum(p.numel() for p in network.parameters())
    flops = {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}
    return params, (sum(flops.values()) - flops.get("aten.bmm", 0)) // 2 + sum(biases), len(layers_of(network))
