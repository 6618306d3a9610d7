"""What networks of cell-based spaces cost, and the places of their weights, without building them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from parzc.datasets.spaces._base import Slot, Task
from parzc.datasets.spaces._cells import CONVOLUTIONS, STEM_MULTIPLIER, places
from parzc.datasets.spaces._genotype import Genotype

MAX_DEPTH = 24
KINDS = ("normal", "reduce")


@dataclass(frozen=True)
class Family:
    """What distinguishes the cell-based spaces.

    Args:
        operations: that edges may have.
        nodes: of each cell.
        output: which nodes are concatenated: all of them, or those that no other reads (and maybe more).
        repeats: whether both edges of a node may come from one source.
        widths: channels of the first cell that are drawn.
        depths: numbers of cells that are drawn.
        default: width and depth where an architecture does not say them.
    """

    operations: tuple[str, ...]
    nodes: int
    output: Literal["all", "loose ends"]
    repeats: bool = True
    widths: tuple[int, ...] = (16, 24, 32)
    depths: tuple[int, ...] = (4, 8, 12, 16, 20)
    default: tuple[int, int] | None = None


def costs(genotype: Genotype, task: Task) -> Iterator[tuple[int, int, int]]:
    """Yield parameters, multiply-accumulates and layers of the parts of a network."""
    side, width, imagenet = task.input_shape[1], genotype.width, task.name == "imagenet"
    stem = width if imagenet else STEM_MULTIPLIER * width
    if imagenet:
        for factor, weights, channels in ((2, 27 * width // 2, width // 2), (4, 9 * width**2 // 2, width)):
            yield weights + 2 * channels, weights * (side // factor) ** 2, 1
        side //= 8
    weights = (9 * stem if imagenet else 27) * stem
    yield weights + 2 * stem, weights * side**2, 1
    before, after_reduction = (stem, stem), imagenet
    for place in places(genotype.depth):
        cell, channels = genotype.reduce if place.reduction else genotype.normal, width << place.stage
        weights = sum(before) * channels
        yield weights + 4 * channels, weights * side**2, 3 if after_reduction else 2
        after = side // 2 if place.reduction else side
        for operation, source in cell.edges:
            pixels = side if source < 2 else after
            yield _cost_of_operation(operation, channels, pixels, place.reduction and source < 2)
        side = after
        before, after_reduction = (before[1], channels * len(cell.concat)), place.reduction
    head = (before[1] + 1) * task.classes
    yield head, head, 1


def _cost_of_operation(name: str, channels: int, side: int, strided: bool) -> tuple[int, int, int]:
    """Return parameters, multiply-accumulates and layers of one edge that reads `side` by `side` pixels."""
    if name == "skip_connect" and strided:
        return channels * channels + 2 * channels, channels * channels * (side // 2) ** 2, 2
    params = macs = layers = 0
    height = width = side
    for group in CONVOLUTIONS.get(name, ()):
        for kernel in group:
            height, width = (
                pixels // 2 if strided and here else pixels
                for pixels, here in zip((height, width), kernel.strided, strict=True)
            )
            weights = kernel.size[0] * kernel.size[1] * channels * (1 if kernel.depthwise else channels)
            params, macs, layers = params + weights, macs + weights * height * width, layers + 1
        params += 2 * channels
    return params, macs, layers


@lru_cache(maxsize=8)
def cell_slots(family: Family) -> tuple[Slot, ...]:
    """Return the places of a network of `MAX_DEPTH` cells; those of shallower ones have the same names."""
    slots = [Slot(name, "stem", 0, 0, False) for name in ("stem.conv_0", "stem.conv_1", "stem_reduction.conv_0")]
    for depth, place in enumerate(places(MAX_DEPTH)):
        kind, path = KINDS[place.reduction], f"stages.{place.stage}.{place.number}"
        # The first input of a cell behind a reduction, or behind the stem for ImageNet, is halved by two convolutions.
        halved = (place.stage, place.number) in {(0, 0), (1, 1), (2, 0), (2, 1)}
        slots += [
            Slot(f"{path}.preprocess{i}.conv_{j}", f"input {i} {kind}", place.stage, depth, False)
            for i, j in ((0, 0), *[(0, 1)] * halved, (1, 0))
        ]
        for node in range(2, 2 + family.nodes):
            for source in range(node):
                for name in (f"{source}-{node}", f"{source}-{node}b")[: 1 + family.repeats]:
                    slots += [
                        Slot(f"{path}.edges.{name}.conv_{j}", f"{source}-{node} {kind}", place.stage, depth)
                        for j in range(_most_convolutions(family, place.reduction and source < 2))
                    ]
    return (*slots, Slot("classifier", "classifier", 2, MAX_DEPTH, False))


def _most_convolutions(family: Family, strided: bool) -> int:
    return max(_cost_of_operation(operation, 2, 8, strided)[2] for operation in family.operations)
