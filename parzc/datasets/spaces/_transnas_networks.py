"""The networks of TransNAS-Bench-101: stem, layers of two cells or residual blocks, a linear head."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.datasets.spaces._nb201_networks import EDGES, Cell, ReLUConvBN

CHANNELS = 64
BLOCKS_PER_LAYER = 2


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions for half of the channels each, the second one shifted by a pixel, batch norm."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c_in, c_out // 2, 1, stride, bias=False) for _ in range(2))
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / stride, width / stride)`, rounded up."""
        x = F.relu(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        out: Tensor = self.bn(torch.cat([self.convs[0](x), self.convs[1](shifted)], 1))
        return out


def operation(name: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    """Return the operation of an edge of a cell, other than `none`."""
    if name == "skip_connect":
        return nn.Identity() if (c_in, stride) == (c_out, 1) else FactorizedReduce(c_in, c_out, stride)
    return ReLUConvBN(c_in, c_out, 3 if name == "nor_conv_3x3" else 1, stride)


class MicroCell(nn.Module):
    """One cell: each node is the sum of its incoming edges; those from the input change the shape."""

    def __init__(self, cell: Cell, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.c_out, self.stride = c_out, stride
        self.edges = nn.ModuleDict(
            {
                f"{i}-{j}": operation(op, c_out if i else c_in, c_out, 1 if i else stride)
                for (i, j), op in zip(EDGES, cell, strict=True)
                if op != "none"
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / stride, width / stride)`, rounded up."""
        height, width = (-(-size // self.stride) for size in x.shape[2:])
        nodes = [x]
        for j in range(1, 4):
            terms = [self.edges[f"{i}-{j}"](nodes[i]) for i in range(j) if f"{i}-{j}" in self.edges]
            nodes.append(sum(terms[1:], terms[0]) if terms else x.new_zeros(len(x), self.c_out, height, width))
        return nodes[3]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind ReLUs, added to their input, or to its 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, stride)
        self.conv_b = ReLUConvBN(c_out, c_out, 3)
        self.downsample: nn.Module = nn.Identity()
        if (c_in, stride) != (c_out, 1):
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height / stride, width / stride)`, rounded up."""
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


class TransNASNetwork(nn.Module):
    """Stem, layers, global pooling, linear head.

    Args:
        layers: type of each layer, one digit each: 2 and 4 double the channels, 3 and 4 halve the resolution.
        block: makes one block from input channels, output channels and stride.
        outputs: of the head.
        tiles: images are cut into so many tiles along each axis, and the head sees the features of all.
    """

    def __init__(self, layers: str, block: Callable[[int, int, int], nn.Module], outputs: int, tiles: int = 1) -> None:
        super().__init__()
        self.tiles = tiles
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS // 2),
            ReLUConvBN(CHANNELS // 2, CHANNELS, 3, stride=2),
        )
        stack: list[nn.Module] = []
        width = CHANNELS
        for kind in layers:
            c_out = 2 * width if kind in "24" else width
            blocks = [block(width, c_out, 2 if kind in "34" else 1)]
            blocks += [block(c_out, c_out, 1) for _ in range(BLOCKS_PER_LAYER - 1)]
            stack.append(nn.Sequential(*blocks))
            width = c_out
        self.layers = nn.Sequential(*stack)
        self.classifier = nn.Linear(width * tiles**2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to outputs `(batch, outputs)`."""
        features: Tensor = self.layers(self.stem(self._cut(x))).mean((2, 3))
        logits: Tensor = self.classifier(features.reshape(len(x), -1))
        return logits

    def _cut(self, x: Tensor) -> Tensor:
        """Return the tiles of each image one behind another, `(batch * tiles**2, 3, height / tiles, width / tiles)`."""
        if self.tiles == 1:
            return x
        batch, channels, height, width = x.shape
        cut = x.reshape(batch, channels, self.tiles, height // self.tiles, self.tiles, width // self.tiles)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
