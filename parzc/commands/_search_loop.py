"""The loop of a search: ask for architectures, train some at once, give the search what came of each."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from parzc.errors import InputError
from parzc.search import Search
from parzc.search.history import Trial
from parzc.search.training import Outcome

Train = Callable[[Trial, threading.Event], Outcome]
"""Trains the architecture of a trial; ends early once the event is set."""

FAILURES = 3
"""Trainings that fail one after another before the search ends."""

WAIT_SECONDS = 2.0
"""Between two looks at what other workers train, when this one has nothing to do."""


class Loop:
    """Fills a search with trainings.

    Args:
        search: asks for architectures.
        train: trains one, in a thread of its own.
        trainings: that the search is to have in all, whoever does them.
        jobs: trainings at once.
        batch: architectures to ask for at once.
        full_epochs: epochs of the full training; a training that reports fewer has a value of fewer epochs. 0 if it is
            not known: then epochs that are reported do not count unless few were asked for.
        ended: called with each trial of this process that has ended.
    """

    def __init__(
        self,
        search: Search,
        train: Train,
        trainings: int,
        jobs: int = 1,
        batch: int = 1,
        full_epochs: float = 0,
        ended: Callable[[Trial], None] = lambda _: None,
    ) -> None:
        self.search, self.train, self.trainings = search, train, trainings
        self.jobs, self.batch, self.full_epochs, self.ended = jobs, batch, full_epochs, ended
        self._queue: list[Trial] = []
        self._running: dict[Future[Outcome], Trial] = {}
        self._failures = 0

    def run(self) -> None:
        """Ask and train until there are enough trials, and none of them is open, or no architecture is left.

        Where the process is interrupted, its trainings are ended; whoever continues the search trains them again.

        Raises:
            InputError: if three trainings in a row have failed.
            KeyboardInterrupt: if it was interrupted.
        """
        stop = threading.Event()
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while self._fill(pool, stop) or self._others_train():
                    self._collect()
            finally:
                stop.set()

    def _fill(self, pool: ThreadPoolExecutor, stop: threading.Event) -> bool:
        """Start as many trainings as may run at once, and return whether any runs."""
        while len(self._running) < self.jobs:
            if not self._queue:
                self._queue = self.search.ask(self.batch, trainings=self.trainings)
            if not self._queue:
                break
            trial = self._queue.pop(0)
            self._running[pool.submit(self.train, trial, stop)] = trial
        return bool(self._running)

    def _others_train(self) -> bool:
        return bool(self.search.history.pending)

    def _collect(self) -> None:
        """Wait until a training has ended, or for a moment where others may, and give the search what came of it."""
        if not self._running:
            threading.Event().wait(WAIT_SECONDS)
            return
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: self._running[future].number):
            self._end(self._running.pop(future), future.result())

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.interrupted:
            return
        if outcome.reason:
            self.ended(self.search.fail(trial, outcome.reason, seconds=outcome.seconds))
            self._failures += 1
        else:
            epochs = self._fidelity(trial, outcome)
            self.ended(self.search.tell(trial, outcome.value, seconds=outcome.seconds, epochs=epochs))
            self._failures = 0
        if self._failures >= FAILURES:
            raise InputError(
                f"{FAILURES} trainings in a row failed, the last one, trial {trial.number}, because {outcome.reason}; "
                "correct the training, and give the same command again with a larger --trainings: those that failed "
                "count, and are not trained again"
            )

    def _fidelity(self, trial: Trial, outcome: Outcome) -> float:
        """Return the epochs that a value stands for; 0 for the full training."""
        asked = trial.asked_epochs or self.full_epochs
        epochs = min(outcome.epochs or asked, asked)
        return 0 if epochs == self.full_epochs else epochs
