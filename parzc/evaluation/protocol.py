"""Honest comparison: the same splits for all methods, tests on other architectures than the labelled ones only."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray

from parzc.errors import InputError
from parzc.evaluation import metrics
from parzc.evaluation.uncertainty import probability_above
from parzc.features import FeatureTable

Kind = Literal["ranker", "baseline", "proxy"]
METRICS: Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "kendall": metrics.kendall_tau,
    "spearman": metrics.spearman,
    "pearson": metrics.pearson,
    "precision_at_5pct": metrics.precision_at_fraction,
    "regret_at_10": metrics.regret_at_k,
}
"""What is reported of every method, in the order of the columns."""


MIN_TEST = 10
"""Fewest architectures to test on: `regret_at_10` looks at as many."""


class Learner(Protocol):
    """What is fitted on labelled features and scores others; `Ranker` is one."""

    def fit(self, features: FeatureTable, accuracies: NDArray[np.float64], unlabelled: FeatureTable | None) -> Any:
        """Learn from `n` labelled rows; `unlabelled` are the features of all that will be ranked."""

    def predict(self, features: FeatureTable) -> NDArray[np.float64]:
        """Return `(n,)` scores, bigger is better."""


@runtime_checkable
class Uncertain(Protocol):
    """A learner that also predicts the standard deviation of each score."""

    def predict_dist(self, features: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `(n,)` scores and their standard deviations."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """`n` architectures with labels, and the features of their functions.

    A function is what an architecture computes. Architectures of one function (twins) have one row of features, and
    each its own label.

    Args:
        features: one row for each different function.
        row: `(n,)` index of the row of `features` for each architecture.
        labels: `(n,)` accuracies that scores are compared with, bigger is better.
        train_labels: `(n,)` accuracies to learn from, where they are others than `labels`.
        test_all: whether labelled architectures are tested, too (the protocol of published code, not the honest one).
    """

    features: FeatureTable
    row: NDArray[np.int64]
    labels: NDArray[np.float64]
    train_labels: NDArray[np.float64] | None = None
    test_all: bool = False

    def __post_init__(self) -> None:
        if len(self.row) != len(self.labels):
            raise InputError(f"{len(self.row)} architectures but {len(self.labels)} labels; give one label for each")

    def __len__(self) -> int:
        return len(self.row)

    @property
    def to_learn(self) -> NDArray[np.float64]:
        """Return the `(n,)` accuracies that a learner may see, of the architectures it is given."""
        return self.labels if self.train_labels is None else self.train_labels

    def split(self, samples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of `samples` architectures, drawn uniformly with `seed`, to learn from, and of the test
        set.

        The test set is all others, or all with `test_all`.

        Raises:
            InputError: if there are fewer than 2 to learn from, or fewer than 10 others.
        """
        most = len(self) - MIN_TEST
        if most < 2:
            raise InputError(f"{len(self)} architectures are too few; 2 to learn from and {MIN_TEST} others are needed")
        if not 2 <= samples <= most:
            raise InputError(f"cannot label {samples} of {len(self)} architectures; choose from 2 to {most}")
        order = np.random.default_rng(seed).permutation(len(self))
        return np.sort(order[:samples]), np.sort(order if self.test_all else order[samples:])


@dataclass(frozen=True)
class Result:
    """What one method reached over seeds.

    Args:
        kind: `ranker`, `baseline` or `proxy`.
        values: metric to one value for each seed.
        seconds: seconds to fit and predict, one value for each seed; empty for a proxy.
    """

    kind: Kind
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return mean, standard deviation and values of each metric as json values."""
        record: dict[str, Any] = {"kind": self.kind}
        for name, values in self.values.items():
            finite = np.array([v for v in values if np.isfinite(v)])
            mean, std = (finite.mean(), finite.std(ddof=len(finite) > 1)) if len(finite) else (np.nan, np.nan)
            record[name] = {"mean": _json(mean), "std": _json(std), "values": [_json(v) for v in values]}
        return record | {"seconds": self.seconds}


def _json(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def compare(
    benchmark: Benchmark,
    learners: Mapping[str, tuple[Kind, Callable[[int], Learner]]],
    proxies: Iterable[str],
    samples: int,
    seeds: Sequence[int],
    workers: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Result]:
    """Fit every learner on the same splits, and measure it, and every proxy, on the same test architectures.

    A learner sees the features of all architectures, and the labels of the architectures drawn to learn from only.

    Args:
        benchmark: architectures, features, labels.
        learners: name to kind and a function that makes an unfitted learner from a seed.
        proxies: names of proxies in the features.
        samples: number of labelled architectures.
        seeds: one split, and one fit of each learner, for each.
        workers: processes.
        progress: called with one line after each finished fit.

    Returns:
        Name to result, learners first.
    """
    jobs = [(name, seed) for seed in seeds for name in learners]
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        done = Parallel(return_as="generator")(
            delayed(_fit_and_score)(benchmark, learners[name][1], samples, seed) for name, seed in jobs
        )
        results = {name: Result(kind) for name, (kind, _) in learners.items()}
        for (name, seed), (values, seconds) in zip(jobs, done, strict=True):
            _append(results[name], values)
            results[name].seconds.append(round(seconds, 3))
            progress(f"seed {seed}: {name} Kendall {values['kendall']:.3f} in {seconds:.1f} s")
    for name in proxies:
        scores = proxy_scores(benchmark.features, name)
        results[name] = Result("proxy")
        for seed in seeds:
            train, test = benchmark.split(samples, seed)
            _append(results[name], measure(benchmark, scores, train, test))
    return results


def proxy_scores(features: FeatureTable, name: str) -> NDArray[np.float64]:
    """Return `(n,)` values of a proxy turned so that bigger is better; networks without a value rank last."""
    sign = 1.0 if features.info(name).bigger_is_better else -1.0
    return metrics.fill_missing(sign * features.scores[name])


def _append(result: Result, values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        result.values.setdefault(metric, []).append(value)


def _fit_and_score(
    benchmark: Benchmark, make: Callable[[int], Learner], samples: int, seed: int
) -> tuple[dict[str, float], float]:
    train, test = benchmark.split(samples, seed)
    start = time.perf_counter()
    learner = make(seed)
    scores = fit_and_predict(learner, benchmark, train)
    seconds = time.perf_counter() - start
    values = measure(benchmark, scores, train, test)
    if isinstance(learner, Uncertain):
        scores, deviations = learner.predict_dist(benchmark.features)
        values["calibration_error"] = pair_calibration(benchmark, scores, deviations, test)
    return values, seconds


def fit_and_predict(learner: Learner, benchmark: Benchmark, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fit on the architectures `train` and return the scores of all functions, `(len(benchmark.features),)`."""
    learner.fit(benchmark.features[benchmark.row[train]], benchmark.to_learn[train], benchmark.features)
    return learner.predict(benchmark.features)


def measure(
    benchmark: Benchmark, scores: NDArray[np.float64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, float]:
    """Return every metric of the scores of all functions on the test architectures.

    `kendall_new` leaves out the test architectures that compute the same function as a labelled one ("unseen functions"
    in the documentation).
    """
    row, labels = benchmark.row[test], benchmark.labels[test]
    values = {name: metric(scores[row], labels) for name, metric in METRICS.items()}
    new = ~np.isin(row, benchmark.row[train])
    values["kendall_new"] = metrics.kendall_tau(scores[row[new]], labels[new]) if new.sum() > 1 else np.nan
    return values


def drawn_pairs(
    benchmark: Benchmark,
    scores: NDArray[np.float64],
    deviations: NDArray[np.float64],
    test: NDArray[np.int64],
    pairs: int = 100_000,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for pairs of test architectures, the probability that the first is better, and whether it really is.

    Pairs are drawn with a seed of their own; those of one function or of equal labels are left out.

    Args:
        benchmark: architectures and labels.
        scores: of all functions.
        deviations: of the scores.
        test: test architectures.
        pairs: how many to draw.

    Returns:
        Probabilities in [0, 1] and outcomes, 0 or 1, one of each for every pair.
    """
    one, other = np.random.default_rng(0).choice(test, size=(2, pairs))
    differ = (benchmark.labels[one] != benchmark.labels[other]) & (benchmark.row[one] != benchmark.row[other])
    one, other = one[differ], other[differ]
    a, b = benchmark.row[one], benchmark.row[other]
    above = benchmark.labels[one] > benchmark.labels[other]
    return probability_above(scores[a], deviations[a], scores[b], deviations[b]), above.astype(np.float64)


def pair_calibration(
    benchmark: Benchmark, scores: NDArray[np.float64], deviations: NDArray[np.float64], test: NDArray[np.int64]
) -> float:
    """Return the expected calibration error of which of two test architectures is the better one."""
    return metrics.calibration_error(*drawn_pairs(benchmark, scores, deviations, test))


def format_results(results: Mapping[str, Result], proxies: int = 10) -> str:
    """Return the comparison as a text table, best Kendall first within rankers, baselines and the best proxies."""
    header = ["", "Kendall", "Spearman", "Pearson", "top 5%", "regret@10", "s/fit"]
    lines = [header]
    kinds: list[Kind] = ["ranker", "baseline", "proxy"]
    for kind in kinds:
        chosen = [(name, result) for name, result in results.items() if result.kind == kind]
        ordered = sorted(chosen, key=lambda item: _mean(item[1].values["kendall"]), reverse=True)
        for name, result in ordered[: proxies if kind == "proxy" else None]:
            cells = [_cell(result.values[metric]) for metric in METRICS]
            lines.append([name, *cells, f"{np.mean(result.seconds):.1f}" if result.seconds else ""])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rows = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    left = sum(result.kind == "proxy" for result in results.values()) - proxies
    more = [f"and {left} more proxies"] if left > 0 else []
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:], *more])


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values; -inf if there are none."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else -np.inf


def _cell(values: Sequence[float]) -> str:
    finite = [v for v in values if np.isfinite(v)]
    if not finite:
        return "-"
    spread = f" ±{np.std(finite, ddof=1):.3f}" if len(finite) > 1 else ""
    return f"{np.mean(finite):.3f}{spread}"
