"""The mixer of the default ranker: one token for each position of the search space, one for the network scores."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from parzc.models.bayesian import BayesianLinear
from parzc.models.mixer import MixerBlock


class TokenMixer(nn.Module):
    """Embeds tokens and scores, mixes across tokens and channels, averages, and scores with a Bayesian head.

    The parts are those of the ParZC paper's mixer (sec. 3.3) in the same order: Bayesian layer, blocks that mix across
    segments, pooling, Bayesian head. What differs is that a segment is a place of the search space, where the paper
    cuts a projection of all statistics into segments. Scores may be hidden, for pre-training: every score comes with a
    flag that says whether it is shown.

    Args:
        tokens: number of positions.
        channels: inputs of each position.
        scores: number of network scores, 0 for none.
        description: columns of the description of the architecture, which is a token of its own; 0 for none.
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
        description: int = 0,
        dim: int = 64,
        depth: int = 2,
        segment_expansion: float = 2.0,
        channel_expansion: float = 1.0,
        dropout: float = 0.1,
        rho: float = -5.0,
    ) -> None:
        super().__init__()
        self.embed_tokens = BayesianLinear(channels, dim, rho=rho)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, dim))
        self.embed_scores = nn.Linear(2 * scores, dim) if scores else None
        self.embed_description = nn.Linear(description, dim) if description else None
        count = tokens + bool(scores) + bool(description)
        blocks = [MixerBlock(count, dim, segment_expansion, channel_expansion, 2, dropout) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = BayesianLinear(dim, 1, rho=rho)

    def embed(
        self, tokens: Tensor, scores: Tensor, shown: Tensor | None = None, description: Sequence[Tensor] = ()
    ) -> Tensor:
        """Map `(batch, tokens, channels)`, `(batch, scores)` and descriptions to `(batch, dim)`.

        Args:
            tokens: statistics of each position.
            scores: network scores.
            shown: `(batch, scores)`, 1 where a score may be seen and 0 where it is hidden; all are shown if not given.
            description: of the architectures, where it enters, `(batch, columns)` each.
        """
        x = self.embed_tokens(tokens) + self.place
        if self.embed_scores is not None:
            shown = torch.ones_like(scores) if shown is None else shown
            x = torch.cat([x, self.embed_scores(torch.cat([scores * shown, shown], 1)).unsqueeze(1)], dim=1)
        if self.embed_description is not None:
            x = torch.cat([x, self.embed_description(torch.cat([*description], 1)).unsqueeze(1)], dim=1)
        return torch.mean(self.norm(self.blocks(x)), dim=1)

    def forward(self, tokens: Tensor, scores: Tensor, _: Tensor | None = None, *description: Tensor) -> Tensor:
        """Score networks as `(batch,)`, bigger is better; block statistics are for other members of the ranker."""
        score: Tensor = self.head(self.embed(tokens, scores, description=description))
        return score.squeeze(-1)
