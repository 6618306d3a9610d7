"""What a network costs, counted on the network itself without computing anything."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from parzc.datasets.spaces._base import Cost, Task

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""The layers that spaces build networks of and that count as weight layers."""

SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.Dropout, nn.LayerNorm)
"""Layers without a multiply-accumulate that give back the shape they take; on shapes alone they need not run."""


def count_cost(build: Callable[[], nn.Module], task: Task) -> Cost:
    """Return the cost of the network that `build` returns, built and run on shapes alone.

    A layer that runs more than once for one input counts each of its runs; a bias is one addition per output.
    """
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight: Any = layer.weight
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        macs += positions.numel() * weight[0].numel() + (0 if layer.bias is None else output.numel())

    with torch.device("meta"):
        network = build().eval()
        layers = [module for module in network.modules() if isinstance(module, WEIGHTED)]
        for layer in layers:
            layer.register_forward_hook(count)
        for module in network.modules():
            if type(module) in SHAPE_KEEPING:
                module.forward = _same  # torch would take longer over these than over all others
        with torch.no_grad():
            network(torch.empty(1, *task.input_shape))
    return Cost(sum(p.numel() for p in network.parameters()), macs, len(layers))


def _same(inputs: Tensor) -> Tensor:
    return inputs
