"""A search in memory for tests of algorithms: a history that grows, without a study."""

from dataclasses import replace

import numpy as np

from parzc import Choices
from parzc.search.history import COMPLETE, RUNNING, History, Trial
from parzc.search.pool import Pool


def build_nothing(**_):
    raise AssertionError("no network is built here")


DIGITS = {f"d{i}": [0, 1, 2, 3] for i in range(4)}
TABLE = Choices(build_nothing, DIGITS, name="digits", input_shape=(3, 8, 8), classes=10)
"""A space of 256 architectures whose networks are never built."""


def value_of(arch):
    """Return a value of an architecture of `TABLE` that has several local optima, all different."""
    d = [int(choice) for choice in TABLE.decompose(arch).values()]
    return float(np.sin(2.1 * d[0] * d[1]) + np.cos(1.7 * d[1] + d[2]) + 0.9 * np.sin(d[3] * d[2] + 0.3) + 0.01 * d[0])


def trial_of(number, arch, space=TABLE, value=None, **changes):
    state = RUNNING if value is None else COMPLETE
    trial = Trial(number, arch, space.canonical(arch), state, float("nan") if value is None else value)
    return replace(trial, **changes)


def search(algorithm, pool, value_of, trainings, seed=0, batch=1):
    """Return the history of a search whose trainings give `value_of(arch)`."""
    history = History()
    while len(history) < trainings:
        candidates = pool.without(history.functions)
        rng = np.random.default_rng([seed, len(history)])
        asked = algorithm.ask(history, candidates, min(batch, trainings - len(history)), rng)
        if not asked:
            break
        new = [trial_of(len(history) + i, arch, pool.space, value_of(arch)) for i, arch in enumerate(asked)]
        history = History([*history.trials, *new])
    return history


def whole(space=TABLE, **more):
    return Pool(space, **more)
