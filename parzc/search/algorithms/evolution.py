"""Regularised evolution: the best of a few recent architectures has a child, and the oldest dies."""

from collections.abc import Sequence

import numpy as np

from parzc.errors import InputError
from parzc.search.algorithms._base import Algorithm, Chosen
from parzc.search.history import History, Trial
from parzc.search.pool import Pool

TRIES = 20
"""Parents that may have no new child, one after another, before a random architecture is drawn."""


class Evolution(Algorithm):
    """Regularised (aging) evolution.

    The population is the last `population` architectures that were trained. The best of `sample` of them, drawn without
    replacement, is the parent, and its child differs from it in one decision. Published code trains a child that
    equals its parent or an earlier child again; here each function is asked for once.

    Args:
        population: how many of the last architectures may be parents; as many random ones come first.
        sample: how many of these are drawn for a parent to be chosen.
        crossover: probability that a child has the choices of two parents, each drawn like one, before one decision is
            changed; 0 in the paper.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search" (AAAI 2019), algorithm 1. A
    population of 30 and samples of 10 are those of NASLib, and on NAS-Bench-201 better than the 10 and 3 of its paper.
    """

    name = "evolution"

    def __init__(self, population: int = 30, sample: int = 10, crossover: float = 0.0) -> None:
        if not 1 <= sample <= population:
            raise InputError(f"evolution cannot draw {sample} of {population}; set sample to 1 to {population}")
        if not 0 <= crossover <= 1:
            raise InputError(f"crossover is a probability and cannot be {crossover}; set it to 0 to 1")
        self.population, self.sample, self.crossover = population, sample, crossover

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        """Return children of the population; random architectures until it is complete."""
        chosen = Chosen(pool)
        alive = history.complete[-self.population :]
        missing = self.population - len(history.complete) - len(history.pending)
        if not alive or missing >= n:
            return chosen.fill(n, rng)
        chosen.fill(max(missing, 0), rng)
        tries = TRIES * n
        while len(chosen) < n and tries:
            tries -= 1
            chosen.add(self._child(alive, pool, rng))
        return chosen.fill(n, rng)

    def _child(self, alive: Sequence[Trial], pool: Pool, rng: np.random.Generator) -> str | None:
        parent = self._parent(alive, rng)
        if self.crossover and rng.random() < self.crossover:
            crossed = pool.crossover(parent, self._parent(alive, rng), rng)
            # Two parents that are alike have no child that is new; then one of them has one alone.
            parent = parent if crossed is None else crossed
        return pool.mutate(parent, rng)

    def _parent(self, alive: Sequence[Trial], rng: np.random.Generator) -> str:
        drawn = rng.choice(len(alive), size=min(self.sample, len(alive)), replace=False)
        best: Trial = max((alive[index] for index in drawn), key=lambda trial: trial.value)
        return best.arch
