"""A search whose trainings take a moment; as a script, processes that search and may be killed."""

import os
import random
import signal
import sys
import time
import traceback
import zlib
from pathlib import Path

from parzc.search import Search

BUDGET = {"flops": 1e8}
"""Of the cells of NAS-Bench-201, about nine of ten."""

SETTINGS = {"evolution": {"population": 4, "sample": 2}}


def accuracy(arch):
    """A number from 0 to 100 that is different for nearly all architectures."""
    return zlib.crc32(arch.encode()) % 10**6 / 10**4


def search(folder, algorithm="random", **known):
    usual = {"budget": BUDGET, "seed": 3, "settings": SETTINGS.get(algorithm)}
    return Search("nb201", folder=folder, algorithm=algorithm, **usual | known)


def work(folder, trainings, batch, seconds, algorithm):
    """Search, and write a line to `log` before and after each training."""
    mine, delay = search(folder, algorithm), random.Random(os.getpid())
    for trial in mine.until(int(trainings), int(batch)):
        note(folder, f"begun {trial.number} {trial.function}")
        time.sleep(float(seconds) * delay.uniform(0.5, 1.5))
        mine.tell(trial, accuracy(trial.arch))
        note(folder, f"told {trial.number} {trial.function}")


def note(folder, line):
    """Append a line to the log at once, so that lines of several processes stay whole."""
    stream = os.open(Path(folder) / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(stream, f"{line}\n".encode())
    os.close(stream)


def serve():
    """Start a process for each line of the input, with `work` and its arguments, and print its number."""
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
