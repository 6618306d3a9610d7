"""The inputs of the preset `paper`: padded nodes, and the graphs of architectures where these enter."""

from collections.abc import Sequence

import numpy as np
import torch

from parzc.datasets import Space
from parzc.encoding._base import Encoder, whole_number
from parzc.encoding.graphs import graph_arrays
from parzc.encoding.inputs import Graphs, PaddedInputs, Shapes
from parzc.encoding.layouts import Reduction, node_matrix
from parzc.features.store.table import FeatureTable


class PaddedEncoder(Encoder[PaddedInputs]):
    """The input of the ParZC paper (sec. 3.2, A.3): nodes in order, min-max per network and statistic, zeros behind.

    Missing values are 0. Nothing is fitted but the width, and the number of vertices of the largest graph.

    Args:
        statistics: node statistics, concatenated in this order.
        width: nodes of the longest network; taken from the features it is fitted on if 0. Longer networks are cut.
        graphs: the search space, if the graphs of architectures enter (sec. A.4); rows of features are then named by
            their architectures.
        reduction: over the elements of a node.
    """

    def __init__(
        self,
        statistics: Sequence[str],
        width: int = 0,
        graphs: Space | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(statistics)
        self.width, self.graphs, self.reduction = width, graphs, reduction

    def _fit(self, table: FeatureTable) -> None:
        self.arrays = {"width": np.array([self.width or np.diff(table.offsets).max()], dtype=np.float64)}
        if self.graphs is not None:
            *_, mask = graph_arrays(table.archs, self.graphs)
            self.arrays["vertices"] = np.array([mask.shape[1]], dtype=np.float64)

    def _transform(self, table: FeatureTable) -> PaddedInputs:
        matrix = node_matrix(
            table,
            self.statistics,
            width=int(self.arrays["width"][0]),
            layout="padded",
            reduction=self.reduction,
            encoding="minmax",
        )
        nodes = torch.from_numpy(np.nan_to_num(matrix).reshape(len(table), -1).astype(np.float32))
        if self.graphs is None:
            return PaddedInputs(nodes)
        arrays = graph_arrays(table.archs, self.graphs, width=int(self.arrays["vertices"][0]))
        return PaddedInputs(nodes, Graphs(*map(torch.from_numpy, arrays)))

    def _check_arrays(self, shapes: Shapes) -> None:
        graphs = ("operations", "adjacency", "mask") if self.graphs is not None else ()
        if tuple(shapes) != ("nodes", *graphs):
            raise ValueError("the encoder does not fit the inputs")
        if shapes["nodes"] != (len(self.statistics) * whole_number(self.arrays["width"]),):
            raise ValueError("the width of the encoder does not fit the inputs")
        if graphs and not 0 < whole_number(self.arrays["vertices"]) <= shapes["mask"][0]:
            raise ValueError("the number of vertices of the encoder does not fit the inputs")
