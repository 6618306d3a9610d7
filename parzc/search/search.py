"""A search: it asks for architectures to train, under a hard budget, and learns from the accuracies it is given."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import optuna

from parzc.datasets import Space, get_space
from parzc.errors import InputError
from parzc.search.algorithms import Algorithm, get_algorithm
from parzc.search.asking import Asker
from parzc.search.board import opened
from parzc.search.budgets import Budget, Given, Measure
from parzc.search.evaluator import Evaluator
from parzc.search.history import COMPLETE, LABEL, History, Trial
from parzc.search.identity import check_objectives, identity
from parzc.search.pool import Pool
from parzc.search.report import report
from parzc.search.start import candidates
from parzc.tuning.storage import Location

JOURNAL, FEATURES = "study.journal", "features"
"""What a search keeps in its folder."""

POLL_SECONDS = 0.5
"""Between two looks at what others train, once there is nothing left to ask for."""


class Search:
    """Finds good architectures from few trainings.

    Its state is an Optuna study. Processes, also on several machines, that make a search alike on one study share its
    trials; one that was stopped goes on as if it had not been. With one process the same seed gives the same trials.

    Args:
        space: search space, or its name or file as `parzc.datasets.get_space` takes it.
        budget: hard bounds, see `Budget.parse`: for example `{"params": 5e6, "flops": (0, 600e6), "latency": (f, 20)}`.
        algorithm: name in `parzc.search.algorithms.ALGORITHMS`, or an algorithm.
        folder: keeps the study and what is measured; made if it is not there. Nothing is kept if empty.
        storage: journal file, or URL of a database, that keeps the study instead.
        study: name of the study in its storage.
        seed: of everything that is drawn.
        task: of the space, for costs and features; its first if empty.
        archs: the candidates, where not the whole space is searched.
        costs: further quantities that are recorded of each trial, by name, as functions of an arch.
        objectives: `accuracy`, and names of costs (smaller is better) if there are several.
        features: a feature store that is read instead of the one that comes with the space, if any does.
        workers: processes that measure features; all cores if None.
        engine: `local` for processes of this machine, `ray` for a Ray cluster.
        settings: of the algorithm.
        progress: whether to show what is going on, on standard error.

    Attributes:
        budget: the bounds as numbers.
        overview: smallest, median and largest of each budgeted quantity among feasible draws.

    Raises:
        InputError: if the budget cannot be kept (with the smallest value that can be reached), or if the study is of
            another search: its space, budget, algorithm, settings, seed, task, objectives or candidates differ.

    Example:
        >>> search = Search("nb201", budget={"params": 5e5}, folder="runs/mine")
        >>> for trial in search.until(30):
        ...     search.tell(trial, train(trial.arch))
        >>> search.best()
    """

    def __init__(
        self,
        space: str | Path | Space,
        *,
        budget: Given | Budget = None,
        algorithm: str | Algorithm = "guided",
        folder: str | Path = "",
        storage: Location = None,
        study: str = "search",
        seed: int = 0,
        task: str = "",
        archs: Sequence[str] | None = None,
        costs: Mapping[str, Measure] | None = None,
        objectives: Sequence[str] = (LABEL,),
        features: str | Path = "",
        workers: int | None = None,
        engine: str = "local",
        settings: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.space, self.seed = get_space(space), seed
        self.task = self.space.task(task).name
        self.objectives = tuple(objectives)
        if isinstance(algorithm, str):
            algorithm = get_algorithm(algorithm, self.objectives, **(settings or {}))
        self.algorithm = algorithm
        home = Path(folder) if folder else None
        if home is not None:
            home.mkdir(parents=True, exist_ok=True)
        reads = self.algorithm.proxies(self.space)
        kept = home and home / FEATURES
        evaluator = Evaluator(self.space, task, kept, features, reads, workers, engine, progress)
        self._pool, self.overview = candidates(self.space, budget, costs, task, archs, evaluator, progress)
        self.budget = self._pool.budget
        check_objectives(self.objectives, self.budget)
        record = identity(self.space, task, self.budget, self.algorithm, settings or {}, self.objectives, seed, archs)
        where = storage if storage is not None else home and home / JOURNAL
        self._board = opened(self.space, where, study, record, self.objectives)
        self._asker = Asker(self._board, self._pool, self.algorithm, seed)

    @property
    def history(self) -> History:
        """All trials as they are now."""
        return self._board.history

    @property
    def study(self) -> optuna.Study:
        """The Optuna study."""
        return self._board.study

    def pool(self, epochs: float = 0) -> Pool:
        """Return the candidates that may be asked for at a fidelity now."""
        return self._pool.without(self.history.functions_at(epochs))

    def ask(self, n: int = 1, *, epochs: float = 0, trainings: int | None = None) -> list[Trial]:
        """Return architectures to train next.

        Architectures whose workers died come first, with their old numbers, and then alone, so that what comes next is
        chosen with their accuracies.

        Args:
            n: how many; fewer come if there are no more.
            epochs: fidelity to train at, recorded with the trial; 0 for the full training. What was asked for at a
                lower one may come again.
            trainings: how many the search is to have in all, whoever does them; no limit if None. Failed ones count,
                attached ones do not.

        Raises:
            InputError: for fewer than one.
        """
        if n < 1:
            raise InputError(f"a search cannot be asked for {n} architectures; ask for at least one")
        numbers = self._asker.ask(n, epochs, trainings)
        trials = self.history.trials
        return [trials[number] for number in numbers]

    def tell(
        self, trial: Trial | int, value: float, *, seconds: float = math.nan, epochs: float | None = None
    ) -> Trial:
        """Give the accuracy of a trial that was asked for.

        Args:
            trial: the trial, or its number.
            value: accuracy in any unit, bigger is better.
            seconds: that the training took.
            epochs: of the training, if it was not the full one; those asked for if None.

        Raises:
            InputError: for a value that is not finite, or a trial that has one.
        """
        number = self._number(trial)
        current = self.history.trials[number]
        known = _label(value, seconds, current.asked_epochs if epochs is None else epochs)
        self._board.complete(number, self._values(value, current.costs), known)
        return self.history.trials[number]

    def fail(self, trial: Trial | int, reason: str, *, seconds: float = math.nan) -> Trial:
        """Give up a trial that was asked for, after so many seconds; its function is not asked for again."""
        number = self._number(trial)
        self._board.fail(number, reason, seconds)
        return self.history.trials[number]

    def attach(self, arch: str, value: float, *, seconds: float = math.nan, epochs: float = 0) -> Trial:
        """Add a training that exists already; the search learns from it also if it does not keep the budget.

        What was attached with the same value before is left as it is.

        Raises:
            InputError: for an arch that is not in the space, a value that is not finite, or a function that the search
                has asked for, or that was attached with another value.
        """
        known, label = self._asker.known(arch), _label(value, seconds, epochs)
        known |= label | {"asked_epochs": float(epochs)}
        if known["function"] not in self.history.functions_at(epochs):
            number = self._board.attach(arch, known, self._values(value, known["costs"]))
            if number is not None:
                return self.history.trials[number]
        before = next(t for t in self.history.trials if t.function == known["function"])
        if not before.attached or before.value != float(value):
            has = f"has the value {before.value:g}" if before.state == COMPLETE else f"is {before.state}"
            raise InputError(f"'{arch}' is trial {before.number} of the search already, which {has}; leave it out")
        return before

    def _number(self, trial: Trial | int) -> int:
        number, known = trial.number if isinstance(trial, Trial) else int(trial), len(self.history)
        if not 0 <= number < known:
            raise InputError(f"the search has no trial {number}; it has {known}")
        return number

    def _values(self, value: float, costs: Mapping[str, float]) -> list[float]:
        return [float(value) if name == LABEL else costs[name] for name in self.objectives]

    def until(self, trainings: int, batch: int = 1) -> Iterator[Trial]:
        """Yield trials to train until the search has so many, whoever trains them.

        Each has to be ended by `tell` or `fail` before the last one is through. Then this waits for the trials of other
        workers, and takes over those of dead ones.

        Args:
            trainings: that the search is to have in all, failed ones included, attached ones not.
            batch: how many are asked for at a time.

        Raises:
            InputError: if a trial was neither given a value nor given up.
        """
        while True:
            trials = self.ask(batch, trainings=trainings)
            yield from trials
            if not trials:
                open_ones = self._board.own
                if open_ones:
                    raise InputError(f"trial {min(open_ones)} has no value; end each trial with `tell` or `fail`")
                if not self.history.pending:
                    return
                time.sleep(POLL_SECONDS)

    def best(self) -> Trial:
        """Return the complete trial of the highest accuracy at full fidelity.

        Raises:
            InputError: if there is none yet.
        """
        best = self.history.best
        if best is None:
            raise InputError("the search has no full training within its budget yet; give it the accuracy of one")
        return best

    def front(self, *objectives: str) -> list[Trial]:
        """Return the non-dominated complete trials; of the objectives of the search if none are named.

        See `History.front`.
        """
        return self.history.front(*(objectives or self.objectives))

    def report(self) -> dict[str, Any]:
        """Return what the search is and what it did so far, as JSON values; numbers that are not known are None.

        Keys: `space`, `task`, `algorithm`, `objectives`, `budget`, `seed`; `trainings`, how many are complete, failed,
        running, and how many of them were attached; `seconds` of all that ended; `best`, a trial; `best_so_far`, the
        best value among the first 1, 2, ... trials; `front`, the numbers of its trials if there are several objectives;
        `expected_improvement_left`; `trials` in the order in which they were asked for.
        """
        return report(self)

    def expected_improvement_left(self) -> float:
        """Return by how much the best candidate is expected to beat the best trial, in the unit of the labels.

        NaN where the algorithm cannot say.
        """
        return self.algorithm.expected_improvement_left(self.history, self.pool())


def _label(value: Any, seconds: float, epochs: float) -> dict[str, float]:
    """Return what is known of a training in addition to its value.

    Raises:
        InputError: for numbers that cannot be.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(float(value)):
        raise InputError(f"{value!r:.100} is no accuracy; give a finite number, or fail the trial")
    if epochs < 0 or not math.isfinite(epochs):
        raise InputError(f"a training has no {epochs} epochs; give a positive number, or 0 for the full training")
    return {"epochs": float(epochs)} | ({} if math.isnan(seconds) else {"seconds": float(seconds)})
