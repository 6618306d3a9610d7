"""Node statistics beside the graphs of the architectures: what rankers with an encoder of architectures read."""

from collections.abc import Sequence

import numpy as np

from parzc.datasets import Space
from parzc.encoding.encoders import Encoder, Inputs, whole_number
from parzc.encoding.graphs import graph_arrays
from parzc.features.store.table import FeatureTable


class GraphEncoder(Encoder):
    """The inputs of another encoder, and behind them the graphs of the architectures that the rows are named by.

    Returns the arrays of `statistics` and the three of `graph_arrays`. Only the scales of the other encoder are
    fitted, and the number of vertices of the largest graph.

    Args:
        nodes: encoder of the node statistics.
        space: search space of the architectures.
    """

    def __init__(self, nodes: Encoder, space: Space) -> None:
        super().__init__(nodes.statistics, nodes.scores)
        self.nodes, self.space = nodes, space

    def _fit(self, table: FeatureTable) -> None:
        self.nodes.fit(table)
        *_, mask = graph_arrays(table.archs, self.space)
        self.arrays = {**self.nodes.arrays, "vertices": np.array([mask.shape[1]], dtype=np.float64)}

    def _transform(self, table: FeatureTable) -> Inputs:
        # A ranker that was loaded sets the fitted values of this encoder alone.
        self.nodes.arrays = self.arrays
        graphs = graph_arrays(table.archs, self.space, width=int(self.arrays["vertices"][0]))
        return (*self.nodes._transform(table), *graphs)

    def _check_arrays(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self.nodes.arrays = self.arrays
        self.nodes._check_arrays(shapes[:-3])
        if not 0 < whole_number(self.arrays["vertices"]) <= shapes[-1][0]:
            raise ValueError("the number of vertices of the encoder does not fit the inputs")
