"""Which architectures a search asks for next: those of dead workers, what is left of a batch, or what is best now."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parzc.search.algorithms import Algorithm
from parzc.search.board import Board
from parzc.search.history import History
from parzc.search.pool import Pool


class Asker:
    """Asks for architectures and writes them onto the board.

    Args:
        board: the trials of the search.
        pool: all candidates.
        algorithm: chooses among them.
        seed: of what it draws; with the number of trials so far, so that a resumed search draws the same.
    """

    def __init__(self, board: Board, pool: Pool, algorithm: Algorithm, seed: int) -> None:
        self.board, self.pool, self.algorithm, self.seed = board, pool, algorithm, seed

    def ask(self, n: int, epochs: float, trainings: int | None) -> list[int]:
        """Return the numbers of up to `n` trials that now belong to this process; see `Search.ask`."""
        numbers = self.board.reclaim(n)
        if not numbers:
            numbers = self._add(self.board.left_over()[:n], epochs, trainings)
        return numbers or self._new(n, epochs, trainings)

    def _new(self, n: int, epochs: float, trainings: int | None) -> list[int]:
        """Ask for architectures that the algorithm chooses, again where another worker was quicker."""
        numbers: list[int] = []
        while len(numbers) < n:
            history, wanted = self.board.history, n - len(numbers)
            if trainings is not None:
                wanted = min(wanted, trainings - sum(not trial.attached for trial in history.trials))
            archs = self._chosen(history, wanted, epochs) if wanted > 0 else []
            if not archs:
                break
            numbers += self._add(archs, epochs, trainings)
        return numbers

    def _chosen(self, history: History, n: int, epochs: float) -> list[str]:
        """Return what the algorithm chooses, checked."""
        pool = self.pool.without(history.functions_at(epochs))
        archs = self.algorithm.ask(history, pool, n, np.random.default_rng([self.seed, len(history)]))
        for arch in archs:
            if not pool.is_new(arch) or not self.pool.budget.allows(arch):
                raise RuntimeError(f"the algorithm {self.algorithm.name} chose '{arch}', which is no candidate")
        return archs

    def _add(self, archs: Sequence[str], epochs: float, trainings: int | None) -> list[int]:
        """Ask for architectures; return the numbers of those that nobody asked for at the same time."""
        numbers = list[int]()
        for i, arch in enumerate(archs):
            known = self.known(arch) | {"asked_epochs": float(epochs)}
            if trainings is not None:
                known["limit"] = trainings
            if i == 0 and len(archs) > 1:
                known["batch"] = list(archs)
            number = self.board.add(arch, known)
            numbers += [] if number is None else [number]
        return numbers

    def known(self, arch: str) -> dict[str, Any]:
        """Return what is recorded of an architecture when it is asked for or attached."""
        costs = self.pool.budget.costs(arch)
        return {"function": self.pool.space.canonical(arch), "costs": costs, "feasible": self.pool.budget.allows(arch)}
