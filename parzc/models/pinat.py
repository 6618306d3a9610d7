"""The permutation-invariant transformer of PINAT, an architecture encoder: it maps graphs to embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parzc.models.gcn import GraphConvolutions, mean_over_vertices

WALKS = 8
"""Longest walk behind `positions`."""


def positions(adjacency: Tensor) -> Tensor:
    """Return where each vertex stands in its graph, whatever the order of the vertices.

    These are the probabilities that a random walk over the edges, taken both ways, is back at its vertex after 1 to
    `WALKS` steps, and the logarithms of 1 plus the numbers of edges into and out of the vertex. One step is `I - L`
    with the random-walk Laplacian `L`. Eigenvectors of the Laplacian, and its rows (which published code feeds),
    depend on signs or on the order of the vertices; these diagonals do not.

    Args:
        adjacency: `(batch, V, V)`, 1 at `[:, i, j]` where vertex `j` reads from vertex `i`.

    Returns:
        `(batch, V, WALKS + 2)`; zeros for a vertex without edges.

    Source: Dwivedi et al., "Graph Neural Networks with Learnable Structural and Positional Representations", 2022,
    section 3.1 (random walk encoding).
    """
    both = adjacency + adjacency.transpose(1, 2)
    step = both / both.sum(2, keepdim=True).clamp_min(1)
    walk, columns = step, []
    for _ in range(WALKS):
        columns.append(walk.diagonal(dim1=1, dim2=2))
        walk = walk @ step
    degrees = [torch.log1p(adjacency.sum(1)), torch.log1p(adjacency.sum(2))]
    return torch.stack([*columns, *degrees], dim=2)


class Neighbours(nn.Module):
    """The permutation invariance module: a function of a vertex and of the sets of its neighbours.

    `out(x, sum over those it reads from of f(u), sum over its readers of g(u))` with one linear layer and ReLU for `f`
    and `g`: any function that does not depend on the order within the two sets can be written with such sums.

    Args:
        width: channels of a vertex.
        hidden: channels of the sums, `pine_hidden` of the paper.
        out: channels of the result.

    Source: Gui et al., "PINE: Universal Deep Embedding for Graph Nodes via Partial Permutation Invariant Set
    Functions", 2021, which PINAT builds on.
    """

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.each = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(width + 2 * hidden, out)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Map `(batch, V, width)` to `(batch, V, out)` over the edges `(batch, V, V)`."""
        before, after = torch.split(torch.relu(self.each(x)), self.hidden, dim=2)
        sums = [adjacency.transpose(1, 2) @ before, adjacency @ after]
        mapped: Tensor = self.out(torch.cat([x, *sums], dim=2))
        return mapped


class PINATLayer(nn.Module):
    """One layer: heads of self-attention and of `Neighbours` side by side, joined by a linear map; a feed-forward.

    Half of the heads (rounded down) look at neighbours; published code has two of each. A head of either sort gives
    `d_kv` channels. Both parts have a layer norm in front and a residual around them, where the first transformer has
    the norm behind: what the convolutions found stays in the sum.

    Args:
        d_model: channels of a vertex.
        n_head: number of heads, >= 2.
        pine_hidden: hidden channels of each head that looks at neighbours.
        d_kv: channels of keys, values and results of a head.
        d_inner: hidden channels of the feed-forward.
        dropout: probability.

    Source: Lu et al., "PINAT", AAAI 2023 (permutation-invariant self-attention).
    """

    def __init__(self, d_model: int, n_head: int, pine_hidden: int, d_kv: int, d_inner: int, dropout: float) -> None:
        super().__init__()
        self.d_kv, self.dropout = d_kv, nn.Dropout(dropout)
        near = n_head // 2
        self.neighbours = nn.ModuleList([Neighbours(d_model, pine_hidden, d_kv) for _ in range(near)])
        self.project = nn.Linear(d_model, 3 * (n_head - near) * d_kv)
        self.join = nn.Linear(n_head * d_kv, d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, d_inner), nn.ReLU(), nn.Linear(d_inner, d_model))
        self.head_norm, self.feed_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Map `(batch, V, d_model)` to the same shape; attention leaves out the vertices outside `mask`."""
        normed = self.head_norm(x)
        query, key, value = self.project(normed).unflatten(2, (3, -1, self.d_kv)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        heads = [seen.transpose(1, 2).flatten(2), *[head(normed, adjacency) for head in self.neighbours]]
        x = x + self.dropout(self.join(torch.cat(heads, dim=2)))
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_norm(x)))
        return out


class PINAT(nn.Module):
    """Transformer over the vertices of a graph that does not depend on their order; the mean over vertices.

    A vertex enters as graph convolutions see it (the paper "then follows" them with the transformer), plus a linear map
    of its `positions`. That map starts at zero: positions are larger than what the convolutions give, and with few
    labels they would be learned by heart. All sums run over vertices that exist, so that padding changes nothing.

    The names of the sizes are those of the ParZC paper. It searches them on GPUs (4 layers, 6 heads, 765 channels for
    NAS-Bench-201); the defaults here are for dozens of labelled architectures on one core.

    Where the sources are silent, or published code departs from its paper: every vertex of the graph enters (published
    code takes the six edges of a NAS-Bench-201 cell as tokens, and the first four of them as the vertices of its graph
    part); neighbours are the vertices read from and the readers, apart; a layer norm is behind the mean, as in `GCN`.

    Args:
        operations: number of labels that a vertex may have.
        n_layers: number of layers.
        n_head: heads of a layer, attention and neighbours together, >= 2.
        pine_hidden: hidden channels of the permutation invariance module.
        d_word_model: channels of a vertex and of the embedding.
        d_kv: channels of a head.
        d_inner: hidden channels of the feed-forward.
        dropout: probability, in the layers.
        convolutions: number of graph convolutions in front, >= 1.

    Source: ParZC, section A.4; Lu et al., "PINAT: A Permutation INvariance Augmented Transformer for NAS Predictor",
    AAAI 2023.
    """

    def __init__(
        self,
        operations: int,
        n_layers: int = 3,
        n_head: int = 4,
        pine_hidden: int = 16,
        d_word_model: int = 64,
        d_kv: int = 16,
        d_inner: int = 128,
        dropout: float = 0.1,
        convolutions: int = 3,
    ) -> None:
        super().__init__()
        self.dim = d_word_model
        self.convolutions = GraphConvolutions(operations, d_word_model, convolutions)
        self.place = nn.Linear(WALKS + 2, d_word_model)
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        self.layers = nn.ModuleList(
            [PINATLayer(d_word_model, n_head, pine_hidden, d_kv, d_inner, dropout) for _ in range(n_layers)]
        )
        self.norm = nn.LayerNorm(d_word_model)

    def forward(self, operations: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Embed graphs as `(batch, d_word_model)`.

        Args:
            operations: `(batch, V, operations)`, one-hot.
            adjacency: `(batch, V, V)`, true at `[:, i, j]` where vertex `j` reads from vertex `i`.
            mask: `(batch, V)`, true where there is a vertex.
        """
        edges = adjacency.float()
        x = self.convolutions(operations, adjacency, mask) + self.place(positions(edges))
        for layer in self.layers:
            x = layer(x, edges, mask)
        embedding: Tensor = self.norm(mean_over_vertices(x, mask))
        return embedding
