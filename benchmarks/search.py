"""Search on NAS-Bench-201 with few labels, and labels that the ranker asks for against random ones, recorded.

    python benchmarks/search.py --table nb201.csv.gz

Search: the ranker learns validation accuracies, and the ten architectures are trained that `Ranker.suggest` names for a
search, or the ten best-scored ones. Labelling: from 20 random labels to 78, by `Ranker.suggest` in three rounds or at
random; both start with the same 20.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _records import RESULTS, machine, read, write
from joblib import Parallel, delayed, parallel_config
from nb201 import SPACE, read_benchmark
from numpy.typing import NDArray

from parzc.evaluation.metrics import bootstrap_interval, kendall_tau
from parzc.evaluation.protocol import Benchmark
from parzc.features import AZ_NAS, aggregate_ranks
from parzc.ranker import Ranker
from parzc.ranker.pretraining import WarmStart

DATASETS = ("cifar10", "cifar100", "imagenet16")
LABELS = 78
ROUNDS = (20, 39, 58, 78)
TOP = 10
Job = Callable[[int], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--parts", nargs="+", default=("search", "labelling"), choices=("search", "labelling"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    path = RESULTS / "nb201-search.json"
    record = {"search": {}, "labelling": {}} | read(path, {})
    record |= {"space": SPACE, "table": Path(args.table).name, "seeds": args.seeds, "machine": machine()}
    for part in args.parts:
        for dataset in DATASETS:
            PARTS[part](record, dataset, args.table, args.seeds, args.workers)
            write(path, record)


def record_search(record: dict[str, Any], dataset: str, table: str, seeds: int, workers: int) -> None:
    """Add what a search on a data set finds, unless it is there."""
    key = f"{dataset}, {LABELS} labels"
    if key in record["search"]:
        return
    benchmark = read_benchmark(table, f"{dataset}_test", f"{dataset}_valid")
    found = run(lambda seed: search(benchmark, LABELS, seed), seeds, workers)
    record["search"][key] = found | {"optimum": float(benchmark.labels.max()), **without_labels(benchmark)}
    print(key, {name: round(float(np.mean(v)), 2) for name, v in found.items()}, flush=True)


def record_labelling(record: dict[str, Any], dataset: str, table: str, seeds: int, workers: int) -> None:
    """Add what suggested labels are worth on a data set, unless it is there."""
    if dataset in record["labelling"]:
        return
    benchmark = read_benchmark(table, f"{dataset}_test")
    found = run(lambda seed: labelling(benchmark, seed), seeds, workers)
    gain = np.subtract(found["suggested"], found["random"])
    record["labelling"][dataset] = {**found, "mean gain": float(gain.mean()), "interval": bootstrap_interval(gain)}
    print(dataset, record["labelling"][dataset], flush=True)


def run(job: Job, seeds: int, workers: int) -> dict[str, list[float]]:
    """Return what a job gives for each seed, by name."""
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        found = Parallel()(delayed(job)(seed) for seed in range(seeds))
    return {name: [round(one[name], 5) for one in found] for name in found[0]}


def search(benchmark: Benchmark, labels: int, seed: int) -> dict[str, float]:
    """Return test accuracies of the best of ten architectures, and of the best of them on validation data."""
    train, _ = benchmark.split(labels, seed)
    ranker = fit(benchmark, train, benchmark.to_learn, seed)
    suggested = np.array(ranker.suggest(benchmark.features[benchmark.row], TOP, "best"))
    return {
        f"best of {TOP} suggested": float(benchmark.labels[suggested].max()),
        f"best validated of {TOP} suggested": validated(benchmark, suggested),
        f"best of the {TOP} best-scored": best_of_top(benchmark, ranker.predict(benchmark.features)),
    }


def validated(benchmark: Benchmark, chosen: NDArray[np.int64]) -> float:
    return float(benchmark.labels[chosen[np.argmax(benchmark.to_learn[chosen])]])


def best_of_top(benchmark: Benchmark, scores: NDArray[np.float64]) -> float:
    top = np.argsort(-scores[benchmark.row], kind="stable")[:TOP]
    return float(benchmark.labels[top].max())


def without_labels(benchmark: Benchmark) -> dict[str, Any]:
    columns = benchmark.features.scores
    return {
        "az_nas": best_of_top(benchmark, aggregate_ranks({name: columns[name] for name in AZ_NAS})),
        "meco_opt": best_of_top(benchmark, np.nan_to_num(columns["meco_opt"], nan=-np.inf)),
    }


def labelling(benchmark: Benchmark, seed: int) -> dict[str, float]:
    """Return Kendall tau with suggested and with random labels, on the architectures that have neither."""
    random, _ = benchmark.split(ROUNDS[-1], seed)
    chosen = list(np.random.default_rng(seed).permutation(random)[: ROUNDS[0]])
    everything, warm_start = benchmark.features[benchmark.row], WarmStart()
    for count in ROUNDS[1:]:
        ranker = fit(benchmark, np.array(chosen), benchmark.labels, seed, warm_start)
        chosen += ranker.suggest(everything, count - len(chosen))
    suggested = np.array(chosen)
    rest = np.setdiff1d(np.arange(len(benchmark)), np.concatenate([random, suggested]))
    found = {}
    for name, train in (("suggested", suggested), ("random", random)):
        scores = fit(benchmark, train, benchmark.labels, seed, warm_start).predict(benchmark.features)
        found[name] = kendall_tau(scores[benchmark.row[rest]], benchmark.labels[rest])
    return found


def fit(
    benchmark: Benchmark,
    train: NDArray[np.int64],
    labels: NDArray[np.float64],
    seed: int,
    warm_start: WarmStart | None = None,
) -> Ranker:
    ranker = Ranker("default", SPACE, seed)
    return ranker.fit(benchmark.features[benchmark.row[train]], labels[train], benchmark.features, warm_start)


PARTS = {"search": record_search, "labelling": record_labelling}


if __name__ == "__main__":
    main()
