"""How much faster two worker processes extract than one process, and the memory that they take, recorded.

    python benchmarks/engines.py

Cells of NAS-Bench-201 with everything but GraSP, in one process and by two workers, which have to start first, in
alternating turns on a machine that does nothing else.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nb201 import RESULTS, SPACE, machine

from parzc.datasets import get_space
from parzc.features import ExtractionConfig, build_store, list_proxies
from parzc.features.store import write_atomically

PROXIES = tuple(name for name in list_proxies() if name not in ("grasp", "dss"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=96)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(extract(args.archs, args.only)))
        return
    command = [sys.executable, __file__, "--archs", str(args.archs), "--only"]
    turns: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(args.turns):
        for workers, found in turns.items():
            done = subprocess.run([*command, str(workers)], check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(workers, found[-1], flush=True)
    seconds = {workers: float(np.median([turn["seconds"] for turn in found])) for workers, found in turns.items()}
    record = {
        "space": SPACE,
        "archs": args.archs,
        "proxies": len(PROXIES),
        "machine": machine(),
        "turns": {str(workers): found for workers, found in turns.items()},
        "times as fast with two workers": round(seconds[1] / seconds[2], 3),
    }
    write_atomically(RESULTS / "engines.json", (json.dumps(record, indent=1) + "\n").encode())
    print(record["times as fast with two workers"])


def extract(archs: int, workers: int) -> dict[str, float]:
    """Extract in this process's workers and say how long it took and how much memory was held at most.

    With one worker the work is done by the parent itself, whose memory is then that of a worker.
    """
    chosen = get_space(SPACE).sample(archs, seed=0)
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
