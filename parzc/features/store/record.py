"""The features of one network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NODE_FIELDS = ("depth", "weights", "channels", "macs")


@dataclass(frozen=True, eq=False)
class NodeFeatures:
    """Statistics and proxies of one network, and what its nodes and primary blocks are.

    Args:
        nodes: names of the nodes, depth first from the input (`n` entries).
        kinds: sort of operation of each node, such as `conv2d`.
        fields: `(n, 4)` integers, the columns `NODE_FIELDS`: depth (number of nodes on the longest path before this
            one), number of weights, of output channels, and of multiply-accumulates for one input.
        statistics: name to `(n,)` values, summed over the elements (`ProxyInfo.elements`) of each node; natural
            logarithms of the sum where `ProxyInfo.scale` is `log`. NaN where `reasons` says why.
        blocks: names of the primary blocks whose values were asked for (`b` entries).
        block_statistics: name to `(b,)` values; a statistic that `reasons` lists is absent.
        scores: proxy name to the value of the network; NaN where `reasons` says why.
        reasons: statistic or proxy name to why it has no value.
        seconds: pass or proxy name to the seconds it took.
    """

    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    fields: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, float]
    blocks: tuple[str, ...] = ()
    block_statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nodes)
