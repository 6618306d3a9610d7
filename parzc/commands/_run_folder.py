"""The run folder of `train.py`: metrics, the ranker with its ranking and importances, tuning, `run.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.commands._run import ranked
from parzc.commands._train_config import TrainConfig
from parzc.datasets import Space, Table
from parzc.evaluation.importance import MIN_NETWORKS, node_importance
from parzc.evaluation.protocol import Benchmark, Result
from parzc.files import write_atomically
from parzc.ranker import Ranker
from parzc.tuning import TunedRanker, load_study, study_name, write_report


def write_metrics(
    out: Path, config: TrainConfig, space: Space, table: Table, n_test: int, results: Mapping[str, Result]
) -> None:
    """Write `metrics.json`: what was compared on what, and every value."""
    _write_json(out / "metrics.json", {
        "space": space.name, "table": table.name, "target": table.target, "samples": config.samples,
        "protocol": config.protocol, "seeds": list(range(config.seeds)), "n_test": n_test,
        "results": {name: result.summary() for name, result in results.items()},
    })  # fmt: skip


def write_ranker(
    out: Path,
    learner: Ranker | TunedRanker,
    space: Space,
    benchmark: Benchmark,
    table: Table,
    train: NDArray[np.int64],
    workers: int,
) -> None:
    """Fit and write a ranker, its ranking of every arch, and the importances of nodes for the labels.

    Args:
        out: the run folder; the files are `ranker/`, `ranking.csv`, `importance.csv` and `importance.png`.
        learner: unfitted.
        space: the search space.
        benchmark: features and labels of the table.
        table: the architectures.
        train: indices of the labelled ones.
        workers: processes for the importances.
    """
    labelled, labels = benchmark.features[benchmark.row[train]], benchmark.to_learn[train]
    fitted = learner.fit(labelled, labels, benchmark.features)
    ranker = fitted.ranker_ if isinstance(fitted, TunedRanker) else fitted
    if isinstance(fitted, TunedRanker):
        tuned = fitted.tuned_
        print(f"\nseed 0 tuned in {tuned.trials} trials: cross-validated Kendall {tuned.kendall:.3f}, {tuned.settings}")
    ranker.save(out / "ranker")
    scores, deviations = ranker.predict_dist(benchmark.features)
    ranking = ranked(table.archs, scores, deviations, benchmark.row)
    ranking["labelled"] = ranking["arch"].isin({table.archs[i] for i in train}).astype(int)
    write_atomically(out / "ranking.csv", ranking.to_csv(index=False, float_format="%.6g").encode())
    if len(train) < MIN_NETWORKS:
        print(f"node importances need {MIN_NETWORKS} labelled archs; with {len(train)} none are written")
    elif not space.slots:
        print(f"node importances need slots, which the space {space.name} does not name; none are written")
    else:
        importance = node_importance(labelled, labels, space.slots, workers=workers)
        importance.write(out / "importance.csv", out / "importance.png")


def write_tuning(out: Path, config: TrainConfig, storage: str) -> None:
    """Write `tuning.csv` and `tuning.png` about the studies of all seeds."""
    names = {seed: study_name(config.study, seed) for seed in range(config.seeds)}
    studies = {seed: load_study(storage, name) for seed, name in names.items()}
    write_report(studies, out / "tuning.csv", out / "tuning.png")


def write_run(out: Path, config: TrainConfig) -> None:
    """Write `run.json`, which repeats the run; it comes last."""
    _write_json(out / "run.json", {"config": asdict(config), "parzc": version("parzc")})


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
