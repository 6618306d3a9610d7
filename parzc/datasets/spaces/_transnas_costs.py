"""What networks of TransNAS-Bench-101 cost: the sum over their parts, each counted once and remembered."""

from collections.abc import Callable, Iterator
from functools import lru_cache

from torch import nn

from parzc.datasets.spaces._base import Cost, Task
from parzc.datasets.spaces._cost import count_cost
from parzc.datasets.spaces._nb201_networks import EDGES, Cell
from parzc.datasets.spaces._transnas_networks import (
    BLOCKS_PER_LAYER,
    CHANNELS,
    ResidualBlock,
    TransNASNetwork,
    operation,
)

Shape = tuple[int, int, int, int, int]
"""Input channels, output channels, stride, height and width of the input of a block."""


def cost_of(layers: str, block: Callable[[Shape], Cost], task: Task, tiles: int) -> Cost:
    """Return the cost of a network; see `TransNASNetwork` for `layers` and `tiles`.

    Args:
        layers: type of each layer.
        block: gives the cost of one block of a shape for one tile.
        task: whose images it takes.
        tiles: along each axis of an image.
    """
    _, height, width = task.input_shape
    sides = height // tiles, width // tiles
    stem = _stem(*sides)
    channels, (height, width) = CHANNELS, _halved(*_halved(*sides))
    total = [stem.params, stem.macs * tiles**2, stem.n_layers]
    for kind in layers:
        wider, stride = 2 * channels if kind in "24" else channels, 2 if kind in "34" else 1
        after = _halved(height, width) if stride == 2 else (height, width)
        for shape in [(channels, wider, stride, height, width)] + [(wider, wider, 1, *after)] * (BLOCKS_PER_LAYER - 1):
            part = block(shape)
            total = [total[0] + part.params, total[1] + part.macs * tiles**2, total[2] + part.n_layers]
        channels, (height, width) = wider, after
    head = channels * tiles**2 * task.classes + task.classes
    return Cost(total[0] + head, total[1] + head, total[2] + 1)


def residual_block(shape: Shape) -> Cost:
    """Return the cost of a residual block."""
    return _residual(*shape)


def cell(operations: Cell) -> Callable[[Shape], Cost]:
    """Return what gives the cost of a cell with these operations at its edges."""

    def block(shape: Shape) -> Cost:
        parts = list(_edges(operations, shape))
        return Cost(sum(p.params for p in parts), sum(p.macs for p in parts), sum(p.n_layers for p in parts))

    return block


def _edges(operations: Cell, shape: Shape) -> Iterator[Cost]:
    _, c_out, stride, height, width = shape
    inside = _halved(height, width) if stride == 2 else (height, width)
    for (start, _), name in zip(EDGES, operations, strict=True):
        if name != "none":
            yield _operation(name, c_out, c_out, 1, *inside) if start else _operation(name, *shape)


def _halved(height: int, width: int) -> tuple[int, int]:
    return -(-height // 2), -(-width // 2)


def _counted(build: Callable[[], nn.Module], channels: int, height: int, width: int) -> Cost:
    return count_cost(build, Task("part", (channels, height, width), 1))


@lru_cache(maxsize=1000)
def _stem(height: int, width: int) -> Cost:
    return _counted(lambda: TransNASNetwork("", ResidualBlock, 1).stem, 3, height, width)


@lru_cache(maxsize=1000)
def _residual(c_in: int, c_out: int, stride: int, height: int, width: int) -> Cost:
    return _counted(lambda: ResidualBlock(c_in, c_out, stride), c_in, height, width)


@lru_cache(maxsize=1000)
def _operation(name: str, c_in: int, c_out: int, stride: int, height: int, width: int) -> Cost:
    return _counted(lambda: operation(name, c_in, c_out, stride), c_in, height, width)
