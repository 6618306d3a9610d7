"""The ranker that a guided search has learnt, as one that can be saved and used by itself."""

import numpy as np

from parzc.errors import InputError
from parzc.ranker import Ranker
from parzc.search.algorithms.guided import Guided
from parzc.search.search import Search

PRESET = "search"
"""The preset of `Guided.preset`."""
LEAST = 2
"""Full trainings that a ranker needs."""


def last_ranker(search: Search) -> Ranker | None:
    """Fit the ranker of a guided search to all its full trainings.

    Args:
        search: a search; the features of its trials are measured if they are not there yet, and no others.

    Returns:
        The ranker; None if the search is not guided by one, or has too few trainings with features.
    """
    algorithm = search.algorithm
    trials = [trial for trial in search.history.complete if not trial.epochs]
    if not isinstance(algorithm, Guided) or len(trials) < LEAST:
        return None
    pool = search.pool().without(())
    try:
        features = pool.features([trial.arch for trial in trials])
    except InputError:  # none of them can be measured
        return None
    value = {trial.arch: trial.value for trial in trials}
    labels = np.array([value[arch] for arch in features.archs])
    if len(features) < LEAST or (labels == labels[0]).all():
        return None
    candidates = list(pool.archs()) if pool.listed else []
    measured = pool.evaluator is not None and bool(candidates) and all(pool.evaluator.is_measured(candidates))
    ranker = Ranker(PRESET, search.space, search.seed, algorithm.settings)
    return ranker.fit(features, labels, pool.features(candidates) if measured else None)
