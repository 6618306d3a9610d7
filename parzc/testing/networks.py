"""Small networks, also degenerate ones, that the contract suites of proxies run on."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
"""Class indices of the six inputs of `batch`."""

Case = tuple[nn.Module, Tensor, Tensor | None]
"""A network, its inputs, and their labels if any are given."""


class Attention(nn.Linear):
    """Attention between the positions of feature maps, with the weights of queries, keys and values as one."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        queries, keys, values = super().forward(x.flatten(2).transpose(1, 2)).chunk(3, dim=2)
        weights = F.softmax(queries @ keys.transpose(1, 2) / math.sqrt(x.shape[1]), dim=2)
        return (weights @ values).transpose(1, 2).reshape(x.shape)


class Small(nn.Module):
    """Batch norm, an in-place ReLU, a branch, dropout; weights that are not at their defaults.

    Args:
        attention: whether the branch is attention instead of a grouped convolution.
    """

    def __init__(self, attention: bool = False) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 10, 3, bias=False), nn.BatchNorm2d(10)
        self.branch: nn.Module = Attention(10) if attention else nn.Conv2d(10, 10, 3, padding=1, groups=2)
        self.relu, self.drop, self.head = nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(10, 5)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.uniform_(self.norm.bias, -0.5, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, 5)`."""
        x = self.relu(self.norm(self.stem(x)))
        x = x + self.branch(x)
        logits: Tensor = self.head(self.drop(x.mean((2, 3))))
        return logits


class NoPath(nn.Module):
    """Applies its weights, but nothing of the input reaches the output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to logits `(batch, 5)` that do not depend on them."""
        zeros = F.relu(self.norm(self.stem(x))) * 0.0
        logits: Tensor = self.head(zeros.mean((2, 3)))
        return logits


def small(attention: bool = False) -> Small:
    """Return the same small network each time, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return Small(attention)


def batch(n: int = 6, seed: int = 1) -> Tensor:
    """Return normal images for `small`, `(n, 3, 7, 7)`."""
    return torch.randn(n, 3, 7, 7, generator=torch.Generator().manual_seed(seed))


def _zero_weights() -> Case:
    network = small()
    for p in network.parameters():
        nn.init.zeros_(p)
    return network, batch(), LABELS


def _one_class() -> Case:
    network = small()
    network.head = nn.Linear(10, 1)
    return network, batch(), LABELS * 0


def _branch_weights(value: float) -> Callable[[], Case]:
    def build() -> Case:
        network = small()
        nn.init.constant_(network.get_parameter("branch.weight"), value)
        return network, batch(), LABELS

    return build


def _no_path() -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return NoPath(), batch(4), None


DEGENERATE: dict[str, Callable[[], Case]] = {
    "zero weights": _zero_weights,
    "one class": _one_class,
    "huge weights": _branch_weights(1e30),
    "infinite weights": _branch_weights(math.inf),
    "weights that are not numbers": _branch_weights(math.nan),
    "no path": _no_path,
    "one input": lambda: (small(), batch(1), LABELS[:1]),
    "equal inputs": lambda: (small(), torch.zeros(6, 3, 7, 7), LABELS),
    "inputs that are not numbers": lambda: (small(), batch() * math.nan, LABELS),
}
"""Networks and inputs for which many proxies have no value, by what is wrong with them."""
