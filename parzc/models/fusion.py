"""The networks of the preset `paper`: node statistics alone, or with the graph of an architecture."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from parzc.encoding.inputs import PaddedInputs

if TYPE_CHECKING:
    from parzc.models.gcn import GCN
    from parzc.models.pinat import PINAT

GRAPHS = ("gcn", "pinat")
"""The architecture encoders."""


class StatisticsRanker(nn.Module):
    """Scores the node statistics of networks.

    Args:
        nodes: maps node statistics to `(n,)`.
    """

    def __init__(self, nodes: nn.Module) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, inputs: PaddedInputs) -> Tensor:
        """Score networks as `(n,)`, bigger is better."""
        score: Tensor = self.nodes(inputs.nodes)
        return score


class FusedRanker(nn.Module):
    """Adds the embedding of the node statistics to that of the graph and scores the sum.

    `y = R(H_z + H_p)`, where `R` is two fully connected layers. The paper names nothing between the two (its code has
    dropout only, so that they are one linear map); here there is ReLU, without which statistics and graph could not
    interact. Both layers are plain, as the paper says: the Bayesian head of MABN stays where figure 3 has it,
    behind the mixer, and widens from the score to the embedding `H_z`, which `predict_dist` draws.

    Args:
        nodes: maps node statistics to `(n, dim)`.
        graph: maps operations, adjacency and mask to `(n, dim)`.
        dim: of both.
        dropout: probability, between the two layers of `R`.

    Source: ParZC, section A.4.
    """

    def __init__(self, nodes: nn.Module, graph: nn.Module, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.nodes, self.graph = nodes, graph
        self.regressor = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, inputs: PaddedInputs) -> Tensor:
        """Score networks as `(n,)`, bigger is better.

        Raises:
            ValueError: if the inputs hold no graphs.
        """
        if inputs.graphs is None:
            raise ValueError("the graphs of the architectures are missing")
        graphs, of_nodes = inputs.graphs, self.nodes(inputs.nodes)
        score: Tensor = self.regressor(of_nodes + self.graph(graphs.operations, graphs.adjacency, graphs.mask))
        return score.squeeze(-1)


def graph_encoder(name: str, operations: int, **arguments: Any) -> "GCN | PINAT":
    """Return the untrained encoder called `name` (one of `GRAPHS`) for vertices with `operations` labels."""
    # torch-geometric takes seconds to import, and rankers without an encoder do not need it.
    from parzc.models.gcn import GCN
    from parzc.models.pinat import PINAT

    return GCN(operations, **arguments) if name == "gcn" else PINAT(operations, **arguments)
