"""Search guided by the ranker, on cells of NAS-Bench-201 with the features and accuracies that come with packages."""

import numpy as np
import pytest
from choice_spaces import PLAIN
from searched_tables import search, trial_of

from parzc.datasets import get_space, load_table
from parzc.errors import InputError
from parzc.search.algorithms import get_algorithm
from parzc.search.algorithms._population import Population
from parzc.search.algorithms.guided import Guided
from parzc.search.budgets import Budget
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
    drawn = np.random.default_rng(0).choice(functions, size=300, replace=False)
    return Pool(SPACE, archs=[str(arch) for arch in drawn], evaluator=Evaluator(SPACE))


def ask(algorithm, history, pool, n=1, seed=0):
    return algorithm.ask(history, pool.without(history.functions), n, np.random.default_rng(seed))


def test_it_finds_the_best_cell_in_a_fraction_of_the_trainings_of_random_search(pool, accuracies):
    best = max(pool.archs(), key=accuracies.get)

    def mean_trainings(name, most):
        found = []
        for seed in range(3):
            archs = [t.arch for t in search(get_algorithm(name), pool, accuracies.get, most, seed, batch=5).trials]
            found.append(archs.index(best) + 1 if best in archs else most)
        return np.mean(found)

    assert mean_trainings("guided", 40) < mean_trainings("random", 300) / 3


def test_what_it_asks_for_follows_from_the_history_alone(pool, accuracies):
    algorithm = Guided(first=4)
    history = search(algorithm, pool, accuracies.get, 9)
    asked = ask(algorithm, history, pool, 3)
    assert asked == ask(Guided(first=4), history, pool, 3)
    # What it has seen meanwhile of another history changes nothing.
    ask(algorithm, History(history.trials[:5]), pool, 2)
    assert asked == ask(algorithm, history, pool, 3)
    assert len(set(asked)) == 3 and not {*asked} & {trial.arch for trial in history.trials}


def test_pending_trials_are_taken_into_account(pool, accuracies):
    history = search(Guided(first=4), pool, accuracies.get, 10)
    (first,) = ask(Guided(first=4), history, pool)
    pending = History([*history.trials, trial_of(10, first, SPACE)])
    (second,) = ask(Guided(first=4), pending, pool)
    together = ask(Guided(first=4), history, pool, 2)
    assert second != first and together[0] == first


def test_the_first_ones_are_spread_over_what_proxies_rank_best(pool):
    asked = ask(Guided(first=6, fraction=0.2), History(), pool, 6)
    features = pool.features(pool.archs())
    population = Population.of(features, Guided().preset(SPACE), SPACE)
    ranks = np.argsort(np.argsort(-population.ranking))[[population.row[arch] for arch in asked]]
    assert len(set(asked)) == 6 and ranks.max() < 60
    points = population.inputs.columns().numpy()
    top = np.argsort(-population.ranking)[:60]

    def closest(rows):
        apart = np.linalg.norm(points[rows][:, None] - points[rows], axis=2)
        return apart[np.triu_indices(len(rows), 1)].min()

    drawn = [closest(np.random.default_rng(seed).choice(top, 6, replace=False)) for seed in range(50)]
    assert closest([population.row[arch] for arch in asked]) > np.median(drawn)


def test_a_spread_goes_on_from_what_was_asked_for(pool):
    population = Population.of(pool.features(pool.archs()), Guided().preset(SPACE), SPACE)
    everything = [*range(len(population.archs))]
    (far,) = population.spread(everything[1:], [0], 1, 0.001, np.random.default_rng(0))
    assert population.ranking[far] == population.ranking[1:].max()
    points = population.inputs.columns().numpy()
    few = everything[1:50]
    (far,) = population.spread(few, [0], 1, 1.0, np.random.default_rng(0))
    assert far == few[np.linalg.norm(points[few] - points[0], axis=1).argmax()]


def test_the_improvement_that_is_left_shrinks(pool, accuracies):
    algorithm = Guided(first=4)
    history = search(algorithm, pool, accuracies.get, 40, batch=4)
    assert np.isnan(algorithm.expected_improvement_left(History(history.trials[:3]), pool))
    early, late = (
        algorithm.expected_improvement_left(History(history.trials[:k]), pool.without(history.functions))
        for k in (8, 40)
    )
    assert 0 < late < early < 100


def test_a_space_without_features_is_screened_and_few_networks_are_measured(monkeypatch, tmp_path):
    evaluator = Evaluator(PLAIN, folder=tmp_path, workers=1, proxies=Guided().proxies(PLAIN))
    budget = Budget.parse(PLAIN, {"params": 3000})
    pool = Pool(PLAIN, budget, evaluator=evaluator)
    measured, features = [], evaluator.features
    monkeypatch.setattr(evaluator, "features", lambda archs: measured.append(len(archs)) or features(archs))
    algorithm = Guided(first=2, measured=2, screened=6)
    history = search(algorithm, pool, lambda arch: budget.cost(arch, "params"), 5)
    assert len(history) == 5 == len(history.functions)
    assert all(budget.allows(trial.arch) for trial in history.trials)
    assert max(measured) <= 2 + 4


def test_settings_are_checked():
    with pytest.raises(InputError, match=r"^guided search cannot have first = 0; set it to 1 or more$"):
        Guided(first=0)
    with pytest.raises(InputError, match=r"^fraction cannot be 0; set it to more than 0 and at most 1$"):
        Guided(fraction=0)
    with pytest.raises(InputError, match=r"^there is no setting 'colour'"):
        Guided(settings={"colour": 1}).preset(SPACE)
