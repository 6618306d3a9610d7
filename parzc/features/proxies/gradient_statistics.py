"""Proxies that compare the gradients of several samples of data at each weight.

The samples are the batches where several are given, else the single inputs of the one batch; `gradsign` always takes
single inputs. Moments are over samples, variances those of the population, and a weight whose gradient does not vary
is left out of a ratio.
"""

from collections.abc import Callable

import numpy as np

from parzc.features.passes.passes import Passes, Undefined
from parzc.features.proxies._family import Family
from parzc.features.proxies._info import NodeValues


def _sums(passes: Passes, name: str) -> NodeValues:
    if passes.samples.n < 2:
        raise Undefined("one sample has no variance; give at least two inputs")
    return passes.samples.sums[name]


def _sum_of(name: str) -> Callable[[Passes], NodeValues]:
    def node_values(passes: Passes) -> NodeValues:
        return _sums(passes, name)

    return node_values


def _log_of(name: str) -> Callable[[Passes], NodeValues]:
    def node_values(passes: Passes) -> NodeValues:
        ratios = _sums(passes, name)
        if not (ratios > 0).any():
            raise Undefined("no gradient varies between the samples")
        # A node without varying gradients is left out of the sum over nodes.
        return np.log(ratios, out=np.zeros_like(ratios), where=ratios > 0)

    return node_values


_samples = Family(passes=("samples",), labels=True, batch_norm="batch", across_batches=True)

_samples.add(
    "zico",
    "log of mean over deviation of the absolute gradient, summed over the weights of a node",
    "Li et al. 2023 (ZiCo, arXiv:2301.11300), as MeCo app. B writes it",
    elements="node",
    node_values=_log_of("zico"),
)
_samples.add(
    "zico_signed",
    "zico with the deviation of the signed gradient, which published code computes",
    "Li et al. 2023 (ZiCo), published code: standard deviation without absolute values",
    elements="node",
    node_values=_log_of("zico_signed"),
)

_XI_GSNR = "Sun et al. 2023 (xi-GSNR, ICCV), "
for _name, _meaning, _where in (
    ("xi_gsnr", "squared mean over variance of the gradient, smoothed", "eq. 10, xi = 1e-8"),
    ("gsnr", "squared mean over variance of the gradient", "table 9, row 4"),
    ("gsnr_mean", "squared mean of the gradient", "table 9, row 1"),
    ("gsnr_variance", "inverse variance of the gradient", "table 9, row 2"),
    ("xi_gsnr_variance", "inverse variance of the gradient, smoothed", "table 9, row 3"),
    (
        "xi_gsnr_accumulated",
        "xi_gsnr of running sums of gradients, which published code computes",
        "published code: gradients are not reset between samples",
    ),
):
    _samples.add(_name, _meaning, _XI_GSNR + _where, node_values=_sum_of(_name))


@_samples.statistic(
    "gradsign",
    "on how many inputs the sign of the gradient agrees, summed over weights",
    "Zhang and Jia 2022 (GradSign, arXiv:2110.08616), as MeCo app. B writes it: sum_k |sum_i sign g_ik|",
    across_batches=False,
)
def _gradsign(passes: Passes) -> NodeValues:
    return passes.samples.sums["gradsign"]


@_samples.proxy(
    "gradsign_mean",
    "gradsign averaged over weights, which part of the published code computes",
    "Zhang and Jia 2022 (GradSign), published script: mean instead of sum",
    passes=("forward", "samples"),
    across_batches=False,
)
def _gradsign_mean(passes: Passes) -> float:
    weights = sum(node.weight.numel() for node in passes.forward)
    return float(passes.samples.sums["gradsign"].sum()) / weights
