"""The network of AutoFormer (Chen et al., ICCV 2021, arXiv:2107.00651): a subnet of its supernet, on its own.

A vision transformer with normalisation before each part, absolute and relative positions, heads of 64 channels and the
mean over the patches as features; weights are initialised as published. Drop path and dropout exist in training alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

HEAD_CHANNELS = 64
MAX_DISTANCE = 14
PATCH = 16


class Linear(nn.Linear):
    """A linear map with weights of standard deviation .02 and without bias at the start."""

    def reset_parameters(self) -> None:
        """Draw the weight, and zero the bias."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)


class Embedding(nn.Module):
    """Image to tokens: patches, a class token before them, absolute positions.

    Args:
        channels: of a token.
        patches: number of patches.
    """

    def __init__(self, channels: int, patches: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.empty(1, 1, channels))
        self.positions = nn.Parameter(torch.empty(1, patches + 1, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw class token and positions."""
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, height, width)` to tokens `(batch, patches + 1, channels)`."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.positions


class RelativePositions(nn.Module):
    """A vector for each pair of tokens: the sum of one for their vertical and one for their horizontal distance."""

    def __init__(self) -> None:
        super().__init__()
        # Row 0 is for pairs with the class token.
        self.vertical = nn.Parameter(torch.empty(2 * MAX_DISTANCE + 2, HEAD_CHANNELS))
        self.horizontal = nn.Parameter(torch.empty(2 * MAX_DISTANCE + 2, HEAD_CHANNELS))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both tables."""
        nn.init.trunc_normal_(self.vertical, std=0.02)
        nn.init.trunc_normal_(self.horizontal, std=0.02)

    def forward(self, tokens: int) -> Tensor:
        """Return `(tokens, tokens, HEAD_CHANNELS)`: for each reading token, one vector for each token it reads."""
        side = round((tokens - 1) ** 0.5)
        place = torch.arange(tokens - 1, device=self.vertical.device)
        rows, columns = place // side, place % side
        return self.vertical[_distances(rows)] + self.horizontal[_distances(columns)]


def _distances(coordinates: Tensor) -> Tensor:
    """Return the rows of a table for all pairs of tokens, the class token first."""
    distances = (coordinates[None] - coordinates[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE)
    return nn.functional.pad(distances + MAX_DISTANCE + 1, (1, 0, 1, 0))


class Attention(nn.Module):
    """Multi-head self-attention whose keys and values have relative positions added.

    Args:
        channels: of a token.
        heads: each of `HEAD_CHANNELS` channels, whatever `channels` is.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(channels, 3 * heads * HEAD_CHANNELS)
        self.key_positions, self.value_positions = RelativePositions(), RelativePositions()
        self.proj = Linear(heads * HEAD_CHANNELS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(batch, tokens, channels)` to the same shape."""
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, HEAD_CHANNELS).permute(2, 0, 3, 1, 4)
        of_keys, of_values = self.key_positions(tokens), self.value_positions(tokens)
        scores = q @ k.transpose(2, 3) + torch.einsum("bhqc,qkc->bhqk", q, of_keys)
        weights = (scores * HEAD_CHANNELS**-0.5).softmax(-1)
        read = weights @ v + torch.einsum("bhqk,qkc->bhqc", weights, of_values)
        out: Tensor = self.proj(read.transpose(1, 2).reshape(batch, tokens, -1))
        return out


class Layer(nn.Module):
    """Attention and a perceptron with one hidden layer, each with a residual connection."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(channels), Attention(channels, heads)
        self.norm_2, self.fc1, self.fc2 = nn.LayerNorm(channels), Linear(channels, hidden), Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(batch, tokens, channels)` to the same shape."""
        x = x + self.attention(self.norm_1(x))
        out: Tensor = x + self.fc2(nn.functional.gelu(self.fc1(self.norm_2(x))))
        return out


class VisionTransformer(nn.Module):
    """Embedding, layers, normalisation, the mean over the patches, classifier.

    Args:
        channels: of a token.
        heads: number of heads of each layer.
        hidden: hidden channels of the perceptron of each layer.
        side: height and width of the images, a multiple of 16.
        classes: number of logits.
    """

    def __init__(self, channels: int, heads: Sequence[int], hidden: Sequence[int], side: int, classes: int) -> None:
        super().__init__()
        self.embedding = Embedding(channels, (side // PATCH) ** 2)
        self.layers = nn.Sequential(*(Layer(channels, h, width) for h, width in zip(heads, hidden, strict=True)))
        self.norm = nn.LayerNorm(channels)
        self.classifier = Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, 3, side, side)` to logits `(batch, classes)`."""
        features = self.norm(self.layers(self.embedding(x)))
        logits: Tensor = self.classifier(features[:, 1:].mean(1))
        return logits
