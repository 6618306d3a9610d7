"""Searches: ask, tell, fail, attach, what is kept, what is refused, and several workers on one study."""

import json
import math
import subprocess
import sys

import pytest
from choice_spaces import PLAIN, STAGED
from optuna.trial import TrialState
from searches import BUDGET, accuracy, search

import parzc
from parzc import InputError
from parzc.search import Search
from parzc.tuning import owners
from parzc.tuning.storage import load_study


def plain(folder="", **known):
    return Search(PLAIN, folder=folder, **{"algorithm": "random"} | known)


def arch_of(history):
    return [trial.arch for trial in history.trials]


def die(one):
    """Make the open trials of a search look as if its process were gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for trial in one._board.trials:
        if trial.state == TrialState.RUNNING and trial.user_attrs["owner"] == one._board._beats.owner:
            owner = {"machine": owners.machine(), "process": gone.pid}
            one._board.storage.set_trial_user_attr(trial._trial_id, "owner", owner)


def test_a_search_from_the_first_trial_to_the_best():
    one = parzc.Search(PLAIN, algorithm="random", budget={"params": 5000}, objectives=("accuracy", "flops"))
    with pytest.raises(InputError, match="no full training within its budget yet"):
        one.best()
    trials = one.ask(3)
    assert [(t.number, t.state) for t in trials] == [(0, "running"), (1, "running"), (2, "running")]
    assert all(dict(t.costs) == {"params": PLAIN.cost(t.arch).params, "flops": PLAIN.cost(t.arch).macs,
                                 "n_layers": PLAIN.cost(t.arch).n_layers} for t in trials)  # fmt: skip
    done = one.tell(trials[0], 71.5, seconds=3)
    assert (done.value, done.seconds, done.epochs, done.state) == (71.5, 3.0, 0.0, "complete")
    assert one.tell(1, 99.0, epochs=2).epochs == 2.0
    assert one.fail(trials[2], "diverged").reason == "diverged"
    assert one.best() == done and one.history.failed[0].number == 2
    assert one.study.trials[0].values == [71.5, done.costs["flops"]]
    assert one.study.trials[0].params == PLAIN.decompose(trials[0].arch)
    assert one.front() == [done] and math.isnan(one.expected_improvement_left())


def test_a_search_ends_when_the_space_is_used_up():
    one = plain()
    functions = []
    for trial in one.until(100, batch=5):
        functions.append(trial.function)
        one.tell(trial, 1.0)
    assert sorted(functions) == sorted(PLAIN.archs()) and one.ask(3) == []


def test_so_many_trainings_and_no_more():
    one = plain()
    one.attach(PLAIN.archs()[0], 50.0)
    numbers = [one.tell(trial, 1.0).number for trial in one.until(7, batch=3)]
    assert numbers == list(range(1, 8)) and len(one.history) == 8
    assert one.ask(2, trainings=7) == [] and len(one.ask(2, trainings=8)) == 1
    with pytest.raises(InputError, match="trial 8 has no value; end each trial with `tell` or `fail`"):
        list(one.until(8))


def test_what_is_told_is_checked():
    one = plain()
    (trial,) = one.ask()
    for value in (math.nan, math.inf, True, "high", None):
        with pytest.raises(InputError, match="is no accuracy; give a finite number, or fail the trial"):
            one.tell(trial, value)
    with pytest.raises(InputError, match="a training has no -1 epochs"):
        one.tell(trial, 1.0, epochs=-1)
    with pytest.raises(InputError, match="the search has no trial 1; it has 1"):
        one.tell(1, 1.0)
    one.tell(trial, 1.0)
    for again in (lambda: one.tell(trial, 2.0), lambda: one.fail(trial, "late")):
        with pytest.raises(InputError, match="trial 0 has the value 1 already; each is given once"):
            again()
    with pytest.raises(InputError, match="cannot be asked for 0 architectures"):
        one.ask(0)


def test_a_value_that_comes_after_a_failure_is_kept():
    one = plain()
    (trial,) = one.ask()
    one.fail(trial, "lost the log")
    assert one.tell(trial, 60.0, seconds=2).value == 60.0 and one.history.trials[0].state == "complete"


def test_trainings_that_exist_are_attached_once():
    one = plain(budget={"params": 3000})
    big = next(arch for arch in PLAIN.archs() if PLAIN.cost(arch).params > 3000)
    small = next(arch for arch in PLAIN.archs() if PLAIN.cost(arch).params <= 3000)
    first = one.attach(big, 90, seconds=5)
    assert (first.number, first.attached, first.feasible, first.value, first.seconds) == (0, True, False, 90.0, 5.0)
    assert one.attach(small, 80.0).feasible and one.best().arch == small
    assert one.attach(big, 90.0) == first and len(one.history) == 2
    with pytest.raises(InputError, match="is trial 0 of the search already, which has the value 90; leave it out"):
        one.attach(big, 91)
    (trial,) = one.ask()
    with pytest.raises(InputError, match=f"'{trial.arch}' is trial 2 of the search already, which is running"):
        one.attach(trial.arch, 50)
    with pytest.raises(InputError, match="is not an arch of"):
        one.attach("resnet50", 50)


def test_a_short_training_leaves_the_full_one_to_be_asked_for():
    one = plain()
    for arch in PLAIN.archs():
        one.attach(arch, 40.0, epochs=3)
    assert one.ask(1, epochs=3) == [] and one.ask(1, epochs=2) == []
    trials = one.ask(20, epochs=9)
    assert len(trials) == 12 and {t.asked_epochs for t in trials} == {9.0}
    assert one.tell(trials[0], 50.0).epochs == 9.0
    assert len(one.ask(20)) == 12 and one.history.best is None


def test_the_same_seed_gives_the_same_trials(tmp_path):
    runs = [[t.arch for t in search(tmp_path / str(i), seed=seed).ask(5)] for i, seed in enumerate((1, 1, 2))]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (
            {"budget": {"flops": 9e7}},
            "budget is flops of at most 100,000,000 there and flops of at most 90,000,000",
        ),
        ({"budget": None}, "budget is flops of at most 100,000,000 there and none"),
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"algorithm": "evolution"}, "algorithm is random there and evolution here"),
        ({"task": "cifar100"}, "task is cifar10 there and cifar100 here"),
        ({"objectives": ("accuracy", "flops")}, "objectives is"),
        ({"archs": parzc.datasets.get_space("nb201").archs()[:9]}, "candidates is all there and 9 architectures"),
    ],
)
def test_another_search_on_the_same_study_is_refused(tmp_path, other, named):
    search(tmp_path)
    with pytest.raises(InputError, match=f"{named}.*repeat what it was made with"):
        search(tmp_path, **other)


@pytest.mark.parametrize("objectives", [(), ("flops",), ("accuracy", "latency"), ("accuracy", "accuracy")])
def test_objectives_are_accuracy_and_known_costs(objectives):
    with pytest.raises(InputError, match=r"the objectives cannot be .*; give accuracy first, and any of params, flops"):
        plain(objectives=objectives)


def test_a_search_is_kept_and_goes_on(tmp_path):
    one, whole = search(tmp_path / "a"), search(tmp_path / "b")
    for trial in whole.until(6):
        whole.tell(trial, accuracy(trial.arch))
    for trial in one.until(3):
        one.tell(trial, accuracy(trial.arch))
    other = search(tmp_path / "a")
    assert other.history.trials == one.history.trials
    for trial in other.until(6):
        other.tell(trial, accuracy(trial.arch))
    assert other.history.trials == whole.history.trials
    assert len(load_study(tmp_path / "a" / "study.journal", "search").trials) == 6


def test_a_database_keeps_a_search_as_well(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    one, other = (plain(storage=url, study="mine") for _ in range(2))
    (trial,) = one.ask()
    assert [t.arch for t in other.history.pending] == [trial.arch]
    one.tell(trial, 5.0, seconds=1)
    assert other.best() == one.best() and other.ask()[0].number == 1


def test_two_that_ask_at_once_get_different_functions(tmp_path, monkeypatch):
    one, other = search(tmp_path), search(tmp_path)
    chosen, seen = other.algorithm.ask, []

    def late(*arguments):
        """The other worker asks between the choice and its record."""
        archs = chosen(*arguments)
        if not seen:
            seen.extend(one.ask(2))
        return archs

    monkeypatch.setattr(other.algorithm, "ask", late)
    mine = other.ask(3)
    assert len(mine) == 3 and len({t.function for t in [*seen, *mine]}) == 5 == len(other.history)
    assert [t.number for t in seen] == [0, 1] and [t.number for t in mine] == [2, 3, 4]
    # Both draw the same at first: the two that came later were void.
    assert sum("void" in t.user_attrs for t in other.study.trials) == 2
    assert all(t.state != TrialState.RUNNING for t in other.study.trials if "void" in t.user_attrs)


def test_what_a_dead_worker_left_comes_back_first_and_alone(tmp_path):
    one, other = search(tmp_path), search(tmp_path)
    left = one.ask(2)
    assert [t.number for t in other.ask(1)] == [2], "the other worker lives"
    die(one)
    again = other.ask(5)
    assert [(t.number, t.arch) for t in again] == [(t.number, t.arch) for t in left]
    assert [t.number for t in other.ask(1)] == [3]
    # The worker was only slow: what it trained counts, the other one's value is not needed.
    assert one.tell(left[0], 70.0).value == 70.0
    assert other.tell(again[0], 60.0).value == 70.0 and other.tell(again[1], 61.0).value == 61.0
    assert one.tell(left[1], 71.0).value == 61.0
    assert [t.state for t in one.history.trials] == ["complete", "complete", "running", "running"]


def test_an_architecture_that_kills_five_workers_has_failed(tmp_path):
    for _ in range(5):
        one = search(tmp_path)
        assert [t.number for t in one.ask(1)] == [0]
        die(one)
    last = search(tmp_path)
    assert [t.number for t in last.ask(1)] == [1]
    assert [(t.number, t.reason) for t in last.history.failed] == [(0, "5 workers died over it")]


def test_a_search_that_is_dropped_gives_its_trials_back(tmp_path):
    one = search(tmp_path)
    assert [t.number for t in one.ask(2)] == [0, 1]
    del one
    assert [t.number for t in search(tmp_path).ask(2)] == [0, 1]


def test_a_batch_that_was_cut_short_is_asked_for_to_its_end(tmp_path, monkeypatch):
    whole, one = search(tmp_path / "whole"), search(tmp_path / "cut")
    batch, next_one = [[t.arch for t in whole.ask(n)] for n in (4, 1)]
    add = one._board.add
    made = []

    def stop(*arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(add(*arguments))
        return made[-1]

    monkeypatch.setattr(one._board, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        one.ask(4)
    die(one)
    del one
    other = search(tmp_path / "cut")
    assert [t.arch for t in other.ask(4)] == batch[:2] and [t.arch for t in other.ask(4)] == batch[2:]
    assert [t.arch for t in other.ask(1)] == [next_one[0]]


def test_a_budget_is_seen_and_refused(capsys):
    one = search("", progress=True)
    (flops,) = one.overview
    assert 7e6 < flops.smallest <= flops.median <= flops.largest <= BUDGET["flops"]
    assert str(flops) in capsys.readouterr().err
    with pytest.raises(InputError, match="the smallest value that was reached is 7,783,050"):
        search("", budget={"flops": 1e6})


def test_an_algorithm_that_proposes_no_candidate_is_stopped(monkeypatch):
    one = plain(budget={"params": 3000})
    big = next(arch for arch in PLAIN.archs() if PLAIN.cost(arch).params > 3000)
    monkeypatch.setattr(one.algorithm, "ask", lambda *_: [big])
    with pytest.raises(RuntimeError, match=r"the algorithm random chose .* which is no candidate"):
        one.ask()
    assert len(one.history) == 0


def test_decisions_that_are_tuples_become_text():
    one = Search(STAGED, algorithm="random")
    for trial, of_optuna in zip(one.ask(20), one.study.trials, strict=True):
        chosen = STAGED.decompose(trial.arch)
        assert of_optuna.params == {k: str(v) if isinstance(v, tuple) else v for k, v in chosen.items()}
        assert of_optuna.user_attrs["arch"] == trial.arch


def test_the_report_holds_what_was_done():
    one = parzc.Search(PLAIN, algorithm="random", budget={"params": 5000}, objectives=("accuracy", "flops"), seed=3)
    trials = one.ask(4)
    one.tell(trials[0], 71.5, seconds=3)
    one.tell(trials[1], 99.0, seconds=2, epochs=1)
    one.fail(trials[2], "diverged", seconds=1)
    report = json.loads(json.dumps(one.report()))
    assert {name: report[name] for name in ("space", "algorithm", "objectives", "seed")} == {
        "space": PLAIN.name, "algorithm": "random", "objectives": ["accuracy", "flops"], "seed": 3,
    }  # fmt: skip
    assert report["trainings"] == {"complete": 2, "failed": 1, "running": 1, "attached": 0}
    assert report["seconds"] == 6.0 and report["best"]["number"] == 0 and report["front"] == [0]
    # A value of few epochs is never the best.
    assert report["best_so_far"] == [71.5] * 4 and report["expected_improvement_left"] is None
    assert [trial["state"] for trial in report["trials"]] == ["complete", "complete", "failed", "running"]
    assert [trial["arch"] for trial in report["trials"]] == [trial.arch for trial in trials]
    assert report["trials"][2]["value"] is None and report["trials"][2]["reason"] == "diverged"
    assert parzc.Search(PLAIN, algorithm="random").report()["best_so_far"] == []
