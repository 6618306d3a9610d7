"""What the trials of a study mean, case by case."""

import pytest
from optuna.trial import TrialState, create_trial

from parzc.search.replay import Places, history, places

COMPLETE, FAIL, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING


def trials(*given):
    made = []
    for number, (arch, state, known) in enumerate(given):
        attributes = ({"arch": arch, "function": arch.lower()} if arch else {}) | known
        made.append(
            create_trial(state=state, value=50.0 + number if state == COMPLETE else None, user_attrs=attributes)
        )
        made[-1].number = number
    return made


def meant(*given):
    return [(t.number, t.arch, t.state, t.reason) for t in history(trials(*given)).trials]


def test_a_trial_of_each_state():
    (done, failed, runs) = history(
        trials(
            ("A", COMPLETE, {"costs": {"flops": 3.0}, "seconds": 7.0, "epochs": 12.0}),
            ("B", FAIL, {"reason": "diverged"}),
            ("C", RUNNING, {"asked_epochs": 5.0, "feasible": False, "attached": True}),
        )
    ).trials
    assert (done.arch, done.function, done.state, done.value) == ("A", "a", "complete", 50.0)
    assert (done.costs, done.seconds, done.epochs, done.asked_epochs) == ({"flops": 3.0}, 7.0, 12.0, 0)
    assert (failed.state, failed.reason, failed.value != failed.value) == ("failed", "diverged", True)
    assert (runs.state, runs.epochs, runs.asked_epochs, runs.feasible, runs.attached) == (
        "running",
        5.0,
        5.0,
        False,
        True,
    )


def test_the_later_of_two_that_ask_for_one_function_is_void():
    assert meant(("A", RUNNING, {}), ("a", RUNNING, {}), ("B", COMPLETE, {}), ("A", FAIL, {"void": "later"})) == [
        (0, "A", "running", ""), (1, "B", "complete", ""),
    ]  # fmt: skip


def test_a_higher_fidelity_opens_another_place_and_a_lower_one_does_not():
    found = history(
        trials(("A", COMPLETE, {"asked_epochs": 12.0}), ("A", RUNNING, {}), ("A", COMPLETE, {"asked_epochs": 12.0}))
    ).trials
    assert [(t.number, t.state, t.asked_epochs) for t in found] == [(0, "complete", 12.0), (1, "running", 0)]


def test_trials_of_others_do_not_count():
    assert meant(("", COMPLETE, {}), ("A", COMPLETE, {})) == [(0, "A", "complete", "")]


def test_what_is_more_than_its_limit_is_void():
    limit = {"limit": 2}
    given = [("A", RUNNING, limit), ("B", COMPLETE, {"attached": True}), ("C", RUNNING, limit), ("D", RUNNING, limit)]
    assert [arch for _, arch, _, _ in meant(*given, ("E", RUNNING, {"limit": 3}))] == ["A", "B", "C", "E"]


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], ("running", "")),
        ([(RUNNING, {})], ("running", "")),
        ([(COMPLETE, {})], ("complete", "")),
        ([(FAIL, {"reason": "diverged"})], ("failed", "diverged")),
        ([(FAIL, {"lost": "x"}), (FAIL, {"void": "x"})], ("running", "")),
        ([(FAIL, {"lost": "x"})] * 3, ("running", "")),
        ([(FAIL, {"lost": "x"})] * 4, ("failed", "5 workers died over it")),
        ([(RUNNING, {}), (COMPLETE, {})], ("complete", "")),
        ([*[(FAIL, {"lost": "x"})] * 4, (COMPLETE, {})], ("complete", "")),
    ],
)
def test_attempts_after_a_dead_worker(later, expected):
    given = [("A", FAIL, {"lost": "its worker died"}), ("B", RUNNING, {})]
    given += [("A", state, {"place": 0, **known}) for state, known in later]
    assert [known[2:] for known in meant(*given)] == [expected, ("running", "")]


def test_places_are_the_same_whether_read_at_once_or_bit_by_bit():
    given = trials(
        ("A", FAIL, {"lost": "x"}), ("A", RUNNING, {}), ("B", RUNNING, {"limit": 2}), ("C", RUNNING, {"limit": 2}),
        ("A", RUNNING, {"place": 0}), ("", COMPLETE, {}), ("D", COMPLETE, {}),
    )  # fmt: skip
    kept = Places()
    for end in range(len(given) + 1):
        grown = kept.read(given[:end])
    numbers = [[trial.number for trial in attempts] for attempts in grown]
    assert numbers == [[0, 4], [2], [6]] == [[trial.number for trial in attempts] for attempts in places(given[::-1])]
    assert kept.of == {0: 0, 4: 0, 2: 1, 6: 2}
