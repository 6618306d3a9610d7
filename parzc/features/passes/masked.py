"""Activation patterns of a network with masked activations and layer norm: the setting of NCD.

The supplement of the NCD paper makes two changes before activation patterns are counted. Stochastic activation masking
(SAM) sets each activation to zero with probability alpha. As that is meant to save work in the convolutions that follow
(A.3), the zeros are passed on, without the rescaling of dropout. Non-linear rescaling (NIR) puts layer norm over
channels and positions in the place of batch norm (A.2.1), here with the weight and bias of the batch norm.

The supplement leaves open whether all inputs of a batch have the same masks, and whether a masked unit counts as
inactive. Here both hold, and the negative correlation goes: in sequences of growing networks the plain scores fall,
these do not (`benchmarks/ncd.py`, docs/proxies.md).
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parzc.features.passes.batch import Batch
from parzc.features.passes.bits import Patterns, ones_where_positive, pack_units
from parzc.features.passes.state import Contents, random_bytes
from parzc.features.passes.trace import RECTIFIERS, Recorder

RATE = 0.5
"""Probability alpha that an activation is masked (App. C)."""


def masked_patterns(
    network: nn.Module,
    inputs: Tensor | Batch,
    seed: int,
    rate: float = RATE,
    norm: bool = True,
    contents: Contents | None = None,
) -> Patterns:
    """Return which units are active where activations are masked and layer norm takes the place of batch norm.

    Args:
        network: any module.
        inputs: one batch.
        seed: of the masks.
        rate: probability alpha of masking an activation.
        norm: whether to replace batch norm.
        contents: of the network, if they are known.

    Returns:
        Packed patterns, an entry for each application of a rectifier.
    """
    batch = Batch.of(inputs)
    applied, active = itertools.count(), list[Tensor]()

    def masking(rectifier: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Any, **kwargs: Any) -> Tensor:
            units = ones_where_positive(args[0] if args else kwargs["input"])
            output = rectifier(*args, **kwargs)
            mask = _mask(units, output, rate, seed, f"mask {next(applied)}")
            active.append(pack_units(units.mul_(mask), len(batch)))
            return output.mul_(mask)

        return run

    replace: dict[Callable[..., Any], Callable[..., Any]] = {f: masking(f) for f in RECTIFIERS}
    if norm:
        replace[F.batch_norm] = _layer_norm
    with torch.no_grad(), Recorder(network, len(batch), replace, contents=contents):
        batch.clone().run(network)
    return Patterns(active, len(batch))


def _mask(units: Tensor, output: Tensor, rate: float, seed: int, name: str) -> Tensor:
    """Return one mask for all inputs, `(1, ...)`: zero with probability `rate`, else one."""
    # 16 random bits decide for each unit.
    bits = random_bytes(2 * output[0].numel(), seed, name).view(torch.int16).float()
    kept = torch.ge(bits, int(rate * 2**16) - 2**15, out=bits).view(output.shape[1:])
    # In the memory layout of the units, so that products need not go through memory in two orders.
    return torch.empty_like(units[:1]).copy_(kept)


def _layer_norm(
    input: Tensor,
    _mean: Tensor | None = None,
    _variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *options: Any,
    eps: float = 1e-5,
    **_: Any,
) -> Tensor:
    """Normalise each input over channels and positions, called as batch norm is."""
    return F.group_norm(input, 1, weight, bias, options[2] if len(options) > 2 else eps)
