"""How much faster two worker processes extract than one process, and the memory that they take, recorded.

    python benchmarks/engines.py

Cells of NAS-Bench-201 with everything but GraSP, in one process, by two workers, which have to start first, and by two
processes that know nothing of each other, half of the cells each. All of them keep memory as workers do, so that what
is compared is one process with two. In alternating turns on a machine that does nothing else.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _records import RESULTS, machine, write
from nb201 import SPACE

from parzc.datasets import get_space
from parzc.features import ExtractionConfig, build_store, list_proxies
from parzc.features.extraction.engines.local import ENVIRONMENT

INDEPENDENT = "two independent processes"
PROXIES = tuple(name for name in list_proxies() if name not in ("grasp", "dss"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=96)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs=2, type=int, default=(0, 1), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(extract(args.archs, args.only, *args.part)))
        return
    ways = {"1": [["1"]], "2": [["2"]], INDEPENDENT: [["1", "--part", str(i), "2"] for i in range(2)]}
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(args.turns):
        for way, processes in ways.items():
            turns[way].append(run(args.archs, processes))
            print(way, turns[way][-1], flush=True)
    seconds = {way: float(np.median([turn["seconds"] for turn in found])) for way, found in turns.items()}
    record = {
        "space": SPACE,
        "archs": args.archs,
        "proxies": len(PROXIES),
        "machine": machine(),
        "turns": turns,
        "times as fast with two workers": round(seconds["1"] / seconds["2"], 3),
        f"times as fast with {INDEPENDENT}": round(seconds["1"] / seconds[INDEPENDENT], 3),
    }
    write(RESULTS / "engines.json", record)
    print({key: value for key, value in record.items() if key.startswith("times")})


def run(archs: int, processes: list[list[str]]) -> dict[str, float]:
    """Run processes of this benchmark at the same time and return the largest of each of their figures."""
    command = [sys.executable, __file__, "--archs", str(archs), "--only"]
    environment = os.environ | ENVIRONMENT
    started = [
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=environment)
        for options in processes
    ]
    found = []
    for process in started:
        printed, _ = process.communicate()
        if process.returncode:
            sys.exit("a part of the benchmark failed; its error stands above")
        found.append(json.loads(printed.splitlines()[-1]))
    return {name: max(one[name] for one in found) for name in found[0]}


def extract(archs: int, workers: int, part: int, parts: int) -> dict[str, float]:
    """Extract in this process's workers and say how long it took and how much memory was held at most.

    With one worker the work is done by the parent itself, whose memory is then that of a worker.
    """
    chosen = get_space(SPACE).sample(archs, seed=0)[part::parts]
    config = ExtractionConfig(SPACE, "cifar10", 16, "gaussian", 0, PROXIES, 1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build_store(Path(folder) / "store", config, chosen, workers)
        seconds = time.perf_counter() - start
    kinds = {"parent": resource.RUSAGE_SELF, "largest child": resource.RUSAGE_CHILDREN}
    memory = {f"{name} MB": round(resource.getrusage(kind).ru_maxrss / 1e3) for name, kind in kinds.items()}
    return {"seconds": round(seconds, 2), **memory}


if __name__ == "__main__":
    main()
