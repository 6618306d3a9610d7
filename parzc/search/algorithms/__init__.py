"""The search algorithms by name: a new one is a file here and one line in `ALGORITHMS`."""

from collections.abc import Mapping, Sequence
from inspect import signature
from types import MappingProxyType
from typing import Any

from parzc.errors import InputError
from parzc.search.algorithms._base import Algorithm
from parzc.search.algorithms.evolution import Evolution
from parzc.search.algorithms.guided import Guided
from parzc.search.algorithms.local import Local
from parzc.search.algorithms.perturbation import Perturbation
from parzc.search.algorithms.pruning import Pruning
from parzc.search.algorithms.random import Random

__all__ = ["ALGORITHMS", "Algorithm", "get_algorithm"]

ALGORITHMS: Mapping[str, type[Algorithm]] = MappingProxyType(
    {kind.name: kind for kind in (Guided, Evolution, Local, Random, Perturbation, Pruning)}
)
"""Name to algorithm; the default comes first."""


def get_algorithm(name: str, objectives: Sequence[str] = (), /, **settings: Any) -> Algorithm:
    """Return the algorithm called `name` with the settings that its class documents.

    Args:
        name: in `ALGORITHMS`.
        objectives: of the search, which are handed to an algorithm that looks at more than the accuracy.
        settings: of the algorithm.

    Raises:
        InputError: if there is no such algorithm, or it has no such setting.
    """
    if name not in ALGORITHMS:
        raise InputError(f"there is no search algorithm '{name}'; choose one of {', '.join(ALGORITHMS)}")
    kind: Any = ALGORITHMS[name]
    if objectives and "objectives" in signature(kind).parameters:
        settings.setdefault("objectives", tuple(objectives))
    try:
        algorithm: Algorithm = kind(**settings)
    except TypeError:
        given = ", ".join(settings)
        raise InputError(
            f"the algorithm '{name}' does not take the settings {given}; see parzc.search.algorithms.{name}"
        ) from None
    return algorithm
