"""`search.json`, `search.csv` and `search.png`: what is in them, against values counted by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from parzc.commands._search_figure import best_so_far, report_so_far, search_figure, seconds_so_far
from parzc.commands._search_record import rows, seed_entry, write_record, write_report
from parzc.search.history import History, Trial

COSTS = {"params": 10.0, "flops": 200.0}
TRIALS = [
    Trial(0, "a", "a", "complete", 91.0, seconds=10.0, costs=COSTS),
    Trial(1, "b", "b", "failed", seconds=2.0, costs=COSTS, reason="it ended with exit status 1"),
    Trial(2, "c", "c", "complete", 95.0, epochs=12, seconds=1.0, costs=COSTS),
    Trial(3, "d", "d", "complete", 93.0, seconds=11.0, costs={"params": 5.0, "flops": 100.0}),
    Trial(4, "e", "e", "complete", 92.0, seconds=9.0, costs={"params": 1.0, "flops": 50.0}),
    Trial(5, "f", "f", "running", costs=COSTS),
]
TEST = {"a": 90.5, "c": 94.0, "d": 90.0, "e": 91.0}


def reported(arch):
    return TEST.get(arch, np.nan)


def record(*histories, **changes):
    seeds = [seed_entry(seed, History(trials), reported) for seed, trials in enumerate(histories)]
    first = {
        "space": "made",
        "table": "t.csv",
        "target": "valid",
        "report": "test",
        "algorithm": "guided",
        "budget": {},
    }
    return {**first, "budget": {}, **changes, "seeds": seeds}


def test_an_entry_holds_the_trials_in_the_order_asked_and_the_best():
    entry = seed_entry(3, History(TRIALS), reported)
    assert entry["seed"] == 3
    assert [trial["number"] for trial in entry["trials"]] == [0, 1, 2, 3, 4, 5]
    assert entry["best"] == entry["trials"][3]
    first, failed, running = entry["trials"][0], entry["trials"][1], entry["trials"][5]
    wanted = {
        "number": 0,
        "arch": "a",
        "value": 91.0,
        "report": 90.5,
        "state": "complete",
        "costs": COSTS,
        "seconds": 10.0,
    }
    assert wanted.items() <= first.items()
    assert first["seconds"] == 10
    assert (failed["value"], failed["report"], failed["state"]) == (None, None, "failed")
    assert failed["reason"] == "it ended with exit status 1"
    assert (running["value"], running["seconds"]) == (None, None)


def test_without_a_value_there_is_no_best():
    assert seed_entry(0, History(TRIALS[1:3]), lambda _: np.nan)["best"] is None


def test_best_so_far_leaves_failures_and_few_epochs_out():
    trials = record(TRIALS)["seeds"][0]["trials"]
    np.testing.assert_array_equal(best_so_far(trials), [91, 91, 91, 93, 93, 93])
    np.testing.assert_array_equal(report_so_far(trials), [90.5, 90.5, 90.5, 90, 90, 90])
    np.testing.assert_array_equal(seconds_so_far(trials), [10, 12, 13, 24, 33, np.nan])
    np.testing.assert_array_equal(best_so_far(trials[1:3]), [np.nan, np.nan])


def test_one_row_for_each_trial_of_each_seed():
    frame = rows(record(TRIALS, TRIALS[:2])["seeds"])
    assert list(frame["seed"]) == [0] * 6 + [1] * 2
    assert list(frame["best"][:6]) == [91, 91, 91, 93, 93, 93]
    assert list(frame["flops"][:5]) == [200, 200, 200, 100, 50]
    assert frame["reason"][1] == "it ended with exit status 1"


def test_the_files_hold_the_record(tmp_path):
    content = record(TRIALS[:5])
    write_record(tmp_path, content)
    write_report(tmp_path, content)
    assert json.loads((tmp_path / "search.json").read_text()) == content
    assert list(pd.read_csv(tmp_path / "search.csv")["arch"]) == ["a", "b", "c", "d", "e"]
    assert imread(tmp_path / "search.png").shape[1] > 1000  # two panels, as all seconds are known


def lines(axis):
    """The steps of an axis by what the legend calls them."""
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def drawn(axis):
    return [line.get_xydata().tolist() for line in axis.lines if len(line.get_xydata())]


def test_one_seed_is_drawn_over_trainings_and_seconds():
    trainings, seconds = search_figure(record(TRIALS[:5])).axes
    assert drawn(trainings)[0] == [[1, 91], [2, 91], [3, 91], [4, 93], [5, 93]]
    assert [point[0] for point in drawn(seconds)[0]] == [10, 12, 13, 24, 33]
    assert lines(trainings)["test of the best so far"][:, 1].tolist() == [90.5, 90.5, 90.5, 90, 90]
    assert trainings.get_ylabel() == "valid"


def test_seconds_are_not_drawn_where_one_is_not_known():
    assert len(search_figure(record(TRIALS)).axes) == 1


def test_the_mean_of_seeds_is_taken_where_all_have_a_value():
    (axis,) = search_figure(record(TRIALS, [TRIALS[1], TRIALS[4], TRIALS[0]])).axes
    mean = lines(axis)["mean of the seeds"]
    np.testing.assert_array_equal(mean[:, 0], [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(mean[:, 1], [np.nan, 91.5, 91.5, np.nan, np.nan, np.nan])


def test_the_front_holds_what_is_not_dominated():
    front = search_figure(record(TRIALS[:5]), "flops").axes[-1]
    assert lines(front)["front"].tolist() == [[50, 92], [100, 93]]
    assert front.get_xlabel() == "flops"


@pytest.mark.parametrize(
    ("trials", "title"),
    [
        (TRIALS[:5], "made, guided: best 93 in 5 trainings"),
        (TRIALS[1:2], "made, guided: no value in 1 trainings"),
        ([], "made, guided: no value in 0 trainings"),
    ],
)
def test_the_title_says_what_came_out(trials, title):
    figure = search_figure(record(trials))
    figure.canvas.draw()
    assert figure.get_suptitle() == title


def test_values_far_below_do_not_stretch_the_scale():
    low = [Trial(n, f"x{n}", f"x{n}", "complete", 10.0) for n in (5, 6)]
    figure = search_figure(record([*TRIALS[:1], *low, *TRIALS[3:5], TRIALS[0], TRIALS[3]]))
    assert 90 < figure.axes[0].get_ylim()[0] < 92
    assert "2 trainings below the scale" in [text.get_text() for text in figure.axes[0].texts]
