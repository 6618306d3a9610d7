"""Every proxy against the accuracies of 1,000 architectures of NAS-Bench-201, each at its paper's data budget.

    python benchmarks/proxies.py --table nb201.csv.gz --data cifar10.npz --work DIR

`--data` is an .npz with `x_train` and `y_train`, real CIFAR-10 images; without it the inputs are Gaussian. The features
stay in `--work`, so that a run that was stopped goes on where it was.

    python benchmarks/proxies.py --table nb201.csv.gz

Without `--work` the features that come with parzc are taken: the whole space, 16 Gaussian inputs for every proxy.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nb201 import RESULTS, machine
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from parzc.datasets import get_space, load_table
from parzc.features import AZ_NAS, ExtractionConfig, aggregate_ranks, build_store, shipped
from parzc.features.store import write_atomically

ARCHS = Path(__file__).parent / "nb201-1000.txt"
TARGETS = ("cifar10_test", "cifar100_test", "imagenet16_test")
BUDGETS: Mapping[tuple[int, int], tuple[str, ...]] = {
    (1, 1): ("params", "flops", "n_layers", "meco", "meco_opt", "meco_modules"),
    (1, 16): ("swap", "swap_regularised", "linear_regions", "ntk", "knas", "grasp"),
    (1, 64): (
        *("expressivity", "progressivity", "trainability", "zen", "zen_published", "jacob_cov", "epe_nas", "nasi"),
        *("grad_norm", "snip", "plain", "snip_mean", "fisher", "l2_norm", "synflow", "synflow_bn", "logsynflow"),
        *("ncd_nwot", "ncd_swap", "gradsign", "gradsign_mean"),
    ),
    (1, 128): ("nwot",),
    (1, 256): ("jacob_cov",),
    (2, 64): ("zico", "zico_signed"),
    (8, 64): ("xi_gsnr", "gsnr", "gsnr_mean", "gsnr_variance", "xi_gsnr_variance", "xi_gsnr_accumulated"),
}
"""Batches and inputs in each: what the papers, or the code published with them, take; the last entry is the paper's."""

ASSEMBLED: Mapping[str, tuple[str, ...]] = {
    "az_nas": AZ_NAS,
    "az_nas with synflow": (*AZ_NAS, "synflow"),
    "az_nas with zico": (*AZ_NAS, "zico"),
}
IDENTITY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--data", default="gaussian", help=".npz with x_train and y_train (default: %(default)s)")
    parser.add_argument("--work", help="folder for the features; without it, those that come with parzc")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    labels = {t: dict(zip(*_columns(args.table, t), strict=True)) for t in TARGETS}
    if args.work:
        archs, name = ARCHS.read_text(encoding="utf-8").split(), "nb201-proxies"
        scores, budgets, reasons = features(archs, args.data, Path(args.work), args.workers)
    else:
        archs, name = list(labels[TARGETS[0]]), "nb201-proxies-whole"
        scores, budgets, reasons = shipped_features(archs)
    accuracy = {t: np.array([found[arch] for arch in archs]) for t, found in labels.items()}
    record = {
        "space": "nb201",
        "archs": ARCHS.name if args.work else len(archs),
        "data": "CIFAR-10 images" if args.work and args.data != "gaussian" else "gaussian",
        "machine": machine(),
        "results": {
            name: {
                "budget": budgets.get(name, "-"),
                "missing": int(np.isnan(values).sum()),
                "reasons": reasons.get(name, []),
                **{t: correlations(values, accuracy[t]) for t in TARGETS},
            }
            for name, values in (scores | as_built(archs) | assembled(scores, archs)).items()
        },
    }
    write_atomically(RESULTS / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    for name, result in record["results"].items():
        print(f"{name:24} {result['cifar10_test']['kendall']:.3f}")


def _columns(table: str, target: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    loaded = load_table(table, space=get_space("nb201"), target=target)
    return tuple(loaded.archs), loaded.labels


def features(
    archs: list[str], data: str, work: Path, workers: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str], dict[str, list[str]]]:
    """Return for each proxy its values, its budget, and why some values are missing."""
    space = get_space("nb201")
    rows = [space.canonical(arch) for arch in archs]
    scores: dict[str, NDArray[np.float64]] = {}
    budgets: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for (batches, batch), proxies in BUDGETS.items():
        config = ExtractionConfig("nb201", "cifar10", batch, data, 0, proxies, batches)
        store = build_store(work / f"{batches}x{batch}", config, archs, workers, progress=True)
        table = store.read(rows)
        for name in proxies:
            if name in scores:
                other = f"{name}, {budgets[name]}"
                scores[other], budgets[other], reasons[other] = scores[name], budgets[name], reasons[name]
            scores[name], budgets[name] = table.scores[name], f"{batches} x {batch}"
            reasons[name] = sorted({why[name] for why in table.reasons.values() if name in why})
    return scores, budgets, reasons


def shipped_features(
    archs: list[str],
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str], dict[str, list[str]]]:
    """The same from the features that come with parzc."""
    space, store = get_space("nb201"), shipped("nb201")
    table = store.read([space.canonical(arch) for arch in archs])
    found = {name: sorted({why[name] for why in table.reasons.values() if name in why}) for name in table.scores}
    return dict(table.scores), dict.fromkeys(table.scores, "1 x 16"), found


def as_built(archs: list[str]) -> dict[str, NDArray[np.float64]]:
    """Counts that papers report: of the network as the string says, operations on zero included."""
    costs = [get_space("nb201").cost(arch) for arch in archs]
    rows = {
        "params": [c.params for c in costs],
        "flops": [c.macs for c in costs],
        "n_layers": [c.n_layers for c in costs],
    }
    return {f"{name}, as built": np.array(values, dtype=np.float64) for name, values in rows.items()}


def assembled(scores: Mapping[str, NDArray[np.float64]], archs: list[str]) -> dict[str, NDArray[np.float64]]:
    found = {name: aggregate_ranks({c: scores[c] for c in columns}) for name, columns in ASSEMBLED.items()}
    columns = {c: scores[c] for c in AZ_NAS}
    # Published code gives no trainability to a network whose cells hand gradients back as they came; by eq. 11 of the
    # paper that network has the best one. All cells of this sort compute one function.
    passed_on = np.array([get_space("nb201").canonical(arch) == IDENTITY for arch in archs])
    published = {**columns, "trainability": np.where(passed_on, np.nan, columns["trainability"])}
    return found | {
        "az_nas, linear": aggregate_ranks(columns, "linear"),
        "az_nas, as published code": aggregate_ranks(published),
        "trainability, as published code": published["trainability"],
    }


def correlations(values: NDArray[np.float64], accuracy: NDArray[np.float64]) -> dict[str, Any]:
    """Kendall and Spearman, architectures without a value ranked lowest, with a bootstrap deviation of Kendall."""
    ranked = np.where(np.isnan(values), np.nanmin(values) - 1, values)
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(ranked), size=len(ranked)) for _ in range(100 if len(ranked) < 5000 else 10))
    spread = np.std([kendalltau(ranked[i], accuracy[i]).statistic for i in draws])
    return {
        "kendall": round(float(kendalltau(ranked, accuracy).statistic), 4),
        "kendall_std": round(float(spread), 4),
        "spearman": round(float(spearmanr(ranked, accuracy).statistic), 4),
    }


if __name__ == "__main__":
    main()
