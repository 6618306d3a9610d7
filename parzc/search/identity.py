"""What a search depends on, as a record that is kept with its study and compared when it is resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.search.algorithms import Algorithm
from parzc.search.budgets import Budget
from parzc.search.history import LABEL


def identity(
    space: Space,
    task: str,
    budget: Budget,
    algorithm: Algorithm,
    settings: Mapping[str, Any],
    objectives: Sequence[str],
    seed: int,
    archs: Sequence[str] | None,
) -> dict[str, Any]:
    """Return everything that shapes a search, as json values; see `Search` for the arguments.

    Candidates that are listed are known by a digest, so that the record is short.
    """
    record = {
        "space": space.name,
        "task": space.task(task).name,
        "budget": " and ".join(budget.record().values()) or "none",
        "algorithm": algorithm.name,
        "settings": json.dumps(dict(settings), sort_keys=True, default=str) if settings else "default",
        "objectives": list(objectives),
        "seed": seed,
        "candidates": "all" if archs is None else f"{len(archs)} architectures ({_digest(archs)})",
    }
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
    return plain


def _digest(archs: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for arch in archs:
        digest.update(arch.encode() + b"\n")
    return digest.hexdigest()[:12]


def check_objectives(objectives: Sequence[str], budget: Budget) -> None:
    """Raise `InputError` unless `accuracy` comes first, and then known costs, each once."""
    known = (LABEL, *budget.quantities)
    wrong = [name for name in objectives if name not in known]
    if not objectives or objectives[0] != LABEL or wrong or len(set(objectives)) < len(objectives):
        raise InputError(
            f"the objectives cannot be {', '.join(map(str, objectives)) or 'none'}; give {LABEL} first, and any of "
            f"{', '.join(known[1:])} after it, each once"
        )
