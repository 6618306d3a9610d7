"""`search.py --score`: a search without training, and its run folder.

Accuracies of a table are written next to the scores, and never searched on.
"""

import io
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parzc.commands._search_config import SearchConfig, check_run, write_run
from parzc.commands._search_figure import best_so_far, search_figure
from parzc.commands._search_options import read_settings
from parzc.commands._search_record import FIGURE, ROWS, trial_entry, write_record
from parzc.datasets import Space, Table, list_tables, load_table
from parzc.errors import InputError
from parzc.files import write_atomically
from parzc.search.history import History
from parzc.search.training_free import TrainingFreeSearch

LINE_SECONDS = 5.0
"""Between two lines that say how far a search is."""

Lookup = Callable[[str], float]
"""Gives the accuracy of an architecture in a table; NaN where there is none."""


def run_scored(config: SearchConfig, space: Space) -> Path:
    """Carry out a search by a score with each seed, write its folder, and return that."""
    table = _table(config, space)
    names = [table.target if table else "", config.report]
    value, report = (_lookup(table, name, space) for name in names)
    plain = re.sub(r"\W+", "_", config.score).strip("_")
    out = Path(config.out or f"runs/search-{space.name}-{plain}-{config.algorithm}")
    search = TrainingFreeSearch(
        space,
        config.score,
        budget=config.budget or None,
        algorithm=config.algorithm,
        folder=out,
        task=config.task,
        archs=table.archs if table and config.table else None,
        features=config.features,
        workers=config.workers or None,
        settings=read_settings(config.settings),
        progress=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    check_run(out, config)
    write_run(out, config)
    seeds: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        history = search.run(config.evaluations, seed, config.batch, _Lines(config, seed))
        seeds.append(seed_entry(seed, history, value, report))
        record = _record(config, space, table, seeds)
        write_record(out, record)
    _write_report(out, record)
    for line in closing(record):
        print(line)
    return out


class _Lines:
    """Prints now and then how far a search is."""

    def __init__(self, config: SearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self._last = time.monotonic()

    def __call__(self, history: History) -> None:
        if time.monotonic() - self._last > LINE_SECONDS and (best := history.best):
            self._last = time.monotonic()
            name = f"seed {self.seed}: " if self.config.seeds > 1 else ""
            count = f"{len(history)} of {self.config.evaluations}"
            print(f"{name}{count}: best {self.config.score} {best.value:.6g}, {best.arch}", flush=True)


def _table(config: SearchConfig, space: Space) -> Table | None:
    """Return the table whose accuracies are shown; None where there is none, and none is asked for."""
    embedded = list_tables(space)
    if config.table or embedded:
        return load_table(config.table or embedded[0], space=space, target=config.target or None)
    for name in ("target", "report"):
        if getattr(config, name):
            raise InputError(
                f"no accuracies of {space.name} come with parzc; give a file with --table, or leave --{name} away"
            )
    return None


def _lookup(table: Table | None, column: str, space: Space) -> Lookup:
    if table is None or not column:
        return lambda _: math.nan
    values = table.labels if column == table.target else table.column(column)
    of_arch = dict(zip(table.archs, map(float, values), strict=True))
    # Of several cells that compute one function, the first that is in the table stands for those that are not.
    of_function = {space.canonical(arch): value for arch, value in reversed(of_arch.items())}
    return lambda arch: of_arch.get(arch, of_function.get(space.canonical(arch), math.nan))


def seed_entry(seed: int, history: History, value: Lookup, report: Lookup) -> dict[str, Any]:
    """Return what `search.json` keeps of one seed: the trial with the best score, and all in the order asked.

    Args:
        seed: of the search.
        history: its trials, whose values are scores.
        value: accuracy of an architecture in the column `target` of a table.
        report: the same in the column `report`.
    """
    trials = []
    for trial in history.trials:
        entry = trial_entry(trial, report)
        accuracy = value(trial.arch)
        first = {"number": trial.number, "arch": trial.arch, "score": entry["value"]}
        trials.append(first | entry | {"value": accuracy if math.isfinite(accuracy) else None})
    best = history.best
    return {"seed": seed, "best": None if best is None else trials[best.number], "trials": trials}


def _record(config: SearchConfig, space: Space, table: Table | None, seeds: Sequence[Any]) -> dict[str, Any]:
    return {
        "space": space.name,
        "table": table.name if table else None,
        "target": table.target if table else None,
        "report": config.report or None,
        "algorithm": config.algorithm,
        "score": config.score,
        "evaluations": config.evaluations,
        "settings": read_settings(config.settings),
        "budget": dict(bound.partition("=")[::2] for bound in config.budget),
        "seeds": list(seeds),
    }


def _by_score(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record in which the score is the value."""
    seeds = [{"seed": entry["seed"], "trials": list(map(_scored, entry["trials"]))} for entry in record["seeds"]]
    # Scores have another scale than accuracies: they do not share a picture.
    return {**record, "target": f"score {record['score']}", "report": None, "seeds": seeds}


def _scored(trial: Mapping[str, Any]) -> dict[str, Any]:
    state = "undefined" if trial["state"] == "complete" and trial["score"] is None else trial["state"]
    return {**trial, "value": trial["score"], "report": None, "state": state}


def _write_report(out: Path, record: Mapping[str, Any]) -> None:
    """Write `search.csv` and `search.png`."""
    found = []
    for entry, scored in zip(record["seeds"], _by_score(record)["seeds"], strict=True):
        for trial, best in zip(entry["trials"], best_so_far(scored["trials"]), strict=True):
            first = {name: trial[name] for name in ("number", "arch", "state", "score")}
            rest = {"value": trial["value"], "report": trial["report"], **trial["costs"], "reason": trial["reason"]}
            found.append({"seed": entry["seed"], **first, "best": best, **rest})
    write_atomically(out / ROWS, pd.DataFrame(found).to_csv(index=False, float_format="%.8g").encode())
    buffer = io.BytesIO()
    search_figure(_by_score(record), unit="evaluation").savefig(buffer, format="png")
    write_atomically(out / FIGURE, buffer.getvalue())


def closing(record: Mapping[str, Any]) -> list[str]:
    """Return a line about what each seed has chosen, and the mean accuracies of several seeds."""
    lines, found = [""], [entry["best"] for entry in record["seeds"]]
    for entry in record["seeds"]:
        best, known = entry["best"], entry["best"]["costs"]
        name = f"seed {entry['seed']}: " if len(found) > 1 else ""
        columns = [(record["target"], best["value"]), (record["report"], best["report"])]
        accuracies = "".join(f", {column} {value:.6g}" for column, value in columns if column and value is not None)
        costs = ", ".join(f"{cost} {value:,.6g}" for cost, value in known.items())
        score = f"{record['score']} {best['score']:.6g}"
        count = len(entry["trials"])
        evaluations = f"{count} evaluation{'s' * (count != 1)}"
        lines.append(f"{name}chosen {best['arch']}: {score}{accuracies}; {costs} ({evaluations})")
    for key, column in (("value", record["target"]), ("report", record["report"])):
        values = [best[key] for best in found if best[key] is not None]
        if len(values) > 1:
            mean, spread = np.mean(values), np.std(values, ddof=1)
            lines.append(f"{column} of the chosen: mean {mean:.6g} ± {spread:.3g} over seeds")
    return lines
