"""A search among architectures whose accuracies are known, as the scripts that record searches run it."""

from collections.abc import Iterator, Mapping

import numpy as np

from parzc.search.algorithms import Algorithm
from parzc.search.history import COMPLETE, History, Trial
from parzc.search.pool import Pool


def queries(
    algorithm: Algorithm, whole: Pool, values: Mapping[str, float], trainings: int, seed: int, batch: int = 1
) -> Iterator[str]:
    """Yield the architectures that an algorithm asks for, one after another, as `parzc.Search` does without a study.

    They end with the one of the highest value among those that may be asked for, after which the best one does not
    change any more.

    Args:
        algorithm: the algorithm.
        whole: the candidates.
        values: accuracies of architectures.
        trainings: how many architectures are asked for.
        seed: of everything that is drawn.
        batch: how many are asked for at once.
    """
    history, highest = History(), max(values[arch] for arch in whole.archs())
    while len(history) < trainings:
        rng = np.random.default_rng([seed, len(history)])
        wanted = min(batch, trainings - len(history))
        for arch in algorithm.ask(history, whole.without(history.functions), wanted, rng):
            trial = Trial(len(history), arch, whole.space.canonical(arch), COMPLETE, values[arch])
            history = History([*history.trials, trial])
            yield arch
            if values[arch] == highest:
                return
