"""Searches whose workers are killed at random moments: nothing that was finished is lost, or done again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from searches import accuracy, search

from parzc.tuning.owners import runs

TESTS = Path(__file__).resolve().parents[1]


class Worker:
    """A process that searches."""

    def __init__(self, server, folder, trainings, batch=1, seconds=0.1, algorithm="random"):
        server.stdin.write(f"{folder} {trainings} {batch} {seconds} {algorithm}\n")
        server.stdin.flush()
        self.number = int(server.stdout.readline())

    def runs(self):
        return runs(self.number)

    def kill(self):
        if self.runs():
            os.kill(self.number, signal.SIGKILL)
        self.wait()

    def wait(self, seconds=120):
        end = time.monotonic() + seconds
        while self.runs():
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture(scope="module")
def server():
    paths = [str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "support" / "searches.py")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.kill()


@pytest.fixture
def begin(server):
    """Begin workers, which do not outlive the test."""
    begun = []

    def one(*arguments, **more):
        begun.append(Worker(server, *arguments, **more))
        return begun[-1]

    yield one
    for worker in begun:
        worker.kill()


def log(folder, event):
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(line.split(" ", 2)[1:]) for line in lines if line.startswith(event)]


def wait_for(folder, event, number):
    end = time.monotonic() + 120
    while len(log(folder, event)) < number:
        assert time.monotonic() < end
        time.sleep(0.005)


def check(folder, trainings, kills, algorithm="random"):
    """The history is whole: as many trials as wanted, each complete, each function once, each training kept."""
    history = search(folder, algorithm).history
    assert len(history.complete) == len(history) == trainings == len(history.functions)
    assert [trial.value for trial in history.complete] == [accuracy(trial.arch) for trial in history.trials]
    ended = Counter(log(folder, "told"))
    assert set(ended.values()) <= {1}, "a training that was told was done again"
    known = {(str(trial.number), trial.function) for trial in history.complete}
    assert set(ended) <= known, "a training that was told was lost"
    # Done twice is only what was in flight: one training for each worker that was killed.
    assert len(log(folder, "begun")) - trainings <= kills


@pytest.mark.parametrize(("algorithm", "batch"), [("random", 1), ("evolution", 4)])
def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path, begin, algorithm, batch):
    folder, whole, rng = tmp_path / "killed", tmp_path / "whole", random.Random(batch)
    begin(whole, 14, batch, 0.01, algorithm).wait()
    for kill in range(1, 6):
        worker = begin(folder, 14, batch, 0.05, algorithm)
        wait_for(folder, "told", 2 * kill)
        time.sleep(rng.uniform(0, 0.06))
        worker.kill()
    begin(folder, 14, batch, 0.01, algorithm).wait()
    check(folder, 14, 5, algorithm)
    trials, expected = (search(path, algorithm).history.trials for path in (folder, whole))
    assert [(t.number, t.arch, t.value) for t in trials] == [(t.number, t.arch, t.value) for t in expected]


def _kill_some_of_four(folder, begin, trainings, kills, seed):
    rng = random.Random(seed)
    workers = [begin(folder, trainings, seconds=0.15) for _ in range(4)]
    for kill in range(kills):
        wait_for(folder, "told", 2 * kill)
        time.sleep(rng.uniform(0, 0.3))
        place = rng.randrange(4)
        workers[place].kill()
        workers[place] = begin(folder, trainings, seconds=0.15)
    for worker in workers:
        worker.wait()
    check(folder, trainings, kills)


def test_four_workers_share_a_search_some_of_them_killed(tmp_path, begin):
    _kill_some_of_four(tmp_path / "search", begin, 24, 4, 0)


@pytest.mark.slow("twenty workers begin, and are killed one after another")
def test_four_workers_share_a_search_and_twenty_are_killed(tmp_path, begin):
    _kill_some_of_four(tmp_path / "search", begin, 60, 20, 1)
