"""Which nodes carry the accuracy: impurity importances of boosted trees, one model for each statistic.

The experiment of figures 2 and 5 of the ParZC paper with the trees of its section A.2, repeated over seeds so that a
bar comes with an interval. The impurity importance of a column is the part of the decrease in squared error that splits
on it bring. Columns are the slots of the space (places that a node may fill), so one column is one place. Values enter
as logarithms of their absolute value (the sign of the statistic `plain` is dropped) rather than in the paper's [0, 1]
range of each network: trees read only the order of a column, and this way a column depends on its own node alone.

Nodes of one network are correlated, and it is partly chance which of them a tree splits on; the intervals show how
much. A node that every network has (stem, reductions, classifier) often reflects the whole network. An importance is
high where the trees split often, whether they predict well or not: read it with the test correlation.
"""

import io
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split

from parzc.datasets import Slot
from parzc.encoding.layouts import Reduction, encoded, slot_columns
from parzc.errors import InputError
from parzc.evaluation import metrics
from parzc.evaluation.importance_figure import draw
from parzc.features import FeatureTable
from parzc.files import write_atomically

Array = NDArray[np.float64]

SEEDS = (42, 0, 1, 2, 3, 4)
"""The paper's seed and five others."""
MIN_NETWORKS = 10
"""With fewer, a fifth of the networks is too small to test on."""


@dataclass(frozen=True, eq=False)
class Importance:
    """Node importances over `k` seeds for each statistic.

    Args:
        slots: the `s` places of the space, along the network.
        seeds: one split and one model for each, `k` entries.
        importances: statistic to `(k, s)` parts of the impurity decrease; a row sums to 1 (0 if no tree has a split).
        kendall: statistic to `(k,)` Kendall's tau on the test fifth; NaN where predictions are constant.
        spearman: statistic to `(k,)` Spearman's correlation on the same networks.
        networks: number of labelled networks.
        level: fraction of the seeds between `low` and `high`.
    """

    slots: tuple[Slot, ...]
    seeds: tuple[int, ...]
    importances: Mapping[str, Array]
    kendall: Mapping[str, Array]
    spearman: Mapping[str, Array]
    networks: int
    level: float = 0.9

    def frame(self) -> pd.DataFrame:
        """Return one row for each statistic and slot.

        Columns: `statistic`, `node`, `edge`, `stage`, `depth`, `importance` (mean over seeds), `low`, `high`
        (percentiles over seeds), and for the test correlations of the statistic their mean and standard
        deviation over seeds: `kendall`, `kendall_std`, `spearman`, `spearman_std`.
        """
        places = pd.DataFrame(
            [(slot.name, slot.edge, slot.stage, slot.depth) for slot in self.slots],
            columns=["node", "edge", "stage", "depth"],
        )
        parts = []
        for name, values in self.importances.items():
            low, high = np.quantile(values, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
            part = places.assign(importance=values.mean(axis=0), low=low, high=high)
            part.insert(0, "statistic", name)
            part["kendall"], part["kendall_std"] = self.test_kendall(name)
            part["spearman"], part["spearman_std"] = _mean_std(self.spearman[name])
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def test_kendall(self, statistic: str) -> tuple[float, float]:
        """Return mean and standard deviation over seeds of Kendall's tau of a statistic on the test fifth."""
        return _mean_std(self.kendall[statistic])

    def figure(self) -> Figure:
        """Draw one panel of bars along the network for each statistic, 1650 pixels wide.

        A bar is an edge in a cell, or a fixed part; it adds up the importances of its slots.
        """
        return draw(self)

    def write(self, csv_path: str | Path, png_path: str | Path) -> None:
        """Write `frame()` as CSV and `figure()` as PNG; each file appears only once it is complete."""
        write_atomically(Path(csv_path), self.frame().to_csv(index=False, float_format="%.6g").encode())
        image = io.BytesIO()
        self.figure().savefig(image, format="png", dpi="figure")
        write_atomically(Path(png_path), image.getvalue())


def node_importance(
    features: FeatureTable,
    labels: ArrayLike,
    slots: Sequence[Slot],
    statistics: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    workers: int = 1,
    max_networks: int = 500,
    reduction: Reduction = "mean",
    level: float = 0.9,
    progress: Callable[[str], None] = lambda _: None,
) -> Importance:
    """Fit boosted trees to the values of one statistic at every slot, for each statistic and seed.

    A seed draws the 80/20 split and is the random state of the trees; the paper's is 42. 78 networks with 7 statistics
    take about 20 seconds of one core; time grows with the networks that a model learns from.

    Args:
        features: `n` networks; nothing else is looked at.
        labels: `(n,)` accuracies, finite.
        slots: the `s` slots of the space.
        statistics: names; all that the features hold if not given.
        seeds: at least one.
        workers: processes; they do not change the results.
        max_networks: how many networks of the training part enter one model at most; the test part stays whole.
        reduction: over the elements of a node.
        level: fraction of the seeds that an interval spans, in (0, 1].
        progress: called with one line after each fit.

    Raises:
        InputError: fewer than 10 networks, unfit labels, an empty choice, a statistic or a slot that is not there.

    Source: ParZC paper, sections 1 and A.2; Friedman, "Greedy function approximation", 2001, section 8.1.
    """
    names = list(dict.fromkeys(features.statistics if statistics is None else statistics))
    y = _check(labels, len(features), {"statistic": names, "slot": slots, "seed": seeds}, max_networks, level)
    inputs = {name: ordered_matrix(features, name, slots, reduction) for name in names}
    jobs = [(name, seed) for name in names for seed in seeds]
    fits: dict[str, list[tuple[Array, float, float]]] = {name: [] for name in names}
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        done = Parallel(return_as="generator")(delayed(_fit)(inputs[n], y, s, max_networks) for n, s in jobs)
        for (name, seed), fit in zip(jobs, done, strict=True):
            fits[name].append(fit)
            progress(f"importance of {name}, seed {seed}: test Kendall {fit[1]:.3f}")
    values, kendall, spearman = ({k: np.array([fit[i] for fit in v]) for k, v in fits.items()} for i in range(3))
    return Importance(tuple(slots), tuple(seeds), values, kendall, spearman, len(y), level)


def ordered_matrix(
    features: FeatureTable, statistic: str, slots: Sequence[Slot], reduction: Reduction = "mean"
) -> Array:
    """Return the logarithms of a statistic, `(n, s)`, made finite in a way that suits trees, which read only order.

    In each column a zero or missing value lies 1 below the smallest finite one of the `n` networks, and an absent node
    1 below that (at -1 and -2 where no value is finite). No label enters.
    """
    at = features.row, slot_columns(features, [slot.name for slot in slots])
    values, present = np.full((2, len(features), len(slots)), np.nan)
    values[at], present[at] = encoded(features, statistic, reduction, "log"), 1.0
    known = np.isfinite(values)
    lowest = np.where(known, values, np.inf).min(axis=0)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    return np.where(known, values, np.where(present == 1, lowest - 1, lowest - 2))


def _check(labels: ArrayLike, n: int, given: Mapping[str, Sized], max_networks: int, level: float) -> Array:
    y = np.asarray(labels, dtype=np.float64)
    if y.shape != (n,):
        raise InputError(f"labels of shape {y.shape} for {n} networks; give one label for each")
    if n < MIN_NETWORKS:
        raise InputError(f"node importances need {MIN_NETWORKS} labelled networks or more, not {n}; label more")
    if not np.isfinite(y).all():
        raise InputError(f"{(~np.isfinite(y)).sum()} labels are missing or infinite; leave those networks out")
    for what, items in given.items():
        if not len(items):
            raise InputError(f"node importances need at least one {what}, and none was given")
    if max_networks < 2 or not 0 < level <= 1:
        raise InputError(f"max_networks must be at least 2 and level in (0, 1], not {max_networks} and {level}")
    return y


def _fit(x: Array, y: Array, seed: int, max_networks: int) -> tuple[Array, float, float]:
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=seed)
    trees = GradientBoostingRegressor(n_estimators=500, learning_rate=0.05, max_depth=3, random_state=seed)
    trees.fit(x_train[:max_networks], y_train[:max_networks])
    scores = trees.predict(x_test)
    return trees.feature_importances_, metrics.kendall_tau(scores, y_test), metrics.spearman(scores, y_test)


def _mean_std(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.mean()), float(known.std(ddof=len(known) > 1))) if len(known) else (np.nan, np.nan)
