"""The network of NAS-Bench-101: a stem, three stacks of three cells, a classifier; and its slots."""

import itertools

import torch
from torch import Tensor, nn

from parzc.datasets.spaces._base import Slot
from parzc.datasets.spaces._nb101_cells import MAX_VERTICES, Cell

STEM_CHANNELS, STACKS, CELLS_PER_STACK = 128, 3, 3


class ConvBNReLU(nn.Sequential):
    """Convolution without bias that keeps the resolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU()


def vertex_channels(cell: Cell, c_in: int, c_out: int) -> list[int]:
    """Return the channels of each vertex of a pruned cell.

    The channels of the output are divided among the vertices it concatenates, the first ones taking one more where
    they do not divide evenly; any other vertex has as many as the widest that reads from it.
    """
    _, reads = cell
    last = len(reads) - 1
    channels = [c_in] + [0] * (last - 1) + [c_out]
    ends = [v for v in range(1, last) if reads[last][v]]
    for index, v in enumerate(ends):
        channels[v] = c_out // len(ends) + (index < c_out % len(ends))
    for v in reversed(range(1, last)):
        if v not in ends:
            channels[v] = max(channels[w] for w in range(v + 1, last) if reads[w][v])
    return channels


def convolutions(cell: Cell, c_in: int, c_out: int) -> list[tuple[int, int, int]]:
    """Return input channels, output channels and kernel size of each convolution of a pruned cell."""
    (operations, reads), widths = cell, vertex_channels(cell, c_in, c_out)
    found = [(c_in, width, 1) for width, sources in zip(widths[1:], reads[1:], strict=True) if sources[0]]
    kernels = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}
    return found + [(w, w, kernels[op]) for op, w in zip(operations, widths, strict=True) if op in kernels]


class CellNetwork(nn.Module):
    """One cell: inner vertices sum what they read, the output concatenates; what comes from the input is projected."""

    def __init__(self, cell: Cell, c_in: int, c_out: int) -> None:
        super().__init__()
        self.operations_of, self.reads = cell
        self.channels = vertex_channels(cell, c_in, c_out)
        self.last = len(self.reads) - 1
        self.projections, self.operations = nn.ModuleDict(), nn.ModuleDict()
        for v in range(1, self.last + 1):
            name, width = str(v) if v < self.last else "output", self.channels[v]
            if self.reads[v][0]:
                self.projections[name] = ConvBNReLU(c_in, width, 1)
            if v < self.last:
                self.operations[name] = _operation(self.operations_of[v], width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, c_in, height, width)` to `(batch, c_out, height, width)`."""
        vertices = [x]
        for v in range(1, self.last):
            terms = [vertices[u][:, : self.channels[v]] for u in range(1, v) if self.reads[v][u]]
            if self.reads[v][0]:
                terms.append(self.projections[str(v)](x))
            vertices.append(self.operations[str(v)](sum(terms[1:], terms[0])))
        ends = [vertices[u] for u in range(1, self.last) if self.reads[self.last][u]]
        if not self.reads[self.last][0]:
            return torch.cat(ends, 1)
        projected: Tensor = self.projections["output"](x)
        return torch.cat(ends, 1) + projected if ends else projected


def _operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return ConvBNReLU(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)


class NB101Network(nn.Module):
    """Stem, three stacks of three cells with max pooling between them, global pooling, classifier."""

    def __init__(self, cell: Cell, classes: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(3, STEM_CHANNELS, 3)
        blocks: list[nn.Module] = []
        width = STEM_CHANNELS
        for stack in range(STACKS):
            if stack:
                blocks.append(nn.MaxPool2d(2, stride=2))
            c_out = STEM_CHANNELS << stack
            for _ in range(CELLS_PER_STACK):
                blocks.append(CellNetwork(cell, width, c_out))
                width = c_out
        self.cells = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, classes)`."""
        logits: Tensor = self.classifier(self.cells(self.stem(x)).mean((2, 3)))
        return logits


def nb101_slots() -> tuple[Slot, ...]:
    slots, vertices = [Slot("stem.conv", "stem", 0, 0, False)], range(1, MAX_VERTICES - 1)
    per_stack = CELLS_PER_STACK + 1  # a pooling between two stacks has an index, too
    for stack, cell in itertools.product(range(STACKS), range(CELLS_PER_STACK)):
        index = stack * per_stack + cell
        places = [(f"{kind}s.{v}", f"{kind} {v}") for v in vertices for kind in ("projection", "operation")]
        places.append(("projections.output", "projection output"))
        slots += [Slot(f"cells.{index}.{name}.conv", place, stack, index) for name, place in places]
    return (*slots, Slot("classifier", "classifier", STACKS - 1, STACKS * per_stack - 1, False))
