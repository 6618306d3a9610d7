"""Several processes on one study: real ones that run together, real ones that are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial
from studies import open_journal, read, run

from parzc.tuning import owners, sharing
from parzc.tuning.sharing import Worker, places, valid
from parzc.tuning.storage import load_study

TESTS = Path(__file__).resolve().parents[1]
COMPLETE, FAIL, PRUNED, RUNNING, WAITING = (
    getattr(TrialState, name) for name in ("COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING")
)


class Process:
    """A process that tunes; `stall` is the fit that it never ends."""

    def __init__(self, server, journal, trials, stall=0):
        self.result = journal.with_name(f"result-{time.monotonic_ns()}")
        server.stdin.write(f"{journal} {trials} {stall} {self.result}\n")
        server.stdin.flush()
        self.number = int(server.stdout.readline())

    def runs(self):
        return owners.runs(self.number)

    def kill(self):
        os.kill(self.number, signal.SIGKILL)
        wait(lambda: not self.runs())

    def found(self):
        """Wait for the end, and return settings, Kendall tau and number of trials."""
        wait(lambda: not self.runs())
        return json.loads(self.result.read_text())

    def wait_until_stalled(self):
        wait(lambda: self.result.exists())
        assert self.result.read_text() == "stalled"


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server():
    paths = [str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "support" / "studies.py")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.kill()


@pytest.fixture
def begin(server):
    """Begin processes, which do not outlive the test."""
    begun = []

    def one(*arguments):
        begun.append(Process(server, *arguments))
        return begun[-1]

    yield one
    for process in begun:
        if process.runs():
            process.kill()


def test_four_processes_finish_as_many_trials_as_are_wanted(tmp_path, begin):
    path = tmp_path / "journal"
    four = [begin(path, 10) for _ in range(4)]
    results = [process.found() for process in four]
    assert results[1:] == results[:1] * 3 and results[0][2] == 10
    trials = read(path)
    finished = [trial for trial in trials if trial.state.is_finished()]
    assert len(finished) == 10 and {trial.state for trial in finished} <= {COMPLETE, PRUNED}
    # Left over are only places that two had queued at a time.
    assert {trial.state for trial in trials} <= {COMPLETE, PRUNED, WAITING} and len(trials) <= 13
    assert len({trial.params["training.learning_rate"] for trial in finished}) == 10
    assert results[0][1] == max(trial.value for trial in finished if trial.state == COMPLETE)
    assert len({trial.user_attrs["owner"]["process"] for trial in finished}) > 1
    # A fifth comes too late, and learns the same.
    tuned = run(10, storage=path)
    assert [tuned.settings | {"others": []}, tuned.kendall, tuned.trials] == results[0]
    assert len(read(path)) == len(trials)


def test_a_killed_process_costs_nothing_but_its_trial(tmp_path, begin):
    path = tmp_path / "journal"
    # In the second fold of the third trial.
    process = begin(path, 12, 8)
    process.wait_until_stalled()
    process.kill()
    dead = read(path)[-1]
    assert (dead.number, dead.state, list(dead.intermediate_values)) == (2, RUNNING, [0])
    assert run(12, storage=path) == run(12, storage=tmp_path / "whole")
    trials, whole = read(path), read(tmp_path / "whole")
    assert trials[2].state == FAIL and trials[3].user_attrs["place"] == 2 and trials[3].params == dead.params
    counted = [trial for trial in trials if trial.state != FAIL]
    assert [(t.params, t.value, t.state) for t in counted] == [(t.params, t.value, t.state) for t in whole]


def test_a_process_takes_over_from_one_that_dies_while_it_waits(tmp_path, begin):
    path = tmp_path / "journal"
    one = begin(path, 3, 4)
    one.wait_until_stalled()
    other = begin(path, 3)
    wait(lambda: [trial.state for trial in read(path)] == [COMPLETE, RUNNING, COMPLETE])
    assert other.runs()
    one.kill()
    assert other.found()[2] == 3
    assert [trial.state for trial in read(path)] == [COMPLETE, FAIL, COMPLETE, COMPLETE]


@pytest.fixture
def worker(tmp_path):
    """Make a worker of the study, with a view of its own on the journal."""
    path = tmp_path / "journal"
    optuna.create_study(storage=open_journal(path), study_name="parzc", direction="maximize")

    def make(trials):
        study = load_study(path, "parzc")
        return Worker(study, open_journal(path), trials)

    return make


def states(worker):
    return [[trial.state for trial in attempts] for attempts in worker.places()]


def test_places_are_given_out_once_and_in_order(worker):
    one, other = worker(3), worker(3)
    assert [one.claim()[0], other.claim()[0], one.claim()[0]] == [0, 1, 2]
    assert states(other) == [[RUNNING]] * 3


def test_only_one_gets_what_both_have_seen_waiting(worker):
    one, other = worker(2), worker(2)
    one.study.enqueue_trial({})
    ((waiting,),) = one.places()
    assert other._start(waiting) and not one._start(waiting)
    assert one.claim()[0] == 1


def test_what_two_queue_at_a_time_is_the_next_place(worker):
    one = worker(2)
    for _ in range(3):
        one.study.enqueue_trial({})
    for place in range(2):
        claimed, trial = one.claim()
        assert claimed == place and one.finish(trial, COMPLETE, 0.5)
    assert one.claim() is None and states(one) == [[COMPLETE], [COMPLETE], [WAITING]]
    assert len(one.finished()) == 2
    assert worker(3).claim()[0] == 2


def test_who_failed_makes_room_for_another_attempt_with_the_same_settings(worker):
    one = worker(2)
    _, trial = one.claim()
    optuna.Trial(one.study, trial).suggest_float("x", 0, 1)
    drawn = one.storage.get_trial(trial).params
    one.finish(trial, FAIL)
    place, again = one.claim()
    assert (place, states(one)) == (0, [[FAIL, RUNNING]])
    assert optuna.Trial(one.study, again).suggest_float("x", 0, 1) == drawn["x"]
    assert one.claim()[0] == 1


def test_a_process_of_this_machine_that_is_gone_is_seen_at_once(worker):
    one, other = worker(1), worker(1)
    place, trial = one.claim()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    one.storage.set_trial_user_attr(trial, "owner", {"machine": owners.machine(), "process": gone.pid})
    assert other.claim()[0] == place == 0 and states(other) == [[FAIL, RUNNING]]


@pytest.mark.skipif(os.name != "posix", reason="processes that have ended leave nothing behind on Windows")
def test_a_process_that_has_ended_does_not_run_even_where_nobody_asks_for_its_exit_status():
    """As in a container without an init process, where orphans that were killed keep their numbers for ever."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    wait(lambda: not owners.runs(gone.pid))
    os.kill(gone.pid, 0)  # the number is still taken
    gone.wait()
    assert owners.runs(os.getpid()) and not owners.runs(gone.pid)


def test_a_process_of_another_machine_is_given_up_when_its_beat_stands_still(worker, monkeypatch):
    clock = [0.0]

    def wait(seconds):
        clock[0] += seconds
        if clock[0] < 300:
            one.storage.set_trial_user_attr(trial, "beat", int(clock[0]))

    one, other = worker(1), worker(1)
    _, trial = one.claim()
    # The same number of a process means nothing there.
    one.storage.set_trial_user_attr(trial, "owner", {"machine": "elsewhere", "process": 1})
    monkeypatch.setattr(sharing.time, "sleep", wait)
    monkeypatch.setattr(owners.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sharing, "POLL_SECONDS", 20)
    assert other.claim()[0] == 0
    assert 280 + owners.DEAD_SECONDS < clock[0] <= 320 + owners.DEAD_SECONDS
    assert not one.finish(trial, COMPLETE, 0.5)
    assert states(other) == [[FAIL, RUNNING]]


def test_a_running_trial_beats_until_it_ends(worker, monkeypatch):
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.01)
    one = worker(1)
    _, trial = one.claim()
    count, threads = threading.active_count(), set(threading.enumerate())
    with one.beating(trial):
        assert threading.active_count() == count + 1
        while one.storage.get_trial(trial).user_attrs.get("beat", 0) < 3:
            time.sleep(0.01)
    assert set(threading.enumerate()) == threads
    last = one.storage.get_trial(trial).user_attrs["beat"]
    time.sleep(0.05)
    assert one.storage.get_trial(trial).user_attrs["beat"] == last


def test_a_beat_goes_on_after_a_storage_that_was_away_and_ends_with_the_trial(worker, monkeypatch):
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.001)
    one, calls = worker(1), []
    _, trial = one.claim()

    def write(*_):
        calls.append(1)
        raise OSError("away") if len(calls) < 3 else UpdateFinishedTrialError

    monkeypatch.setattr(one.storage, "set_trial_user_attr", write)
    with one.beating(trial):
        while len(calls) < 3:
            time.sleep(0.001)
        time.sleep(0.02)
    assert len(calls) == 3


def test_a_trial_that_was_given_up_takes_no_value(tmp_path, monkeypatch):
    """Another process fails the first trial while it is being evaluated: it was only slow."""
    path, seen = tmp_path / "journal", []
    report = optuna.Trial.report

    def slow(self, value, step):
        if not seen:
            seen.append(self.number)
            Worker(load_study(path, "parzc"), open_journal(path), 1).finish(self._trial_id, FAIL)
        report(self, value, step)

    monkeypatch.setattr(optuna.Trial, "report", slow)
    tuned = run(1, storage=path)
    assert [trial.state for trial in read(path)] == [FAIL, COMPLETE] and tuned.trials == 1
    assert tuned == run(1)


def test_attempts_are_grouped_by_place():
    def trial(number, state, **attributes):
        value = 0.0 if state == COMPLETE else None
        made = create_trial(state=state, value=value, user_attrs=attributes)
        made.number = number
        return made

    attempts = places([
        trial(0, COMPLETE), trial(3, RUNNING, place=1), trial(1, FAIL), trial(2, WAITING), trial(4, WAITING, place=1),
    ])  # fmt: skip
    assert [[t.number for t in group] for group in attempts] == [[0], [1, 3, 4], [2]]
    counted = [valid(group) for group in attempts]
    assert [t.number for t in counted] == [0, 3, 2]
    assert valid([trial(0, FAIL)]) is None
