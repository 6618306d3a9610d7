"""Every proxy against the accuracies of 1,000 architectures of NAS-Bench-201, each at its paper's data budget.

    python benchmarks/proxies.py --table nb201.csv.gz --data cifar10.npz --work DIR

`--data` is an .npz with `x_train` and `y_train`, real CIFAR-10 images; without it the inputs are Gaussian. The features
stay in `--work`, so that a run that was stopped goes on where it was. All architectures of a run share what a seed
draws, place by place, so that it moves all of them at once: `--seeds 1 2` records other draws in addition to those of
seed 0, and `--budgets 1x64 1x256` measures what has these budgets only and leaves the rest of the record as it is.

    python benchmarks/proxies.py --table nb201.csv.gz

Without `--work` the features that come with parzc are taken: the whole space, 16 Gaussian inputs for every proxy.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from _records import RESULTS, machine, read, write
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from parzc.datasets import get_space, load_table
from parzc.features import AZ_NAS, ExtractionConfig, aggregate_ranks, build_store, list_proxies, proxy_info, shipped

ARCHS = Path(__file__).parent / "nb201-1000.txt"
TARGETS = ("cifar10_test", "cifar100_test", "imagenet16_test")
BUDGETS: Mapping[tuple[int, int], tuple[str, ...]] = {
    (1, 1): ("params", "flops", "n_layers", "meco", "meco_opt", "meco_modules"),
    (1, 16): ("swap", "swap_regularised", "linear_regions", "ntk", "knas", "grasp"),
    (1, 64): (
        *("expressivity", "progressivity", "trainability", "trainability_published"),
        *("zen", "zen_published", "jacob_cov", "epe_nas", "nasi"),
        *("grad_norm", "snip", "plain", "snip_mean", "fisher", "l2_norm", "synflow", "synflow_bn", "logsynflow"),
        *("ncd_nwot", "ncd_swap", "gradsign", "gradsign_mean"),
    ),
    (1, 128): ("nwot",),
    (1, 256): ("jacob_cov",),
    (2, 64): ("zico", "zico_signed"),
    (1, 512): ("xi_gsnr",),
    (8, 64): ("xi_gsnr", "gsnr", "gsnr_mean", "gsnr_variance", "xi_gsnr_variance", "xi_gsnr_accumulated"),
}
"""Batches and inputs in each: what the papers, or the code published with them, take; the last entry is the paper's."""

PUBLISHED = ("expressivity", "progressivity", "trainability_published", "flops")
ASSEMBLED: Mapping[str, tuple[tuple[str, ...], Literal["log", "linear"]]] = {
    "az_nas": (AZ_NAS, "log"),
    "az_nas, linear": (AZ_NAS, "linear"),
    "az_nas, published trainability": (PUBLISHED, "log"),
    "az_nas with synflow": ((*AZ_NAS, "synflow"), "log"),
    "az_nas with zico": ((*AZ_NAS, "zico"), "log"),
}
TWINS: Mapping[str, tuple[str, ...]] = {
    "az_nas, twins counted": AZ_NAS,
    "az_nas, published trainability, twins counted": PUBLISHED,
}
"""Assembled within the population of all strings, as in published code; all others within that of the networks."""
Scores = Mapping[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--data", default="gaussian", help=".npz with x_train and y_train (default: %(default)s)")
    parser.add_argument("--work", help="folder for the features; without it, those that come with parzc")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of what is drawn, with --work (default: 0)")
    budgets = {f"{batches}x{batch}": (batches, batch) for batches, batch in BUDGETS}
    parser.add_argument(
        "--budgets", nargs="+", choices=budgets, default=list(budgets), help="with --work (default: all)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if not args.work:
        measure_whole_space(args.table)
        return
    archs = ARCHS.read_text(encoding="utf-8").split()
    accuracy, path = accuracies(args.table, archs), RESULTS / "nb201-proxies.json"
    record = {
        "space": "nb201",
        "archs": ARCHS.name,
        "data": "gaussian" if args.data == "gaussian" else "CIFAR-10 images",
        "machine": machine(),
        "results": {},
        "other draws": {},
    }
    if path.exists():
        old = read(path)
        if old["data"] == record["data"]:
            record |= {part: old[part] for part in ("results", "other draws")}
    for seed in args.seeds:
        chosen = [budgets[name] for name in args.budgets]
        scores, *about = features(archs, args.data, Path(args.work) / f"seed{seed}", seed, chosen, args.workers)
        scores = {**scores, **assembled(scores, archs)}
        if seed == 0:
            record["results"] |= measured({**scores, **as_built(archs)}, *about, accuracy)
        else:
            for name, row in measured(scores, *about, accuracy).items():
                draws = record["other draws"].setdefault(name, {})
                draws[str(seed)] = {target: row[target]["kendall"] for target in TARGETS}
        write(path, record)


def measure_whole_space(table: str) -> None:
    archs = list(load_table(table, space=get_space("nb201"), target=TARGETS[0]).archs)
    scores, *about = shipped_features(archs)
    rows = measured({**scores, **as_built(archs), **assembled(scores, archs)}, *about, accuracies(table, archs))
    record = {"space": "nb201", "archs": len(archs), "data": "gaussian", "machine": machine(), "results": rows}
    write(RESULTS / "nb201-proxies-whole.json", record)


def accuracies(table: str, archs: Sequence[str]) -> Scores:
    """Return the accuracies of the architectures on each target, `(n,)`."""
    found = {}
    for target in TARGETS:
        loaded = load_table(table, space=get_space("nb201"), target=target)
        known = dict(zip(loaded.archs, loaded.labels, strict=True))
        found[target] = np.array([known[arch] for arch in archs])
    return found


def measured(
    scores: Scores, budgets: Mapping[str, str], reasons: Mapping[str, list[str]], accuracy: Scores
) -> dict[str, Any]:
    """Return what is recorded of each proxy."""
    rows = {}
    for name, values in scores.items():
        # Turned so that bigger is better.
        turned = -values if name in list_proxies() and not proxy_info(name).bigger_is_better else values
        rows[name] = {
            "budget": budgets.get(name, "-"),
            "missing": int(np.isnan(values).sum()),
            "reasons": reasons.get(name, []),
            **{target: correlations(turned, accuracy[target]) for target in TARGETS},
        }
        print(f"{name:32} {rows[name]['cifar10_test']['kendall']:.3f}", flush=True)
    return rows


def features(
    archs: Sequence[str], data: str, work: Path, seed: int, budgets: Sequence[tuple[int, int]], workers: int
) -> tuple[Scores, dict[str, str], dict[str, list[str]]]:
    """Return for each proxy its values, its budget, and why some values are missing."""
    space = get_space("nb201")
    rows = [space.canonical(arch) for arch in archs]
    paper = {proxy: budget for budget, proxies in BUDGETS.items() for proxy in proxies}
    scores: dict[str, NDArray[np.float64]] = {}
    found: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for batches, batch in budgets:
        proxies = BUDGETS[batches, batch]
        config = ExtractionConfig("nb201", "cifar10", batch, data, seed, proxies, batches)
        table = build_store(work / f"{batches}x{batch}", config, archs, workers, progress=True).read(rows)
        for proxy in proxies:
            name = proxy if paper[proxy] == (batches, batch) else f"{proxy}, {batches} x {batch}"
            scores[name], found[name] = table.scores[proxy], f"{batches} x {batch}"
            reasons[name] = sorted({why[proxy] for why in table.reasons.values() if proxy in why})
    return scores, found, reasons


def shipped_features(archs: Sequence[str]) -> tuple[Scores, dict[str, str], dict[str, list[str]]]:
    """The same from the features that come with parzc."""
    space, store = get_space("nb201"), shipped("nb201")
    table = store.read([space.canonical(arch) for arch in archs])
    found = {name: sorted({why[name] for why in table.reasons.values() if name in why}) for name in table.scores}
    return dict(table.scores), dict.fromkeys(table.scores, "1 x 16"), found


def as_built(archs: Sequence[str]) -> Scores:
    """Counts that papers report: of the network as the string says, operations on zero included."""
    costs = [get_space("nb201").cost(arch) for arch in archs]
    rows = {
        "params": [c.params for c in costs],
        "flops": [c.macs for c in costs],
        "n_layers": [c.n_layers for c in costs],
    }
    return {f"{name}, as built": np.array(values, dtype=np.float64) for name, values in rows.items()}


def assembled(scores: Scores, archs: Sequence[str]) -> Scores:
    """Rank aggregations of the proxies that there are.

    Strings that are built as one network are one member of the population, save in `TWINS`.
    """
    space = get_space("nb201")
    _, first, member = np.unique([space.canonical(arch) for arch in archs], return_index=True, return_inverse=True)
    found = {
        name: aggregate_ranks({column: scores[column][first] for column in columns}, method)[member]
        for name, (columns, method) in ASSEMBLED.items()
        if set(columns) <= scores.keys()
    }
    for name, columns in TWINS.items():
        if set(columns) <= scores.keys():
            found[name] = aggregate_ranks({column: scores[column] for column in columns})
    return found


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
