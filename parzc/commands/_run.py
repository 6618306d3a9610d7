"""What all commands share: errors as one sentence, checks of numbers and paths, lists of architectures, rankings."""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.evaluation.uncertainty import rank_intervals


def run_command(action: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run a command; bad input ends with one sentence on standard error and exit status 2, unless `--debug`."""
    try:
        action(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (InputError, OSError) as error:
        if args.debug:
            raise
        # A sentence may quote a file: characters that cannot be encoded here, or several lines.
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


def at_least(minimum: int, option: str, value: int | None, why: str) -> None:
    """Raise `InputError` if the number given to an option is too small; `why` completes "--option value ..."."""
    if value is not None and value < minimum:
        raise InputError(f"--{option} {value} {why}; give {f'at least {minimum}' if minimum else '0 or more'}")


def check_seed(seed: int) -> None:
    """Raise `InputError` unless every random generator takes the seed."""
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed} is no seed; give a whole number from 0 to {2**63 - 1}")


def check_file(path: str, option: str = "") -> None:
    """Raise `InputError` if no file can be written at `path`, before any work is done for it; `option` gave it."""
    folder, named = Path(path).absolute().parent, f"{option} {path}".strip()
    if not folder.is_dir():
        raise InputError(f"{named} is in a folder that does not exist; make it first")
    if Path(path).is_dir():
        raise InputError(f"{named} is a folder; name a file")


def read_archs(path: str, space: Space) -> list[str]:
    """Return the architectures of a text file, one per line, or of the column `arch` of a CSV file.

    Blank lines are skipped. A first line that is `arch`, or the header of a CSV file with such a column, is no
    architecture.

    Raises:
        InputError: if the file cannot be read, names no architecture, or one that is not in the space (line named).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        raise InputError(f"cannot read architectures from {path}: {reason}") from None
    archs = []
    for number, arch in _column(path, [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]):
        try:
            space.canonical(arch)
        except InputError as reason:
            raise InputError(f"{path}, line {number}: {reason}") from None
        archs.append(arch)
    if not archs:
        raise InputError(f"{path} names no architecture; write one per line")
    return archs


def _column(path: str, lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Give the lines of a file, or what stands in its column `arch` if the first line names one."""
    header = [cell.strip() for cell in _cells(lines[0][1])] if lines else []
    if "arch" not in header:
        yield from lines
        return
    for number, line in lines[1:]:
        cells = _cells(line)
        if len(header) == 1:
            # A notation with commas may stand in a single column without quotes.
            yield number, cells[0].strip() if len(cells) == 1 else line
        elif len(cells) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}; correct the line"
            )
        else:
            yield number, cells[header.index("arch")].strip()


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # longer than any cell may be
        return [line]


def ranked(
    archs: Sequence[str], scores: NDArray[np.float64], deviations: NDArray[np.float64], row: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the ranking of `archs`, best first: rank, arch, score, deviation, and the interval of the rank.

    Args:
        archs: the `n` architectures.
        scores: of each function, `(functions,)`.
        deviations: standard deviations of these scores, `(functions,)`.
        row: `(n,)` the function of each arch.
    """
    low, high = rank_intervals(scores[row], deviations[row]).T
    columns = {"arch": archs, "score": scores[row], "std": deviations[row], "rank_low": low, "rank_high": high}
    ranking = pd.DataFrame(columns).sort_values("score", ascending=False, kind="stable")
    ranking.insert(0, "rank", np.arange(1, len(ranking) + 1))
    return ranking
