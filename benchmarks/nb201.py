"""Rankers, tabular learners and proxies on NAS-Bench-201 at several label budgets, recorded.

    python benchmarks/nb201.py --table nb201.csv.gz

One json file for each target in `benchmarks/results`, written after each method: what is there is not computed again,
so that a run that was stopped goes on where it was.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _records import RESULTS, machine, read, write
from numpy.typing import NDArray

from parzc.commands._measured import read_features
from parzc.datasets import get_space, load_table
from parzc.encoding.graphs import graph_arrays
from parzc.evaluation.baselines import BASELINES
from parzc.evaluation.protocol import Benchmark, Kind, Learner, Result, compare, measure
from parzc.evaluation.tabular import TabularRanker, tabular_learners
from parzc.features import AZ_NAS, FeatureTable, aggregate_ranks
from parzc.ranker import Ranker

TARGETS = ("cifar10_test", "cifar100_test", "imagenet16_test")
BUDGETS = (78, 156, 469, 20, 781, 1563)
SPACE = "nb201"
EMPTY: dict[str, Any] = {"results": {}}
Methods = dict[str, tuple[Kind, Callable[[int], Learner]]]


class OnOperations(TabularRanker):
    """A tabular learner that sees only which operation is where."""

    def _matrix(self, features: FeatureTable) -> NDArray[np.float32]:
        operations, adjacency, _ = graph_arrays(features.archs, get_space(SPACE))
        parts = [operations.reshape(len(features), -1), adjacency.reshape(len(features), -1)]
        return np.concatenate(parts, axis=1).astype(np.float32)


def learners() -> Methods:
    """Return every method that is fitted, by name; the quick ones first."""
    chosen: Methods = {"parzc (default)": ("ranker", default)}
    chosen |= {name: ("baseline", learner) for name, learner in tabular_learners("default", SPACE).items()}
    chosen |= {f"{name}, operations only": ("baseline", partial(operations, name)) for name in BASELINES}
    chosen |= {f"parzc (paper{suffix})": ("ranker", partial(paper, graph)) for graph, suffix in ENCODERS.items()}
    return chosen


ENCODERS = {"none": "", "gcn": ", gcn", "pinat": ", pinat"}


def default(seed: int) -> Learner:
    return Ranker("default", SPACE, seed)


def paper(graph: str, seed: int) -> Learner:
    return Ranker("paper", SPACE, seed, {"graph": graph})


def operations(name: str, seed: int) -> Learner:
    return OnOperations(name, "default", SPACE, seed)


def main() -> None:
    methods = learners()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--samples", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--methods", nargs="+", default=tuple(methods), choices=tuple(methods), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    for samples in args.samples:
        for target in args.targets:
            benchmark = read_benchmark(args.table, target)
            path = RESULTS / f"{SPACE}-{target}.json"
            about = {"space": SPACE, "table": Path(args.table).name, "target": target}
            chosen = {name: methods[name] for name in args.methods}
            complete(path, about, benchmark, samples, chosen, args.seeds, args.workers)
            write_results(path, about, samples, proxies(benchmark, samples, args.seeds))


def complete(
    path: Path,
    about: dict[str, Any],
    benchmark: Benchmark,
    samples: int,
    methods: Methods,
    seeds: int,
    workers: int,
) -> None:
    """Run the methods that a record does not hold yet, and write each into it as it ends."""
    for name, method in methods.items():
        results = read(path, EMPTY)["results"].get(str(samples), {})
        if len(results.get(name, {}).get("seconds", ())) >= seeds:
            continue
        found = compare(benchmark, {name: method}, [], samples, range(seeds), workers)
        write_results(path, about, samples, found)
        print(f"{path.stem} {samples} {name}: {np.mean(found[name].values['kendall']):.4f}", flush=True)


def read_benchmark(table: str, target: str, train_target: str = "") -> Benchmark:
    """Return the space with its shipped features, and labels of `target`, to be learned from `train_target`."""
    space = get_space(SPACE)
    loaded = load_table(table, space=space, target=target)
    features, row = read_features(loaded.archs, space)
    if not train_target:
        return Benchmark(features, row, loaded.labels)
    to_learn = load_table(table, space=space, target=train_target)
    labels = dict(zip(to_learn.archs, to_learn.labels, strict=True))
    return Benchmark(features, row, loaded.labels, np.array([labels[arch] for arch in loaded.archs]))


def proxies(benchmark: Benchmark, samples: int, seeds: int, az_nas: Sequence[str] = AZ_NAS) -> dict[str, Result]:
    """Return what every proxy that has values reaches on the test architectures of each seed.

    So does AZ-NAS where all of `az_nas` are there.
    """
    known = [name for name, values in benchmark.features.scores.items() if np.isfinite(values).any()]
    results = compare(benchmark, {}, known, samples, range(seeds))
    if not benchmark.features.scores.keys() >= set(az_nas):
        return results
    ranked = aggregate_ranks({name: benchmark.features.scores[name] for name in az_nas})
    results["az_nas"] = Result("proxy")
    for seed in range(seeds):
        for metric, value in measure(benchmark, ranked, *benchmark.split(samples, seed)).items():
            results["az_nas"].values.setdefault(metric, []).append(value)
    return results


def write_results(path: Path, about: dict[str, Any], samples: int, found: dict[str, Result]) -> None:
    """Add results to a record, and say what it is `about`; also of which machine, if that is not this one."""
    record = read(path, EMPTY)
    head = {**about, "protocol": "honest", "machine": about.get("machine") or machine()}
    results = dict(record["results"])
    results[str(samples)] = results.get(str(samples), {}) | {n: result.summary() for n, result in found.items()}
    ordered = dict(sorted(results.items(), key=lambda item: int(item[0])))
    write(path, head | {"results": ordered})


if __name__ == "__main__":
    main()
