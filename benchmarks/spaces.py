"""Rankers, tabular learners and proxies on search spaces other than NAS-Bench-201, recorded.

    python -m parzc.features transnas-micro features/ --task class_scene@64 --batch 8
    python benchmarks/spaces.py transnas-micro --table table.csv --features features/ --targets jigsaw --samples 41

The architectures of the table whose features are in the store take part. One json file for each space and target in
`benchmarks/results`, written after each method: what is there is not computed again.

Proxies that rankers do not read, for their cost, may be measured later, on the same inputs, and added to a record:

    python -m parzc.features transnas-micro grasp/ --task class_scene@64 --batch 8 --proxies grasp
    python benchmarks/spaces.py transnas-micro --table table.csv --proxies grasp/ --targets jigsaw --samples 41
"""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _records import RESULTS, read
from nb201 import EMPTY, Methods, complete, proxies, write_results

from parzc.datasets import get_space, load_table
from parzc.errors import InputError
from parzc.evaluation.protocol import Benchmark, Learner
from parzc.evaluation.tabular import tabular_learners
from parzc.features import AZ_NAS, AZ_NAS_VIT, FeatureStore
from parzc.ranker import Ranker


def default(space: str, seed: int) -> Learner:
    return Ranker("default", space, seed)


def learners(space: str) -> Methods:
    """Return every method that is fitted, by name; the quick ones first."""
    chosen: Methods = {name: ("baseline", learner) for name, learner in tabular_learners("default", space).items()}
    return chosen | {"parzc (default)": ("ranker", partial(default, space))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", help="name of the search space")
    parser.add_argument("--table", required=True, help="table with the accuracies")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--features", help="feature store")
    source.add_argument("--proxies", help="feature store whose proxies are added to a record that is there")
    parser.add_argument("--targets", nargs="+", required=True, help="columns of the table")
    parser.add_argument("--samples", type=int, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    store = FeatureStore.open(args.features or args.proxies)
    az_nas = AZ_NAS_VIT if args.space.startswith("autoformer") else AZ_NAS
    for target in args.targets:
        benchmark = read_benchmark(args.space, args.table, target, store)
        path = RESULTS / f"{args.space}-{target}.json"
        about = {
            "space": args.space,
            "table": Path(args.table).name,
            "target": target,
            "architectures": len(benchmark),
            "functions": len(benchmark.features),
            "features": {key: store.manifest["config"][key] for key in ("task", "batch", "batches", "data", "seed")},
            "seconds for one architecture": round(sum(store.seconds.values()), 3),
        }
        if args.proxies:
            about = about_record(path, about)
        for samples in args.samples:
            if args.features:
                complete(path, about, benchmark, samples, learners(args.space), args.seeds, args.workers)
            write_results(path, about, samples, proxies(benchmark, samples, args.seeds, az_nas))


def about_record(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return what a record is about, and its machine; all but the seconds has to be as in `about`."""
    record = read(path, EMPTY)
    for key in ("table", "architectures", "functions", "features"):
        if record.get(key) != about[key]:
            raise InputError(f"{path}: {key} is {record.get(key)} there, but {about[key]} in what is to be added")
    return {key: record[key] for key in (*about, "machine")}


def read_benchmark(name: str, table: str, target: str, store: FeatureStore) -> Benchmark:
    """Return the architectures of a table whose features are there, with these features and the labels of `target`."""
    space = get_space(name)
    loaded = load_table(table, space=space, target=target)
    functions = [space.canonical(arch) for arch in loaded.archs]
    lacking = set(store.lacking(functions))
    kept = [i for i, function in enumerate(functions) if function not in lacking]
    names = sorted({functions[i] for i in kept})
    rows = {function: row for row, function in enumerate(names)}
    return Benchmark(store.read(names), np.array([rows[functions[i]] for i in kept]), loaded.labels[kept])


if __name__ == "__main__":
    main()
