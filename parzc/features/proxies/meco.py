"""MeCo (Jiang et al. 2023): the smallest eigenvalue of the correlation between the channels of each feature map.

One input and one forward pass. A feature map is the output of a convolution or linear map, before any norm; with as
many channels as positions or more, or with a constant channel, the eigenvalue is zero.
"""

from collections.abc import Mapping

import numpy as np

from parzc.features.passes.passes import Passes
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

_maps = Family(passes=("forward", "feature_maps"), inputs="first", batch_norm="batch", elements="node")


def _by_node(passes: Passes, values: Mapping[str, float]) -> NodeValues:
    return np.array([values[node.name] for node in passes.forward])


@_maps.statistic(
    "meco",
    "smallest eigenvalue of the correlation between channels, summed over feature maps",
    "Jiang et al. 2023 (MeCo, NeurIPS), eq. 12, over the outputs of convolutions and linear maps",
)
def _meco(passes: Passes) -> NodeValues:
    return _by_node(passes, passes.feature_maps.all_channels)


@_maps.statistic(
    "meco_opt",
    "the same over 8 channels drawn at random, times channels over 8",
    "Jiang et al. 2023 (MeCo, NeurIPS), eq. 13, n = 8 (all channels where there are fewer)",
)
def _meco_opt(passes: Passes) -> NodeValues:
    return _by_node(passes, passes.feature_maps.sampled)


@_maps.proxy(
    "meco_modules",
    "meco over the outputs of all modules and containers, which published code computes",
    "Jiang et al. 2023 (MeCo), published code: a hook on every module, the network itself included",
    passes=("feature_maps",),
    elements="weights",
)
def _meco_modules(passes: Passes) -> float:
    return passes.feature_maps.modules
