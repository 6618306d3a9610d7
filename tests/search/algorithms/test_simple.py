"""Random search, local search and evolution, each against a slow program that keeps its state."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from searched_tables import TABLE, build_nothing, search, trial_of, value_of, whole

from parzc import Choices
from parzc.errors import InputError
from parzc.search.algorithms import ALGORITHMS, get_algorithm
from parzc.search.algorithms.evolution import Evolution
from parzc.search.algorithms.local import Local
from parzc.search.algorithms.random import Random
from parzc.search.history import FAILED, History


def rng_of(seed, asked):
    return np.random.default_rng([seed, asked])


def slow_local(starts, trainings, seed):
    """Local search with variables for its centre and its starts; what it draws is drawn as `Local` does."""
    pool, asked, centre, begun = whole(), [], None, []
    while len(asked) < trainings:
        left, rng = pool.without(map(TABLE.canonical, asked)), rng_of(seed, len(asked))
        near = left.neighbours(centre) if centre is not None else []
        if centre is not None and not near:
            centre, begun = None, []
        if centre is None:
            (arch,) = left.draw(1, rng)
            begun.append(arch)
            if len(begun) == starts:
                centre = max(begun, key=value_of)
        else:
            arch = near[rng.permutation(len(near))[0]]
            if value_of(arch) > value_of(centre):
                centre = arch
        asked.append(arch)
    return asked


def slow_evolution(population, sample, trainings, seed):
    """Regularised evolution with a queue."""
    pool, asked, alive = whole(), [], deque(maxlen=population)
    while len(asked) < trainings:
        left, rng = pool.without(map(TABLE.canonical, asked)), rng_of(seed, len(asked))
        arch = None
        if len(asked) >= population:
            for _ in range(20):
                drawn = [alive[i] for i in rng.choice(population, size=sample, replace=False)]
                arch = left.mutate(max(drawn, key=value_of), rng)
                if arch is not None:
                    break
        arch = arch or left.draw(1, rng)[0]
        asked.append(arch)
        alive.append(arch)
    return asked


@pytest.mark.parametrize("starts", [1, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_local_search_is_replayed_from_its_history(starts, seed):
    history = search(Local(starts), whole(), value_of, 120, seed)
    assert [trial.arch for trial in history.trials] == slow_local(starts, 120, seed)


def test_local_search_starts_anew_at_an_optimum():
    # Of 120 trainings of 256, at least one start after the first: some trial is no neighbour of any earlier one's
    # centre, and the centre after it is worse than the best.
    local = Local(2)
    history = search(local, whole(), value_of, 120)
    centres = [local.centre(history.trials[:k], whole()) for k in range(3, 121)]
    values = [centre.value for centre in centres if centre is not None]
    assert None in centres and any(later < earlier for earlier, later in pairwise(values))


def test_local_search_counts_pending_and_failed_trials():
    archs = [*TABLE.archs()[:3]]
    local, pool = Local(2), whole()
    failed = trial_of(0, archs[0], state=FAILED)
    assert local.centre([failed, trial_of(1, archs[1], value=1.0)], pool) is None
    done = [failed, trial_of(1, archs[1], value=1.0), trial_of(2, archs[2], value=2.0)]
    assert local.centre(done, pool).arch == archs[2]
    pending = [trial_of(0, archs[0]), trial_of(1, archs[1], value=1.0)]
    assert local.centre(pending, pool).arch == archs[1]
    assert local.centre([trial_of(0, archs[0]), trial_of(1, archs[1])], pool) is None


def test_several_neighbours_are_different_ones():
    history = search(Local(2), whole(), value_of, 2)
    asked = Local(2).ask(history, whole().without(history.functions), 5, rng_of(0, 2))
    best = max(history.trials, key=lambda trial: trial.value).arch
    assert len(set(asked)) == 5 and set(asked) <= set(TABLE.neighbours(best))


@pytest.mark.parametrize(("population", "sample"), [(6, 3), (10, 10)])
@pytest.mark.parametrize("seed", [0, 1])
def test_evolution_is_replayed_from_its_history(population, sample, seed):
    history = search(Evolution(population, sample), whole(), value_of, 100, seed)
    assert [trial.arch for trial in history.trials] == slow_evolution(population, sample, 100, seed)


def test_crossover_takes_each_choice_from_two_parents_before_one_changes():
    archs = ["d0=0,d1=0,d2=0,d3=0", "d0=3,d1=3,d2=3,d3=3"]
    history = History([trial_of(i, arch, value=1.0) for i, arch in enumerate(archs)])
    evolution = Evolution(2, 1, crossover=1.0)
    mixed = 0
    for seed in range(20):
        (child,) = evolution.ask(history, whole().without(history.functions), 1, rng_of(seed, 2))
        choices = [*TABLE.decompose(child).values()]
        mixed += 0 in choices and 3 in choices
        assert sum(choice not in (0, 3) for choice in choices) <= 1
    assert mixed > 5


@pytest.mark.parametrize("name", ["random", "local", "evolution"])
def test_every_architecture_is_asked_for_once_and_then_nothing(name):
    small = Choices(build_nothing, {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}, name="small", input_shape=(3, 8, 8))
    history = search(get_algorithm(name), whole(small), lambda arch: -len(arch), 20, batch=3)
    assert len(history) == 16 and len(history.functions) == 16


def test_random_search_draws_from_the_pool():
    assert Random().ask(History(), whole(), 5, rng_of(3, 0)) == whole().draw(5, rng_of(3, 0))


def test_settings_are_checked():
    with pytest.raises(InputError, match=r"^local search cannot start from 0 architectures; set starts to 1 or more$"):
        get_algorithm("local", starts=0)
    with pytest.raises(InputError, match=r"^evolution cannot draw 31 of 30; set sample to 1 to 30$"):
        get_algorithm("evolution", sample=31)
    with pytest.raises(InputError, match=r"^crossover is a probability and cannot be 2; set it to 0 to 1$"):
        get_algorithm("evolution", crossover=2)
    with pytest.raises(InputError, match=r"^there is no search algorithm 'magic'; choose one of guided, "):
        get_algorithm("magic")
    with pytest.raises(InputError, match=r"^the algorithm 'random' does not take the settings starts; see "):
        get_algorithm("random", starts=3)
    assert next(iter(ALGORITHMS)) == "guided"
