"""Local search: change one decision at a time, and move as soon as a change is better."""

from collections.abc import Sequence

import numpy as np

from parzc.errors import InputError
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.history import History, Trial
from parzc.search.pool import Pool


class Local(Algorithm):
    """First-improvement local search with restarts.

    It starts from the best of some random architectures and trains neighbours, which differ in one decision, in random
    order. The first one that is better becomes the new centre. Where all neighbours of the centre were asked for, it
    starts anew from other random architectures. Each function is asked for once, so that a neighbour that is known
    already is passed over.

    With several trainings at once, a neighbour of an earlier centre becomes the centre, too, if it is better than the
    present one.

    Args:
        starts: random architectures of each start. With 10, as in the code of naszilla, it is the strongest of the
            simple methods on NAS-Bench-201; with 1 it spends its first trainings next to a bad architecture.

    Source: White et al., "Exploring the Loss Landscape in Neural Architecture Search" (UAI 2021), there with the best
    of all neighbours; the first better one is taken as in the published code.
    """

    name = "local"

    def __init__(self, starts: int = 10) -> None:
        if starts < 1:
            raise InputError(f"local search cannot start from {starts} architectures; set starts to 1 or more")
        self.starts = starts
        # The functions next to each centre, which are listed once.
        self._near: dict[str, frozenset[str]] = {}

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        """Return new neighbours of the centre in random order, and random architectures where there are no more."""
        chosen = Chosen(pool)
        centre = self.centre(history.trials, pool)
        if centre is not None:
            near = pool.neighbours(centre.arch)
            for index in rng.permutation(len(near)):
                if len(chosen) < n:
                    chosen.add(near[index])
        return chosen.fill(n, rng)

    def centre(self, trials: Sequence[Trial], pool: Pool) -> Trial | None:
        """Return the trial whose neighbours are to be asked for; None while random starts are to be drawn.

        Args:
            trials: all trials in the order in which they were asked for.
            pool: the architectures that may be asked for.
        """
        asked: set[str] = set()
        near: frozenset[str] = frozenset()
        centre: Trial | None = None
        starting: list[Trial] = []
        for trial in trials:
            if centre is not None and near <= asked:
                centre, starting = None, []
            asked.add(trial.function)
            if centre is None:
                starting.append(trial)
                centre = self._best_start(starting)
            elif _complete(trial) and trial.value > centre.value:
                centre = trial
            else:
                continue
            near = self._functions_near(centre, pool)
        return None if centre is not None and near <= asked else centre

    def _best_start(self, starting: Sequence[Trial]) -> Trial | None:
        """Return the best of the starts, if there are enough that did not fail and one of them has a value."""
        done = [trial for trial in starting if _complete(trial)]
        if sum(trial.state != "failed" for trial in starting) < self.starts or not done:
            return None
        return max(done, key=lambda trial: trial.value)

    def _functions_near(self, centre: Trial | None, pool: Pool) -> frozenset[str]:
        """Return the functions of all neighbours within the budget, whether asked for or not."""
        if centre is None:
            return frozenset()
        if centre.arch not in self._near:
            near = pool.without(()).neighbours(centre.arch)
            self._near[centre.arch] = frozenset(pool.space.canonical(arch) for arch in near)
        return self._near[centre.arch]


def _complete(trial: Trial) -> bool:
    return trial.state == "complete"
