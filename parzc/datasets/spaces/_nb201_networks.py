"""The networks of NAS-Bench-201: stem, three stages of cells with reduction blocks between them, a classifier."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from parzc.datasets.spaces._base import initialise
from parzc.datasets.spaces._supernet import Partial, Size, Supernet, weighted

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5

WHOLE = Size(CHANNELS[0], CELLS_PER_STAGE)
"""As published."""

Cell = tuple[str, ...]
"""The operations of the six edges, in the order of `EDGES` (the order in which the string names them)."""


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias that keeps the resolution when `stride` is 1, batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)


def _operation(name: str, channels: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReLUConvBN(channels, channels, 3 if name == "nor_conv_3x3" else 1)


class CellNetwork(nn.Module):
    """One cell: each node is the sum of its incoming edges, zero where nothing comes in."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{i}-{j}": _operation(op, channels) for (i, j), op in zip(EDGES, cell, strict=True) if op != "none"}
        )
        self._read = {3, *(i for (i, _), op in zip(EDGES, cell, strict=True) if op != "none")}

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        nodes = {0: x}
        for j in range(1, 4):
            terms = [self.edges[f"{i}-{j}"](nodes[i]) for i in range(j) if f"{i}-{j}" in self.edges]
            if terms:
                nodes[j] = sum(terms[1:], terms[0])
            elif j in self._read:
                nodes[j] = torch.zeros_like(x)
        return nodes[3]


class ReductionBlock(nn.Module):
    """The residual block with stride 2 that doubles the channels between two stages."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, stride=2)
        self.conv_b = ReLUConvBN(c_out, c_out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / 2, width / 2)`."""
        out: Tensor = self.shortcut(x) + self.conv_b(self.conv_a(x))
        return out


class NB201Network(nn.Module):
    """Stem, three stages of cells with a reduction block between them, global pooling, classifier.

    Args:
        cell: builds a cell of so many channels.
        classes: number of logits.
        size: channels of the first stage, and cells in each stage.
    """

    def __init__(self, cell: Callable[[int], nn.Module], classes: int, size: Size = WHOLE) -> None:
        super().__init__()
        widths = [size.width << stage for stage in range(len(CHANNELS))]
        self.stem: nn.Module = nn.Identity()
        if size.stem:
            self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]))
        blocks: list[nn.Module] = []
        for stage, channels in enumerate(widths):
            if stage:
                blocks.append(ReductionBlock(widths[stage - 1], channels))
            blocks += [cell(channels) for _ in range(size.depth)]
        self.cells = nn.Sequential(*blocks)
        self.lastact = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        features = self.lastact(self.cells(self.stem(x)))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


class SupernetCell(nn.Module):
    """A cell each of whose edges is a weighted sum of operations."""

    def __init__(self, partial: Partial, channels: int) -> None:
        super().__init__()
        alive = {edge: {op: w for op, w in ops.items() if w and op != "none"} for edge, ops in partial.items()}
        self.weights: Mapping[str, Mapping[str, float]] = {edge: ops for edge, ops in alive.items() if ops}
        self.edges = nn.ModuleDict(
            {edge: nn.ModuleDict({op: _operation(op, channels) for op in ops}) for edge, ops in self.weights.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        nodes = [x]
        for j in range(1, 4):
            terms = [term for i in range(j) for term in self._terms(f"{i}-{j}", nodes[i])]
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[3]

    def _terms(self, edge: str, x: Tensor) -> list[Tensor]:
        operations = self.weights.get(edge, {})
        return [weighted(self.edges[edge][op](x), weight) for op, weight in operations.items()]  # type: ignore[index]


class NB201Supernet(Supernet):
    """The supernet of NAS-Bench-201, in sizes that publications use: whole, that of TE-NAS, and the thin one of it."""

    edges = MappingProxyType({f"{i}-{j}": OPERATIONS for i, j in EDGES})
    cells = (tuple(edges),)
    sizes = MappingProxyType({"whole": WHOLE, "small": Size(3, 1), "thin": Size(1, 1, stem=False)})

    def build(self, partial: Partial, classes: int, size: Size, seed: int) -> nn.Module:
        """Build the network of a partial cell."""
        return initialise(lambda: NB201Network(lambda channels: SupernetCell(partial, channels), classes, size), seed)

    def choices(self, chosen: Mapping[str, str]) -> Mapping[str, str]:
        """Return the operation of each edge."""
        return {edge: chosen.get(edge, "none") for edge in self.edges}
