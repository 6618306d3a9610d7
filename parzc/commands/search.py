"""Search a space for its best architecture with few trainings, and write a run folder."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from parzc.commands._run import run_command
from parzc.commands._search_config import SearchConfig, check_run, parser, read_config, write_run
from parzc.commands._search_labels import Labels, open_labels
from parzc.commands._search_loop import Loop
from parzc.commands._search_options import read_settings
from parzc.commands._search_record import RunFolder
from parzc.commands._search_score import run_scored
from parzc.datasets import Space, get_space
from parzc.search import Search
from parzc.search.algorithms import ALGORITHMS
from parzc.search.history import Trial
from parzc.search.last_ranker import last_ranker
from parzc.search.training import Outcome


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and search."""
    args = parser(tuple(ALGORITHMS)).parse_args(argv)
    run_command(lambda parsed: run(read_config(parsed)), args)


def run(config: SearchConfig) -> None:
    """Carry out a search, or go on with it, and write its folder."""
    start, space = time.perf_counter(), get_space(config.space)
    if config.score:
        with _interruptible(), _going_on():
            out = run_scored(config, space)
        _close(out, start)
        return
    labels = open_labels(config, space)
    out = Path(config.out or f"runs/search-{space.name}-{labels.target or 'train'}-{config.algorithm}")
    out.mkdir(parents=True, exist_ok=True)
    check_run(out, config)
    folder = RunFolder(out, config, space, labels)
    with _interruptible(), _going_on():
        try:
            for seed in range(config.seeds):
                _search(config, space, labels, folder, seed)
        finally:
            if folder.record["seeds"]:
                folder.write_report()
    for line in folder.closing():
        print(line)
    _close(out, start)


def _close(out: Path, start: float) -> None:
    """Print what a run has written, and how long it took."""
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    print(f"written to {out}: {', '.join(names)}")
    print(f"{time.perf_counter() - start:.0f} s")


@contextmanager
def _going_on() -> Iterator[None]:
    """Print how to go on when the work is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nthe same command goes on from here", flush=True)
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let the signal that asks a process to end do what Ctrl-C does: trainings in flight are ended, files written."""

    def interrupt(_: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _search(config: SearchConfig, space: Space, labels: Labels, folder: RunFolder, seed: int) -> None:
    search = Search(
        space,
        budget=config.budget or None,
        algorithm=config.algorithm,
        folder=folder.out,
        storage=config.storage or None,
        study=f"search-{seed}",
        seed=seed,
        task=config.task,
        archs=labels.archs,
        objectives=config.objectives,
        features=config.features,
        workers=config.workers or None,
        settings=read_settings(config.settings) or None,
        progress=seed == 0,
    )
    labels.check(search.history)
    folder.check(seed, search)
    write_run(folder.out, config)
    folder.begin(seed, search)
    # The first seed has the same folders whether there are others or not, so that more seeds can be asked for later.
    home = folder.out / "trainings" / (f"seed-{seed}" if seed else "")

    def train(trial: Trial, stop: threading.Event) -> Outcome:
        return labels.train(trial, home / f"{trial.number:04d}", stop)

    loop = Loop(
        search, train, config.trainings, config.jobs, config.batch, config.epochs, partial(folder.ended, search)
    )
    try:
        loop.run()
    finally:
        folder.update(search)
    count = sum(not trial.attached for trial in search.history.trials)
    if count < config.trainings:
        print(f"no other architecture can be asked for: {count} trainings instead of {config.trainings}", flush=True)
    ranker = last_ranker(search)
    if ranker is not None:
        ranker.save(folder.out / "ranker")
