"""Which options of `search.py` go together: those of searches that train, and of searches by a score."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from parzc.errors import InputError

TRAININGS, EVALUATIONS = 30, 1000
FEW: Mapping[str, int] = {"perturbation": 10, "pruning": 1}
"""Evaluations of algorithms that take long for each."""

OF_TRAININGS = ("trainings", "train", "time_limit", "jobs", "epochs", "seconds", "storage")
"""Options that mean nothing where nothing is trained."""


def trained_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a search that trains which were not given.

    Raises:
        InputError: if an option is for searches by a score.
    """
    if given["evaluations"]:
        raise InputError(
            f"--evaluations {given['evaluations']} is for searches by a score; name one with --score, or give "
            "--trainings"
        )
    trainings = TRAININGS if given["trainings"] is None else given["trainings"]
    batch = 1 if given["batch"] is None else given["batch"]
    return {"trainings": trainings, "algorithm": given["algorithm"] or "guided", "batch": batch}


def scored_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a search by a score which were not given.

    Raises:
        InputError: if an option is for searches that train, or cannot be used with the algorithm.
    """
    unset = {"trainings": None, "train": "", "seconds": "", "storage": "", "jobs": 1}
    wrong = [name for name in OF_TRAININGS if given[name] != unset.get(name, 0)]
    if wrong:
        option = wrong[0].replace("_", "-")
        raise InputError(f"--{option} is for searches that train, and --score trains nothing; leave one of them away")
    if tuple(given["objectives"]) != ("accuracy",):
        raise InputError("a search by a score has one objective, the score; leave --objectives away, or bound a cost")
    algorithm = given["algorithm"] or "random"
    evaluations = given["evaluations"] or FEW.get(algorithm, EVALUATIONS)
    if evaluations < 1:
        raise InputError(f"--evaluations {evaluations} leaves nothing to score; give at least 1")
    if algorithm == "pruning" and evaluations > 1:
        raise InputError("pruning ends in one architecture; leave --evaluations away, and repeat it with --seeds")
    return {"trainings": 0, "algorithm": algorithm, "evaluations": evaluations, "batch": given["batch"] or 0}


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of an algorithm that texts `name=value` give; values are numbers, or texts.

    Raises:
        InputError: for a text of another form.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in settings:
            raise InputError(f"--set {text[:100]} is no setting, or given twice; write it like population=20")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            settings[name] = value
    return settings
