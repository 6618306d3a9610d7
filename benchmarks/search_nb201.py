"""Which cells of NAS-Bench-201 a search finds with few trainings, recorded.

    python benchmarks/search_nb201.py --table nb201.csv.gz

Each method asks for one cell after another, sees its validation accuracy (200 epochs), and is reported by the test
accuracy of the cell with the best validation accuracy so far. Every query counts, the random ones of a start included.
`guided`, trees and the Gaussian process on operations choose among the 4,930 different functions, each represented by
its simplest cell. The other methods run twice: on functions, none asked for twice, and (`cells`) on all 15,625 cells as
published, to compare with published curves.

Settings of `guided` were chosen on the accuracies after 12 epochs of CIFAR-10 (`cifar10_valid_12ep`,
`cifar10_test_12ep`) and on tasks of TransNAS-Bench-101, not on the accuracies reported here.
"""

import argparse
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from _records import RESULTS, machine, read, write
from _searching import queries
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from parzc.datasets.spaces.nb201 import NB201
from parzc.ranker.acquisition import log_expected_improvement
from parzc.search.algorithms import Algorithm, get_algorithm
from parzc.search.evaluator import Evaluator
from parzc.search.history import History
from parzc.search.pool import Pool

DATASETS = ("cifar10", "cifar100", "imagenet16")
POINTS = (10, 15, 20, 25, 30, 35, 40, 50, 100, 150, 200, 300)
LONG, SHORT = 300, 50
FIRST = 10
"""Random cells before a surrogate that is compared with is fitted."""


class Cells(NB201):
    """The space as most publications search it: cells that compute one function are different cells."""

    def canonical(self, arch: str) -> str:
        return arch


@dataclass(frozen=True)
class Method:
    """One line of the record.

    Args:
        make: returns an algorithm, or yields cells and takes their accuracies.
        queries: how many it is given.
        batch: cells asked for at once.
        cells: whether it searches cells, not functions.
    """

    make: Callable[[], Algorithm]
    queries: int = SHORT
    batch: int = 1
    cells: bool = False


class Surrogate(Algorithm):
    """Asks for the cell with the largest expected improvement under a regressor; random cells come first."""

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:
        if len(history) < FIRST:
            return pool.draw(n, rng)
        every = pool.without(()).archs()
        columns = self.columns(tuple(every))
        rows = {arch: row for row, arch in enumerate(every)}
        asked = [rows[trial.arch] for trial in history.complete]
        values = np.array([trial.value for trial in history.complete])
        targets = (values - values.mean()) / values.std()
        mean, deviation = self.predict(columns[asked], targets, columns, int(rng.integers(2**31)))
        gain = log_expected_improvement(mean, deviation, float(targets.max()))
        gain[asked] = -np.inf
        return [every[i] for i in np.argsort(-gain, kind="stable")[:n]]

    @abstractmethod
    def columns(self, archs: tuple[str, ...]) -> NDArray[np.float64]:
        """Return what the regressor reads of each architecture, `(n, columns)`."""

    @abstractmethod
    def predict(self, x: Any, y: Any, every: Any, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the targets of `every`, learned from `x` and `y`."""


class Trees(Surrogate):
    """Extra trees on everything that `guided` reads; the deviation is that over trees."""

    name = "trees"

    def columns(self, archs: tuple[str, ...]) -> NDArray[np.float64]:
        return encoded(archs)

    def predict(self, x: Any, y: Any, every: Any, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        forest = ExtraTreesRegressor(100, min_samples_leaf=1, max_features=0.3, random_state=seed).fit(x, y)
        rows = every.astype(np.float32)
        each = np.stack([tree.tree_.predict(rows)[:, 0] for tree in forest.estimators_])
        return each.mean(0), each.std(0)


class Operations(Surrogate):
    """A Gaussian process on which operation is where."""

    name = "operations"

    def columns(self, archs: tuple[str, ...]) -> NDArray[np.float64]:
        return one_hot(archs)

    def predict(self, x: Any, y: Any, every: Any, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(2.0, (0.3, 30.0)) + WhiteKernel(0.1, (1e-4, 1.0))
        process = GaussianProcessRegressor(kernel, random_state=seed).fit(x, y)
        mean, deviation = process.predict(every, return_std=True)
        noise = process.kernel_.k2.noise_level
        return mean, np.sqrt(np.maximum(np.square(deviation) - noise, 0.0))


class TPE(Algorithm):
    """Optuna's TPE with its defaults, an edge's operation being a categorical parameter."""

    name = "tpe"

    def __init__(self) -> None:
        self.study: optuna.Study | None = None

    def ask(self, history: History, pool: Pool, n: int, rng: np.random.Generator) -> list[str]:  # noqa: ARG002
        if self.study is None:
            sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)))
            self.study = optuna.create_study(direction="maximize", sampler=sampler)
        else:
            self.study.tell(len(history) - 1, history.trials[-1].value)
        trial = self.study.ask()
        decisions = pool.space.decisions
        return [pool.space.compose({d.name: trial.suggest_categorical(d.name, list(d.choices)) for d in decisions})]


METHODS: Mapping[str, Method] = {
    "guided": Method(partial(get_algorithm, "guided")),
    "guided, 5 at once": Method(partial(get_algorithm, "guided"), batch=5),
    "extra trees on the same features": Method(Trees),
    "Gaussian process on operations": Method(Operations),
    "TPE (Optuna), cells": Method(TPE, 200, cells=True),
    "random": Method(partial(get_algorithm, "random"), LONG),
    "evolution 30/10": Method(partial(get_algorithm, "evolution"), LONG),
    "local": Method(partial(get_algorithm, "local"), LONG),
    "random, cells": Method(partial(get_algorithm, "random"), LONG, cells=True),
    "evolution 30/10, cells": Method(partial(get_algorithm, "evolution"), LONG, cells=True),
    "local, cells": Method(partial(get_algorithm, "local"), LONG, cells=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS)
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS), choices=tuple(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default=str(RESULTS / "search-nb201.json"))
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = pd.read_csv(args.table).set_index("arch")
    path = Path(args.out)
    for name in args.methods:
        for dataset in args.datasets:
            for seed in range(args.seeds):
                record = read(path, {})
                known = record.get("results", {}).get(dataset, {}).get(name, {})
                if len(known.get("found", ())) <= seed:
                    add(path, args.table, table, dataset, name, seed)


def add(path: Path, file: str, table: pd.DataFrame, dataset: str, name: str, seed: int) -> None:
    """Run one method with one seed, and write what it found into the record."""
    valid, test = table[f"{dataset}_valid"], table[f"{dataset}_test"]
    start = time.perf_counter()
    method = METHODS[name]
    asked = list(queries(method.make(), pool(method.cells), valid.to_dict(), method.queries, seed, method.batch))
    seconds = time.perf_counter() - start
    record = read(path, {}) | {"space": "nb201", "table": Path(file).name, "machine": machine()}
    results = record.setdefault("results", {}).setdefault(dataset, {})
    optimum = valid.idxmax()
    results["optimum"] = {"valid": float(valid.max()), "test": float(test[optimum])}
    entry = results.setdefault(name, {"found": [], "seconds for each query": [], "valid": {}, "test": {}})
    entry["found"].append(asked.index(optimum) + 1 if optimum in asked else None)
    entry["seconds for each query"].append(round(seconds / len(asked), 3))
    for point in (point for point in POINTS if point <= METHODS[name].queries):
        best = max(asked[:point], key=lambda arch: valid[arch])
        entry["valid"].setdefault(str(point), []).append(float(valid[best]))
        entry["test"].setdefault(str(point), []).append(float(test[best]))
    write(path, record)
    at = {point: entry["test"][str(point)][-1] for point in (20, 30, 50)}
    print(f"{dataset} {name}, seed {seed}: {at}, optimum after {entry['found'][-1]}, {seconds:.0f} s", flush=True)


@lru_cache
def pool(cells: bool) -> Pool:
    """Return all cells, or all functions with the features that come with the package."""
    space = Cells() if cells else NB201()
    return Pool(space, evaluator=None if cells else Evaluator(space))


@lru_cache
def encoded(archs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return everything that `guided` reads of the cells, as columns."""
    from parzc.ranker.assembly import make_encoder
    from parzc.ranker.presets import get_preset

    features = pool(cells=False).features(archs)
    encoder = make_encoder(get_preset("search", "nb201"), "nb201").fit(features)
    columns: NDArray[np.float64] = encoder.transform(features).columns().numpy().astype(np.float64)
    return columns


@lru_cache
def one_hot(archs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return which operation each edge has, `(n, 30)`."""
    space = NB201()
    return np.array(
        [[space.decompose(a)[d.name] == c for d in space.decisions for c in d.choices] for a in archs], float
    )


if __name__ == "__main__":
    main()
