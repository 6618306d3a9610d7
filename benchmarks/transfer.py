"""A ranker trained on NAS-Bench-201 that ranks TransNAS-Bench-101 (micro), without labels there and with 20; recorded.

    python benchmarks/transfer.py --table nb201.csv.gz --target-table transnas101_micro.csv.gz --features features/

The ranker knows no space (one position for each eighth of the depth), learns CIFAR-10 accuracies, and is adapted to the
features of the other space (`Ranker.adapt`). It is compared with a ranker of the other space that learns the 20 labels
alone, and with the mean of the scores of both.
"""

import argparse
import os
from typing import Any

import numpy as np
from _records import RESULTS, machine, write
from joblib import Parallel, delayed, parallel_config
from nb201 import read_benchmark
from numpy.typing import NDArray
from spaces import read_benchmark as read_other

from parzc.evaluation.metrics import bootstrap_interval, kendall_tau
from parzc.evaluation.protocol import Benchmark, proxy_scores
from parzc.features import FeatureStore
from parzc.ranker import Ranker

SPACE, OTHER = "nb201", "transnas-micro"
TARGET, LABELS, FEW = "cifar10_test", 156, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table of NAS-Bench-201")
    parser.add_argument("--target-table", required=True, help="table of the other space")
    parser.add_argument("--features", required=True, help="feature store of the other space")
    parser.add_argument("--targets", nargs="+", required=True, help="columns of the other table")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    store = FeatureStore.open(args.features)
    known = read_benchmark(args.table, TARGET)
    others = {target: read_other(OTHER, args.target_table, target, store) for target in args.targets}
    with parallel_config("loky", n_jobs=args.workers, inner_max_num_threads=1):
        found = Parallel()(delayed(transfer)(known, others, seed) for seed in range(args.seeds))
    record = {
        "from": f"{SPACE}, {LABELS} labels of {TARGET}",
        "to": f"{OTHER}, {FEW} labels",
        "architectures": len(next(iter(others.values()))),
        "features": {key: store.manifest["config"][key] for key in ("task", "batch", "batches", "data", "seed")},
        "machine": machine(),
        "results": {target: summary([one[target] for one in found]) for target in others},
    }
    write(RESULTS / "transfer.json", record)
    for target, ways in record["results"].items():
        print(target, {way: found["mean"] for way, found in ways.items()})


def transfer(known: Benchmark, others: dict[str, Benchmark], seed: int) -> dict[str, dict[str, float]]:
    """Return Kendall tau of each way to rank, by target, on the architectures that are not labelled."""
    train, _ = known.split(LABELS, seed)
    ranker = Ranker("default", "", seed)
    ranker.fit(known.features[known.row[train]], known.labels[train], known.features)
    ranker.adapt(next(iter(others.values())).features)
    return {target: on_target(ranker, other, seed) for target, other in others.items()}


def on_target(ranker: Ranker, other: Benchmark, seed: int) -> dict[str, float]:
    few, test = other.split(FEW, seed)
    transferred = ranker.predict(other.features)
    scratch = Ranker("default", OTHER, seed)
    alone = scratch.fit(other.features[other.row[few]], other.labels[few], other.features).predict(other.features)
    ways = {"transferred, no labels": transferred, f"{FEW} labels alone": alone, "mean of both": transferred + alone}
    found = {name: tau(scores, other, test) for name, scores in ways.items()}
    columns = [name for name, values in other.features.scores.items() if np.isfinite(values).any()]
    best = max((tau(proxy_scores(other.features, name), other, test), name) for name in columns)
    return found | {f"best proxy ({best[1]})": best[0]}


def tau(scores: NDArray[np.float64], other: Benchmark, test: NDArray[np.int64]) -> float:
    return kendall_tau(scores[other.row[test]], other.labels[test])


def summary(found: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean, deviation and values by way, and intervals of the differences to the labels alone."""
    alone = np.array([one[f"{FEW} labels alone"] for one in found])
    record: dict[str, Any] = {}
    for name in found[0]:
        # The best proxy of one seed may not be that of another.
        values = np.array([one.get(name, np.nan) for one in found])
        record[name] = {"mean": round(float(np.nanmean(values)), 6), "values": [round(float(v), 6) for v in values]}
        if np.isfinite(values).all():
            record[name]["less the labels alone"] = bootstrap_interval(values - alone)
    return record


if __name__ == "__main__":
    main()
