"""How much of the front of test error against multiply-accumulates a search finds on NAS-Bench-201, recorded.

    python benchmarks/search_front.py --table nb201.csv.gz

Asked on validation accuracies of CIFAR-10. Reported is the hypervolume of test errors as a fraction of that of the true
front of all 15,625 cells, both in the box between the true front's ideal and nadir, with the nadir as reference: of all
cells asked for (`trained`), and of those among them that are non-dominated by validation (`chosen`). The latter is what
a person gets who trusts validation; of the whole space, these cells reach `chosen of the whole space`, so that a search
may lose some of it by finding more.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from _records import RESULTS, machine, read, write
from numpy.typing import NDArray
from search_nb201 import pool

from parzc.search.algorithms import get_algorithm
from parzc.search.history import COMPLETE, LABEL, History, Trial, non_dominated

POINTS = (20, 30, 50, 100)
METHODS = ("guided", "guided, 5 at once", "NSGA-II (Optuna), cells", "random")
COST = "flops"
KINDS = ("trained", "chosen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default=str(RESULTS / "search-front.json"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = pd.read_csv(args.table).set_index("arch")
    budget = pool(cells=True).budget
    table[COST] = [budget.cost(arch, COST) for arch in table.index]
    losses = np.stack([100 - table["cifar10_test"], table[COST]], axis=1)
    true = losses[non_dominated(losses)]
    box = np.stack([true.min(0), true.max(0)])
    whole = hypervolume(true, box)
    valid = np.stack([100 - table["cifar10_valid"], table[COST]], axis=1)
    row = {arch: index for index, arch in enumerate(table.index)}
    path = Path(args.out)
    for name in args.methods:
        for seed in range(args.seeds):
            record = read(path, {}) | {"space": "nb201", "table": Path(args.table).name, "machine": machine()}
            record |= {"points of the true front": len(true), "box": box.tolist(), "hypervolume": whole}
            record["chosen of the whole space"] = hypervolume(losses[non_dominated(valid)], box) / whole
            entry: dict[str, Any] = record.setdefault("results", {}).setdefault(name, {})
            if len(entry.get("seconds for each query", ())) > seed:
                continue
            start = time.perf_counter()
            asked = [row[arch] for arch in QUERIES[name](table["cifar10_valid"].to_dict(), seed)]
            entry.setdefault("seconds for each query", []).append(round((time.perf_counter() - start) / len(asked), 3))
            for point in POINTS:
                rows = np.array(asked[:point])
                for kind, front in zip(KINDS, (rows, rows[non_dominated(valid[rows])]), strict=True):
                    share = round(hypervolume(losses[front], box) / whole, 5)
                    entry.setdefault(kind, {}).setdefault(str(point), []).append(share)
            write(path, record)
            print(name, seed, {kind: [found[-1] for found in entry[kind].values()] for kind in KINDS}, flush=True)


def hypervolume(losses: NDArray[np.float64], box: NDArray[np.float64]) -> float:
    """Return the area that `(n, 2)` losses dominate within a box, whose sides are 1."""
    inside = (losses - box[0]) / (box[1] - box[0])
    area, height = 0.0, 1.0
    for error, cost in sorted(inside.tolist(), key=lambda point: point[1]):
        if cost < 1 and error < height:
            area += (1 - max(cost, 0.0)) * (height - max(error, 0.0))
            height = max(error, 0.0)
    return area


def guided(values: Mapping[str, float], seed: int, batch: int = 1, name: str = "guided") -> Iterator[str]:
    settings = {"objectives": (LABEL, COST)} if name == "guided" else {}
    algorithm, history, whole = get_algorithm(name, **settings), History(), pool(cells=False)
    while len(history) < POINTS[-1]:
        rng = np.random.default_rng([seed, len(history)])
        for arch in algorithm.ask(history, whole.without(history.functions), batch, rng):
            costs = {COST: whole.budget.cost(arch, COST)}
            trial = Trial(len(history), arch, arch, COMPLETE, values[arch], costs=costs)
            history = History([*history.trials, trial])
            yield arch


def nsga(values: Mapping[str, float], seed: int) -> Iterator[str]:
    space, budget = pool(cells=True).space, pool(cells=True).budget
    sampler = optuna.samplers.NSGAIISampler(seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(POINTS[-1]):
        trial = study.ask()
        arch = space.compose({d.name: trial.suggest_categorical(d.name, list(d.choices)) for d in space.decisions})
        study.tell(trial, [values[arch], budget.cost(arch, COST)])
        yield arch


QUERIES: Mapping[str, Callable[[Mapping[str, float], int], Iterator[str]]] = {
    "guided": guided,
    "guided, 5 at once": lambda values, seed: guided(values, seed, 5),
    "NSGA-II (Optuna), cells": nsga,
    "random": lambda values, seed: guided(values, seed, 1, "random"),
}


if __name__ == "__main__":
    main()
