"""The comparison of learners and proxies: who sees what, and what is counted."""

import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest
from helpers import SMALL, table
from joblib.externals.loky import get_reusable_executor

from parzc.errors import InputError
from parzc.evaluation import metrics
from parzc.evaluation.protocol import (
    METRICS,
    Benchmark,
    Result,
    compare,
    fit_and_predict,
    format_results,
    measure,
    proxy_scores,
)
from parzc.evaluation.tabular import TabularRanker
from parzc.features import proxy_info
from parzc.features.proxies import _registry
from parzc.ranker import Ranker

TABLE, VALUES = table(40)
ROW = np.concatenate([np.arange(40), [0, 0, 1, 5, 7, 7, 7, 39, 2, 3]])
"""Fifty architectures; the last ten compute what earlier ones do."""
LABELS = VALUES[ROW] + 0.01 * np.arange(50)
BENCHMARK = Benchmark(TABLE, ROW, LABELS)


class Spy:
    """Keeps what it is given, and predicts a column of the features."""

    seen: list = []  # noqa: RUF012  # one list for all spies of a test, emptied by the fixture

    def __init__(self, seed):
        self.seed = seed

    def fit(self, features, accuracies, unlabelled):
        self.seen.append((self.seed, features, np.array(accuracies), unlabelled))
        return self

    def predict(self, features):
        return features.scores["snip"] + self.seed


@pytest.fixture
def spy():
    Spy.seen.clear()
    return Spy


class Constant(Spy):
    def fit(self, *_):
        return self

    def predict(self, features):
        return np.zeros(len(features))


# splits


@pytest.mark.parametrize("samples", [2, 10, 40])
def test_a_split_takes_every_architecture_once(samples):
    train, test = BENCHMARK.split(samples, 0)
    assert (len(train), len(test)) == (samples, 50 - samples)
    assert sorted([*train, *test]) == list(range(50))
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


def test_the_seed_decides_the_split():
    first = BENCHMARK.split(10, 3)
    for one, other in zip(first, BENCHMARK.split(10, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert BENCHMARK.split(10, 4)[0].tolist() != first[0].tolist()
    np.testing.assert_array_equal(first[0], np.sort(np.random.default_rng(3).permutation(50)[:10]))


def test_every_architecture_is_labelled_now_and_then():
    counts = np.bincount(np.concatenate([BENCHMARK.split(10, seed)[0] for seed in range(400)]), minlength=50)
    # Binomial with n = 400, p = 0.2: mean 80, standard deviation 8.
    assert 80 - 4 * 8 < counts.min() and counts.max() < 80 + 4 * 8


def test_more_samples_contain_fewer():
    assert set(BENCHMARK.split(10, 0)[0]) < set(BENCHMARK.split(20, 0)[0])


def test_all_may_be_tested():
    everything = dataclasses.replace(BENCHMARK, test_all=True)
    train, test = everything.split(10, 0)
    np.testing.assert_array_equal(train, BENCHMARK.split(10, 0)[0])
    np.testing.assert_array_equal(test, np.arange(50))


@pytest.mark.parametrize("samples", [-1, 0, 1, 41, 50, 60])
def test_a_split_that_cannot_be_is_refused(samples):
    with pytest.raises(InputError, match=rf"^cannot label {samples} of 50 architectures; choose from 2 to 40$"):
        BENCHMARK.split(samples, 0)


def test_what_can_be_split_can_be_measured():
    results = compare(BENCHMARK, {"spy": ("baseline", Spy)}, [], 40, [0])
    assert np.isfinite(results["spy"].values["regret_at_10"]).all()


def test_a_table_that_is_too_small_is_refused():
    small = Benchmark(TABLE, ROW[:11], LABELS[:11])
    with pytest.raises(InputError, match=r"^11 architectures are too few; 2 to learn from and 10 others are needed$"):
        small.split(2, 0)


def test_one_label_for_each_architecture():
    with pytest.raises(InputError, match=r"^50 architectures but 49 labels; give one label for each$"):
        Benchmark(TABLE, ROW, LABELS[:49])


# what a learner sees


def test_a_learner_sees_the_labels_of_the_sampled_only(spy):
    compare(BENCHMARK, {"spy": ("ranker", spy)}, [], 10, [4, 5])
    assert [seed for seed, *_ in spy.seen] == [4, 5]
    for seed, features, labels, unlabelled in spy.seen:
        train, _ = BENCHMARK.split(10, seed)
        assert features.archs == tuple(TABLE.archs[i] for i in ROW[train])
        np.testing.assert_array_equal(labels, LABELS[train])
        assert unlabelled is TABLE


def test_a_learner_learns_from_the_labels_meant_for_it(spy):
    validation = LABELS - 5
    benchmark = Benchmark(TABLE, ROW, LABELS, validation, test_all=True)
    results = compare(benchmark, {"spy": ("ranker", spy)}, ["snip"], 10, [0])
    train, _ = benchmark.split(10, 0)
    np.testing.assert_array_equal(spy.seen[0][2], validation[train])
    expected = metrics.kendall_tau(TABLE.scores["snip"][ROW], LABELS)
    assert results["spy"].values["kendall"] == results["snip"].values["kendall"] == [expected]


def test_labels_of_the_others_do_not_reach_a_ranker():
    train, test = BENCHMARK.split(20, 0)
    other = LABELS.copy()
    other[test] = np.random.default_rng(0).normal(size=len(test))
    make = partial(Ranker, "default", "nb201", settings=SMALL)
    np.testing.assert_array_equal(
        fit_and_predict(make(), BENCHMARK, train), fit_and_predict(make(), Benchmark(TABLE, ROW, other), train)
    )


def test_learners_of_one_seed_share_the_split(spy):
    learners = {"one": ("ranker", spy), "other": ("baseline", spy)}
    results = compare(BENCHMARK, learners, ["snip"], 10, [1, 2])
    assert [seed for seed, *_ in spy.seen] == [1, 1, 2, 2]
    for first, second in (spy.seen[:2], spy.seen[2:]):
        assert first[1].archs == second[1].archs
    # A constant added to the scores changes no metric, so both are as good as the proxy.
    for metric in (*METRICS, "kendall_new"):
        values = [results[name].values[metric] for name in ("one", "other", "snip")]
        assert values[0] == values[1] == pytest.approx(values[2])
    assert [results[name].kind for name in results] == ["ranker", "baseline", "proxy"]
    assert [len(results[name].seconds) for name in results] == [2, 2, 0]


# what is counted


def test_every_metric_is_of_the_test_architectures():
    scores = proxy_scores(TABLE, "snip")
    results = compare(BENCHMARK, {}, ["snip"], 10, [6, 7])
    for i, seed in enumerate((6, 7)):
        _, test = BENCHMARK.split(10, seed)
        x, y = scores[ROW[test]], LABELS[test]
        expected = {
            "kendall": metrics.kendall_tau(x, y),
            "spearman": metrics.spearman(x, y),
            "pearson": metrics.pearson(x, y),
            "precision_at_5pct": metrics.precision_at_k(x, y, 2),
            "regret_at_10": metrics.regret_at_k(x, y, 10),
        }
        assert {metric: results["snip"].values[metric][i] for metric in METRICS} == expected


def test_twins_of_the_labelled_are_counted_apart():
    # The functions of 40 and 49 are 0 and 3: with these two labelled, 0, 3 and 41 are not new.
    scores = np.arange(40.0) % 7
    train, test = np.array([40, 49]), np.array([0, 1, 2, 3, 4, 8, 11, 13, 21, 22, 23, 41])
    assert ROW[[40, 49, 41]].tolist() == [0, 3, 0]
    values = measure(BENCHMARK, scores, train, test)
    new = np.array([1, 2, 4, 8, 11, 13, 21, 22, 23])
    assert values["kendall_new"] == metrics.kendall_tau(scores[new], LABELS[new])
    assert values["kendall"] == metrics.kendall_tau(scores[ROW[test]], LABELS[test])
    assert values["kendall_new"] != values["kendall"]


def test_where_nothing_is_new_there_is_no_such_value():
    row = np.array([0, 1] * 6)
    benchmark = Benchmark(TABLE, row, np.arange(12.0))
    values = measure(benchmark, np.arange(40.0), np.array([0, 1]), np.arange(2, 12))
    assert math.isnan(values["kendall_new"]) and values["kendall"] == pytest.approx(
        metrics.kendall_tau(row[2:], np.arange(10.0))
    )


def test_proxies_are_turned_so_that_bigger_is_better(monkeypatch):
    turned = dataclasses.replace(proxy_info("snip"), bigger_is_better=False)
    monkeypatch.setitem(_registry._PROXIES, "snip", turned)
    np.testing.assert_array_equal(proxy_scores(TABLE, "snip"), -TABLE.scores["snip"])
    np.testing.assert_array_equal(proxy_scores(TABLE, "fisher"), TABLE.scores["fisher"])


@pytest.mark.parametrize("sign", [1, -1])
def test_networks_without_a_value_rank_last(monkeypatch, sign):
    changed = dataclasses.replace(proxy_info("snip"), bigger_is_better=sign > 0)
    monkeypatch.setitem(_registry._PROXIES, "snip", changed)
    snip = TABLE.scores["snip"].copy()
    snip[[3, 8]] = math.nan
    monkeypatch.setitem(TABLE.scores, "snip", snip)
    scores = proxy_scores(TABLE, "snip")
    known = np.delete(np.arange(40), [3, 8])
    assert np.isfinite(scores).all() and scores[3] == scores[8] < scores[known].min()
    np.testing.assert_array_equal(scores[known], sign * snip[known])
    results = compare(BENCHMARK, {}, ["snip"], 10, [0])
    assert np.isfinite(results["snip"].values["kendall"]).all()


def test_an_unknown_proxy_is_refused():
    with pytest.raises(InputError, match="there is no proxy 'guess'"):
        compare(BENCHMARK, {}, ["guess"], 10, [0])


def test_the_number_of_workers_does_not_matter():
    learners = {
        "forest": ("baseline", partial(TabularRanker, "gaussian_process", "default", "nb201")),
        "ranker": ("ranker", partial(_small, "default")),
    }
    lines = {1: [], 2: []}
    try:
        results = {n: compare(BENCHMARK, learners, ["snip"], 20, [0, 1], n, lines[n].append) for n in lines}
    finally:
        get_reusable_executor().shutdown(wait=True)
    for name, result in results[1].items():
        assert result.values == results[2][name].values
        assert result.kind == results[2][name].kind
    for progress in lines.values():
        starts = [line.split(" Kendall")[0] for line in progress]
        assert starts == ["seed 0: forest", "seed 0: ranker", "seed 1: forest", "seed 1: ranker"]


def _small(preset, seed):
    return Ranker(preset, "nb201", seed, SMALL | {"mixers": 1, "training.epochs": 10})


# summaries


def test_a_summary_holds_mean_deviation_and_values():
    result = Result("proxy", {"kendall": [0.5, 0.7, 0.9], "regret_at_10": [1.0]}, [0.1, 0.3])
    assert result.summary() == {
        "kind": "proxy",
        "kendall": {"mean": 0.7, "std": 0.2, "values": [0.5, 0.7, 0.9]},
        "regret_at_10": {"mean": 1.0, "std": 0.0, "values": [1.0]},
        "seconds": [0.1, 0.3],
    }


def test_what_has_no_value_is_null_in_json():
    result = Result("ranker", {"kendall": [0.5, math.nan, 0.7], "spearman": [math.nan, math.nan, math.inf]})
    record = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert record["kendall"] == {"mean": 0.6, "std": pytest.approx(0.141421), "values": [0.5, None, 0.7]}
    assert record["spearman"] == {"mean": None, "std": None, "values": [None, None, None]}


def result(kind, *kendall, seconds=()):
    return Result(kind, {metric: list(kendall) for metric in METRICS}, list(seconds))


def test_the_table_lists_the_best_first_within_each_kind():
    results = {
        "weak proxy": result("proxy", 0.1),
        "no proxy": result("proxy", math.nan, math.nan),
        "bad proxy": result("proxy", -0.9),
        "strong proxy": result("proxy", 0.9, 0.7),
        "forest": result("baseline", 0.5, 0.6, seconds=[1.0, 2.0]),
        "trees": result("baseline", 0.5, math.nan, 0.8, seconds=[1.0, 2.0, 4.0]),
        "parzc": result("ranker", 0.25, 0.75, seconds=[0.06, 0.06]),
    }
    lines = format_results(results).splitlines()
    assert lines[0].split() == ["Kendall", "Spearman", "Pearson", "top", "5%", "regret@10", "s/fit"]
    assert set(lines[1]) == {"-"} and len({len(line) for line in lines}) == 1
    assert [line[:12].strip() for line in lines[2:]] == [
        "parzc", "trees", "forest", "strong proxy", "weak proxy", "bad proxy", "no proxy",
    ]  # fmt: skip
    assert lines[2].split() == ["parzc", *["0.500", "±0.354"] * 5, "0.1"]
    assert lines[3].split() == ["trees", *["0.650", "±0.212"] * 5, "2.3"]
    assert lines[6].split() == ["weak", "proxy", *["0.100"] * 5]
    assert lines[8].split() == ["no", "proxy", *["-"] * 5]


def test_of_many_proxies_the_best_are_listed():
    results = {f"p{i}": result("proxy", i / 20) for i in range(14)} | {"parzc": result("ranker", 0.1)}
    assert [line.split()[0] for line in format_results(results).splitlines()[3:]] == [
        *(f"p{i}" for i in range(13, 3, -1)),
        "and",
    ]
    assert format_results(results).endswith("and 4 more proxies")
    assert format_results(results, proxies=14).splitlines()[-1].split()[0] == "p0"


def test_constant_scores_have_no_correlation_and_are_still_listed():
    results = compare(BENCHMARK, {"constant": ("baseline", Constant)}, ["snip"], 10, [0, 1])
    assert np.isnan(results["constant"].values["kendall"]).all()
    assert np.isfinite(results["constant"].values["precision_at_5pct"]).all()
    line = format_results(results).splitlines()[2].split()
    assert line[:4] == ["constant", "-", "-", "-"]
