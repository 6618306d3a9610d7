"""Where the values of a search come from: a table in place of trainings, or a command that trains."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parzc.commands._search_config import SearchConfig
from parzc.datasets import Space, Table, list_tables, load_table
from parzc.errors import InputError
from parzc.search.history import History, Trial
from parzc.search.training import Outcome, TrainingCommand


@dataclass(frozen=True)
class Labels:
    """Gives the value of an architecture.

    Args:
        name: of the table; None where a command trains.
        target: name of what is searched for; None where a command trains.
        archs: the candidates, where not the whole space can be asked for.
        train: trains the architecture of a trial in a folder of the run.
        report: the reported figure of an architecture, NaN where there is none.
        check: raises `InputError` if a search knows another value of an architecture than it would be given now.
    """

    name: str | None
    target: str | None
    archs: Sequence[str] | None
    train: Callable[[Trial, Path, threading.Event], Outcome]
    report: Callable[[str], float]
    check: Callable[[History], None] = lambda _: None


def open_labels(config: SearchConfig, space: Space) -> Labels:
    """Return where the values of a search come from.

    Raises:
        InputError: if there is no table and no command, or they cannot be used.
    """
    return _trained(config) if config.train else _looked_up(config, space)


def _trained(config: SearchConfig) -> Labels:
    command = TrainingCommand(config.train, config.time_limit or None)

    def train(trial: Trial, folder: Path, stop: threading.Event) -> Outcome:
        return command.run(trial.arch, folder, trial.asked_epochs or config.epochs, stop)

    return Labels(None, None, None, train, lambda _: math.nan)


def _looked_up(config: SearchConfig, space: Space) -> Labels:
    table = _table(config, space)
    value = dict(zip(table.archs, table.labels, strict=True))
    reported = dict(zip(table.archs, table.column(config.report), strict=True)) if config.report else {}
    seconds = dict(zip(table.archs, table.column(config.seconds), strict=True)) if config.seconds else {}

    def train(trial: Trial, folder: Path, stop: threading.Event) -> Outcome:  # noqa: ARG001
        return Outcome(float(value[trial.arch]), float(seconds.get(trial.arch, math.nan)))

    def report(arch: str) -> float:
        return float(reported.get(arch, math.nan))

    def check(history: History) -> None:
        for trial in history.complete:
            now = float(value.get(trial.arch, math.nan))
            if now != trial.value:
                raise InputError(
                    f"{table.name} gives {trial.arch} the {table.target} {now:g}, but the search was told "
                    f"{trial.value:g}; give the table it began with, or begin anew with another --out"
                )

    return Labels(table.name, table.target, table.archs, train, report, check)


def _table(config: SearchConfig, space: Space) -> Table:
    embedded = list_tables(space)
    if not config.table and not embedded:
        raise InputError(
            f"no accuracies of {space.name} come with parzc; train with --train "
            '"python my_train.py --arch {arch} --out {folder}", or give a file with --table'
        )
    return load_table(config.table or embedded[0], space=space, target=config.target or None)
