"""The mixer of the default ranker: one token for each position of the search space, one for all proxies together."""

import torch
from torch import Tensor, nn

from parzc.encoding.inputs import TokenInputs
from parzc.models.bayesian import BayesianLinear
from parzc.models.mixer import MixerBlock


class TokenMixer(nn.Module):
    """Embeds tokens and proxies, mixes across tokens and channels, averages, and scores with a Bayesian head.

    The parts are those of the ParZC paper's mixer (sec. 3.3) in the same order: Bayesian layer, blocks that mix across
    segments, pooling, Bayesian head. What differs is that a segment is a position of the search space, where the paper
    cuts a projection of all statistics into segments. Proxies may be hidden, for pre-training: every proxy comes with a
    flag that is 1 where it is shown.

    Args:
        tokens: number of positions.
        channels: inputs of each position.
        scores: number of proxies, 0 for none.
        arch: columns of the architecture encoding, which is a token of its own; 0 for none.
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
        arch: int = 0,
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
        self.embed_arch = nn.Linear(arch, dim) if arch else None
        count = tokens + bool(scores) + bool(arch)
        blocks = [MixerBlock(count, dim, segment_expansion, channel_expansion, 2, dropout) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = BayesianLinear(dim, 1, rho=rho)

    def embed(self, inputs: TokenInputs, shown: Tensor | None = None) -> Tensor:
        """Map inputs of `n` candidates to `(n, dim)`; the block statistics among them are not read here.

        Args:
            inputs: of `n` candidates.
            shown: `(n, scores)`, 1 where a proxy may be seen and 0 where it is hidden; all are shown if not given.
        """
        x = self.embed_tokens(inputs.tokens) + self.place
        if self.embed_scores is not None:
            shown = torch.ones_like(inputs.scores) if shown is None else shown
            x = torch.cat([x, self.embed_scores(torch.cat([inputs.scores * shown, shown], 1)).unsqueeze(1)], dim=1)
        if self.embed_arch is not None and inputs.arch is not None:
            x = torch.cat([x, self.embed_arch(inputs.arch.columns()).unsqueeze(1)], dim=1)
        return torch.mean(self.norm(self.blocks(x)), dim=1)

    def forward(self, inputs: TokenInputs) -> Tensor:
        """Score networks as `(n,)`, bigger is better."""
        score: Tensor = self.head(self.embed(inputs))
        return score.squeeze(-1)
