"""Which cells of NAS-Bench-201 searches without training find, next to published figures, recorded.

    python benchmarks/search_training_free.py --table nb201.csv.gz --images cifar10.npz

Reported is the mean test accuracy of training after 200 epochs of the cell that a search ends with. Searches of
functions end with the simplest cell of a function; those of cells, as most publications have it, draw among all 15,625
cells. Features are those that come with parzc (16 standard normal inputs of CIFAR-10), so that one search stands for
all three data sets.

Supernets run once for each data set, on images of CIFAR-10: for CIFAR-100 on the same, for ImageNet16-120 on their
means over 2 x 2 pixels, with class indices drawn at random for both. Scores that read no logits (`nwot`, `meco`) end
with the same cell for 10 and for 100 classes, and are run once for both. What is smaller than published, so that the
whole record takes a quarter of an hour of one core, stands in `settings` and `differs` of each method.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _records import RESULTS, machine, read, write

from parzc.datasets import get_space
from parzc.search.evaluator import Evaluator
from parzc.search.scores import get_score
from parzc.search.training_free import TrainingFreeSearch

DATASETS = ("cifar10", "cifar100", "imagenet16")
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16": 120}
SPACE = get_space("nb201")
DRAWN = 3000
Published = Mapping[str, str]


def published(*figures: str) -> dict[str, str]:
    return dict(zip(DATASETS, figures, strict=True))


@dataclass(frozen=True)
class Method:
    """One line of the record.

    Args:
        find: returns the cell that is found, from a seed, a data set and a file of images.
        seeds: how often it runs.
        published: figures of papers.
        source: of these.
        settings: of the search.
        differs: from what was published, and what explains other figures.
        each: the data sets that need a run of their own; the others have the cells of the first.
    """

    find: Callable[[int, str, str], str]
    seeds: int
    published: Published = field(default_factory=dict)
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: str = ""
    each: Sequence[str] = ("cifar10",)


def among_cells(score: str) -> Callable[[int, str, str], str]:
    """Return the search of the best of 3,000 cells, cells that compute one function being different ones."""

    def find(seed: int, dataset: str, images: str) -> str:  # noqa: ARG001
        archs, known = SPACE.sample(DRAWN, seed), get_score(score, SPACE)
        rows = known.measured(evaluator().features(archs))
        return archs[int(np.argmax(known.values(rows)))]

    return find


@lru_cache
def evaluator() -> Evaluator:
    return Evaluator(SPACE)


@lru_cache
def search(score: str, algorithm: str, settings: tuple[tuple[str, Any], ...], task: str) -> TrainingFreeSearch:
    return TrainingFreeSearch(SPACE, score, algorithm=algorithm, settings=dict(settings), task=task)


def by_score(score: str, algorithm: str, evaluations: int, **settings: Any) -> Callable[[int, str, str], str]:
    """Return a search by a score, as `search.py --score` runs it."""

    def find(seed: int, dataset: str, images: str) -> str:
        given = settings | ({"data": images} if algorithm in ("perturbation", "pruning") else {})
        found = search(score, algorithm, tuple(given.items()), dataset).run(evaluations, seed)
        assert found.best is not None
        return found.best.arch

    return find


AZ = "Lee and Ham 2024 (AZ-NAS), table 1, 5 runs"
CELLS = "draws of 3,000 cells, as published"
PROPOSALS = 5
SMALLER = (
    "5 proposals in place of 10, one cell in each stage in place of five, smaller batches, 4 batches of validation in "
    "place of 100"
)
TE = {"batch": 32, "regions": 300, "repeats": 1}
XI = {"batch": 16, "repeats": 1}
PT_NWOT = {"batch": 16, "depth": 1, "validation": 4}
PT_MECO = {"batch": 1, "depth": 1, "validation": 4}
TWICE = ("cifar10", "imagenet16")

METHODS: Mapping[str, Method] = {
    "random 3,000, az_nas, cells": Method(
        among_cells("az_nas"), 20, published("93.53 ± 0.15", "70.75 ± 0.48", "45.43 ± 0.29"), AZ, differs=CELLS
    ),
    "random 3,000, params, cells": Method(
        among_cells("params"), 20, published("93.50 ± 0.17", "70.63 ± 0.29", "41.91 ± 0.70"), AZ, differs=CELLS
    ),
    "random 3,000, nwot, cells": Method(
        among_cells("nwot"), 20, published("92.67", "69.91", "44.45"), AZ,
        differs=CELLS + "; published with activation patterns of networks without normalisation",
    ),
    "random 3,000, az_nas": Method(
        by_score("az_nas", "random", DRAWN), 20, differs="draws of 3,000 of the 4,930 different functions"
    ),
    "evolution, az_nas, top 1,024": Method(
        by_score("az_nas", "evolution", DRAWN), 5, settings={"top": 1024, "evaluations": DRAWN},
        differs="algorithm 1 of AZ-NAS, of which no figures for this space were published",
    ),
    "evolution, az_nas, top 10": Method(
        by_score("az_nas", "evolution", 1000, top=10), 5, settings={"top": 10, "evaluations": 1000},
        differs="1 % of the evaluations may be parents, as in the paper's 1,024 of 100,000",
    ),
    "perturbation, nwot": Method(
        by_score("nwot", "perturbation", PROPOSALS, **PT_NWOT), 4,
        published("91.92 ± 2.40", "69.67 ± 2.39", "40.35 ± 6.56"),
        "Jiang et al. 2023 (MeCo), table 13, 'jacov'", PT_NWOT | {"evaluations": PROPOSALS},
        SMALLER + "; batch norm uses the batch, where published code does not normalise at all", TWICE,
    ),
    "perturbation, meco": Method(
        by_score("meco", "perturbation", PROPOSALS, **PT_MECO), 4, published("93.76", "71.11", "41.44"),
        "Jiang et al. 2023 (MeCo), table 13: one cell in all runs, all edges 3x3, which has most parameters",
        PT_MECO | {"evaluations": PROPOSALS},
        SMALLER + "; operations of an edge are compared on the same image, where published code draws one for each",
        TWICE,
    ),
    "pruning, ntk+linear_regions": Method(
        by_score("ntk+linear_regions", "pruning", 1, **TE), 4,
        published("93.90 ± 0.47", "71.24 ± 0.56", "42.38 ± 0.46"), "Chen et al. 2021 (TE-NAS), 4 runs", TE,
        "batches of 32 and 300 in place of 72 and 1,000, changes of one draw in place of the mean of 3, which "
        "vary much between draws of weights and inputs", DATASETS,
    ),
    "pruning, xi_gsnr": Method(
        by_score("xi_gsnr", "pruning", 1, **XI), 4, published("94.05 ± 0.18", "72.18 ± 0.74", "46.24 ± 0.06"),
        "Sun et al. 2023 (xi-GSNR), table 4, 4 runs", XI,
        "no code, and neither the size of the supernet nor the sign of the change were published; here the supernet "
        "of TE-NAS, and what leaves the highest score is removed, which keeps the operations with most weights",
        DATASETS,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--images", required=True, help="npz with images of CIFAR-10, x_train and y_train")
    parser.add_argument("--methods", nargs="+", default=tuple(METHODS), choices=tuple(METHODS), metavar="METHOD")
    parser.add_argument("--out", default=str(RESULTS / "search-training-free.json"))
    args = parser.parse_args()
    table = pd.read_csv(args.table).set_index("arch")
    with tempfile.TemporaryDirectory() as folder:
        images = {dataset: made_images(args.images, dataset, Path(folder)) for dataset in DATASETS}
        for name in args.methods:
            for dataset in METHODS[name].each:
                for seed in range(METHODS[name].seeds):
                    add(Path(args.out), Path(args.table).name, table, name, dataset, seed, images[dataset])


def made_images(file: str, dataset: str, folder: Path) -> str:
    """Return a file of images that networks of a data set take."""
    with np.load(file, allow_pickle=False) as known:
        images, labels = known["x_train"], known["y_train"]
    if dataset == "imagenet16":
        n, height, width, channels = images.shape
        images = images.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4)).round().astype(np.uint8)
    if dataset != "cifar10":
        labels = np.random.default_rng(0).integers(CLASSES[dataset], size=len(images))
    path = folder / f"{dataset}.npz"
    np.savez(path, x_train=images, y_train=labels)
    return str(path)


def add(path: Path, file: str, table: pd.DataFrame, name: str, dataset: str, seed: int, images: str) -> None:
    """Run a method with a seed on a data set, and write what it has found, unless it is there."""
    method = METHODS[name]
    record = read(path, {}) | {"space": "nb201", "table": file, "machine": machine()}
    entry = record.setdefault("results", {}).setdefault(name, {})
    entry |= {"settings": dict(method.settings), "differs": method.differs}
    entry |= {"published": dict(method.published), "source": method.source}
    archs, seconds = (entry.setdefault(key, {}).setdefault(dataset, []) for key in ("archs", "core seconds"))
    if len(archs) > seed:
        write(path, record)  # what is said of the method may have changed
        return
    start = time.process_time()
    archs.append(method.find(seed, dataset, images))
    seconds.append(round(time.process_time() - start, 1))
    for target in DATASETS:
        source = target if target in method.each else method.each[0]
        test = table[f"{target}_test"]
        if values := [float(test[arch]) for arch in entry["archs"].get(source, [])]:
            entry.setdefault("test", {})[target] = values
    write(path, record)
    found = {target: values[-1:] for target, values in entry["test"].items()}
    print(f"{name}, {dataset}, seed {seed}: {archs[-1]}, {found}, {seconds[-1]} s", flush=True)


if __name__ == "__main__":
    main()
