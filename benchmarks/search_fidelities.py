"""What few epochs are worth to a search on NAS-Bench-201, recorded: accuracy against GPU seconds.

    python benchmarks/search_fidelities.py --table nb201.csv.gz --times nb201_times.csv.gz

`guided` trains some cells for 12 epochs of CIFAR-10, then the most promising ones for 200, and is reported by the test
accuracy (200 epochs) of the cell with the best validation accuracy (200 epochs). Without a full training, the cell with
the best validation accuracy after 12 epochs is reported. Accuracies after 12 epochs are among those that settings of
`guided` were chosen on.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _records import RESULTS, machine, read, write
from search_nb201 import pool

from parzc.search.algorithms import get_algorithm
from parzc.search.history import COMPLETE, History, Trial

PLANS = (
    (5, 0),
    (10, 0),
    (15, 0),
    (20, 0),
    (20, 1),
    (20, 3),
    (20, 5),
    (20, 10),
    (10, 5),
    (10, 10),
    (0, 5),
    (0, 10),
    (0, 15),
    (0, 20),
)
"""Trainings of 12 epochs, then trainings of 200."""
BRIEF = 12.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--times", required=True, help="table with accuracies after 12 epochs and seconds")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default=str(RESULTS / "search-fidelities.json"))
    args = parser.parse_args()
    table = pd.read_csv(args.table).merge(pd.read_csv(args.times), on="arch").set_index("arch")
    path = Path(args.out)
    for brief, full in PLANS:
        name = f"{brief} x 12 epochs, {full} x 200 epochs"
        if name in read(path, {}).get("results", {}):
            continue
        found = [run(table, brief, full, seed) for seed in range(args.seeds)]
        entry = {key: [one[key] for one in found] for key in found[0]}
        record = read(path, {}) | {"space": "nb201", "table": Path(args.table).name, "machine": machine()}
        record.setdefault("results", {})[name] = entry
        write(path, record)
        print(name, {key: f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for key, values in entry.items()})


def run(table: pd.DataFrame, brief: int, full: int, seed: int) -> dict[str, float]:
    """Return test accuracy of the cell that is found, and seconds of all trainings."""
    algorithm, history = get_algorithm("guided"), History()
    for number in range(brief + full):
        epochs = BRIEF if number < brief else 0.0
        kind = "12ep" if epochs else "200ep"
        values = table["cifar10_valid_12ep" if epochs else "cifar10_valid"]
        candidates = pool(cells=False).without(history.functions_at(epochs))
        (arch,) = algorithm.ask(history, candidates, 1, np.random.default_rng([seed, number]))
        value, seconds = float(values[arch]), float(table[f"cifar10_seconds_{kind}"][arch])
        trial = Trial(number, arch, arch, COMPLETE, value, epochs, epochs, seconds)
        history = History([*history.trials, trial])
    best = history.best or max(history.trials, key=lambda trial: trial.value)
    seconds = sum(trial.seconds for trial in history.trials)
    return {"test": float(table["cifar10_test"][best.arch]), "seconds": round(seconds, 1)}


if __name__ == "__main__":
    main()
