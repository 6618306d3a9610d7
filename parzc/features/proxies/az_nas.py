"""AZ-NAS (Lee and Ham 2024, sec. 3.1): expressivity, progressivity and trainability of the primary blocks.

The fourth proxy, complexity, is `flops`. The AZ-NAS score ranks all four within a population of architectures:
`parzc.features.aggregate_ranks` with the columns `AZ_NAS`.
"""

import numpy as np

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues

AZ_NAS = ("expressivity", "progressivity", "trainability", "flops")
"""The proxies whose ranks AZ-NAS aggregates."""

AZ_NAS_VIT = ("expressivity", "trainability", "flops")
"""The same for vision transformers: without progressivity, as in the paper (sec. 4.1, footnote 1), because attention is
nearly alike for all tokens of Gaussian inputs, so that features need not expand from block to block."""


def _entropies(passes: Passes) -> NodeValues:
    entropy = passes.blocks.entropy
    if not np.isfinite(entropy).all():
        where = passes.blocks.names[int(np.argmin(np.isfinite(entropy)))]
        raise Undefined(f"the output of block '{where}' is constant or not finite, so that its spectrum has no entropy")
    return entropy


def _trainabilities(passes: Passes) -> NodeValues:
    norms = passes.blocks.spectral_norm
    if not (norms > 0).all():
        where = passes.blocks.names[int(np.argmin(norms > 0)) + 1]
        raise Undefined(f"the output of block '{where}' does not depend on the block before it")
    # The first block has none before it.
    return np.concatenate([[0.0], 2 - norms - 1 / norms])


def _trainability(passes: Passes) -> float:
    return float(_trainabilities(passes)[1:].mean())


def _trainability_published(passes: Passes) -> float:
    blocks = passes.blocks
    if blocks.passed_on.any():
        where = blocks.names[int(np.argmax(blocks.passed_on)) + 1]
        raise Undefined(f"block '{where}' hands gradients on unchanged")
    return _trainability(passes)


_blocks = Family(
    passes=("blocks",), inputs="gaussian", initialisation="kaiming", batch_norm="batch", needs="two primary blocks"
)
_PAPER = "Lee and Ham 2024 (AZ-NAS, CVPR), "

_blocks.add(
    "expressivity",
    "entropy of the spectrum of the features, summed over primary blocks",
    _PAPER + "eqs. 1 to 4",
    block_values=_entropies,
    network_value=lambda passes: float(_entropies(passes).sum()),
)
_blocks.add(
    "progressivity",
    "smallest growth of that entropy from one primary block to the next",
    _PAPER + "eq. 5",
    network_value=lambda passes: float(np.diff(_entropies(passes)).min()),
)
_blocks.add(
    "trainability",
    "how close to one the spectral norms of the Jacobians between primary blocks are; at most 0",
    _PAPER + "eqs. 6 to 11",
    block_values=_trainabilities,
    network_value=_trainability,
)
_blocks.add(
    "trainability_published",
    "trainability, but none where a block hands gradients on unchanged, which published code computes",
    _PAPER + "published code: minus infinity where input and output gradient are equal",
    network_value=_trainability_published,
)
