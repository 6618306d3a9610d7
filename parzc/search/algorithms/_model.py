"""The ranker of a guided search: fitted to a history, it says which candidates to train next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parzc.encoding.inputs import Inputs
from parzc.encoding.scaling import normal_scores
from parzc.models._posterior import Posterior
from parzc.models.members import make_member
from parzc.ranker.acquisition import log_expected_improvement, q_expected_improvement
from parzc.ranker.ensemble import Ensemble
from parzc.ranker.presets import Preset
from parzc.ranker.pretraining import WarmStart
from parzc.search.algorithms._hypervolume import Front, choose_by_hypervolume
from parzc.search.algorithms._population import Population
from parzc.search.history import History, Trial, fidelity

FEWEST = 2
"""Labels of one fidelity from which on they are learned from."""


@dataclass(frozen=True)
class Model:
    """A ranker that was fitted to a history.

    Args:
        rows: of the population: the candidates, then the pending trials.
        candidates: how many of them are candidates.
        posterior: of these rows.
        mean: `(rows,)` expected labels, on the scale of the posterior.
        best: label of the best trial, on that scale.
        unit: of a label, on that scale: how much a label changes where the target changes by one.
        scale: targets of the trials, ascending, and their labels.
        promoted: whether some candidates were trained already, briefly, and come again for a longer training.
    """

    rows: list[int]
    candidates: int
    posterior: Posterior
    mean: NDArray[np.float64]
    best: float
    unit: float
    scale: tuple[NDArray[np.float64], NDArray[np.float64]]
    promoted: bool

    @property
    def log_gain(self) -> NDArray[np.float64]:
        """The logarithm of the expected improvement of the label of each candidate alone, its noise included.

        What counts in the end is the best label. With its noise a candidate next to the best ones, where the process is
        sure, is worth less, and trainings go to where more is to be learned.
        """
        deviation = np.sqrt(np.maximum(self.posterior.label_variance.numpy(), 0.0))
        return log_expected_improvement(self.mean, deviation, self.best)[: self.candidates]

    def choose(self, n: int, preset: Preset, seed: int) -> list[int]:
        """Return the rows of the `n` candidates the best of which is expected to be as good as can be.

        Where candidates were trained briefly, those that are expected to be the best ones are taken: there is no label
        of the longer training yet that could be improved on.
        """
        gain = self.mean[: self.candidates] if self.promoted else self.log_gain
        short = np.argsort(-gain, kind="stable")[: max(n, preset.acquisition.shortlist)]
        if self.promoted or (n == 1 and self.candidates == len(self.rows)):
            return [self.rows[i] for i in short[:n]]
        both = np.concatenate([short, np.arange(self.candidates, len(self.rows))])
        covariance, draws = self._covariance(both), preset.acquisition.draws
        pending = range(len(short), len(both))
        picks = q_expected_improvement(self.mean[both], covariance, min(n, len(short)), seed, draws, self.best, pending)
        return [self.rows[both[i]] for i in picks]

    def choose_for_front(
        self, front: Front, costs: NDArray[np.float64], n: int, preset: Preset, seed: int
    ) -> list[int]:
        """Return the rows of the `n` candidates that are expected to add most to a front, one after the other.

        Looked at are those that would add most if their labels came out one deviation better than expected.

        Args:
            front: of the trials.
            costs: `(rows,)` of all rows.
            n: how many.
            preset: of the ranker.
            seed: of the draws.
        """
        mean, waiting = self.mean[: self.candidates], np.arange(self.candidates, len(self.rows))
        deviation = np.sqrt(np.maximum(self.posterior.label_variance.numpy(), 0.0))[: self.candidates]
        ahead = (self.in_labels(mean + deviation) - front.at(costs[: self.candidates])) * np.maximum(
            front.reference[1] - costs[: self.candidates], 0.0
        )
        short = np.argsort(-ahead, kind="stable")[: max(n, preset.acquisition.front_shortlist)]
        both = np.concatenate([short, waiting])
        values, vectors = np.linalg.eigh(self._covariance(both))
        normal = np.random.default_rng(seed).standard_normal((len(both), preset.acquisition.front_draws))
        draws = self.mean[both, None] + (vectors * np.sqrt(np.maximum(values, 0.0))) @ normal
        pending = range(len(short), len(both))
        picks = choose_by_hypervolume(front, costs[both], self.in_labels(draws), min(n, len(short)), pending)
        return [self.rows[both[i]] for i in picks]

    def in_labels(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return targets in the unit of the labels: between those of trials along a line, beyond them by `unit`."""
        known, labels = self.scale
        beyond = np.maximum(targets - known[-1], 0) + np.minimum(targets - known[0], 0)
        values: NDArray[np.float64] = np.interp(targets, known, labels) + self.unit * beyond
        return values

    def _covariance(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the covariance of the labels of some of the rows, their noise included."""
        covariance: NDArray[np.float64] = self.posterior.covariance(torch.from_numpy(rows))[:, rows].numpy()
        return covariance + float(self.posterior.noise) * np.eye(len(rows))


def levels(history: History, population: Population) -> list[list[Trial]]:
    """Return the measured trials with labels of each fidelity that has enough of them, the lowest fidelity first."""
    trials = [trial for trial in history.complete if trial.arch in population.row]
    there = sorted({fidelity(trial.epochs) for trial in trials})
    grouped = [[trial for trial in trials if fidelity(trial.epochs) == level] for level in there]
    return [group for group in grouped if len(group) >= FEWEST]


def fitted(history: History, population: Population, candidates: Sequence[int], preset: Preset, seed: int) -> Model:
    """Return the ranker fitted to the labels of a history, at the candidates and at the pending trials.

    With labels of several fidelities, each is predicted by what the lower ones lead to expect, times a factor, plus a
    Gaussian process that learns the difference; predicted are labels of the highest fidelity that has two.

    Source: Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations are
        available" (Biometrika 2000), equation 1.
    """
    *lower, trials = levels(history, population)
    labels = np.array([trial.value for trial in trials])
    inputs = population.inputs
    rows = [population.row[trial.arch] for trial in trials]
    pending = [population.row[trial.arch] for trial in history.pending if trial.arch in population.row]
    both = [*candidates, *pending]
    if lower:
        expected = _expected(lower, population, preset, seed)
        targets = normal_scores(labels)
        posterior, offset = _difference(rows, targets, expected, inputs, both, preset, seed)
    else:
        ensemble = Ensemble(preset, inputs.shapes, len(rows), seed).fit(inputs[rows], labels, inputs, WarmStart())
        posterior, offset = ensemble.posterior(inputs[both])[0], np.zeros(len(both))
        targets = ensemble.targets_.numpy()
    # An attached trial that does not keep the budget is no answer of the search.
    feasible = [target for target, trial in zip(targets, trials, strict=True) if trial.feasible]
    better = np.argsort(-targets)[: max(2, len(targets) // 2)]
    spread = targets[better].std()
    return Model(
        both,
        len(candidates),
        posterior,
        posterior.mean.numpy() + offset,
        float(max(feasible, default=targets.min())),
        float(labels[better].std() / spread) if spread > 0 else 0.0,
        (np.sort(targets), np.sort(labels)),
        promoted=not set(rows).isdisjoint(candidates),
    )


def _expected(
    lower: Sequence[Sequence[Trial]], population: Population, preset: Preset, seed: int
) -> NDArray[np.float64]:
    """Return what labels of lower fidelities lead to expect of each row of the population, standardised."""
    inputs, everything = population.inputs, list(range(len(population.archs)))
    expected: NDArray[np.float64] = np.zeros(len(everything))
    for trials in lower:
        rows = [population.row[trial.arch] for trial in trials]
        targets = normal_scores(np.array([trial.value for trial in trials]))
        posterior, offset = _difference(rows, targets, expected, inputs, everything, preset, seed)
        expected = posterior.mean.numpy() + offset
        expected = (expected - expected.mean()) / max(expected.std(), 1e-12)
    return expected


def _difference(
    rows: Sequence[int],
    targets: NDArray[np.float64],
    expected: NDArray[np.float64],
    inputs: Inputs,
    wanted: Sequence[int],
    preset: Preset,
    seed: int,
) -> tuple[Posterior, NDArray[np.float64]]:
    """Return the posterior of what targets differ by from what is expected, at rows, and what is to be added to it."""
    known = expected[list(rows)]
    centred = known - known.mean()
    # The factor is expected to be 1, as if two labels had shown it: few labels leave it open.
    factor = (centred @ targets + 2) / (np.square(centred).sum() + 2) if centred.any() else 0.0
    shift = targets.mean() - factor * known.mean()
    member = make_member("gaussian_process", len(rows), inputs.shapes, preset.member_configs["gaussian_process"])
    rest = torch.from_numpy(targets - factor * known - shift)
    member.fit(inputs[list(rows)], rest, inputs, seed)
    with torch.no_grad():
        return member.posterior(inputs[list(wanted)]), factor * expected[list(wanted)] + shift
