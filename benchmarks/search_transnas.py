"""How good the architectures of TransNAS-Bench-101 are that a search finds in 100 trainings, recorded.

    python benchmarks/search_transnas.py --space transnas-micro --table transnas101_micro_valid_test.csv.gz
    python benchmarks/search_transnas.py --space transnas-macro --table transnas101_macro_valid_test.csv.gz

For each of the seven tasks, each method asks for one architecture after another and sees its validation metric. The
record holds the rank of the best one so far among all architectures of the table, 1 being the best: 4,096 of the micro
space, 3,256 of the macro space. Architectures that compute one function are trained once, as their simplest cell; the
best of the micro space is another spelling on two tasks (rank 9 is the best to be found for `autoencoder`, 8 for
`jigsaw`).

Published: RoBoT (He et al., "Robustifying and Boosting Training-Free Neural Architecture Search", ICLR 2024), ranks
after 100 trainings.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
from _records import RESULTS, machine, read, write
from _searching import queries

from parzc.datasets import get_space
from parzc.search.algorithms import get_algorithm
from parzc.search.evaluator import Evaluator
from parzc.search.pool import Pool

TRAININGS = 100
POINTS = (10, 20, 30, 50, 70, 100)
METHODS = ("random", "evolution", "local", "guided")
ROBOT = {
    "transnas-micro": {"class_scene": 2, "class_object": 1, "jigsaw": 17, "room_layout": 17, "segmentsemantic": 4,
                       "normal": 8, "autoencoder": 66},
    "transnas-macro": {"class_scene": 1, "class_object": 6, "jigsaw": 3, "room_layout": 6, "segmentsemantic": 2,
                       "normal": 2, "autoencoder": 5},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", required=True, choices=tuple(ROBOT))
    parser.add_argument("--table", required=True, help="validation metrics of all architectures, TASK_valid")
    parser.add_argument("--features", default="", help="feature store of all architectures, if none comes with parzc")
    parser.add_argument("--tasks", nargs="+", metavar="TASK")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    path = Path(args.out or RESULTS / f"search-{args.space}.json")
    space = get_space(args.space)
    table = pd.read_csv(args.table).set_index("arch")
    pool = Pool(space, evaluator=Evaluator(space, features=args.features))
    for task in args.tasks or space.tasks:
        for name in args.methods:
            for seed in range(args.seeds):
                known = read(path, {}).get("results", {}).get(task, {}).get(name, {})
                if len(known.get("seconds", ())) <= seed:
                    add(path, Path(args.table).name, table[f"{task}_valid"], pool, task, name, seed)


def add(path: Path, file: str, values: "pd.Series[float]", pool: Pool, task: str, name: str, seed: int) -> None:
    """Run one method with one seed on one task, and write the ranks of what it found into the record."""
    start = time.perf_counter()
    asked = list(queries(get_algorithm(name), pool, values.to_dict(), TRAININGS, seed))
    record = read(path, {}) | {"space": pool.space.name, "table": file, "machine": machine()}
    record |= {"architectures": len(values), "published": {"RoBoT": ROBOT[pool.space.name]}}
    results: dict[str, Any] = record.setdefault("results", {}).setdefault(task, {})
    ranks = values.rank(ascending=False, method="min")
    results["best of all functions"] = int(ranks[list(pool.archs())].min())
    entry = results.setdefault(name, {"rank": {}, "seconds": []})
    for point in POINTS:
        entry["rank"].setdefault(str(point), []).append(int(ranks[asked[:point]].min()))
    entry["seconds"].append(round(time.perf_counter() - start, 1))
    write(path, record)
    last = {point: entry["rank"][str(point)][-1] for point in POINTS}
    print(f"{task} {name}, seed {seed}: {last}, {entry['seconds'][-1]:.0f} s", flush=True)


if __name__ == "__main__":
    main()
