"""The trials of a study as a table, and as pictures: history, importances, one slice for each setting."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from parzc.files import write_atomically
from parzc.tuning.sharing import places, valid

COMPLETE, PRUNED, BEST, LINE = "#0072b2", "#9a9a9a", "#d55e00", "#009e73"
COLUMNS = 4
"""Slices side by side."""


def trial_table(study: optuna.Study) -> pd.DataFrame:
    """Return one row for each trial that was begun, in the order of their places.

    Columns: `trial` (the place, from 0), `attempt` (1, or more where a process had died before), `state` (`complete`,
    `pruned`, `running`, `failed`), `kendall` (mean over the folds that were evaluated), `fold_1` and so on (Kendall tau
    of each), `started`, `seconds`, then one column for each setting.
    """
    rows = []
    for place, attempts in enumerate(places(study.get_trials(deepcopy=False))):
        begun = [trial for trial in attempts if trial.datetime_start is not None]
        rows += [_row(place, number, trial) for number, trial in enumerate(begun, start=1)]
    frame = pd.DataFrame(rows, columns=None if rows else ["trial", "attempt", "state", "kendall"])
    # Settings and folds of the first rows need not be all there are.
    folds = sorted(name for name in map(str, frame.columns) if name.startswith("fold_"))
    first = ["trial", "attempt", "state", "kendall", *folds, *(n for n in ("started", "seconds") if n in frame)]
    return frame[[*first, *(name for name in map(str, frame.columns) if name not in first)]]


def _row(place: int, attempt: int, trial: FrozenTrial) -> dict[str, Any]:
    # Reported are means over the folds so far.
    sums = [mean * (fold + 1) for fold, mean in sorted(trial.intermediate_values.items())]
    folds = {f"fold_{fold}": value for fold, value in enumerate(np.diff([0.0, *sums]), start=1)}
    started, seconds = trial.datetime_start, trial.duration.total_seconds() if trial.duration else np.nan
    return {
        "trial": place,
        "attempt": attempt,
        "state": "failed" if trial.state == TrialState.FAIL else trial.state.name.lower(),
        "kendall": np.mean(list(folds.values())) if folds else np.nan,
        **folds,
        "started": started.isoformat(timespec="seconds") if started else "",
        "seconds": round(seconds, 1),
        **trial.params,
    }


def importances(study: optuna.Study, seed: int = 0) -> dict[str, float]:
    """Return how much of the variance of the completed trials each setting explains, from 0 to 1, biggest first.

    Empty where fewer than four trials are complete or all are equal. Source: Hutter et al., "An Efficient Approach for
    Assessing Hyperparameter Importance" (fANOVA), 2014.
    """
    complete = [trial for trial in _counted(study) if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    importance = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(value) for name, value in importance.items()}


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and pruned trials, `number` replaced by their place."""
    counted = [valid(attempts) for attempts in places(study.get_trials(deepcopy=True))]
    for place, trial in enumerate(counted):
        if trial is not None:
            trial.number = place
    return [trial for trial in counted if trial is not None and trial.state.is_finished()]


def tuning_figure(study: optuna.Study) -> Figure:
    """Draw the history of the search, the importances of the settings, and the value over each setting."""
    trials = _counted(study)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(12, 4.2 + 2.7 * rows), dpi=110, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)  # type: ignore[union-attr,call-arg]
    parts: Any = figure.subfigures(2, 1, height_ratios=[4.2, max(2.7 * rows, 0.1)])
    history, bars = parts[0].subplots(1, 2, width_ratios=[1.5, 1])
    _draw_history(history, trials)
    _draw_importances(bars, importances(study))
    low, high = history.get_ylim()
    axes: list[Axes] = list(parts[1].subplots(rows, COLUMNS, sharey=True, squeeze=False).flat) if names else []
    for axis, name in zip(axes, names, strict=False):
        _draw_slice(axis, name, trials)
        axis.set_ylim(low, high)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis in axes[::COLUMNS]:
        axis.set_ylabel("Kendall tau")
    states = [trial.state for trial in trials]
    complete, pruned = states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED)
    figure.suptitle(f"{study.study_name}: {complete} trials completed, {pruned} pruned", fontsize=12)
    return figure


def _values(trials: list[FrozenTrial], state: TrialState) -> tuple[list[FrozenTrial], list[float]]:
    chosen = [trial for trial in trials if trial.state == state and trial.value is not None]
    return chosen, [trial.value for trial in chosen if trial.value is not None]


def _draw_history(axis: Axes, trials: list[FrozenTrial]) -> None:
    complete, values = _values(trials, TrialState.COMPLETE)
    pruned, lower = _values(trials, TrialState.PRUNED)
    axis.scatter([t.number for t in pruned], lower, s=26, marker="x", color=PRUNED, label="pruned, folds so far")
    axis.scatter([t.number for t in complete], values, s=26, color=COMPLETE, label="completed", zorder=3)
    best = np.maximum.accumulate(values)
    axis.step([t.number for t in complete], best, where="post", color=LINE, label="best so far", zorder=2)
    axis.set(title="History", xlabel="trial (0: the preset's own settings)", ylabel="cross-validated Kendall tau")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.scatter([], [], s=60, marker="*", color=BEST, label="best")
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False)
    axis.grid(alpha=0.25)


def _draw_importances(axis: Axes, importance: Mapping[str, float]) -> None:
    axis.set_title("Importance (part of the variance, fANOVA)")
    if not importance:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "too few, or equal, completed trials", ha="center", va="center", transform=axis.transAxes)
        return
    names, values = list(importance)[::-1], list(importance.values())[::-1]
    bars = axis.barh(names, values, color=COMPLETE)
    axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, fontsize=8)
    axis.set_xlim(0, 1.15 * max(values))
    axis.spines[["top", "right"]].set_visible(False)


def _draw_slice(axis: Axes, name: str, trials: list[FrozenTrial]) -> None:
    here = [trial for trial in trials if name in trial.params]
    among = here[0].distributions[name]
    label = str if isinstance(among, CategoricalDistribution) else lambda value: value
    for state, colour, marker in ((TrialState.PRUNED, PRUNED, "x"), (TrialState.COMPLETE, COMPLETE, "o")):
        chosen, values = _values(here, state)
        axis.scatter([label(trial.params[name]) for trial in chosen], values, s=18, color=colour, marker=marker)
    chosen, values = _values(here, TrialState.COMPLETE)
    if values:
        best = chosen[int(np.argmax(values))]
        axis.scatter([label(best.params[name])], [max(values)], s=60, marker="*", color=BEST, zorder=4)
    if isinstance(among, IntDistribution | FloatDistribution) and not among.single():
        _set_scale(axis, among)
    axis.set_title(name, fontsize=10)
    axis.grid(alpha=0.25)


def _set_scale(axis: Axes, among: IntDistribution | FloatDistribution) -> None:
    """Show the whole range, with plain numbers also where it is logarithmic."""
    low, high = float(among.low), float(among.high)
    if not among.log:
        margin = 0.04 * (high - low)
        axis.set_xlim(low - margin, high + margin)
        if isinstance(among, IntDistribution):
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return
    axis.set_xscale("log")
    margin = (high / low) ** 0.04
    axis.set_xlim(low / margin, high * margin)
    axis.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high / low < 20 else (1, 3) if high / low < 200 else (1,))
    )
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def write_report(studies: Mapping[int, optuna.Study], csv_path: str | Path, png_path: str | Path) -> None:
    """Write the trials of the studies, by seed, as CSV, and the picture of the first; each file atomically.

    Args:
        studies: at least one.
        csv_path: for `trial_table`, with a column `seed` in front.
        png_path: for `tuning_figure`.
    """
    frame = pd.concat([trial_table(study).assign(seed=seed) for seed, study in studies.items()], ignore_index=True)
    frame.insert(0, "seed", frame.pop("seed"))
    write_atomically(Path(csv_path), frame.to_csv(index=False, float_format="%.6g").encode())
    image = io.BytesIO()
    tuning_figure(next(iter(studies.values()))).savefig(image, format="png", dpi="figure")
    write_atomically(Path(png_path), image.getvalue())
