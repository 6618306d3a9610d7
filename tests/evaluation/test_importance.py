"""Node importances on synthetic features, so that the node that matters is known."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split

from parzc.datasets import Slot
from parzc.errors import InputError
from parzc.evaluation.importance import Importance, node_importance, ordered_matrix
from parzc.features import FeatureTable, NodeFeatures

SLOTS = (
    Slot("stem", "stem", 0, 0, False),
    Slot("cell0.a", "0-1", 0, 0),
    Slot("cell0.b", "1-2", 0, 0),
    Slot("down", "reduction_a", 1, 1, False),
    Slot("cell1.a", "0-1", 1, 2),
    Slot("cell1.b", "1-2", 1, 2),
    Slot("never", "2-3", 1, 2),
    Slot("head", "classifier", 1, 3, False),
)
DECIDES, SOMETIMES, NEVER = 4, 2, 6
COLUMNS = ["statistic", "node", "edge", "stage", "depth", "importance", "low", "high"]
COLUMNS += ["kendall", "kendall_std", "spearman", "spearman_std"]


def make_table(statistics):
    """Collect `(n, slots)` sums over weights into a table; NaN stands for an absent node, every node has 4 weights."""
    rows = []
    for i in range(len(next(iter(statistics.values())))):
        here = np.flatnonzero(~np.isnan(next(iter(statistics.values()))[i]))
        fields = np.tile(np.array([0, 4, 1, 10], dtype=np.int64), (len(here), 1))
        values = {name: matrix[i, here] for name, matrix in statistics.items()}
        rows.append(NodeFeatures(tuple(SLOTS[j].name for j in here), ("conv2d",) * len(here), fields, values, {}, {}))
    return FeatureTable.of(rows)


@pytest.fixture(scope="module")
def data():
    """60 networks; the label is that of `snip` at one slot, and of nothing in `fisher`."""
    rng = np.random.default_rng(0)
    snip, fisher = rng.lognormal(size=(2, 60, len(SLOTS)))
    for matrix in (snip, fisher):
        matrix[:, NEVER] = np.nan
        matrix[::3, SOMETIMES] = np.nan
    return make_table({"snip": snip, "fisher": fisher}), np.log(snip[:, DECIDES])


@pytest.fixture(scope="module")
def result(data):
    return node_importance(*data, SLOTS, seeds=(42, 0, 1))


def test_the_slot_that_decides_gets_the_importance(result):
    assert (result.importances["snip"][:, DECIDES] > 0.9).all()
    assert (result.importances["fisher"] < 0.9).all()


def test_the_test_correlation_tells_a_statistic_that_predicts_from_one_that_does_not(result):
    assert (result.kendall["snip"] > 0.8).all() and (result.spearman["snip"] > 0.9).all()
    assert abs(result.kendall["fisher"].mean()) < 0.5


def test_labels_in_another_order_leave_the_slot_unimportant(data):
    table, labels = data
    shuffled = np.random.default_rng(1).permutation(labels)
    one = node_importance(table, shuffled, SLOTS, ["snip"], seeds=[42])
    assert one.importances["snip"][0, DECIDES] < 0.6


def test_importances_sum_to_one_and_absent_slots_get_none(result):
    for values in result.importances.values():
        assert values.shape == (3, len(SLOTS))
        assert values.sum(axis=1) == pytest.approx([1, 1, 1])
        assert (values[:, NEVER] == 0).all()


def test_seed_42_is_the_fit_of_the_paper(data, result):
    table, labels = data
    x = ordered_matrix(table, "snip", SLOTS)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=0.2, random_state=42)
    model = GradientBoostingRegressor(n_estimators=500, learning_rate=0.05, max_depth=3, random_state=42)
    model.fit(x_train, y_train)
    assert (result.importances["snip"][0] == model.feature_importances_).all()
    assert result.spearman["snip"][0] == pytest.approx(
        pd.Series(model.predict(x_test)).corr(pd.Series(y_test), "spearman")
    )


def test_other_seeds_are_other_splits(data, result):
    assert len(set(result.kendall["fisher"])) == 3
    again = node_importance(*data, SLOTS, ["fisher"], seeds=[1])
    assert (again.importances["fisher"][0] == result.importances["fisher"][2]).all()


@pytest.mark.slow("two worker processes start")
def test_the_number_of_workers_does_not_matter(data, result):
    lines = []
    parallel = node_importance(*data, SLOTS, seeds=(42, 0, 1), workers=2, progress=lines.append)
    for name, values in result.importances.items():
        assert (parallel.importances[name] == values).all()
        assert (parallel.kendall[name] == result.kendall[name]).all()
    assert len(lines) == 6 and lines[0].startswith("importance of snip, seed 42: test Kendall 0.")


def test_a_model_learns_from_max_networks_and_is_tested_on_the_whole_fifth(data):
    table, labels = data
    few = node_importance(table, labels, SLOTS, ["snip"], seeds=[42], max_networks=20)
    x = ordered_matrix(table, "snip", SLOTS)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=0.2, random_state=42)
    model = GradientBoostingRegressor(n_estimators=500, learning_rate=0.05, max_depth=3, random_state=42)
    model.fit(x_train[:20], y_train[:20])
    assert (few.importances["snip"][0] == model.feature_importances_).all()
    assert few.kendall["snip"][0] == pytest.approx(pd.Series(model.predict(x_test)).corr(pd.Series(y_test), "kendall"))
    assert few.networks == 60


def test_missing_values_lie_below_the_smallest_and_absent_nodes_below_those():
    e = np.e
    snip = np.array([[4 * e, 4 * e**2, np.nan], [0.0, 4.0, np.nan], [4 / e, np.nan, 0.0]])
    expected = [[1, 2, -2], [-2, 0, -2], [-1, -2, -1]]
    assert ordered_matrix(make_table({"snip": snip}), "snip", SLOTS[:3]) == pytest.approx(np.array(expected))


def test_the_mean_or_the_sum_over_weights():
    table = make_table({"snip": np.full((2, 1), 4.0), "synflow": np.zeros((2, 1))})
    assert ordered_matrix(table, "snip", SLOTS[:1], "sum") == pytest.approx(np.log(4))
    assert ordered_matrix(table, "synflow", SLOTS[:1]) == pytest.approx(-np.log(4))


def test_the_frame_holds_means_percentiles_and_correlations(result):
    frame = result.frame()
    assert list(frame.columns) == COLUMNS
    assert list(frame["statistic"]) == ["snip"] * len(SLOTS) + ["fisher"] * len(SLOTS)
    row = frame.iloc[DECIDES]
    values = np.sort(result.importances["snip"][:, DECIDES])
    assert tuple(row[["node", "edge", "stage", "depth"]]) == ("cell1.a", "0-1", 1, 2)
    assert row["importance"] == pytest.approx(values.mean())
    # Of three values, the 5th percentile lies a tenth of the way from the smallest to the middle one.
    assert row["low"] == pytest.approx(0.9 * values[0] + 0.1 * values[1])
    assert row["high"] == pytest.approx(0.9 * values[2] + 0.1 * values[1])
    assert row["kendall"] == pytest.approx(result.kendall["snip"].mean())
    assert row["spearman_std"] == pytest.approx(np.std(result.spearman["snip"], ddof=1))


def test_an_undefined_correlation_is_left_out_of_the_mean():
    taus = {"snip": np.array([0.2, np.nan, 0.4]), "fisher": np.full(3, np.nan)}
    flat = {name: np.full((3, 2), 0.5) for name in taus}
    frame = Importance(SLOTS[:2], (0, 1, 2), flat, taus, taus, 12).frame()
    assert frame["kendall"].to_list()[:2] == pytest.approx([0.3, 0.3])
    assert frame["kendall"].isna().to_list() == [False, False, True, True]


def test_the_files_hold_the_frame_and_a_picture(result, tmp_path):
    result.write(tmp_path / "importance.csv", tmp_path / "importance.png")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "importance.csv"), result.frame(), rtol=1e-5)
    image = matplotlib.image.imread(tmp_path / "importance.png")[..., :3]
    assert image.shape[1] == 1650 and 650 < image.shape[0] < 850
    assert 0.5 < (image == 1).all(axis=-1).mean() < 0.95
    assert sorted(path.name for path in tmp_path.iterdir()) == ["importance.csv", "importance.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(59)}, r"labels of shape \(59,\) for 60 networks"),
        ({"labels": np.full(60, np.nan)}, "60 labels are missing or infinite"),
        ({"seeds": []}, "at least one seed"),
        ({"slots": ()}, "at least one slot"),
        ({"statistics": []}, "at least one statistic"),
        ({"statistics": ["synflow"]}, "no statistic 'synflow'"),
        ({"slots": SLOTS[1:]}, "node 'stem' fills no slot"),
        ({"max_networks": 1}, "max_networks must be at least 2"),
        ({"level": 0.0}, "level in"),
    ],
)
def test_what_cannot_be_used_is_named(data, change, message):
    table, labels = data
    with pytest.raises(InputError, match=message):
        node_importance(**({"features": table, "labels": labels, "slots": SLOTS} | change))


def test_too_few_networks_are_refused(data):
    table, labels = data
    with pytest.raises(InputError, match=r"^node importances need 10 labelled networks or more, not 9; label more$"):
        node_importance(table[:9], labels[:9], SLOTS)
    smallest = node_importance(table[:10], labels[:10], SLOTS, ["snip"], seeds=[42])
    assert smallest.importances["snip"].sum() == pytest.approx(1)
