"""The mixer of the default ranker: one token for each position of the search space, one for the network scores."""

import torch
from torch import Tensor, nn

from parzc.models.bayesian import BayesianLinear
from parzc.models.mixer import MixerBlock


class TokenMixer(nn.Module):
    """Embeds tokens and scores, mixes across tokens and channels, averages, and scores with a Bayesian head.

    The parts are those of the ParZC paper's mixer (sec. 3.3) in the same order: Bayesian layer, blocks that mix across
    segments, pooling, Bayesian head. What differs is that a segment is a place of the search space, where the paper
    cuts a projection of all statistics into segments.

    Args:
        tokens: number of positions.
        channels: inputs of each position.
        scores: number of network scores, 0 for none.
        dim: channels of a token.
        depth: number of mixer blocks.
        segment_expansion: hidden size of mixing across tokens, over the number of tokens.
        channel_expansion: hidden size of the channel part, over `dim`.
        dropout: probability.
        rho: initial spread of the Bayesian layers.
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        scores: int = 0,
        dim: int = 64,
        depth: int = 2,
        segment_expansion: float = 2.0,
        channel_expansion: float = 1.0,
        dropout: float = 0.1,
        rho: float = -5.0,
    ) -> None:
        super().__init__()
        self.embed = BayesianLinear(channels, dim, rho=rho)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, dim))
        self.embed_scores = nn.Linear(scores, dim) if scores else None
        count = tokens + bool(scores)
        blocks = [MixerBlock(count, dim, segment_expansion, channel_expansion, 2, dropout) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = BayesianLinear(dim, 1, rho=rho)

    def forward(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Score `(batch, tokens, channels)` and `(batch, scores)` as `(batch,)`; bigger is better."""
        x = self.embed(tokens) + self.place
        if self.embed_scores is not None:
            x = torch.cat([x, self.embed_scores(scores).unsqueeze(1)], dim=1)
        score: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return score.squeeze(-1)
