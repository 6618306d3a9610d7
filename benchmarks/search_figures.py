"""The pictures of searches in the documents, drawn from the records: `python benchmarks/search_figures.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _records import RESULTS, read
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
BLUE, ORANGE, GREEN, GREY, PURPLE = "#0063b1", "#d55e00", "#00875a", "#8a8a8a", "#8e44ad"
NB201 = {
    "guided": (BLUE, "o", "guided (parzc)"),
    "Gaussian process on operations": (PURPLE, "D", "Gaussian process on operations"),
    "TPE (Optuna), cells": (ORANGE, "s", "TPE (Optuna)"),
    "local": (GREEN, "^", "local search"),
    "evolution 30/10": (GREY, "v", "regularised evolution"),
    "random": ("#222222", "x", "random"),
}
DIGITS = {
    name: NB201[like]
    for name, like in (("guided", "guided"), ("TPE (Optuna)", "TPE (Optuna), cells"), ("random", "random"))
}
MOST = 100
"""Trainings up to which curves are drawn."""


def main() -> None:
    for name, draw in {"search_nb201": nb201, "search_digits": digits}.items():
        draw().savefig(FIGURES / f"{name}.png", dpi=120)
        print(f"docs/figures/{name}.png")


def nb201() -> Figure:
    """Draw the error of the cell found, less that of the optimum, on the three data sets."""
    record = read(RESULTS / "search-nb201.json")["results"]
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    names = {"cifar10": "CIFAR-10, test", "cifar100": "CIFAR-100, test", "imagenet16": "ImageNet16-120, validation"}
    for axis, (dataset, title) in zip(figure.subplots(1, 3), names.items(), strict=True):
        found, kind = record[dataset], "valid" if dataset == "imagenet16" else "test"
        for method, style in NB201.items():
            if method in found:
                _curve(axis, found[method][kind], style)
        best = found["optimum"][kind]
        axis.axhline(best, color="#222222", ls=":", lw=1)
        axis.set(
            title=title, xlabel="trainings", ylim=(_lowest(found, kind), best + 0.04 * (best - _lowest(found, kind)))
        )
    figure.axes[0].set_ylabel("accuracy of the best-validated cell, %")
    _legend(figure)
    return figure


def digits() -> Figure:
    """Draw the best accuracy so far on the digits example."""
    record = read(RESULTS / "search-digits.json")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for method, style in DIGITS.items():
        _curve(axis, record["results"][method]["valid"], style)
    best = record["best"]
    axis.axhline(best, color="#222222", ls=":", lw=1)
    axis.annotate(
        f"best of {len(record['networks'])} trained networks", (1, best), (0, 3), textcoords="offset points", fontsize=8
    )
    axis.set(xlabel="trainings", ylabel="best accuracy so far, %", title="Digits: mean of ten searches")
    _legend(figure)
    return figure


def _curve(axis: Axes, points: Mapping[str, list[float]], style: tuple[str, str, str]) -> None:
    """Draw means, and for the search of this package a band of one standard deviation."""
    colour, marker, label = style
    x = [int(n) for n in points if int(n) <= MOST]
    mean, deviation = (np.array([f(points[str(n)]) for n in x]) for f in (np.mean, np.std))
    axis.plot(x, mean, color=colour, marker=marker, ms=4.5, lw=1.6, label=label)
    if colour == BLUE:
        axis.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.15, lw=0)
    axis.grid(axis="y", color="#e6e6e6", lw=0.6)


def _lowest(found: Mapping[str, Any], kind: str) -> float:
    return min(float(np.mean(found[name][kind]["20"])) for name in NB201 if name in found) - 0.1


def _legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)


if __name__ == "__main__":
    main()
