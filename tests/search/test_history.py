"""Histories and fronts of trials, against cases worked out by hand."""

import math

import numpy as np
import pytest

from parzc import InputError
from parzc.search.history import History, Trial, non_dominated


def trial(number, value=math.nan, state="complete", flops=1.0, **known):
    return Trial(number, f"a{number}", f"f{number}", state, value, costs={"flops": flops}, **known)


def test_states_and_functions():
    history = History([trial(0, 90.0), trial(1, state="running"), trial(2, state="failed", reason="diverged")])
    assert len(history) == 3
    assert [t.number for t in history.complete] == [0]
    assert [t.number for t in history.pending] == [1]
    assert [(t.number, t.reason) for t in history.failed] == [(2, "diverged")]
    assert history.functions == {"f0", "f1", "f2"}


def test_a_function_may_come_again_at_a_higher_fidelity():
    history = History([trial(0, 50.0, asked_epochs=12.0), trial(1, 60.0, asked_epochs=50.0), trial(2, 90.0)])
    assert history.functions_at(0) == history.functions == {"f2"}
    assert history.functions_at(50) == {"f1", "f2"}
    assert history.functions_at(12) == history.functions_at(5) == {"f0", "f1", "f2"}


def test_the_best_is_trained_fully_and_within_the_budget():
    assert History().best is None
    history = History([
        trial(0, 90.0), trial(1, 91.0), trial(2, 91.0), trial(3, 99.0, epochs=12.0), trial(4, 99.0, feasible=False),
        trial(5, 95.0, state="failed"),
    ])  # fmt: skip
    assert history.best.number == 1


def test_a_front_worked_out_by_hand():
    points = [(90, 5), (92, 7), (91, 7), (92, 9), (85, 1), (85, 1), (84, 2), (95, 20), (99, 30)]
    history = History([trial(i, float(a), flops=f, epochs=12.0 * (i == 8)) for i, (a, f) in enumerate(points)])
    # The best first: 92 at 7 dominates 91 at 7 and 92 at 9, 85 at 1 84 at 2; of two equal ones the first stays.
    assert [t.number for t in history.front("accuracy", "flops")] == [7, 1, 0, 4]
    assert [t.number for t in history.front("flops", "accuracy")] == [4, 0, 1, 7]
    assert [t.number for t in history.front("accuracy")] == [7]
    assert History().front("accuracy", "flops") == []


def test_what_a_front_needs():
    history = History([trial(0, 90.0)])
    with pytest.raises(InputError, match="a front needs objectives"):
        history.front()
    with pytest.raises(InputError, match="no 'latency' is recorded of trial 0; choose among accuracy, flops"):
        history.front("accuracy", "latency")


def test_non_dominated_rows_against_all_pairs():
    rng = np.random.default_rng(0)
    for columns in (1, 2, 3):
        losses = rng.integers(0, 6, (60, columns)).astype(float)
        losses[3, 0] = np.nan
        slow = {
            tuple(a)
            for a in losses[~np.isnan(losses).any(1)]
            if not any((b <= a).all() and (b < a).any() for b in losses)
        }
        found = non_dominated(losses)
        assert {tuple(losses[i]) for i in found} == slow and len(found) == len(slow)
        assert all((losses[: found[k]] != losses[found[k]]).any(1).all() for k in range(len(found)))
