"""Guided search with labels of few epochs and of many, and with two objectives."""

from dataclasses import replace

import numpy as np
import pytest
from searched_tables import trial_of

from parzc.datasets import get_space, load_table
from parzc.errors import InputError
from parzc.search.algorithms import get_algorithm
from parzc.search.algorithms._hypervolume import Front
from parzc.search.algorithms._model import fitted, levels
from parzc.search.algorithms._population import Population
from parzc.search.algorithms.guided import Guided
from parzc.search.evaluator import Evaluator
from parzc.search.history import History
from parzc.search.pool import Pool

SPACE = get_space("nb201")


@pytest.fixture(scope="module")
def accuracies():
    table = load_table("analog-nasbench", space=SPACE)
    return dict(zip(table.archs, table.labels, strict=True))


@pytest.fixture(scope="module")
def pool():
    functions = [arch for arch in SPACE.archs() if SPACE.canonical(arch) == arch]
    drawn = np.random.default_rng(1).choice(functions, size=200, replace=False)
    return Pool(SPACE, archs=[str(arch) for arch in drawn], evaluator=Evaluator(SPACE))


@pytest.fixture(scope="module")
def population(pool):
    return Population.of(pool.features(pool.archs()), Guided().preset(SPACE), SPACE)


def trials_of(archs, values, start=0, **changes):
    return [trial_of(start + i, arch, SPACE, values[arch], **changes) for i, arch in enumerate(archs)]


def test_what_was_trained_briefly_comes_again_if_it_is_expected_to_be_the_best(pool, accuracies):
    brief = pool.archs()[:150]
    history = History(trials_of(brief, accuracies, epochs=12.0, asked_epochs=12.0))
    left = pool.without(history.functions_at(0))
    asked = Guided().ask(history, left, 4, np.random.default_rng(0))
    order = sorted(accuracies[arch] for arch in pool.archs())
    assert len(set(asked)) == 4 and min(accuracies[arch] for arch in asked) > order[int(0.8 * len(order))]
    # At the same fidelity none of them comes again.
    again = Guided().ask(history, pool.without(history.functions_at(12)), 4, np.random.default_rng(0))
    assert not {*again} & {*brief}


def test_labels_of_few_epochs_make_those_of_many_better_predicted(pool, population, accuracies):
    archs = pool.archs()
    full = {arch: 0.5 * accuracies[arch] + 3 for arch in archs}
    few = trials_of(archs[:6], full, start=150)
    both = History([*trials_of(archs[:150], accuracies, epochs=12.0, asked_epochs=12.0), *few])
    rows = [population.row[arch] for arch in archs[150:]]
    preset, true = Guided().preset(SPACE), np.array([full[arch] for arch in archs[150:]])

    def agreement(history):
        return np.corrcoef(np.argsort(np.argsort(fitted(history, population, rows, preset, 0).mean)),
                           np.argsort(np.argsort(true)))[0, 1]  # fmt: skip

    assert agreement(both) > 0.85 and agreement(both) > agreement(History(few)) + 0.05


def test_fidelities_with_a_single_label_are_left_out(pool, population, accuracies):
    archs = pool.archs()
    trials = [
        *trials_of(archs[:3], accuracies, epochs=4.0),
        *trials_of(archs[3:4], accuracies, 3, epochs=12.0),
        *trials_of(archs[4:6], accuracies, 4),
    ]
    assert [[trial.number for trial in group] for group in levels(History(trials), population)] == [[0, 1, 2], [4, 5]]


def test_a_search_for_a_front_asks_for_cheap_and_for_accurate_networks(pool, accuracies):
    def found(algorithm):
        history = History()
        while len(history) < 30:
            left = pool.without(history.functions)
            asked = algorithm.ask(history, left, 5, np.random.default_rng([0, len(history)]))
            new = trials_of(asked, accuracies, len(history))
            costs = [{"flops": pool.budget.cost(trial.arch, "flops")} for trial in new]
            history = History([*history.trials, *trials_with(new, costs)])
        values = [trial.value for trial in history.trials]
        flops = [trial.costs["flops"] for trial in history.trials]
        return Front.of(flops, values, 3e8), history

    front, history = found(Guided(objectives=("accuracy", "flops")))
    whole = pool.archs()
    everything = Front.of([pool.budget.cost(a, "flops") for a in whole], [accuracies[a] for a in whole], 3e8)
    single, _ = found(Guided())

    def area(front):
        return Front(front.costs, front.values, (80.0, 3e8)).hypervolume()

    def kept(front):
        keep = front.values > 80.0
        return Front(front.costs[keep], front.values[keep], front.reference)

    assert len(history.functions) == 30
    assert area(kept(front)) > 0.97 * area(kept(everything)) and area(kept(front)) > area(kept(single))


def trials_with(trials, costs):
    return [replace(trial, costs=own) for trial, own in zip(trials, costs, strict=True)]


def test_objectives_are_checked():
    for objectives in (("flops",), ("accuracy", "flops", "params"), ()):
        with pytest.raises(InputError, match=r"^guided search cannot have the objectives .*; give accuracy, or acc"):
            Guided(objectives=objectives)
    assert get_algorithm("guided", ("accuracy", "params")).objectives == ("accuracy", "params")
    assert get_algorithm("local", ("accuracy", "params")).starts == 10
