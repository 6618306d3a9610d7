"""Evolution: an architecture that is good has a child, which differs from it in few decisions."""

from collections.abc import Sequence

import numpy as np

from parzc.errors import InputError
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.history import History, Trial
from parzc.search.pool import Pool

TRIES = 20
"""Parents that may have no new child, one after another, before a random architecture is drawn."""


NEAR = 30
"""Children of one of the best that may be known already, one after another, before it is left."""


class Evolution(Algorithm):
    """Regularised (aging) evolution, or evolution from the best of all.

    Regularised: the population is the last `population` architectures that were trained. The best of `sample` of them,
    drawn without replacement, is the parent, and its child differs from it in one decision. Published code trains a
    child that equals its parent or an earlier child again; here each function is asked for once.

    With `top`, nobody dies: each parent is drawn uniformly from the `top` best of the whole history, which is ranked
    anew at each step, and the search begins with one random architecture. This is algorithm 1 of AZ-NAS, in which
    `top` is 1,024 for 100,000 steps. Where children of a parent are known already, one of these is changed in turn. Its
    code differs from the paper: it begins with a fixed network, draws 11 children of that, then parents from all until
    there are 1,023, then from the best 1,023; a child has two replaced blocks (`changes=2`), each drawn in favour of
    small kernels; and it scores an architecture again that it has drawn before, with new weights. A child that breaks
    the budget does not count, there as here.

    Args:
        population: how many of the last architectures may be parents; as many random ones come first.
        sample: how many of these are drawn for a parent to be chosen.
        crossover: probability that a child has the choices of two parents, each drawn like one, before decisions are
            changed; 0 in the papers.
        top: draw parents from so many of the best instead; 0 for regularised evolution.
        changes: decisions that are changed one after another in a child.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search" (AAAI 2019), algorithm 1. A
    population of 30 and samples of 10 are those of NASLib, and on NAS-Bench-201 better than the 10 and 3 of its paper.
    Lee and Ham, "AZ-NAS" (CVPR 2024), algorithm 1, for `top`.
    """

    name = "evolution"

    def __init__(
        self, population: int = 30, sample: int = 10, crossover: float = 0.0, top: int = 0, changes: int = 1
    ) -> None:
        if not 1 <= sample <= population:
            raise InputError(f"evolution cannot draw {sample} of {population}; set sample to 1 to {population}")
        if not 0 <= crossover <= 1:
            raise InputError(f"crossover is a probability and cannot be {crossover}; set it to 0 to 1")
        if top < 0 or changes < 1:
            raise InputError(f"evolution cannot have top = {top} and changes = {changes}; set them to 1 or more")
        self.population, self.sample, self.crossover = population, sample, crossover
        self.top, self.changes = top, changes

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        """Return children of the population; random architectures until it is complete."""
        chosen = Chosen(pool)
        alive = self._alive(history)
        missing = (1 if self.top else self.population) - len(history.complete) - len(history.pending)
        if not alive or missing >= n:
            return chosen.fill(n, rng)
        chosen.fill(max(missing, 0), rng)
        tries = TRIES * n
        while len(chosen) < n and tries:
            tries -= 1
            chosen.add(self._child(alive, pool, rng))
        return chosen.fill(n, rng)

    def _alive(self, history: History) -> Sequence[Trial]:
        """Return those that may be parents."""
        if not self.top:
            return history.complete[-self.population :]
        values = np.array([trial.value for trial in history.complete])
        return [history.complete[i] for i in np.argsort(-values, kind="stable")[: self.top]]

    def _child(self, alive: Sequence[Trial], pool: Pool, rng: np.random.Generator) -> str | None:
        parent = self._parent(alive, rng)
        if self.crossover and rng.random() < self.crossover:
            crossed = pool.crossover(parent, self._parent(alive, rng), rng)
            # Two parents that are alike have no child that is new; then one of them has one alone.
            parent = parent if crossed is None else crossed
        for _ in range(self.changes - 1):
            parent = pool.space.mutate(parent, rng)
        if not self.top:
            return pool.mutate(parent, rng)
        for _ in range(TRIES):
            if (child := pool.mutate(parent, rng, NEAR)) is not None:
                return child
            # All around the best is known soon; then a child of a child is looked for, and so on.
            parent = pool.space.mutate(parent, rng)
        return None

    def _parent(self, alive: Sequence[Trial], rng: np.random.Generator) -> str:
        if self.top:
            return alive[int(rng.integers(len(alive)))].arch
        drawn = rng.choice(len(alive), size=min(self.sample, len(alive)), replace=False)
        best: Trial = max((alive[index] for index in drawn), key=lambda trial: trial.value)
        return best.arch
