"""The search as a sampler of a study of one's own."""

import threading

import optuna
import pytest
from choice_spaces import PLAIN, STAGED
from searches import accuracy

from parzc import InputError
from parzc.search import Sampler

optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial):
    return accuracy(trial.user_attrs["arch"])


def study_of(sampler, **known):
    return optuna.create_study(sampler=sampler, **{"direction": "maximize"} | known)


def archs_of(study):
    return [trial.user_attrs["arch"] for trial in study.trials if "arch" in trial.user_attrs]


def test_each_architecture_once_within_the_budget():
    study = study_of(Sampler(PLAIN, algorithm="random", budget={"params": 3000}))
    allowed = {arch for arch in PLAIN.archs() if PLAIN.cost(arch).params <= 3000}
    with pytest.raises(InputError, match="within the budget were asked for; stop the study"):
        study.optimize(objective, n_trials=20)
    assert len(allowed) == len(study.trials) - 1 > 3 and set(archs_of(study)) == allowed
    assert study.trials[-1].state == optuna.trial.TrialState.FAIL
    assert study.best_value == max(map(accuracy, allowed))


def test_decisions_are_parameters_and_others_are_drawn():
    seen = []

    def own(trial):
        arch = trial.user_attrs["arch"]
        chosen = {d.name: trial.suggest_categorical(d.name, d.choices) for d in PLAIN.decisions}
        seen.append((arch, PLAIN.compose(chosen), trial.suggest_float("rate", 0.0, 1.0)))
        return 1.0

    study_of(Sampler(PLAIN, algorithm="random")).optimize(own, n_trials=5)
    assert all(arch == composed for arch, composed, _ in seen) and len({rate for *_, rate in seen}) == 5


def test_conditional_decisions_exist_only_where_they_do():
    study = study_of(Sampler(STAGED, algorithm="random"))
    for _ in range(10):
        trial = study.ask()
        chosen = STAGED.decompose(trial.user_attrs["arch"])
        assert set(trial.relative_params) == set(chosen)
        study.tell(trial, 1.0)


def test_a_seed_repeats_a_study_and_its_history_goes_on(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    whole = study_of(Sampler("nb201", algorithm="random", seed=5))
    whole.optimize(objective, n_trials=6)
    for _ in range(2):
        part = study_of(
            Sampler("nb201", algorithm="random", seed=5), storage=storage, study_name="a", load_if_exists=True
        )
        part.optimize(objective, n_trials=3)
    assert archs_of(part) == archs_of(whole)


def test_several_objectives():
    sampler = Sampler(PLAIN, algorithm="random", objectives=("accuracy", "flops"))
    study = study_of(sampler, direction=None, directions=["minimize", "minimize"])
    study.optimize(lambda t: (100 - objective(t), PLAIN.cost(t.user_attrs["arch"]).macs), n_trials=8)
    history = sampler.history(study)
    # An error that is minimised is an accuracy below zero.
    assert [t.value for t in history.trials] == [t.values[0] * -1 for t in study.trials]
    assert {t.arch for t in history.front("accuracy", "flops")} == {t.user_attrs["arch"] for t in study.best_trials}
    with pytest.raises(InputError, match="the objectives cannot be latency"):
        Sampler(PLAIN, algorithm="random", objectives=("latency",))


def test_a_history_of_all_sorts_of_trials():
    sampler = Sampler(PLAIN, algorithm="random")
    study = study_of(sampler)
    archs = PLAIN.archs()
    study.enqueue_trial(PLAIN.decompose(archs[3]))
    among = {d.name: optuna.distributions.CategoricalDistribution(d.choices) for d in PLAIN.decisions}
    study.add_trial(optuna.trial.create_trial(params=PLAIN.decompose(archs[5]), value=33.0, distributions=among))
    study.add_trial(optuna.trial.create_trial(value=1.0))

    def own(trial):
        if trial.number == 0:
            return 50.0
        trial.report(20.0, 4)
        trial.report(30.0, 8)
        if trial.number == 3:
            raise optuna.TrialPruned
        raise ValueError

    study.optimize(own, n_trials=3, catch=(ValueError,))
    trials = sampler.history(study).trials
    assert [t.arch for t in trials[:2]] == [archs[3], archs[5]] and len({t.function for t in trials}) == 4
    known = [(t.state, t.value, t.epochs) for t in trials[:3]]
    assert known == [("complete", 50.0, 0.0), ("complete", 33.0, 0.0), ("complete", 30.0, 8.0)]
    assert trials[3].state == "failed"


def test_threads_get_different_functions():
    study = study_of(Sampler(PLAIN, algorithm="random"))
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert sorted(archs_of(study)) == sorted(PLAIN.archs())


def test_two_samplers_choose_one_after_another():
    """A trial waits for earlier ones that have no architecture yet, and not for those whose process is gone."""
    storage = optuna.storages.InMemoryStorage()
    first = study_of(Sampler(PLAIN, algorithm="random", seed=0), storage=storage, study_name="a")
    second = optuna.load_study(study_name="a", storage=storage, sampler=Sampler(PLAIN, algorithm="random", seed=0))
    entered, go = threading.Event(), threading.Event()
    choose = first.sampler.algorithm.ask

    def slow(*arguments):
        entered.set()
        assert go.wait(60)
        return choose(*arguments)

    first.sampler.algorithm.ask = slow
    threads = [threading.Thread(target=first.ask)]
    threads[0].start()
    assert entered.wait(60)
    threads.append(threading.Thread(target=second.ask))
    threads[1].start()
    threads[1].join(0.5)
    assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(set(archs_of(first))) == 2
    number = storage.create_new_trial(first._study_id)
    storage.set_trial_user_attr(number, "owner", {"machine": "gone", "process": 1})
    second.sampler._watch.is_dead = lambda trial: trial.number == 2
    assert second.ask().number == 3
