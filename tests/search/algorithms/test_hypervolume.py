"""Fronts of accuracy against a cost, and what candidates are expected to add, against sums over a grid."""

import numpy as np
import pytest

from parzc.search.algorithms._hypervolume import Front, choose_by_hypervolume

COSTS, VALUES = [3.0, 1.0, 5.0, 4.0, 1.0], [70.0, 50.0, 80.0, 60.0, 40.0]
FRONT = Front.of(COSTS, VALUES, 10.0)


def slow_area(costs, values, reference, steps=100_000):
    """Return the dominated area by the best accuracy at the middle of each of many small steps of cost."""
    lowest, most = reference
    at = (np.arange(steps) + 0.5) * most / steps
    best = np.full(steps, lowest)
    for cost, value in zip(costs, values, strict=True):
        best = np.where(at >= cost, np.maximum(best, value), best)
    return float((best - lowest).sum() * most / steps)


def test_the_front_is_what_no_trial_beats_in_both():
    assert FRONT.costs.tolist() == [1.0, 3.0, 5.0] and FRONT.values.tolist() == [50.0, 70.0, 80.0]
    assert FRONT.reference == (47.0, 10.0)
    assert Front.of([2.0], [50.0], 4.0).reference == (45.0, 4.0)
    # 2 x 3 + 2 x 23 + 5 x 33
    assert FRONT.hypervolume() == pytest.approx(217.0) == slow_area(COSTS, VALUES, FRONT.reference)


@pytest.mark.parametrize(
    ("cost", "value"), [(0.5, 60.0), (2.0, 60.0), (4.0, 90.0), (9.0, 85.0), (6.0, 79.0), (12.0, 99.0)]
)
def test_a_candidate_adds_what_the_area_grows_by(cost, value):
    grown = slow_area([*COSTS, cost], [*VALUES, value], FRONT.reference) - FRONT.hypervolume()
    # Next to a candidate that adds a little more or less, it is chosen or not.
    for other, first in ((grown * 0.99 - 0.01, 0), (grown * 1.01 + 0.01, 1)):
        if other > 0:
            rival = np.array([[value], [80.0 + other / 5]])
            assert choose_by_hypervolume(FRONT, np.array([cost, 5.0]), rival, 1) == [first]


def test_expected_improvement_is_the_mean_over_draws_and_what_is_chosen_counts():
    rng = np.random.default_rng(0)
    costs, draws = rng.uniform(0.5, 9, 6), rng.normal(70, 12, (6, 40))

    def mean_area(rows):
        return np.mean([
            slow_area([*COSTS, *costs[rows]], [*VALUES, *draws[rows, s]], FRONT.reference, 2000) for s in range(40)
        ])  # fmt: skip

    chosen = []
    for _ in range(3):
        chosen.append(max(set(range(6)) - set(chosen), key=lambda i: mean_area([*chosen, i])))
    assert choose_by_hypervolume(FRONT, costs, draws, 3) == chosen
    assert choose_by_hypervolume(FRONT, costs, draws, 2, pending=chosen[:1]) == chosen[1:]
