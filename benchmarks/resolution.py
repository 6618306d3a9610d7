"""What smaller inputs cost: the proxies of the same networks, measured on small and on larger inputs, recorded.

    python -m parzc.features nb101 small/ --task cifar10@16 --archs archs.txt
    python -m parzc.features nb101 large/ --task cifar10 --archs archs.txt
    python benchmarks/resolution.py nb101 --table table.csv --target cifar10_valid --stores small/ large/

Of the architectures that both stores and the table hold: Kendall's tau of each proxy's values on the two inputs, and
with the accuracies on either, with the 95 % bootstrap interval of the difference over architectures.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _records import RESULTS, machine, write
from _records import read as read_record
from numpy.typing import NDArray
from spaces import read_benchmark

from parzc.evaluation.metrics import kendall_tau
from parzc.evaluation.protocol import proxy_scores
from parzc.features import FeatureStore, FeatureTable

DRAWS = 1000
PATH = RESULTS / "resolution.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", help="name of the search space")
    parser.add_argument("--table", required=True, help="table with the accuracies")
    parser.add_argument("--target", required=True, help="column of the table")
    parser.add_argument("--stores", nargs=2, required=True, help="feature stores of the smaller and the larger inputs")
    args = parser.parse_args()
    stores = [FeatureStore.open(path) for path in args.stores]
    measured, labels = zip(*(read(args.space, args.table, args.target, store) for store in stores), strict=True)
    common = sorted(labels[0].keys() & labels[1].keys())
    truth = np.array([labels[0][function] for function in common])
    tables = [features[[features.archs.index(function) for function in common]] for features in measured]
    proxies = {}
    for name in tables[0].scores.keys() & tables[1].scores.keys():
        values = [proxy_scores(table, name) for table in tables]
        if all(np.ptp(value) > 0 for value in values):
            proxies[name] = compare(*values, truth)
    record = read_record(PATH, {})
    record[args.space] = {
        "table": Path(args.table).name,
        "target": args.target,
        "functions": len(common),
        "inputs": [{key: store.manifest["config"][key] for key in ("task", "batch", "batches")} for store in stores],
        "machine": machine(),
        "proxies": dict(sorted(proxies.items())),
    }
    write(PATH, dict(sorted(record.items())))
    for name, found in sorted(proxies.items(), key=lambda item: item[1]["between"]):
        print(f"{name:24s} {found}")


def read(space: str, table: str, target: str, store: FeatureStore) -> tuple[FeatureTable, dict[str, float]]:
    """Return the features of the functions that are in a table, and the label of the first architecture of each."""
    benchmark = read_benchmark(space, table, target, store)
    first = {int(row): float(label) for row, label in zip(benchmark.row[::-1], benchmark.labels[::-1], strict=True)}
    return benchmark.features, {benchmark.features.archs[row]: label for row, label in first.items()}


def compare(
    small: NDArray[np.float64], large: NDArray[np.float64], labels: NDArray[np.float64]
) -> dict[str, float | list[float]]:
    """Return how well two measurements of one proxy agree, and what the smaller one gains or loses with the labels."""
    rng, gains = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = rng.integers(len(labels), size=len(labels))
        gains.append(kendall_tau(small[drawn], labels[drawn]) - kendall_tau(large[drawn], labels[drawn]))
    found: dict[str, Any] = {
        "between": kendall_tau(small, large),
        "small": kendall_tau(small, labels),
        "large": kendall_tau(large, labels),
    }
    # A proxy that is the same on all that were drawn has no correlation.
    interval = np.nanquantile(gains, [0.025, 0.975])
    return {name: round(value, 4) for name, value in found.items()} | {"gain": [round(float(g), 4) for g in interval]}


if __name__ == "__main__":
    main()
