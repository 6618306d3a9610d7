"""The picture of a search: best value so far against trainings, against seconds, and the front of two objectives."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

VALUE, BEST, REPORT, FAILED, SEED = "#9a9a9a", "#009e73", "#d55e00", "#cc3311", "#a6d8c6"
HIDDEN = 0.25
"""Values below the best so far after this part of the trainings do not stretch the scale."""

Trials = Sequence[Mapping[str, Any]]
Curve = NDArray[np.float64]


def best_so_far(trials: Trials) -> Curve:
    """Return the best value among the first 1, 2, ... trials, `(len(trials),)`; NaN before the first value."""
    values = [_number(trial["value"]) if _counts(trial) else -np.inf for trial in trials]
    best = np.maximum.accumulate(np.array(values, dtype=np.float64)) if values else np.empty(0)
    return np.where(np.isfinite(best), best, np.nan)


def report_so_far(trials: Trials) -> Curve:
    """Return the reported figure of the trial with the best value among the first 1, 2, ... trials, NaN where none."""
    reported, best, current = [], -np.inf, np.nan
    for trial in trials:
        if _counts(trial) and _number(trial["value"]) > best:
            best, current = _number(trial["value"]), _number(trial["report"])
        reported.append(current)
    return np.array(reported, dtype=np.float64)


def seconds_so_far(trials: Trials) -> Curve:
    """Return the seconds that the first 1, 2, ... trials took together; NaN where those of one are not known."""
    return np.cumsum(np.array([_number(trial["seconds"]) for trial in trials], dtype=np.float64))


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _counts(trial: Mapping[str, Any]) -> bool:
    """Whether a trial has a value of the full training; few epochs do not make the best."""
    return trial["state"] == "complete" and not trial.get("epochs") and trial.get("feasible", True)


def search_figure(record: Mapping[str, Any], cost: str = "", unit: str = "training") -> Figure:
    """Draw what `search.json` holds.

    Args:
        record: content of `search.json`.
        cost: the second objective; the front of value and cost is drawn where it is given.
        unit: what gives a value.
    """
    runs = [seed["trials"] for seed in record["seeds"] if seed["trials"]]
    timed = bool(runs) and all(np.isfinite(seconds_so_far(trials)).all() for trials in runs)
    panels = 1 + timed + bool(cost)
    figure = Figure(figsize=(6.2 * panels, 4.4), dpi=110, layout="constrained")
    axes: list[Axes] = list(figure.subplots(1, panels, squeeze=False).flat)
    name = record["target"] or "value"
    _draw_curves(axes[0], runs, [np.arange(1.0, len(trials) + 1) for trials in runs], record["report"], unit)
    axes[0].set(xlabel=f"{unit}s", ylabel=name)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    if timed:
        _draw_curves(axes[1], runs, [seconds_so_far(trials) for trials in runs], record["report"], unit)
        axes[1].set(xlabel="seconds of training, added up", ylabel=name)
    if cost:
        _draw_front(axes[-1], runs, cost)
        axes[-1].set(xlabel=cost, ylabel=name)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(record, runs, unit), fontsize=11)
    return figure


def _title(record: Mapping[str, Any], runs: Sequence[Trials], unit: str) -> str:
    budget = ", ".join(f"{quantity} {bound}" for quantity, bound in record["budget"].items())
    what = f"{record['space']}, {record['algorithm']}{f', {budget}' if budget else ''}"
    best = [best_so_far(trials)[-1] for trials in runs]
    count = max(map(len, runs), default=0)
    if not np.isfinite(best).any():
        return f"{what}: no value in {count} {unit}s"
    spread = f" ± {np.nanstd(best):.3g} (mean of {len(best)} seeds)" if len(best) > 1 else ""
    return f"{what}: best {np.nanmean(best):.5g}{spread} in {count} {unit}{'s' * (count != 1)}"


def _draw_curves(axis: Axes, runs: Sequence[Trials], places: Sequence[Curve], report: str | None, unit: str) -> None:
    """Draw values and the best so far of one seed, or of each seed and their mean, over `places` (one per trial)."""
    if not runs:
        return
    single, curves = len(runs) == 1, [best_so_far(trials) for trials in runs]
    if single:
        _draw_values(axis, runs[0], places[0], unit)
    for place, curve in zip(places, curves, strict=True):
        axis.step(place, curve, where="post", color=BEST if single else SEED, lw=2 if single else 1, zorder=3)
    if single:
        axis.plot([], [], color=BEST, lw=2, label="best so far")
    else:
        axis.plot([], [], color=SEED, label="best so far, each seed")
        axis.step(*_mean(places, curves), where="post", color=BEST, lw=2.5, zorder=4, label="mean of the seeds")
    if report:
        reported = [report_so_far(trials) for trials in runs]
        axis.step(
            *_mean(places, reported), where="post", color=REPORT, lw=1.8, ls="--", zorder=5,
            label=f"{report} of the best so far{'' if single else ', mean'}",
        )  # fmt: skip
    _zoom(axis, runs, curves, unit)
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False)


def _draw_values(axis: Axes, trials: Trials, places: Curve, unit: str) -> None:
    of_state = {
        state: [i for i, trial in enumerate(trials) if trial["state"] == state] for state in ("complete", "failed")
    }
    axis.scatter(
        [places[i] for i in of_state["complete"]], [trials[i]["value"] for i in of_state["complete"]],
        s=22, color=VALUE, label=f"each {unit}",
    )  # fmt: skip
    if of_state["failed"]:
        axis.scatter(
            [places[i] for i in of_state["failed"]], [0.02] * len(of_state["failed"]), s=28, marker="x", color=FAILED,
            transform=axis.get_xaxis_transform(), label="failed", zorder=3,
        )  # fmt: skip


def _mean(places: Sequence[Curve], curves: Sequence[Curve]) -> tuple[Curve, Curve]:
    """Return where curves change, and their mean there, from where all have begun to where the first ends."""
    grid = np.unique(np.concatenate(places))
    rows = []
    for place, curve in zip(places, curves, strict=True):
        at = np.searchsorted(place, grid, side="right") - 1
        rows.append(np.where((at >= 0) & (grid <= place[-1]), curve[np.maximum(at, 0)], np.nan))
    return grid, np.mean(rows, axis=0)


def _zoom(axis: Axes, runs: Sequence[Trials], curves: Sequence[Curve], unit: str = "training") -> None:
    """Let the scale begin where the searches are after the first part of their trainings, and count what is below."""
    early = [curve[int(HIDDEN * len(curve))] for curve in curves]
    if not np.isfinite(early).any():
        return
    values = [trial["value"] for trial in itertools.chain(*runs) if trial["state"] == "complete"]
    high = float(np.nanmax(values))
    low = min(float(np.nanmin(early)), float(np.quantile(values, 0.5)))
    margin = 0.06 * (high - low) or 0.5
    bottom = max(low - 2 * margin, float(np.nanmin(values)) - margin)
    axis.set_ylim(bottom, high + margin)
    below = sum(value < bottom for value in values)
    if below and len(runs) == 1:
        axis.text(
            0.99, 0.06, f"{below} {unit}{'s' * (below > 1)} below the scale", transform=axis.transAxes, fontsize=8,
            ha="right", color="#555555", zorder=6, bbox={"color": "white", "alpha": 0.8, "pad": 1},
        )  # fmt: skip


def _draw_front(axis: Axes, runs: Sequence[Trials], cost: str) -> None:
    """Draw all trainings of all seeds by cost and value, and the non-dominated ones of each seed."""
    for number, trials in enumerate(runs):
        points = np.array([(t["costs"][cost], t["value"]) for t in trials if _counts(t)]).reshape(-1, 2)
        axis.scatter(points[:, 0], points[:, 1], s=18, color=VALUE, label=None if number else "each training")
        front = points[np.lexsort((-points[:, 1], points[:, 0]))]
        front = front[np.diff(np.maximum.accumulate(front[:, 1]), prepend=-np.inf) > 0]
        axis.step(*front.T, where="post", color=BEST, lw=1.8, marker="o", ms=4, label=None if number else "front")
    _zoom(axis, runs, [best_so_far(trials) for trials in runs])
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
