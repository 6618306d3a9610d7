"""Search guided by the ranker: it learns from what was trained, and asks for what may be better."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.features import list_proxies
from parzc.ranker.presets import Preset, get_preset
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.algorithms._hypervolume import Front
from parzc.search.algorithms._model import FEWEST, Model, fitted, levels
from parzc.search.algorithms._population import Population
from parzc.search.algorithms._screening import near_the_best, worth_measuring
from parzc.search.history import LABEL, History, Trial, fidelity
from parzc.search.pool import Pool

LISTED = 20_000
"""The most candidates that are all compared; of more, some are drawn."""


class Guided(Algorithm):
    """Trains what the ranker expects to be better than the best so far.

    The first trainings are spread over the architectures that proxies rank best. Then the ranker preset `search`, a
    Gaussian process, is fitted to the labels, and those architectures are asked for that promise the largest expected
    improvement over the best label; of several at once, and of pending ones, the joint posterior is taken into account,
    so that no two of them are trained for the same reason. Labels of fewer epochs are learned from, too; where briefly
    trained architectures may be asked for again, at a higher fidelity, those come that are expected to be the best.

    Where the features of all candidates are there already, or they are few, all of them are compared. Otherwise
    mutations and crossovers of the best, and random draws, are screened by what costs nothing (architecture encoding,
    parameters, multiply-accumulates, layers), and the most promising are measured and compared.

    Args:
        first: trainings before the ranker is used.
        fraction: of the candidates, the best ranked by proxies, among which these are spread.
        measured: architectures that are measured for one `ask`, at most.
        screened: architectures of which these are chosen.
        parents: best trials that are mutated and crossed.
        objectives: `accuracy`, or `accuracy` and one cost (`params`, `flops`, `n_layers`, or one of one's own). With a
            cost, those come that are expected to add most to the hypervolume of the front, whose reference has the
            largest cost of all candidates and an accuracy a tenth of the front's range below its worst one.
        settings: changes to the preset, see `Preset.override`.
    """

    name = "guided"
    needs_labels = True

    def __init__(
        self,
        first: int = 5,
        fraction: float = 0.2,
        measured: int = 64,
        screened: int = 2000,
        parents: int = 10,
        objectives: Sequence[str] = (LABEL,),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in {"first": first, "measured": measured, "screened": screened, "parents": parents}.items():
            if value < 1:
                raise InputError(f"guided search cannot have {name} = {value}; set it to 1 or more")
        if not 0 < fraction <= 1:
            raise InputError(f"fraction cannot be {fraction}; set it to more than 0 and at most 1")
        if not (1 <= len(objectives) <= 2 and objectives[0] == LABEL):
            raise InputError(
                f"guided search cannot have the objectives {', '.join(objectives)}; give {LABEL}, or {LABEL} and a cost"
            )
        self.objectives = tuple(objectives)
        self.first, self.fraction, self.settings = first, fraction, dict(settings or {})
        self.measured, self.screened, self.parents = measured, screened, parents
        # What the candidates of a listed pool look like to the ranker; made again where it is missing.
        self._cache: tuple[tuple[str, ...], Population] | None = None
        # What was compared in the last `ask`, where not all candidates are.
        self._compared: tuple[str, ...] = ()

    def preset(self, space: Space) -> Preset:
        """Return the preset of the ranker for a space."""
        return get_preset("search", space).override(self.settings)

    def proxies(self, space: Space) -> tuple[str, ...]:
        """Return the names of the statistics and proxies that the ranker reads, in the order of the registry."""
        preset = self.preset(space)
        names = {*preset.statistics, *preset.scores, *preset.blocks}
        return tuple(name for name in list_proxies() if name in names)

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        """Return the `n` architectures that promise most."""
        chosen, preset = Chosen(pool), self.preset(pool.space)
        population = self._population(history, pool, preset, rng)
        candidates = [] if population is None else _candidates(population, pool)
        if population is not None and candidates:
            n_or_all = min(n, len(candidates))
            asked = [trial for trial in history.trials if trial.state != "failed"]
            if len(asked) < self.first or not levels(history, population):
                there = [population.row[trial.arch] for trial in asked if trial.arch in population.row]
                # What proxies rank best costs much: for a front everything counts.
                fraction = self.fraction if len(self.objectives) == 1 else 1.0
                rows = population.spread(candidates, there, n_or_all, fraction, rng)
            else:
                model = fitted(history, population, candidates, preset, int(rng.integers(2**31)))
                rows = self._chosen(model, history, population, pool, n_or_all, preset, int(rng.integers(2**31)))
            for row in rows:
                chosen.add(population.archs[row])
        return chosen.fill(n, rng)

    def _chosen(
        self, model: Model, history: History, population: Population, pool: Pool, n: int, preset: Preset, seed: int
    ) -> list[int]:
        """Return the rows of those that the model chooses, for one objective or two."""
        *_, trials = levels(history, population)
        feasible = [trial for trial in trials if trial.feasible]
        if len(self.objectives) == 1 or model.promoted or not feasible:
            return model.choose(n, preset, seed)
        name = self.objectives[1]
        costs = np.array([pool.budget.cost(population.archs[row], name) for row in model.rows])
        known = [trial.objective(name) for trial in feasible]
        front = Front.of(known, [trial.value for trial in feasible], float(max(costs.max(), *known)))
        return model.choose_for_front(front, costs, n, preset, seed)

    def expected_improvement_left(self, history: History, pool: Pool) -> float:
        """Return by how much the best candidate is expected to beat the best trial, in the unit of the labels.

        NaN before the ranker is used. Where not all candidates are compared, those of the last `ask` count. Where the
        ranker learns normal scores, their unit is that of the better half of the labels.
        """
        preset = self.preset(pool.space)
        if len(history.complete) < max(self.first, 2):
            return float("nan")
        population = self._looked_at(history, pool, preset)
        candidates = [] if population is None else _candidates(population, pool)
        if population is None or not candidates or not levels(history, population):
            return float("nan")
        model = fitted(history, population, candidates, preset, 0)
        return float(np.exp(model.log_gain.max()) * model.unit)

    def _population(self, history: History, pool: Pool, preset: Preset, rng: np.random.Generator) -> Population | None:
        """Return the candidates to compare and all trials, measured; None where nothing could be measured."""
        asked = [trial.arch for trial in history.trials if trial.state != "failed"]
        listed = self._listing(pool, asked)
        if listed is not None:
            if self._cached(listed) is None:
                self._cache = listed, Population.of(pool.features(listed), preset, pool.space)
            return self._cached(listed)
        self._compared = tuple(self._screened(history, pool, preset, rng))
        archs = dict.fromkeys([*asked, *self._compared])
        return Population.of(pool.features(list(archs)), preset, pool.space) if archs else None

    def _looked_at(self, history: History, pool: Pool, preset: Preset) -> Population | None:
        """Return what was compared in the last `ask`, and all trials, so that nothing is measured for it."""
        if self._cache is not None:
            return self._cache[1]
        if not self._compared:
            return self._population(history, pool, preset, np.random.default_rng(len(history.trials)))
        asked = [trial.arch for trial in history.trials if trial.state != "failed"]
        return Population.of(pool.features(list(dict.fromkeys([*asked, *self._compared]))), preset, pool.space)

    def _listing(self, pool: Pool, asked: Sequence[str]) -> tuple[str, ...] | None:
        """Return all candidates and all trials in a fixed order, if all of them are to be compared."""
        if not pool.listed:
            return None
        whole = pool.without(()).archs()
        if len(whole) > LISTED:
            return None
        every = tuple(sorted({*whole, *asked}))
        if self._cached(every) is not None or len(every) <= self.measured or pool.evaluator is None:
            return every
        return every if all(pool.evaluator.is_measured(every)) else None

    def _cached(self, listed: tuple[str, ...]) -> Population | None:
        return self._cache[1] if self._cache is not None and self._cache[0] == listed else None

    def _screened(self, history: History, pool: Pool, preset: Preset, rng: np.random.Generator) -> list[str]:
        """Return the candidates that are to be measured for this `ask`."""
        trained = _best_first(history)
        if len(trained) < 2:
            return pool.draw(self.measured, rng)
        near = near_the_best(trained[: self.parents], pool, self.screened // 2, rng)
        archs = list(dict.fromkeys([*near, *pool.draw(self.screened - len(near), rng)]))
        return worth_measuring(archs, trained, pool, preset, self.measured, int(rng.integers(2**31)))


def _best_first(history: History) -> list[Trial]:
    """Return the trials of the highest fidelity that has two labels, the best first."""
    there = [fidelity(trial.epochs) for trial in history.complete]
    highest = max((level for level in there if there.count(level) >= FEWEST), default=None)
    trials = [trial for trial in history.complete if fidelity(trial.epochs) == highest]
    return sorted(trials, key=lambda trial: -trial.value)


def _candidates(population: Population, pool: Pool) -> list[int]:
    if pool.listed:
        free = set(pool.archs())
        return [row for row, arch in enumerate(population.archs) if arch in free]
    return [row for row, arch in enumerate(population.archs) if pool.is_new(arch) and pool.budget.allows(arch)]
