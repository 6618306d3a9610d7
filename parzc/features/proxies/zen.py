"""Zen-score (Lin et al. 2021, arXiv:2102.01063): how far features move with the input, batch norm's scaling undone."""

import math

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family

_perturbed = Family(passes=("perturbed",), inputs="gaussian", initialisation="normal", batch_norm="batch")


def _score(distance: float, variances: list[float]) -> float:
    if not math.isfinite(distance):
        raise Undefined("the features before global pooling are not finite")
    if distance == 0:
        raise Undefined("the features before global pooling do not move with the input")
    # A layer that puts out a constant has no scale to undo.
    return math.log(distance) + sum(0.5 * math.log(v) for v in variances if v > 0)


@_perturbed.proxy(
    "zen",
    "log of how far the features before global pooling move with the input, batch norm's scaling undone",
    "Lin et al. 2021 (ZenNAS, arXiv:2102.01063), MeCo app. B: log E||f(x) - f(x + .01 e)|| + sum log s_BN",
)
def _zen(passes: Passes) -> float:
    moved = passes.perturbed.moved
    return _score(float(moved.norm(dim=1).mean()), passes.perturbed.variances)


@_perturbed.proxy(
    "zen_published",
    "zen with absolute differences and running variances, which published code computes",
    "Lin et al. 2021 (ZenNAS), published code: absolute differences, running variance after two passes",
)
def _zen_published(passes: Passes) -> float:
    moved = passes.perturbed.moved
    return _score(float(moved.abs().sum(1).mean()), passes.perturbed.running)
