"""The Mixer Architecture with Bayesian Network (MABN), the network of the ParZC paper that scores node statistics."""

import itertools

import torch
from torch import Tensor, nn

from parzc.models.bayesian import BayesianLinear


class MixerBlock(nn.Module):
    """One block: a feed-forward across segments, then one across channels.

    The segment part is the paper's, `X_seg = X' + FFN(X')` with `X' = LayerNorm(X)`, and acts on the
    transposed `(batch, dim, segments)`, so that every segment sees every other one. The channel part is
    transposed back and is `channel_layers` times Linear, ReLU, Dropout, behind a layer norm and with a
    residual. The paper is silent on the activation of the FFN and on the norm and residual of the channel
    part: these follow MLP-Mixer. Both norms act on channels.

    Args:
        segments: number of segments S, >= 1.
        dim: number of channels of a segment, >= 1.
        segment_expansion: hidden size of the segment part over S, > 0.
        channel_expansion: hidden size of the channel part over dim, > 0.
        channel_layers: r, the number of Linear-ReLU-Dropout groups of the channel part, >= 2.
        dropout: probability, in [0, 1); of the channel part only, as in the paper.

    Raises:
        ValueError: channel_layers < 2.

    Source: ParZC, section 3.3 "Mixer Architecture"; Tolstikhin et al., "MLP-Mixer", 2021.
    """

    def __init__(
        self,
        segments: int,
        dim: int,
        segment_expansion: float = 4.0,
        channel_expansion: float = 0.5,
        channel_layers: int = 2,
        dropout: float = 0.18,
    ) -> None:
        super().__init__()
        if channel_layers < 2:
            raise ValueError(f"channel_layers must be at least 2 (down and up again), got {channel_layers}.")
        hidden = max(1, round(segment_expansion * segments))
        self.segment_norm = nn.LayerNorm(dim)
        self.segment_mixer = nn.Sequential(nn.Linear(segments, hidden), nn.GELU(), nn.Linear(hidden, segments))
        self.channel_norm = nn.LayerNorm(dim)
        widths = [dim, *[max(1, round(channel_expansion * dim))] * (channel_layers - 1), dim]
        groups = [(nn.Linear(width, out), nn.ReLU(), nn.Dropout(dropout)) for width, out in itertools.pairwise(widths)]
        self.channel_mixer = nn.Sequential(*[layer for group in groups for layer in group])

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, segments, dim)` to the same shape."""
        x = self.segment_norm(x)
        x = x + self.segment_mixer(x.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.channel_mixer(self.channel_norm(x))
        return mixed


class MABN(nn.Module):
    """Projection to segments, Bayesian layer, mixer blocks, mean over channels, Bayesian head.

    Shapes: `(batch, in_features)` -> `(batch, segments * segment_size)` -> `(batch, segments, segment_size)`
    -> Bayesian layer `(batch, segments, dim)` -> blocks -> mean over channels `(batch, segments)` -> Bayesian
    head `(batch,)`, or `(batch, outputs)` where it embeds rather than scores. There is no layer norm between
    the last block and the mean: it would make every mean equal to its offset. Training mode draws weights and
    drops units; evaluation mode is deterministic (see `sample_weights`).

    Defaults are the sizes of the published code (project to 256, 16 segments of 16, dim 512, 4 blocks) and
    the paper's dropout. The published code never transposes, so that its segments meet only in a final mean
    over segments; here they mix, and the mean goes over channels, as the paper says.

    Args:
        in_features: number of inputs of a network, nodes times statistics.
        segments: number of segments S.
        segment_size: length of a segment before the first Bayesian layer.
        dim: channels of a segment.
        depth: number of blocks, >= 0.
        segment_expansion: see `MixerBlock`.
        channel_expansion: see `MixerBlock`.
        channel_layers: see `MixerBlock`.
        dropout: see `MixerBlock`.
        prior_sigma: prior of the two Bayesian layers, see `BayesianLinear`.
        rho: initial spread of the two Bayesian layers, see `BayesianLinear`.
        outputs: channels of the head; 1 for scores.

    Source: ParZC, section 3.3 and figure 3.
    """

    def __init__(
        self,
        in_features: int,
        segments: int = 16,
        segment_size: int = 16,
        dim: int = 512,
        depth: int = 4,
        segment_expansion: float = 4.0,
        channel_expansion: float = 0.5,
        channel_layers: int = 2,
        dropout: float = 0.18,
        prior_sigma: float = 0.1,
        rho: float = -5.0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.segments = segments
        self.project = nn.Linear(in_features, segments * segment_size)
        self.lift = BayesianLinear(segment_size, dim, prior_sigma=prior_sigma, rho=rho)
        self.blocks = nn.Sequential(
            *[
                MixerBlock(segments, dim, segment_expansion, channel_expansion, channel_layers, dropout)
                for _ in range(depth)
            ]
        )
        self.head = BayesianLinear(segments, outputs, prior_sigma=prior_sigma, rho=rho)

    def embed(self, x: Tensor) -> Tensor:
        """Map `(batch, in_features)` to the pooled `(batch, segments)` that enters the head."""
        split = self.project(x).unflatten(-1, (self.segments, -1))
        return torch.mean(self.blocks(self.lift(split)), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Score `(batch, in_features)` as `(batch,)`, bigger is better; `(batch, outputs)` of an embedding."""
        score: Tensor = self.head(self.embed(x))
        return score.squeeze(-1)
