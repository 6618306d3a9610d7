"""MeCo (Jiang et al. 2023): the smallest eigenvalue of the correlation between the channels of each feature map.

One input and one forward pass. A feature map is the output of a convolution or linear map, before any norm; with as
many channels as positions or more, or with a constant channel, the eigenvalue is zero.
"""

from collections.abc import Mapping

import numpy as np

from parzc.features.passes.passes import Passes
from parzc.features.proxies._registry import NodeValues, ProxyInfo, register


def _by_node(passes: Passes, values: Mapping[str, float]) -> NodeValues:
    return np.array([values[node.name] for node in passes.forward])


register(
    ProxyInfo(
        name="meco",
        meaning="smallest eigenvalue of the correlation between channels, summed over feature maps",
        source="Jiang et al. 2023 (MeCo, NeurIPS), eq. 12, over the outputs of convolutions and linear maps",
        bigger_is_better=True,
        passes=("forward", "feature_maps"),
        inputs="first",
        batch_norm="batch",
        elements="node",
        node_values=lambda passes: _by_node(passes, passes.feature_maps.all_channels),
    )
)
register(
    ProxyInfo(
        name="meco_opt",
        meaning="the same over 8 channels drawn at random, times channels over 8",
        source="Jiang et al. 2023 (MeCo, NeurIPS), eq. 13, n = 8 (all channels where there are fewer)",
        bigger_is_better=True,
        passes=("forward", "feature_maps"),
        inputs="first",
        batch_norm="batch",
        elements="node",
        node_values=lambda passes: _by_node(passes, passes.feature_maps.sampled),
    )
)
register(
    ProxyInfo(
        name="meco_modules",
        meaning="meco over the outputs of all modules and containers, which published code computes",
        source="Jiang et al. 2023 (MeCo), published code: a hook on every module, the network itself included",
        bigger_is_better=True,
        passes=("feature_maps",),
        inputs="first",
        batch_norm="batch",
        network_value=lambda passes: passes.feature_maps.modules,
    )
)
