"""Search without training: architectures are compared by a score of untrained networks.

Nothing but measured networks is kept, in the feature store of an `Evaluator`. Everything else follows from the seed, so
that the same search carried out again measures nothing twice, ends the same, and goes on where it is made longer.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from parzc.datasets import Space, get_space
from parzc.errors import InputError
from parzc.search.algorithms import ALGORITHMS, Algorithm, get_algorithm
from parzc.search.budgets import Budget, Given, Measure
from parzc.search.evaluator import Evaluator
from parzc.search.history import COMPLETE, FAILED, History, Trial
from parzc.search.scores import Rows, Score, get_score
from parzc.search.start import candidates

FEATURES = "features"
"""Folder of what is measured, in the folder of a search."""

TOP = 1024
"""Of an evolution by a score, how many of the best may be parents (AZ-NAS, sec. 4.1)."""


class TrainingFreeSearch:
    """Finds the architecture with the highest score, without training any.

    Args:
        space: search space, or its name or file as `parzc.datasets.get_space` takes it.
        score: what is made large: a proxy, `az_nas`, several proxies joined with `+`, the folder of a saved ranker, or
            a `Score`; see `get_score`. Scores that are ranks within a set are computed anew over all trials after each
            batch.
        algorithm: `random` (the best of so many draws), `evolution` (with `top`, as in AZ-NAS, unless the settings
            name another population), `local`, `perturbation`, `pruning`, or an algorithm.
        budget, folder, task, archs, costs, features, workers, engine, progress: as in `Search`; the folder keeps what
            is measured.
        settings: of the algorithm.

    Attributes:
        budget: the bounds as numbers.
        overview: smallest, median and largest of each budgeted quantity among feasible draws.

    Raises:
        InputError: if there is no such score, or the budget cannot be kept.

    Example:
        >>> search = TrainingFreeSearch("nb201", "az_nas", budget={"params": 5e5})
        >>> search.run(3000, seed=0).best.arch
    """

    def __init__(
        self,
        space: str | Path | Space,
        score: str | Score = "az_nas",
        *,
        budget: Given | Budget = None,
        algorithm: str | Algorithm = "random",
        folder: str | Path = "",
        task: str = "",
        archs: Sequence[str] | None = None,
        costs: Mapping[str, Measure] | None = None,
        features: str | Path = "",
        workers: int | None = None,
        engine: str = "local",
        settings: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.space = get_space(space)
        self.task = self.space.task(task).name
        self.score = get_score(score, self.space)
        self.algorithm = _algorithm(algorithm, score, settings or {})
        kept = Path(folder) / FEATURES if folder else None
        evaluator = Evaluator(self.space, task, kept, features, self.score.proxies, workers, engine, progress)
        if not features and evaluator.known is not None and not _holds(evaluator, self.score):
            # What comes with the space does not know this proxy.
            evaluator.known = None
        self._pool, self.overview = candidates(self.space, budget, costs, task, archs, evaluator, progress)
        self.budget = self._pool.budget
        self._rows: dict[str, Rows] = {}

    def run(
        self,
        evaluations: int,
        seed: int = 0,
        batch: int = 0,
        progress: Callable[[History], None] = lambda _: None,
    ) -> History:
        """Return the trials of a search: their values are the scores within all of them.

        Args:
            evaluations: architectures to score; fewer if there are no more.
            seed: of everything that is drawn.
            batch: architectures that are asked for between two rankings. 0 for one, where the algorithm looks at
                scores, and for all where it does not.
            progress: called with the trials after each batch.

        Raises:
            InputError: for fewer than one evaluation, or if no score of any architecture is defined.
        """
        if evaluations < 1:
            raise InputError(f"a search cannot score {evaluations} architectures; ask for at least one")
        batch = batch or (1 if self.algorithm.reads_values else evaluations)
        history, rows = History(), np.empty((0, 0))
        while len(history) < evaluations:
            rng = np.random.default_rng([seed, len(history)])
            pool = self._pool.without(history.functions)
            wanted = min(batch, evaluations - len(history))
            archs = self.algorithm.ask(history, pool, wanted, rng)
            if not archs:
                break
            new = self._measured(archs, seed)
            rows = new if not len(history) else _joined(rows, new)
            history = self._scored(history, archs, rows)
            progress(history)
            if len(archs) < wanted and not self.algorithm.reads_values:
                break
        return self._checked(history)

    def _measured(self, archs: Sequence[str], seed: int) -> Rows:
        """Return what the score keeps of each architecture; NaN for those that cannot be measured."""
        own = self.algorithm.own_rows(archs, self._pool, self.score, seed)
        if own is not None:
            return own
        self._look_up(archs)
        missing = np.full(len(next(iter(self._rows.values()), (0.0,))), np.nan)
        return np.stack([self._rows.get(arch, missing) for arch in archs])

    def _look_up(self, archs: Sequence[str]) -> None:
        """Read or measure what is not known yet; everything at once where all candidates are measured already."""
        evaluator = self._pool.evaluator
        lacking = [arch for arch in archs if arch not in self._rows]
        if evaluator is None or not lacking:
            return
        if not self._rows and self._pool.listed:
            every = list(self._pool.without(()).archs())
            lacking = every if all(evaluator.is_measured(every)) else lacking
        try:
            features = self._pool.features(lacking)
        except InputError:
            if not all(self.space.canonical(arch) in evaluator.failed for arch in lacking):
                raise
            return
        self._rows |= dict(zip(features.archs, self.score.measured(features), strict=True))

    def _scored(self, history: History, archs: Sequence[str], rows: Rows) -> History:
        """Return the history with new architectures, every value computed over all rows."""
        evaluator = self._pool.evaluator
        failed = {} if evaluator is None else evaluator.failed
        trials = list(history.trials)
        for arch in archs:
            function = self.space.canonical(arch)
            state, why = (FAILED, failed[function]) if function in failed else (COMPLETE, "")
            costs = self.budget.costs(arch)
            trials.append(Trial(len(trials), arch, function, state, costs=costs, reason=why))
        complete = [i for i, trial in enumerate(trials) if trial.state == COMPLETE]
        values = self.score.values(rows[complete]).tolist() if complete else []
        for i, value in zip(complete, values, strict=True):
            if trials[i].value != value:
                trials[i] = _with_value(trials[i], value)
        return History(trials)

    def _checked(self, history: History) -> History:
        if not history.trials:
            raise InputError(f"the algorithm {self.algorithm.name} has found no architecture within the budget")
        if not any(np.isfinite(trial.value) for trial in history.complete):
            raise InputError(
                f"the score {self.score.name} has no value for any of {len(history)} architectures of "
                f"{self.space.name}; choose another score"
            )
        return history


def _with_value(trial: Trial, value: float) -> Trial:
    # As dataclasses.replace does it, in a tenth of the time: all trials of a history may get new values at each step.
    other = object.__new__(Trial)
    other.__dict__.update(trial.__dict__)
    other.__dict__["value"] = value
    return other


def _algorithm(algorithm: str | Algorithm, score: str | Score, settings: Mapping[str, Any]) -> Algorithm:
    if isinstance(algorithm, Algorithm):
        return algorithm
    kind = ALGORITHMS.get(algorithm)
    if kind is not None and kind.needs_labels:
        raise InputError(
            f"the algorithm {algorithm} learns from trainings and reads no score; choose another algorithm, or leave "
            "the score away"
        )
    given = dict(settings)
    if algorithm == "evolution" and not {"top", "population", "sample"} & given.keys():
        given["top"] = TOP
    if kind is not None and "score" in signature(kind).parameters:
        given["score"] = score
    return get_algorithm(algorithm, **given)


def _holds(evaluator: Evaluator, score: Score) -> bool:
    """Return whether the store that is read holds all that a score reads."""
    there = () if evaluator.known is None else evaluator.known.manifest["config"].get("proxies", ())
    return {proxy.rpartition(":")[2] for proxy in score.proxies} <= set(there)


def _joined(rows: Rows, new: Rows) -> Rows:
    """Return both one below the other; where nothing could be measured there are fewer columns, all NaN."""
    width = max(rows.shape[1], new.shape[1])
    both = (np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=np.nan) for a in (rows, new))
    return np.concatenate(list(both))
