"""The trials as a table, and the picture of a study."""

import io

import matplotlib.image
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from parzc.tuning.report import importances, trial_table, tuning_figure, write_report

AMONG = {
    "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "model.depth": IntDistribution(1, 4),
    "training.loss": CategoricalDistribution(["mse", "pairwise"]),
}


def study(values):
    """A study of completed trials whose value is decided by the learning rate; the last is pruned after a fold."""
    made = optuna.create_study(study_name="parzc-seed-0", direction="maximize")
    rng = np.random.default_rng(0)
    for number, value in enumerate(values):
        params = {
            "training.learning_rate": 10 ** (-4 + 2 * value),
            "model.depth": int(rng.integers(1, 5)),
            "training.loss": str(rng.choice(["mse", "pairwise"])),
        }
        last = number == len(values) - 1
        folds = {0: value} if last else {0: value, 1: value + 0.05, 2: value}
        made.add_trial(
            create_trial(
                state=TrialState.PRUNED if last else TrialState.COMPLETE,
                value=value,
                params=params,
                distributions=AMONG,
                intermediate_values=folds,
            )
        )
    return made


@pytest.fixture
def done():
    return study([0.2, 0.6, 0.4, 0.9, 0.5, 0.7, 0.1])


def test_the_table_has_the_trials_and_their_folds(done):
    frame = trial_table(done)
    assert list(frame.columns) == [
        "trial", "attempt", "state", "kendall", "fold_1", "fold_2", "fold_3", "started", "seconds", *AMONG,
    ]  # fmt: skip
    assert frame["trial"].tolist() == list(range(7)) and frame["attempt"].tolist() == [1] * 7
    assert frame["state"].tolist() == ["complete"] * 6 + ["pruned"]
    np.testing.assert_allclose(frame["kendall"], [0.2, 0.6, 0.4, 0.9, 0.5, 0.7, 0.1])
    # The reported means are .6, .65 and .6.
    np.testing.assert_allclose(frame.loc[1, ["fold_1", "fold_2", "fold_3"]].astype(float), [0.6, 0.7, 0.5])
    assert frame.loc[6, "fold_1"] == pytest.approx(0.1) and frame.loc[6, ["fold_2", "fold_3"]].isna().all()
    assert [dict(row) for _, row in frame[[*AMONG]].iterrows()] == [trial.params for trial in done.trials]


def test_the_table_counts_attempts_and_leaves_out_what_was_not_begun():
    made = optuna.create_study(study_name="parzc")
    made.enqueue_trial({})
    trial = made.ask({"x": FloatDistribution(0, 1)})
    made.tell(trial, state=TrialState.FAIL)
    made.ask()
    made.enqueue_trial(trial.params, user_attrs={"place": 0})
    made.enqueue_trial({})
    again = made.ask({"x": FloatDistribution(0, 1)})
    again.report(0.5, 0)
    made.tell(again, 0.5)
    frame = trial_table(made)
    assert frame[["trial", "attempt", "state"]].to_numpy().tolist() == [
        [0, 1, "failed"],
        [0, 2, "complete"],
        [1, 1, "running"],
    ]
    assert frame["kendall"].tolist()[1] == 0.5 and np.isnan(frame["kendall"].tolist()[0])
    assert frame["x"].tolist()[0] == frame["x"].tolist()[1]


def test_the_setting_that_decides_is_the_important_one():
    importance = importances(study(np.random.default_rng(1).random(40).tolist()))
    assert next(iter(importance)) == "training.learning_rate" and importance["training.learning_rate"] > 0.8
    assert sum(importance.values()) == pytest.approx(1) and set(importance) == set(AMONG)


@pytest.mark.parametrize("values", [[0.5] * 8, [0.1, 0.2, 0.3, 0.4]])
def test_there_are_no_importances_of_equal_or_few_trials(values):
    assert importances(study(values)) == {}


def test_the_picture_shows_every_setting_and_the_best(done):
    figure = tuning_figure(done)
    assert figure.get_suptitle() == "parzc-seed-0: 6 trials completed, 1 pruned"
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["History", "Importance (part of the variance, fANOVA)", *AMONG]
    history, _, rate, depth, loss = [axis for axis in figure.axes if axis.get_visible()]
    (best,) = history.lines
    np.testing.assert_allclose(best.get_ydata(), [0.2, 0.6, 0.6, 0.9, 0.9, 0.9])
    pruned, complete = (points.get_offsets().data for points in rate.collections[:2])
    np.testing.assert_allclose(pruned, [[10**-3.8, 0.1]])
    np.testing.assert_allclose(complete[:, 1], [0.2, 0.6, 0.4, 0.9, 0.5, 0.7])
    np.testing.assert_allclose(rate.collections[2].get_offsets().data, [[10**-2.2, 0.9]])
    assert (rate.get_xscale(), depth.get_xscale()) == ("log", "linear")
    assert rate.get_xlim()[0] < 1e-4 and rate.get_xlim()[1] > 1e-2
    assert {label.get_text() for label in loss.get_xticklabels()} == {"mse", "pairwise"}


def test_files_hold_all_studies_and_the_picture_of_the_first(done, tmp_path):
    write_report({0: done, 3: study([0.3, 0.4])}, tmp_path / "tuning.csv", tmp_path / "tuning.png")
    frame = pd.read_csv(tmp_path / "tuning.csv")
    assert frame.columns[0] == "seed" and frame["seed"].tolist() == [0] * 7 + [3] * 2
    np.testing.assert_allclose(frame["kendall"][7:], [0.3, 0.4])
    image = matplotlib.image.imread(io.BytesIO((tmp_path / "tuning.png").read_bytes()))
    assert image.shape[1] == 1320 and image[..., :3].std() > 0.05
    assert {path.name for path in tmp_path.iterdir()} == {"tuning.csv", "tuning.png"}


def test_a_study_without_trials_is_drawn_too(tmp_path):
    empty = optuna.create_study(study_name="parzc")
    assert len(trial_table(empty)) == 0
    write_report({0: empty}, tmp_path / "tuning.csv", tmp_path / "tuning.png")
    assert (tmp_path / "tuning.csv").read_text().splitlines() == ["seed,trial,attempt,state,kendall"]


def test_a_setting_of_one_value_is_drawn_too():
    made = optuna.create_study(study_name="parzc")
    among = {"graph.dim": IntDistribution(9, 9), "model.dim": IntDistribution(8, 8, log=True)}
    params = {"graph.dim": 9, "model.dim": 8}
    made.add_trial(create_trial(value=0.5, params=params, distributions=among, intermediate_values={0: 0.5}))
    titles = [axis.get_title() for axis in tuning_figure(made).axes if axis.get_visible()]
    assert titles[2:] == ["graph.dim", "model.dim"]
    tuning_figure(made).savefig(io.BytesIO())
