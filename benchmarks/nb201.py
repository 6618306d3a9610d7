"""Rankers, baselines and proxies on NAS-Bench-201, recorded.

    python benchmarks/nb201.py --table nb201.csv.gz --preset default --samples 78 156 469

Each budget is one json file in `benchmarks/results`; a file that is there is not computed again.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parzc.commands._run import read_features
from parzc.datasets import get_space, load_table
from parzc.features.store import write_atomically
from parzc.models.baselines import BASELINES
from parzc.presets import PRESETS
from parzc.protocol import Benchmark, Kind, Learner, compare, format_results
from parzc.ranker import Ranker
from parzc.tabular import TabularRanker

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--target", default="cifar10_test")
    parser.add_argument("--preset", default="default", choices=tuple(PRESETS))
    parser.add_argument("--samples", type=int, nargs="+", default=[78, 156])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    space = get_space("nb201")
    table = load_table(args.table, space=space, target=args.target)
    features, row = read_features(table.archs, space)
    benchmark = Benchmark(features, row, table.labels)
    for samples in args.samples:
        path = RESULTS / f"nb201-{args.target}-{args.preset}-{samples}.json"
        if path.exists():
            print(f"{path.name} is there")
            continue
        results = compare(
            benchmark,
            learners(args.preset, space.name),
            features.scores,
            samples,
            range(args.seeds),
            args.workers,
            partial(print, flush=True),
        )
        print(format_results(results))
        record = {
            "space": space.name,
            "table": Path(args.table).name,
            "target": args.target,
            "preset": args.preset,
            "samples": samples,
            "protocol": "honest",
            "seeds": list(range(args.seeds)),
            "n_test": len(benchmark) - samples,
            "machine": machine(),
            "results": {name: result.summary() for name, result in results.items()},
        }
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def learners(preset: str, space: str) -> dict[str, tuple[Kind, Callable[[int], Learner]]]:
    chosen: dict[str, tuple[Kind, Callable[[int], Learner]]] = {
        f"parzc ({preset})": ("ranker", partial(ranker, preset, space))
    }
    return chosen | {name: ("baseline", partial(tabular, name, preset, space)) for name in BASELINES}


def ranker(preset: str, space: str, seed: int) -> Learner:
    return Ranker(preset, space, seed)


def tabular(name: str, preset: str, space: str, seed: int) -> Learner:
    return TabularRanker(name, preset, space, seed)


def machine() -> dict[str, Any]:
    packages = ("parzc", "torch", "scikit-learn", "numpy", "scipy")
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
