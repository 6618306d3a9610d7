"""What a search leaves in its run folder: `search.json`, `search.csv` and `search.png`; the lines that it prints."""

import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parzc.commands._search_config import SearchConfig
from parzc.commands._search_figure import best_so_far, search_figure
from parzc.commands._search_labels import Labels
from parzc.datasets import Space
from parzc.errors import InputError
from parzc.files import write_atomically
from parzc.search import Search
from parzc.search.history import COMPLETE, FAILED, LABEL, History, Trial
from parzc.search.report import trial_record

RECORD, ROWS, FIGURE = "search.json", "search.csv", "search.png"
WRITE_SECONDS = 2.0
"""At most so often is `search.json` written while a search runs."""


def seed_entry(seed: int, history: History, report: Callable[[str], float]) -> dict[str, Any]:
    """Return what `search.json` keeps of one seed: the best trial, and all trials in the order asked.

    Args:
        seed: of the search.
        history: its trials.
        report: the reported figure of an arch, NaN where there is none.
    """
    trials = [trial_entry(trial, report) for trial in history.trials]
    best = history.best
    return {"seed": seed, "best": None if best is None else trial_entry(best, report), "trials": trials}


def trial_entry(trial: Trial, report: Callable[[str], float]) -> dict[str, Any]:
    """Return what `search.json` keeps of a trial; figures that are not known are null."""
    record = trial_record(trial)
    first = {name: record.pop(name) for name in ("number", "arch", "value")}
    figure = report(trial.arch) if trial.state == COMPLETE else math.nan
    return first | {"report": float(figure) if math.isfinite(figure) else None} | record


def rows(seeds: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row for each trial of each seed: `seed`, `number`, `arch`, `state`, `value`, `best` (so far), ..."""
    found = []
    for entry in seeds:
        best = best_so_far(entry["trials"])
        for trial, so_far in zip(entry["trials"], best, strict=True):
            first = {name: trial[name] for name in ("number", "arch", "state", "value")}
            rest = {name: trial[name] for name in ("report", "seconds", "epochs")}
            found.append({"seed": entry["seed"], **first, "best": so_far, **rest, **trial["costs"], **_last(trial)})
    return pd.DataFrame(found)


def _last(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: trial[name] for name in ("attached", "feasible", "reason")}


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """Write `search.json`."""
    write_atomically(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def write_report(out: Path, record: Mapping[str, Any], cost: str = "") -> None:
    """Write `search.csv` and `search.png`; `cost` is the second objective, if there is one."""
    write_atomically(out / ROWS, rows(record["seeds"]).to_csv(index=False, float_format="%.8g").encode())
    buffer = io.BytesIO()
    search_figure(record, cost).savefig(buffer, format="png")
    write_atomically(out / FIGURE, buffer.getvalue())


class RunFolder:
    """The record of a run, kept up to date, and the lines that say how it goes.

    Args:
        out: the folder.
        config: of the run.
        space: that is searched.
        labels: where values come from.
    """

    def __init__(self, out: Path, config: SearchConfig, space: Space, labels: Labels) -> None:
        self.out, self.config, self.labels = out, config, labels
        self.cost = config.objectives[1] if len(config.objectives) > 1 else ""
        self.record: dict[str, Any] = {
            "space": space.name,
            "table": labels.name,
            "target": labels.target,
            "report": config.report or None,
            "train": config.train or None,
            "algorithm": config.algorithm,
            "budget": dict(bound.partition("=")[::2] for bound in config.budget),
            "objectives": list(config.objectives),
            "seeds": [],
        }
        self._written = 0.0

    def check(self, seed: int, search: Search) -> None:
        """Raise `InputError` if the folder's record of a seed holds more trainings than the study: it was lost."""
        try:
            record = json.loads((self.out / RECORD).read_text(encoding="utf-8"))
            before = next(len(entry["trials"]) for entry in record["seeds"] if entry["seed"] == seed)
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            return  # nothing was recorded, or nothing that can be read
        now = len(search.history)
        if before > now:
            raise InputError(
                f"{self.out / RECORD} holds {before} trainings of seed {seed}, but the study holds {now}: it was lost "
                "or damaged; bring it back, or begin anew with another --out"
            )

    def begin(self, seed: int, search: Search) -> None:
        """Begin the record of a seed with what there is already."""
        history = search.history
        finished = len(history) - len(history.pending)
        self.record["seeds"].append(seed_entry(seed, history, self.labels.report))
        name = f"seed {seed}: " if self.config.seeds > 1 else ""
        if finished:
            print(f"{name}{finished} trainings are there already, of {self.config.trainings}", flush=True)
        elif name:
            print(f"{name}{self.config.trainings} trainings", flush=True)

    def ended(self, search: Search, trial: Trial) -> None:
        """Print a line about a trial that has ended, and keep it."""
        print(self._line(search, trial), flush=True)
        if time.monotonic() - self._written > WRITE_SECONDS:
            self.update(search)

    def update(self, search: Search) -> None:
        """Write what the search holds now."""
        entry = self.record["seeds"][-1]
        self.record["seeds"][-1] = seed_entry(entry["seed"], search.history, self.labels.report)
        write_record(self.out, self.record)
        self._written = time.monotonic()

    def write_report(self) -> None:
        """Write the table and the picture."""
        write_report(self.out, self.record, self.cost)

    def _line(self, search: Search, trial: Trial) -> str:
        history = search.history
        count = f"{len(history) - len(history.pending):>{len(str(self.config.trainings))}} of {self.config.trainings}"
        took = f", {trial.seconds:.3g} s" if np.isfinite(trial.seconds) else ""
        if trial.state == FAILED:
            return f"{count}: trial {trial.number} failed because {trial.reason}{took}, {trial.arch}"
        best, left = history.best, search.expected_improvement_left()
        few = f" ({trial.epochs:g} epochs)" if trial.epochs else ""
        known = f", best {best.value:.6g}" if best else ""
        expected = f", expected improvement left {left:.2g}" if np.isfinite(left) else ""
        return f"{count}: {trial.value:.6g}{few}{known}{expected}{took}, {trial.arch}"

    def closing(self) -> list[str]:
        """Return lines about the best of each seed, and of all."""
        lines, found = [""], [entry["best"] for entry in self.record["seeds"] if entry["best"]]
        for entry in self.record["seeds"]:
            best = entry["best"]
            if best is None:
                lines.append(f"seed {entry['seed']}: no training within the budget has a value")
                continue
            report = "" if best["report"] is None else f", {self.config.report} {best['report']:.6g}"
            costs = ", ".join(f"{name} {cost:,.6g}" for name, cost in best["costs"].items())
            name = f"seed {entry['seed']}: " if self.config.seeds > 1 else ""
            lines.append(f"{name}best {best['value']:.6g} (trial {best['number']}{report}), {costs}: {best['arch']}")
        for key, name in (("value", self.labels.target or LABEL), ("report", self.config.report)):
            values = [best[key] for best in found if best[key] is not None]
            if len(values) > 1:
                lines.append(
                    f"{name} of the best: mean {np.mean(values):.6g} ± {np.std(values, ddof=1):.3g} over seeds"
                )
        return lines
