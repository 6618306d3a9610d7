"""Which architectures of a space that is not measured are worth measuring, from what costs nothing."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from parzc.encoding.architecture import ArchScaling
from parzc.encoding.inputs import TokenInputs
from parzc.encoding.scaling import RankGauss, normal_scores
from parzc.models._posterior import Posterior
from parzc.models.gaussian_process import GaussianProcess
from parzc.ranker.acquisition import log_expected_improvement
from parzc.ranker.presets import Preset
from parzc.search.budgets import STATIC
from parzc.search.history import Trial
from parzc.search.pool import Pool


def near_the_best(trained: Sequence[Trial], pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
    """Return up to `n` candidates made from the best trials, by mutation and crossover in turn.

    Args:
        trained: the trials that may be parents, the best first.
        pool: the candidates.
        n: how many.
        rng: of all that is drawn.
    """
    if not trained or not pool.space.decisions:
        return []
    made: dict[str, None] = {}
    for index in range(n):
        one, other = (trained[int(i)].arch for i in rng.integers(len(trained), size=2))
        child = pool.crossover(one, other, rng) if index % 2 and one != other else pool.mutate(one, rng)
        if child is not None:
            made[child] = None
    return list(made)


def worth_measuring(
    archs: Sequence[str], trained: Sequence[Trial], pool: Pool, preset: Preset, n: int, seed: int
) -> list[str]:
    """Return those `n` architectures whose expected improvement is largest, as far as cheap columns show.

    A Gaussian process learns the labels from the architecture encoding, parameters, multiply-accumulates and number of
    layers; nothing is measured.

    Args:
        archs: the candidates.
        trained: trials with labels, at least two.
        pool: counts costs.
        preset: of the ranker; its settings of the Gaussian process and sizes of the encoding are taken.
        n: how many.
        seed: of the process.
    """
    inputs = _cheap_columns([*(trial.arch for trial in trained), *archs], pool, preset)
    targets = normal_scores(np.array([trial.value for trial in trained]))
    labelled = inputs[: len(trained)]
    process = GaussianProcess(len(trained), inputs.shapes, preset.member_configs["gaussian_process"])
    process.fit(labelled, torch.from_numpy(targets), inputs, seed)
    gains = [
        log_expected_improvement(posterior.mean.numpy(), posterior.variance.clamp_min(0).sqrt().numpy(), targets.max())
        for posterior in _posteriors(process, inputs[len(trained) :])
    ]
    return [archs[i] for i in np.argsort(-np.concatenate(gains), kind="stable")[:n]]


def _posteriors(process: GaussianProcess, inputs: TokenInputs) -> Iterator[Posterior]:
    with torch.no_grad():
        for rows in inputs.batches():
            yield process.posterior(rows)


def _cheap_columns(archs: Sequence[str], pool: Pool, preset: Preset) -> TokenInputs:
    """Return architecture encoding and costs as inputs of a Gaussian process, everything else empty."""
    costs = np.array([[pool.budget.cost(arch, name) for name in STATIC] for arch in archs])
    scaling = ArchScaling(pool.space, preset.encoding.vertices)
    empty: NDArray[np.float32] = np.zeros((len(archs), 0), dtype=np.float32)
    return TokenInputs(
        torch.from_numpy(empty),
        torch.from_numpy(RankGauss(preset.encoding.quantiles).fit(costs).transform(costs).astype(np.float32)),
        torch.from_numpy(empty),
        scaling.transform(archs, scaling.fit(archs)),
    )
