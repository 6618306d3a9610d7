"""How good the digits networks are that a search finds in 30 trainings, recorded.

    python benchmarks/search_digits.py --jobs 2

Trains 300 random networks of `examples/search_digits` by the training script there, and keeps each accuracy. Then every
method searches among these 300, ten seeds each, as if it trained them: `guided`, random search, and Optuna's TPE. TPE
proposes networks of the whole space; what is trained, and what it learns from, is the network of the 300 that was not
asked for yet and differs in the fewest decisions.

No setting of `guided` was chosen on these accuracies.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _records import RESULTS, machine, read, write
from _searching import queries

from parzc.datasets import Space, get_space
from parzc.search.algorithms import Algorithm, get_algorithm
from parzc.search.evaluator import Evaluator
from parzc.search.history import History
from parzc.search.pool import Pool

EXAMPLE = Path(__file__).parents[1] / "examples" / "search_digits"
TRAININGS, MOST = 30, 400
POINTS = (5, 10, 15, 20, 25, 30)


class TPE(Algorithm):
    """Optuna's TPE with its defaults; the decisions are categorical parameters."""

    name = "tpe"

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        kinds = {d.name: optuna.distributions.CategoricalDistribution(list(d.choices)) for d in pool.space.decisions}
        for trial in history.complete:
            params = dict(pool.space.decompose(trial.arch))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=trial.value))
        free = list(pool.archs())
        chosen = []
        for _ in range(n):
            wanted = study.ask(kinds).params
            far = [sum(wanted[k] != v for k, v in pool.space.decompose(arch).items()) for arch in free]
            nearest = np.flatnonzero(np.array(far) == min(far))
            chosen.append(free.pop(int(rng.choice(nearest))))
        return chosen


METHODS: Mapping[str, Callable[[], Algorithm]] = {
    "guided": partial(get_algorithm, "guided"),
    "TPE (Optuna)": TPE,
    "random": partial(get_algorithm, "random"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each on one core")
    parser.add_argument("--out", default=str(RESULTS / "search-digits.json"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path, space = Path(args.out), get_space(f"{EXAMPLE}/space.py:space")
    archs = space.sample(MOST, 0)[: args.networks]
    train(path, archs, args.jobs)
    values = {arch: value for arch, (value, _) in read(path)["networks"].items() if arch in set(archs)}
    pool = measured(space, archs)
    for name in METHODS:
        for seed in range(args.seeds):
            if len(read(path).get("results", {}).get(name, {}).get("found", ())) <= seed:
                add(path, pool, values, name, seed)


def train(path: Path, archs: list[str], jobs: int) -> None:
    """Train the networks that are not in the record yet, and write each into it."""
    record = read(path, {"space": "digits", "machine": machine(), "networks": {}})
    missing = [arch for arch in archs if arch not in record["networks"]]
    with ThreadPoolExecutor(jobs) as threads:
        trained = {threads.submit(training, arch): arch for arch in missing}
        for count, future in enumerate(as_completed(trained), 1):
            record["networks"][trained[future]] = future.result()
            write(path, record)
            if count % 20 == 0:
                print(f"{count} of {len(missing)} networks trained", flush=True)
    record["networks"] = {arch: record["networks"][arch] for arch in archs}
    write(path, record)


def training(arch: str) -> list[float]:
    """Return accuracy and seconds of one training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLE / "train.py"), "--arch", arch, "--out", folder]
        subprocess.run(command, check=True, capture_output=True)
        result = json.loads((Path(folder) / "result.json").read_text())
    return [result["value"], round(result["seconds"], 2)]


def measured(space: Space, archs: list[str]) -> Pool:
    """Return the networks as candidates whose features are measured; these are kept for the next run."""
    folder = Path(tempfile.gettempdir()) / f"parzc-features-{space.name}"
    evaluator = Evaluator(space, "", folder, "", METHODS["guided"]().proxies(space), 1)
    evaluator.features(archs)
    return Pool(space, archs=archs, evaluator=evaluator)


def add(path: Path, pool: Pool, values: Mapping[str, float], name: str, seed: int) -> None:
    """Run one method with one seed, and write what it found into the record."""
    start = time.perf_counter()
    asked = list(queries(METHODS[name](), pool, values, TRAININGS, seed))
    record = read(path)
    record["best"] = max(values.values())
    entry: dict[str, Any] = record.setdefault("results", {}).setdefault(name, {})
    order = sorted(values.values(), reverse=True)
    found = [max(values[arch] for arch in asked[:point]) for point in POINTS]
    entry.setdefault("found", []).append(found[-1])
    entry.setdefault("rank", []).append(order.index(found[-1]) + 1)
    for point, value in zip(POINTS, found, strict=True):
        entry.setdefault("valid", {}).setdefault(str(point), []).append(value)
    write(path, record)
    seconds = time.perf_counter() - start
    print(f"{name}, seed {seed}: best {found[-1]:.2f}, rank {entry['rank'][-1]}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
