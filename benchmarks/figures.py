"""The pictures of the documents: `python benchmarks/figures.py --table nb201.csv.gz`.

`curves` draws what `nb201.py` recorded; the others fit rankers and draw what these say. They go to `docs/figures`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _records import RESULTS, machine, read, write
from matplotlib.figure import Figure
from nb201 import BUDGETS, SPACE, TARGETS, read_benchmark
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.manifold import TSNE
from torch.nn.functional import softplus

from parzc.datasets import get_space
from parzc.encoding.layouts import node_matrix
from parzc.evaluation.metrics import calibration_error, kendall_tau
from parzc.evaluation.protocol import Benchmark, drawn_pairs
from parzc.models.mixer import MABN
from parzc.ranker import Ranker

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
NAMES = {"cifar10_test": "CIFAR-10", "cifar100_test": "CIFAR-100", "imagenet16_test": "ImageNet16-120"}
INK, BLUE, ORANGE, GREEN, GREY, PURPLE = "#222222", "#0063b1", "#d55e00", "#00875a", "#8a8a8a", "#8e44ad"
CURVES = {
    "parzc (default)": (BLUE, "o", "parzc"),
    "gradient_boosting": (ORANGE, "s", "gradient boosting, same inputs, better scale"),
    "extra_trees": (GREEN, "^", "extra trees, same inputs, better scale"),
    "gaussian_process, operations only": (GREY, "v", "Gaussian process, operations only"),
    "parzc (paper, pinat)": (PURPLE, "D", "ParZC as in the paper, with PINAT"),
}
SEEDS = 3
TSNE_NETWORKS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--figures", nargs="+", default=tuple(DRAWN), choices=tuple(DRAWN))
    args = parser.parse_args()
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in args.figures:
        figure = DRAWN[name](args.table)
        figure.savefig(FIGURES / f"{name}.png", dpi=120)
        print(f"docs/figures/{name}.png", flush=True)


def curves(table: str) -> Figure:
    """Draw Kendall's tau at each label budget, and the noise ceiling."""
    ceilings = {target: ceiling(read_benchmark(table, target)) for target in TARGETS}
    save("nb201-ceiling", {"kendall": ceilings})
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    for axis, target in zip(figure.subplots(1, 3, sharey=True), TARGETS, strict=True):
        found = read(RESULTS / f"{SPACE}-{target}.json")["results"]
        for method, (colour, marker, label) in CURVES.items():
            points = {n: on_better_scale(found.get(str(n), {}), method) for n in sorted(BUDGETS)}
            x = [n for n, value in points.items() if value]
            if x:
                y, deviations = ([points[n][part] for n in x] for part in ("mean", "std"))
                axis.errorbar(x, y, deviations, color=colour, marker=marker, ms=5, lw=1.6, capsize=2, label=label)
        proxies = {n: r["kendall"]["mean"] for n, r in found[str(BUDGETS[0])].items() if r["kind"] == "proxy"}
        best = max(proxies, key=lambda name: proxies[name])
        for level, style, label in (
            (ceilings[target], "--", "noise ceiling: a cell from its twins"),
            (proxies[best], ":", f"best proxy ({best})"),
            (proxies["az_nas"], "-.", "AZ-NAS"),
        ):
            axis.axhline(level, color=INK, ls=style, lw=1, label=label)
        axis.set(title=f"{NAMES[target]} test accuracy", xscale="log", xlabel="labelled architectures")
        axis.set_xticks(sorted(BUDGETS), [str(n) for n in sorted(BUDGETS)])
        axis.minorticks_off()
        axis.grid(axis="y", color="#e6e6e6", lw=0.6)
    figure.axes[0].set_ylabel("Kendall's tau, all other architectures")
    handles = {label: h for axis in figure.axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def on_better_scale(found: dict[str, Any], method: str) -> dict[str, Any]:
    """Return Kendall's tau of a method, learned from normal scores or from labels as they are; nothing if not there."""
    ways = [found[name]["kendall"] for name in (method, f"{method}, plain labels") if name in found]
    return max(ways, key=lambda value: value["mean"], default={})


def ceiling(benchmark: Benchmark) -> float:
    """Return the tau of each architecture's accuracy with the mean of the others that compute the same function."""
    count = np.bincount(benchmark.row)[benchmark.row]
    total = np.bincount(benchmark.row, weights=benchmark.labels)[benchmark.row]
    twins = count > 1
    return round(kendall_tau((total - benchmark.labels)[twins] / (count[twins] - 1), benchmark.labels[twins]), 4)


def ranks(table: str) -> Figure:
    """Draw predicted against true ranks over the whole space, and among its best (figure 4 of the paper)."""
    benchmark = read_benchmark(table, TARGETS[0])
    true = rankdata(-benchmark.labels)
    figure = Figure(figsize=(10, 9.2), layout="constrained")
    for row, samples in zip(figure.subplots(2, 2), (78, 469), strict=True):
        ranker, train, test = fitted("default", benchmark, samples, 0)
        scores = ranker.predict(benchmark.features)[benchmark.row]
        predicted = rankdata(-scores)
        tau = kendall_tau(scores[test], benchmark.labels[test])
        for axis, last, what in zip(row, (len(true), 1000), ("all test architectures", "the best 1,000"), strict=True):
            shown = test[true[test] <= last]
            axis.plot([0, last], [0, last], color=GREY, lw=1)
            axis.scatter(true[shown], predicted[shown], s=3, alpha=0.15 if last > 1000 else 0.5, color=BLUE, lw=0)
            axis.set(xlabel="true rank", ylabel="predicted rank", title=f"{samples} labels, {what}", xlim=(0, last))
            axis.set_ylim(0, predicted[shown].max() * 1.02)
        note = f"Kendall's tau {tau:.3f}, seed 0, {len(train)} labelled ones left out"
        row[0].text(0.03, 0.97, note, transform=row[0].transAxes, va="top", fontsize=9)
    return figure


def reliability(table: str) -> Figure:
    """Draw how often the one that is said to be better is better, against how sure the ranker is."""
    benchmark = read_benchmark(table, TARGETS[0])
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    record: dict[str, Any] = {}
    for axis, samples in zip(figure.subplots(1, 2), (78, 469), strict=True):
        pairs = [pairs_of(benchmark, samples, seed) for seed in range(SEEDS)]
        lines = [binned(*pair) for pair in pairs]
        errors = [calibration_error(*pair) for pair in pairs]
        record[str(samples)] = {"calibration_error": errors, "bins": [line.tolist() for line in lines]}
        axis.plot([0.5, 1], [0.5, 1], color=GREY, lw=1)
        for line in lines:
            axis.plot(line[0], line[1], color=BLUE, marker="o", ms=3, lw=1, alpha=0.6)
        error = f"expected calibration error {np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f}"
        axis.set(title=f"{samples} labels, {SEEDS} seeds\n{error}", xlabel="probability that a is better than b")
        axis.set(xlim=(0.49, 1.01), ylim=(0.49, 1.01), ylabel="how often it is", aspect="equal")
    save("nb201-reliability", record)
    return figure


def pairs_of(benchmark: Benchmark, samples: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ranker, _, test = fitted("default", benchmark, samples, seed)
    return drawn_pairs(benchmark, *ranker.predict_dist(benchmark.features), test)


def binned(probabilities: NDArray[np.float64], outcomes: NDArray[np.float64], bins: int = 10) -> NDArray[np.float64]:
    """Return the mean probability of the likelier outcome, and how often it comes true, in each of equal bins."""
    likelier = np.maximum(probabilities, 1 - probabilities)
    true = np.where(probabilities >= 0.5, outcomes, 1 - outcomes)
    index = np.minimum(((likelier - 0.5) * 2 * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (likelier, true)]
    return np.round(np.stack(sums)[:, count > 0] / count[count > 0], 5)


def posteriors(table: str) -> Figure:
    """Draw what the Bayesian layers of the preset `paper` have learned (figure 7 of the paper)."""
    ranker, *_ = fitted("paper", read_benchmark(table, TARGETS[0]), 78, 0)
    model = ranker.ensemble_.members_[0].network.nodes
    assert isinstance(model, MABN)
    figure = Figure(figsize=(11, 4), layout="constrained")
    head, spreads = figure.subplots(1, 2)
    means, deviations = (t.detach().numpy().ravel() for t in (model.head.weight_mu, softplus(model.head.weight_rho)))
    x = np.linspace(means.min() - 0.05, means.max() + 0.05, 2000)
    for mean, deviation in zip(means, deviations, strict=True):
        head.plot(x, norm.pdf(x, mean, deviation), lw=1)
    head.set(title=f"posteriors of the {len(means)} weights of the head", xlabel="weight", ylabel="density", ylim=0)
    start = float(softplus(torch.tensor(model.head.posterior_rho_init)))
    every = {"first layer": model.lift, "head": model.head}
    for colour, (name, layer) in zip((BLUE, ORANGE), every.items(), strict=True):
        values = softplus(layer.weight_rho).detach().numpy().ravel() / start
        spreads.hist(values, bins=np.linspace(0.9, 1.2, 61), color=colour, label=f"{name}, {len(values)} weights")
    spreads.axvline(1, color=INK, lw=1, ls="--", label="before training")
    spreads.set(title="standard deviations after training", xlabel="over the one they start with", ylabel="weights")
    spreads.set(yscale="log")
    spreads.legend(frameon=False, loc="upper left")
    return figure


def tsne(table: str) -> Figure:
    """Draw the node statistics of each kind in two dimensions, coloured by accuracy (figure 6 of the paper)."""
    benchmark = read_benchmark(table, TARGETS[0])
    chosen = np.random.default_rng(0).choice(len(benchmark), TSNE_NETWORKS, replace=False)
    features, colour = benchmark.features[benchmark.row[chosen]], rankdata(benchmark.labels[chosen]) / TSNE_NETWORKS
    statistics = ("grad_norm", "snip", "fisher", "l2_norm", "synflow", "synflow_bn", "zico", "meco")
    slots = [slot.name for slot in get_space(SPACE).slots]
    figure = Figure(figsize=(13, 6.8), layout="constrained")
    for axis, statistic in zip(figure.subplots(2, 4).ravel(), statistics, strict=True):
        values = node_matrix(features, [statistic], slots=slots, encoding="log")[:, 0]
        values = np.nan_to_num(values, neginf=np.nan)
        values = np.where(np.isnan(values), np.nanmin(values), values)
        values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-12)
        places = TSNE(random_state=0, init="pca", perplexity=30).fit_transform(values)
        shown = axis.scatter(*places.T, c=colour, s=4, cmap="viridis", lw=0)
        axis.set(title=statistic, xticks=[], yticks=[])
    figure.colorbar(shown, ax=figure.axes, label="rank of the CIFAR-10 test accuracy (1: best)", shrink=0.6)
    return figure


def fitted(
    preset: str, benchmark: Benchmark, samples: int, seed: int
) -> tuple[Ranker, NDArray[np.int64], NDArray[np.int64]]:
    train, test = benchmark.split(samples, seed)
    features = benchmark.features[benchmark.row[train]]
    return Ranker(preset, SPACE, seed).fit(features, benchmark.labels[train], benchmark.features), train, test


def save(name: str, record: dict[str, Any]) -> None:
    write(RESULTS / f"{name}.json", {"space": SPACE, "machine": machine(), **record})


DRAWN: dict[str, Callable[[str], Figure]] = {
    "curves": curves,
    "ranks": ranks,
    "reliability": reliability,
    "posteriors": posteriors,
    "tsne": tsne,
}


if __name__ == "__main__":
    main()
