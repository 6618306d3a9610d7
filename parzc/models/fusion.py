"""Node statistics and the graph of an architecture in one model."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from parzc.models.gcn import GCN
    from parzc.models.pinat import PINAT

GRAPHS = ("gcn", "pinat")
"""The encoders of architectures."""


class FusedRanker(nn.Module):
    """Adds the embedding of the node statistics to that of the graph and scores the sum.

    `y = R(H_z + H_p)`, where `R` is two fully connected layers. The paper names nothing between the two (its code has
    dropout only, so that they are one linear map); here there is ReLU, without which statistics and graph could not
    act on each other. Both layers are plain, as the paper says: the Bayesian head of MABN stays where figure 3 has it,
    behind the mixer, and widens from the score to the embedding `H_z`, which `predict_dist` draws.

    Args:
        nodes: maps node statistics to `(batch, dim)`.
        graph: maps operations, adjacency and mask to `(batch, dim)`.
        dim: of both.
        dropout: probability, between the two layers of `R`.

    Source: ParZC, section A.4.
    """

    def __init__(self, nodes: nn.Module, graph: nn.Module, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.nodes, self.graph = nodes, graph
        self.regressor = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, statistics: Tensor, operations: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        """Score networks as `(batch,)`, bigger is better.

        Args:
            statistics: `(batch, in_features)`.
            operations: `(batch, V, labels)`, one-hot.
            adjacency: `(batch, V, V)`, true at `[:, i, j]` where vertex `j` reads from vertex `i`.
            mask: `(batch, V)`, true where there is a vertex.
        """
        score: Tensor = self.regressor(self.nodes(statistics) + self.graph(operations, adjacency, mask))
        return score.squeeze(-1)


def graph_encoder(name: str, operations: int, **arguments: Any) -> "GCN | PINAT":
    """Return the untrained encoder called `name` (one of `GRAPHS`) for vertices with `operations` labels."""
    # torch-geometric takes seconds to import, and rankers without an encoder do not need it.
    from parzc.models.gcn import GCN
    from parzc.models.pinat import PINAT

    return GCN(operations, **arguments) if name == "gcn" else PINAT(operations, **arguments)
