"""What the commands share: errors as one sentence, options kept in a file, lists of architectures."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.evaluation.uncertainty import rank_intervals
from parzc.features import FeatureStore, FeatureTable, shipped


def run_command(action: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run a command; bad input ends with one sentence on standard error and exit status 2, unless `--debug`."""
    try:
        action(args)
    except (InputError, OSError) as error:
        if args.debug:
            raise
        # What a file says may not be writable here, or be on several lines.
        sentence = " ".join(_sentence(error).split()).encode(errors="backslashreplace").decode()
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _sentence(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; give a path that can be used"
    return str(error)


def read_archs(path: str, space: Space) -> list[str]:
    """Return the architectures of a text file, one per line, blank lines skipped.

    Raises:
        InputError: if the file cannot be read, names no architecture, or one that is not in the space (line named).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        raise InputError(f"cannot read architectures from {path}: {reason}") from None
    archs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            space.canonical(line.strip())
        except InputError as reason:
            raise InputError(f"{path}, line {number}: {reason}") from None
        archs.append(line.strip())
    if not archs:
        raise InputError(f"{path} names no architecture; write one per line")
    return archs


def read_features(archs: Sequence[str], space: Space, folder: str = "") -> tuple[FeatureTable, NDArray[np.int64]]:
    """Return the features of the different functions of `archs`, and the row of each arch.

    Args:
        archs: architectures of the space.
        space: the space.
        folder: a feature store; the features that come with the package if empty.

    Raises:
        InputError: if there is no such store, or it lacks features.
    """
    store = FeatureStore.open(folder) if folder else shipped(space.name)
    functions = [space.canonical(arch) for arch in archs]
    names = sorted(set(functions))
    rows = {name: row for row, name in enumerate(names)}
    return store.read(names), np.array([rows[name] for name in functions])


def ranked(
    archs: Sequence[str], scores: NDArray[np.float64], deviations: NDArray[np.float64], row: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the ranking of `archs`, best first: rank, arch, score, deviation, and the interval of the rank.

    Args:
        archs: the architectures.
        scores: of each function, `(functions,)`.
        deviations: of these scores.
        row: the function of each arch.
    """
    low, high = rank_intervals(scores[row], deviations[row]).T
    columns = {"arch": archs, "score": scores[row], "std": deviations[row], "rank_low": low, "rank_high": high}
    ranking = pd.DataFrame(columns).sort_values("score", ascending=False, kind="stable")
    ranking.insert(0, "rank", np.arange(1, len(ranking) + 1))
    return ranking
