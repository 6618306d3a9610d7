"""The graph convolutional network, an architecture encoder: it maps graphs to embeddings."""

import itertools

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense import DenseGCNConv


class GraphConvolutions(nn.Module):
    """Graph convolutions along the data flow and against it, averaged.

    One layer is `H' = (relu(G(A^T) H W_along) + relu(G(A) H W_against)) / 2` with the update of the ParZC paper,
    `G(A) = D^-1/2 (A + I) D^-1/2`, where `D` holds the row sums of `A + I`. With `A` true at `[i, j]` where vertex `j`
    reads from vertex `i`, `A^T` lets each vertex take from those it reads from. The paper leaves open which way its
    edges point, and refers to the neural predictor, which goes both ways with weights of their own and averages.

    Args:
        operations: number of labels that a vertex may have.
        dim: channels of every layer.
        depth: number of layers, >= 1.
        dropout: probability, behind every layer.

    Source: ParZC, equation (1); Wen et al., "Neural Predictor for Neural Architecture Search", 2020, section 3.2.
    """

    def __init__(self, operations: int, dim: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = list(itertools.pairwise([operations, *[dim] * depth]))
        self.along = nn.ModuleList([DenseGCNConv(width, out, bias=False) for width, out in sizes])
        self.against = nn.ModuleList([DenseGCNConv(width, out, bias=False) for width, out in sizes])
        self.dropout = nn.Dropout(dropout)

    def forward(self, operations: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Map `(batch, V, operations)` to `(batch, V, dim)` over the edges `(batch, V, V)`; 0 outside `mask`."""
        x, edges = operations.float(), adjacency.float()
        for along, against in zip(self.along, self.against, strict=True):
            # DenseGCNConv sums over the columns of a row: without the transpose a vertex takes from its readers.
            ahead, back = along(x, edges.transpose(1, 2), mask), against(x, edges, mask)
            x = self.dropout((torch.relu(ahead) + torch.relu(back)) / 2)
        return x


class GCN(nn.Module):
    """Graph convolutions, the mean over vertices, and a layer norm.

    The norm is not in the paper. The mean over vertices that average their neighbours is small and alike for all
    architectures, so that the node statistics it is added to would hide it.

    Args:
        operations: number of labels that a vertex may have.
        dim: channels of every layer and of the embedding.
        depth: number of layers, >= 1.
        dropout: probability, behind every layer.

    Source: ParZC, section A.4.
    """

    def __init__(self, operations: int, dim: int = 64, depth: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.convolutions = GraphConvolutions(operations, dim, depth, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, operations: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Embed graphs as `(batch, dim)`.

        Args:
            operations: `(batch, V, operations)`, one-hot.
            adjacency: `(batch, V, V)`, true at `[:, i, j]` where vertex `j` reads from vertex `i`.
            mask: `(batch, V)`, true where there is a vertex.
        """
        embedding: Tensor = self.norm(mean_over_vertices(self.convolutions(operations, adjacency, mask), mask))
        return embedding


def mean_over_vertices(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `(batch, V, dim)` over the vertices in `mask`, `(batch, dim)`."""
    return (x * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
