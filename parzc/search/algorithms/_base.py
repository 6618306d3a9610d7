"""What every search algorithm does: look at what was asked for so far, and name what to train next."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.search.history import History
from parzc.search.pool import Pool

if TYPE_CHECKING:
    from parzc.search.scores import Score


class Algorithm(ABC):
    """Names the architectures that a search asks for.

    An algorithm keeps no state of its own that decides anything: what it returns follows from the history, the pool and
    the generator. So a search that was stopped goes on as if it had not, and several processes can work on one search.

    Attributes:
        name: what users call it.
        reads_values: whether what is asked for depends on the values of earlier trials.
        needs_labels: whether these values have to be accuracies; a score does not do.
    """

    name: ClassVar[str]
    reads_values: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False

    @abstractmethod
    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        """Return up to `n` different architectures that are within the budget and compute new functions.

        Args:
            history: all trials so far, pending ones included.
            pool: the architectures that may be asked for.
            n: how many.
            rng: of everything that is drawn.

        Returns:
            Fewer than `n` architectures only if the space holds no more.
        """

    def proxies(self, space: Space) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the proxies and statistics that are read of a space's networks, in the order of a store.

        Empty for all that are registered, or where nothing is measured.
        """
        return ()

    def own_rows(
        self,
        archs: Sequence[str],  # noqa: ARG002
        pool: Pool,  # noqa: ARG002
        score: "Score",  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> NDArray[np.float64] | None:
        """Return what a score keeps of architectures, `(n, columns)`, where the algorithm measures them in its own way.

        None where their features are read.
        """
        return None

    def expected_improvement_left(self, history: History, pool: Pool) -> float:  # noqa: ARG002
        """Return by how much the best candidate is expected to beat the best trial; NaN if the algorithm cannot say."""
        return math.nan


class Chosen:
    """Architectures chosen in one `ask`, no two of which compute the same function.

    Args:
        pool: the architectures that may be asked for.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._functions: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._functions)

    @property
    def archs(self) -> list[str]:
        """The architectures in the order in which they were chosen."""
        return list(self._functions.values())

    def add(self, arch: str | None) -> bool:
        """Add an architecture if there is one and its function is not among the chosen; return whether it was added."""
        function = None if arch is None else self._pool.space.canonical(arch)
        if arch is None or function is None or function in self._functions:
            return False
        self._functions[function] = arch
        return True

    def fill(self, n: int, rng: np.random.Generator) -> list[str]:
        """Add random architectures until there are `n`, or the space holds no more, and return all."""
        if len(self) < n:
            # Of as many draws as are chosen already, all could be among these.
            for arch in self._pool.draw(n, rng):
                if len(self) < n:
                    self.add(arch)
        return self.archs
