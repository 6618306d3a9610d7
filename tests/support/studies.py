"""Labelled synthetic networks, a ranker that fits in milliseconds, what it is searched over; as a script, processes."""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import optuna
from helpers import SMALL, table
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from parzc.ranker import Ranker
from parzc.tuning import tune

POOL, LABELS = table(40)
TRAIN, TARGETS = POOL[:24], LABELS[:24]
SEARCH = {
    "training.epochs": CategoricalDistribution([1, 12]),
    "training.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
}
"""One epoch, or twelve, at one of a million rates."""
QUICK = {name: value for name, value in SMALL.items() if name not in SEARCH}
QUICK |= {"mixers": 1, "pretraining.steps": 0, "others": ()}


def run(trials, **arguments):
    """Tune the quick ranker."""
    settings = {"preset": "default", "space": "nb201", "trials": trials, "settings": QUICK, "search": SEARCH}
    settings |= arguments
    return tune(settings.pop("features", TRAIN), settings.pop("accuracies", TARGETS), **settings)


def open_journal(journal):
    return JournalStorage(JournalFileBackend(str(journal)))


def read(journal):
    """Return the trials of the only study that a journal holds."""
    storage = open_journal(journal)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def work(journal, trials, stall, result):
    """Tune, and write what came out to a file; the fit of number `stall` says so in that file and never ends."""
    fit, fits = Ranker.fit, []

    def stalled(self, *arguments):
        fits.append(1)
        if len(fits) == int(stall):
            Path(result).write_text("stalled")
            time.sleep(3600)
        return fit(self, *arguments)

    Ranker.fit = stalled
    tuned = run(int(trials), storage=journal)
    Path(result).write_text(json.dumps([tuned.settings, tuned.kendall, tuned.trials]))


def serve():
    """Start a process for each line of the input, with `work` and its arguments, and print its number.

    All of them are forks of this one, so that torch is imported, and warm, once.
    """
    run(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            try:
                work(*line.split())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        print(process, flush=True)


if __name__ == "__main__":
    serve()
