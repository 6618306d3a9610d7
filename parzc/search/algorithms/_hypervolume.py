"""Expected hypervolume improvement: what a candidate adds to the front of accuracy against a cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN = 0.1
"""Of the range of accuracies on the front, how far below its worst one the reference lies; as in BoTorch."""


@dataclass(frozen=True)
class Front:
    """The best accuracy at each cost, and the reference up to which it counts.

    Args:
        costs: `(k,)` of the trials on the front, ascending.
        values: `(k,)` their accuracies, ascending.
        reference: accuracy and cost of the reference: what is worse in either adds nothing.
    """

    costs: Array
    values: Array
    reference: tuple[float, float]

    @classmethod
    def of(cls, costs: Sequence[float], values: Sequence[float], most: float) -> "Front":
        """Return the front of trials.

        The reference has a cost of `most`, and an accuracy a tenth of the front's range below its worst one (a tenth of
        its accuracy where the front is one point).

        Args:
            costs: `(n,)` of the trials, at least one.
            values: `(n,)` their accuracies.
            most: cost of the reference.
        """
        order = np.lexsort((-np.asarray(values), np.asarray(costs)))
        kept: list[int] = []
        for index in order:
            if not kept or values[index] > values[kept[-1]]:
                kept.append(int(index))
        best = np.asarray(values, dtype=np.float64)[kept]
        below = MARGIN * (best[-1] - best[0] if len(kept) > 1 else abs(best[0]))
        return cls(np.asarray(costs, dtype=np.float64)[kept], best, (float(best[0] - below), most))

    def hypervolume(self) -> float:
        """Return the area between the front and its reference."""
        ends = np.append(np.minimum(self.costs, self.reference[1]), self.reference[1])
        return float(np.diff(ends) @ (self.values - self.reference[0]))

    def at(self, costs: Array) -> Array:
        """Return the best accuracy of the front at costs, at least that of the reference."""
        index = np.searchsorted(self.costs, costs, side="right")
        return np.concatenate([[self.reference[0]], self.values])[index]


def choose_by_hypervolume(front: Front, costs: Array, draws: Array, n: int, pending: Sequence[int] = ()) -> list[int]:
    """Return `n` candidates, one after the other, each of which is expected to add most to the hypervolume.

    Args:
        front: of the trials.
        costs: `(m,)` of the candidates.
        draws: `(m, draws)` joint draws of their accuracies.
        n: how many to choose.
        pending: candidates whose training has begun: they are not chosen, and count as if they were.

    Source: Emmerich, Deutz and Klinkenberg, "Hypervolume-based Expected Improvement: Monotonicity Properties and Exact
        Computation" (CEC 2011), for one uncertain objective, and greedy for several points.
    """
    # Between two of these costs, the best accuracy of front and candidates is constant.
    starts = np.unique(np.concatenate([costs, front.costs]))
    starts = starts[starts < front.reference[1]]
    widths = np.diff(np.append(starts, front.reference[1]))
    first = np.searchsorted(starts, costs)
    best = np.repeat(front.at(starts)[:, None], draws.shape[1], axis=1)
    for index in pending:
        best[first[index] :] = np.maximum(best[first[index] :], draws[index])
    chosen = list[int](pending)
    for _ in range(n):
        gains = np.array([
            widths[s:] @ np.maximum(draws[i] - best[s:], 0.0).mean(1) if i not in chosen else -1.0
            for i, s in enumerate(first)
        ])  # fmt: skip
        pick = int(np.argmax(gains))
        best[first[pick] :] = np.maximum(best[first[pick] :], draws[pick])
        chosen.append(pick)
    return chosen[len(pending) :]
