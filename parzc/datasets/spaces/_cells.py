"""Networks of cell-based spaces, as in DARTS (Liu et al. 2019, arXiv:1806.09055) and in NDS (Radosavovic et al. 2019,
arXiv:1905.13214).

A stem, cells with reduction cells after a third and two thirds of them, global pooling, a classifier; there is no
auxiliary head and no drop path, both of which exist in training alone. All batch norms are affine.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from parzc.datasets.spaces._genotype import Cell, Genotype

STEM_MULTIPLIER = 3
"""The CIFAR stem has three times the channels of the first cell."""


class Kernel(NamedTuple):
    """One convolution of an operation.

    Args:
        size: height and width.
        depthwise: whether each channel has a filter of its own.
        dilation: distance between two taps.
        strided: whether the operation's stride is applied here, along each axis.
    """

    size: tuple[int, int]
    depthwise: bool = False
    dilation: int = 1
    strided: tuple[bool, bool] = (True, True)


_POINTWISE = Kernel((1, 1), strided=(False, False))


def _separable(size: int, times: int, dilation: int = 1) -> tuple[tuple[Kernel, ...], ...]:
    steps = ((True, True), *[(False, False)] * (times - 1))
    return tuple((Kernel((size, size), True, dilation, strided), _POINTWISE) for strided in steps)


def _crossed(size: int) -> tuple[tuple[Kernel, ...], ...]:
    return ((Kernel((1, size), strided=(False, True)), Kernel((size, 1), strided=(True, False))),)


CONVOLUTIONS: dict[str, tuple[tuple[Kernel, ...], ...]] = {
    "conv_1x1": ((Kernel((1, 1)),),),
    "conv_3x3": ((Kernel((3, 3)),),),
    "conv_3x1_1x3": _crossed(3),
    "conv_7x1_1x7": _crossed(7),
    "sep_conv_3x3": _separable(3, 2),
    "sep_conv_5x5": _separable(5, 2),
    "sep_conv_7x7": _separable(7, 2),
    "dil_conv_3x3": _separable(3, 1, dilation=2),
    "dil_conv_5x5": _separable(5, 1, dilation=2),
    "dil_sep_conv_3x3": _separable(3, 2, dilation=2),
}
"""Groups of convolutions; each group is a ReLU, its convolutions and a batch norm."""


class Convolutions(nn.Sequential):
    """Groups of ReLU, convolutions and batch norm, the convolutions called `conv_0`, `conv_1` and so on."""

    def __init__(self, groups: Sequence[Sequence[Kernel]], c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        count = 0
        for index, group in enumerate(groups):
            self.add_module(f"relu_{index}", nn.ReLU())
            for kernel in group:
                # Operations of several convolutions keep the number of channels.
                self.add_module(f"conv_{count}", _convolution(kernel, c_in, c_out, stride))
                count += 1
            self.add_module(f"bn_{index}", nn.BatchNorm2d(c_out))


def _convolution(kernel: Kernel, c_in: int, c_out: int, stride: int) -> nn.Conv2d:
    height, width = (stride if strided else 1 for strided in kernel.strided)
    padding = (kernel.dilation * (kernel.size[0] // 2), kernel.dilation * (kernel.size[1] // 2))
    groups = c_in if kernel.depthwise else 1
    return nn.Conv2d(c_in, c_out, kernel.size, (height, width), padding, kernel.dilation, groups, bias=False)


class FactorizedReduce(nn.Module):
    """Halves the resolution by two 1x1 convolutions with stride 2, one of them shifted by one pixel."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / 2, width / 2)`."""
        x = x.relu()
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        out: Tensor = self.bn(torch.cat([self.conv_0(x), self.conv_1(shifted)], 1))
        return out


def operation_module(name: str, channels: int, stride: int) -> nn.Module:
    """Return an operation that keeps the number of channels, and divides the resolution by `stride`."""
    if name in CONVOLUTIONS:
        return Convolutions(CONVOLUTIONS[name], channels, channels, stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    size = int(name[-1])
    if name.startswith("max_pool"):
        return nn.MaxPool2d(size, stride, size // 2)
    return nn.AvgPool2d(size, stride, size // 2, count_include_pad=False)


def edge_names(cell: Cell) -> list[str]:
    """Return `source-node` for each edge, with `b` behind for the second of two that share both ends.

    `none` takes no name from another edge, so that names stay when it is written with another source.
    """
    names: list[str] = []
    taken: set[str] = set()
    for node in cell.nodes:
        for operation, source in cell.into(node):
            name = f"{source}-{node}"
            names.append(f"{name}b" if name in taken else name)
            taken |= {name} if operation != "none" else set()
    return names


class CellModule(nn.Module):
    """One cell: 1x1 convolutions on both inputs, nodes that sum two operations, concatenated.

    Args:
        cell: with the edges of each node in order (`ordered`).
        before: channels of the two inputs.
        channels: of each node.
        reduction: whether the operations on the inputs halve the resolution.
        after_reduction: whether the first input has twice the resolution of the second.
    """

    def __init__(
        self, cell: Cell, before: tuple[int, int], channels: int, reduction: bool, after_reduction: bool
    ) -> None:
        super().__init__()
        self.cell, self.channels, self.reduction = cell, channels, reduction
        first: nn.Module = FactorizedReduce(before[0], channels)
        if not after_reduction:
            first = Convolutions([[_POINTWISE]], before[0], channels)
        self.preprocess0 = first
        self.preprocess1 = Convolutions([[_POINTWISE]], before[1], channels)
        self.names = edge_names(cell)
        self.edges = nn.ModuleDict(
            {
                name: operation_module(operation, channels, 2 if reduction and source < 2 else 1)
                for name, (operation, source) in zip(self.names, cell.edges, strict=True)
                if operation != "none"
            }
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Map the outputs of the two cells before to `(batch, channels * nodes, height, width)`."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        step = 2 if self.reduction else 1
        zeros = torch.zeros_like(states[1][:, :, ::step, ::step])
        for node in self.cell.nodes:
            names = self.names[2 * node - 4 : 2 * node - 2]
            terms = [
                self.edges[name](states[source])
                for name, (operation, source) in zip(names, self.cell.into(node), strict=True)
                if operation != "none"
            ]
            states.append(sum(terms[1:], terms[0]) if terms else zeros)
        return torch.cat([states[node] for node in self.cell.concat], 1)


class Place(NamedTuple):
    """Where a cell stands: in the stage `stage` (resolution level) as its cell `number`, and what it is."""

    stage: int
    number: int
    reduction: bool


def places(depth: int) -> list[Place]:
    """Return where each of `depth` cells stands: reduction cells open the second and the third stage."""
    starts = (depth // 3, 2 * depth // 3)
    stages = list(accumulate(int(i in starts) for i in range(depth)))
    return [Place(stage, i - stages.index(stage), i in starts) for i, stage in enumerate(stages)]


class CellNetwork(nn.Module):
    """Stem, cells in three stages, global pooling, classifier.

    Args:
        genotype: with the edges of each node in order (`ordered`), width and depth.
        classes: number of logits.
        imagenet: whether the stem is that for ImageNet, which divides the resolution by eight.
        make: builds a cell from what `CellModule` is built from.
    """

    def __init__(
        self, genotype: Genotype, classes: int, imagenet: bool = False, make: Callable[..., nn.Module] = CellModule
    ) -> None:
        super().__init__()
        width = genotype.width
        stem = width if imagenet else STEM_MULTIPLIER * width
        self.stem = _imagenet_stem(width) if imagenet else _stem(stem)
        self.stem_reduction = Convolutions([[Kernel((3, 3))]], stem, stem, stride=2) if imagenet else None
        stages: list[list[nn.Module]] = [[], [], []]
        before, after_reduction = (stem, stem), imagenet
        for place in places(genotype.depth):
            cell, channels = genotype.reduce if place.reduction else genotype.normal, width << place.stage
            stages[place.stage].append(make(cell, before, channels, place.reduction, after_reduction))
            before, after_reduction = (before[1], channels * len(cell.concat)), place.reduction
        self.stages = nn.ModuleList(nn.ModuleList(cells) for cells in stages)
        self.classifier = nn.Linear(before[1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        before_last = last = self.stem(x)
        if self.stem_reduction is not None:
            last = self.stem_reduction(before_last)
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for cell in stage:
                before_last, last = last, cell(before_last, last)
        logits: Tensor = self.classifier(last.mean((2, 3)))
        return logits


def _stem(channels: int) -> nn.Sequential:
    stem = nn.Sequential()
    stem.add_module("conv_0", nn.Conv2d(3, channels, 3, padding=1, bias=False))
    stem.add_module("bn", nn.BatchNorm2d(channels))
    return stem


def _imagenet_stem(channels: int) -> nn.Sequential:
    stem = nn.Sequential()
    stem.add_module("conv_0", nn.Conv2d(3, channels // 2, 3, stride=2, padding=1, bias=False))
    stem.add_module("bn_0", nn.BatchNorm2d(channels // 2))
    stem.add_module("relu", nn.ReLU(inplace=True))
    stem.add_module("conv_1", nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False))
    stem.add_module("bn_1", nn.BatchNorm2d(channels))
    return stem
