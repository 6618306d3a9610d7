"""The graph convolutional encoder of architectures."""

import itertools

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense import DenseGCNConv


class GCN(nn.Module):
    """Graph convolutions along the data flow and against it, averaged, and the mean over vertices.

    One layer is `H' = (relu(G(A^T) H W_along) + relu(G(A) H W_against)) / 2` with the update of the ParZC paper,
    `G(A) = D^-1/2 (A + I) D^-1/2`, where `D` holds the row sums of `A + I`. With `A` true at `[i, j]` where vertex `j`
    reads from vertex `i`, `A^T` lets each vertex take from those it reads from. The paper leaves open which way its
    edges point, and refers to the neural predictor, which goes both ways with weights of their own and averages.

    Args:
        operations: number of labels that a vertex may have.
        dim: channels of every layer and of the embedding.
        depth: number of layers, >= 1.
        dropout: probability, behind every layer.

    Source: ParZC, equation (1); Wen et al., "Neural Predictor for Neural Architecture Search", 2020, section 3.2.
    """

    def __init__(self, operations: int, dim: int = 64, depth: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        widths = [operations, *[dim] * depth]
        sizes = list(itertools.pairwise(widths))
        self.along = nn.ModuleList([DenseGCNConv(width, out, bias=False) for width, out in sizes])
        self.against = nn.ModuleList([DenseGCNConv(width, out, bias=False) for width, out in sizes])
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, operations: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Embed graphs as `(batch, dim)`.

        Args:
            operations: `(batch, V, operations)`, one-hot.
            adjacency: `(batch, V, V)`, true at `[:, i, j]` where vertex `j` reads from vertex `i`.
            mask: `(batch, V)`, true where there is a vertex.
        """
        x, edges = operations.float(), adjacency.float()
        for along, against in zip(self.along, self.against, strict=True):
            # DenseGCNConv sums over the columns of a row: without the transpose a vertex takes from its readers.
            ahead, back = along(x, edges.transpose(1, 2), mask), against(x, edges, mask)
            x = self.dropout((torch.relu(ahead) + torch.relu(back)) / 2)
        pooled: Tensor = self.norm(x.sum(1) / mask.sum(1, keepdim=True))
        return pooled
