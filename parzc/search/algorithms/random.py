"""Random search."""

import numpy as np

from parzc.search.algorithms._base import Algorithm
from parzc.search.history import History
from parzc.search.pool import Pool


class Random(Algorithm):
    """Draws architectures from the space, each function once."""

    name = "random"
    reads_values = False

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:  # noqa: ARG002
        """Return `n` random architectures."""
        return pool.draw(n, rng)
