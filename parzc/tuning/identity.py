"""What the trials of a study depend on, as a record that is kept with the study and compared when it is resumed."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, distribution_to_json

from parzc.features import FeatureTable
from parzc.ranker.presets import get_preset
from parzc.tuning.spaces import Search


def identity(
    features: FeatureTable,
    accuracies: NDArray[np.float64],
    unlabelled: FeatureTable | None,
    preset: str,
    space: str,
    fixed: Mapping[str, Any],
    search: Search,
    folds: int,
    seed: int,
) -> dict[str, Any]:
    """Return everything that the trials of a study depend on, as json values; see `tune` for the arguments.

    Features and labels are known by digests, so that the record is short and two studies differ if their data do.
    """
    labels = json.dumps([list(features.archs), np.asarray(accuracies, dtype=np.float64).tolist()])
    record = {
        "space": space or "none",
        "preset": preset,
        "encoder": fixed.get("graph", "none"),
        "search": {name: range_text(among) for name, among in search.items()},
        "setting": dataclasses.asdict(get_preset(preset, space).override(fixed)),
        "labels": f"{len(features)} networks ({_digest([labels.encode()])})",
        "features": _digest(_content(features)),
        "unlabelled": "none" if unlabelled is None else f"{len(unlabelled)} ({_digest(_content(unlabelled))})",
        "folds": folds,
        "seed": seed,
    }
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
    return plain


def range_text(among: BaseDistribution) -> str:
    """Return a distribution in words, such as `1 to 100 log`, `16 to 64 step 16` or `one of ['a', 'b']`."""
    record = json.loads(distribution_to_json(among))["attributes"]
    if "choices" in record:
        return f"one of {record['choices']}"
    step, log = record.get("step"), record.get("log")
    return f"{record['low']} to {record['high']}{' log' if log else ''}{f' step {step}' if step else ''}"


def _content(features: FeatureTable) -> list[bytes]:
    columns = {**features.statistics, **features.scores, **features.block_statistics}
    arrays = [features.offsets, features.node, features.fields, features.block_offsets, *columns.values()]
    names = [*features.archs, *features.names, *columns, *features.blocks.tolist()]
    return [json.dumps(names).encode(), *(np.ascontiguousarray(values).tobytes() for values in arrays)]


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]
