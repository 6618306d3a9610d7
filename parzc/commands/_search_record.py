"""What a search leaves in its run folder: `search.json`, `search.csv` and `search.png`."""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parzc.commands._search_figure import best_so_far, search_figure
from parzc.files import write_atomically
from parzc.search.history import History, Trial

RECORD, ROWS, FIGURE = "search.json", "search.csv", "search.png"


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
    return {
        "number": trial.number,
        "arch": trial.arch,
        "value": _known(trial.value),
        "report": _known(report(trial.arch)) if trial.state == "complete" else None,
        "state": trial.state,
        "costs": {name: _known(cost) for name, cost in trial.costs.items()},
        "seconds": _known(trial.seconds),
        "epochs": trial.epochs,
        "attached": trial.attached,
        "feasible": trial.feasible,
        "reason": trial.reason,
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


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
