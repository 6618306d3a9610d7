"""Rank architectures with a trained ranker, and compare it with the hand-crafted proxies where accuracies are known."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parzc.commands._measured import (
    check_measured,
    check_reads,
    extract_into,
    measured_part,
    open_store,
    read_functions,
)
from parzc.commands._run import at_least, check_file, ranked, read_archs, run_command
from parzc.datasets import Space, Table, get_space, load_table
from parzc.errors import InputError
from parzc.evaluation.protocol import Benchmark, Result, format_results, measure, proxy_scores
from parzc.features import FeatureStore, FeatureTable
from parzc.files import write_atomically
from parzc.ranker.estimator import GOALS, Ranker


@dataclass(frozen=True, eq=False)
class Candidates:
    """Architectures to rank.

    Args:
        archs: the `n` architectures.
        features: of the functions that they compute.
        row: `(n,)` row of the features for each architecture.
    """

    archs: Sequence[str]
    features: FeatureTable
    row: NDArray[np.int64]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and rank."""
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__)
    add = parser.add_argument
    add("--ranker", required=True, help="ranker folder that train.py wrote (runs/.../ranker), or its run folder")
    add(
        "--space",
        help="search space of the ranker, if it is one of your own: path/to/file.py:Class or module:Class "
        "(default: the space that the ranker names)",
    )
    add("--table", help="table with accuracies to compare with: a file, a NATS-Bench directory, or an embedded table")
    add("--target", help="label column of the table")
    add("--archs", help="file with one arch per line to rank (default: those of the table, or all that are measured)")
    add("--features", default="", help="folder of a feature store (default: the features that come with parzc)")
    add("--extract", action="store_true", help="measure the archs that the store of --features lacks, and add them")
    add("--top", type=int, default=20, help="how many of the best to print (default: %(default)s)")
    add("--suggest", type=int, default=0, help="how many archs to name that are worth training next (default: none)")
    add(
        "--goal",
        choices=GOALS,
        default="ranking",
        help="what the suggested archs are for: to rank all others better, or to have the best one among them "
        "(default: %(default)s)",
    )
    add("--out", help="CSV file for the whole ranking")
    add("--debug", action="store_true", help="show the traceback of an error")
    run_command(_evaluate, parser.parse_args(argv))


def _evaluate(args: argparse.Namespace) -> None:
    at_least(1, "top", args.top, "prints nothing")
    at_least(0, "suggest", args.suggest, "is not a number of archs")
    if args.extract and not (args.features and (args.archs or args.table)):
        raise InputError(
            "--extract adds archs to a feature store; name its folder with --features, and --archs or --table"
        )
    if args.out:
        check_file(args.out, "--out")
    folder, ranker, space = _load(args.ranker, args.space)
    table = load_table(args.table, space=space, target=args.target) if args.table else None
    store = open_store(space, args.features)
    candidates = _candidates(args, space, table, store)
    check_reads(ranker.preset_, ranker.preset, candidates.features, store, space)
    scores, deviations = ranker.predict_dist(candidates.features)
    suggested = []
    if args.suggest:
        suggested = ranker.suggest(candidates.features[candidates.row], args.suggest, args.goal)
    ranking = ranked(candidates.archs, scores, deviations, candidates.row)
    if table:
        ranking[table.target] = ranking["arch"].map(dict(zip(table.archs, table.labels, strict=True)))
    print(f"{len(ranking)} archs of {space.name} ranked by {folder}; bigger scores are better\n")
    print(ranking.head(args.top).to_string(index=False, float_format="%.3f"))
    if args.out:
        write_atomically(Path(args.out), ranking.to_csv(index=False, float_format="%.6g").encode())
        print(f"\nwhole ranking written to {args.out}")
    if suggested:
        what = {
            "ranking": "their labels reduce the uncertainty about the others most",
            "best": "the best one should be among them",
        }
        print(f"\ntrain these {args.suggest} next: {what[args.goal]}\n")
        for index in suggested:
            print(candidates.archs[index])
    if table:
        _compare(table, ranker, candidates)


def _load(path: str, spec: str | None) -> tuple[str, Ranker, Space]:
    """Return the folder of a ranker, the ranker, and its space.

    Args:
        path: the folder, or the run folder that it is in.
        spec: the space, if the ranker's own name for it is not known here.

    Raises:
        InputError: if there is no ranker, or its space is not known or another one.
    """
    inner = Path(path) / "ranker"
    folder = str(inner) if not (Path(path) / "config.json").exists() and (inner / "config.json").exists() else path
    ranker = Ranker.load(folder, get_space(spec) if spec else None)
    if not ranker.space:
        raise InputError(f"the ranker in {folder} is for networks of no known space; use it from Python")
    return folder, ranker, get_space(ranker.space)


def _candidates(args: argparse.Namespace, space: Space, table: Table | None, store: FeatureStore) -> Candidates:
    """Return what to rank: the archs that are named, all of them, or those of the table or the space that are measured.

    Raises:
        InputError: if an arch that is named is not measured, or none is.
    """
    if args.archs:
        archs: Sequence[str] = read_archs(args.archs, space)
    else:
        archs = table.archs if table else _space_archs(space, store)
    if args.extract:
        store = extract_into(store, space, archs)
    if args.archs:
        functions = [space.canonical(arch) for arch in archs]
        check_measured(functions, space, store, " with --extract, or" if args.features else "")
    else:
        kept, functions, note = measured_part(archs, space, store, "the table" if table else f"the space {space.name}")
        archs = [archs[i] for i in kept]
        print(note + "\n" if note else "", end="")
    return Candidates(archs, *read_functions(functions, store))


def _space_archs(space: Space, store: FeatureStore) -> Sequence[str]:
    try:
        return space.archs()
    except InputError:  # too many to list
        return store.archs


def _compare(table: Table, ranker: Ranker, candidates: Candidates) -> None:
    """Print how well the ranker and each proxy order the candidates that the table has labels of."""
    label = dict(zip(table.archs, table.labels, strict=True))
    known = [i for i, arch in enumerate(candidates.archs) if arch in label]
    if len(known) < 10:
        print(f"\n{len(known)} of the ranked archs are in {table.name}: too few to compare; 10 are needed")
        return
    labels = np.array([label[candidates.archs[i]] for i in known])
    used, row = np.unique(candidates.row[known], return_inverse=True)
    features = candidates.features[used]
    benchmark = Benchmark(features, row, labels)
    every, none = np.arange(len(benchmark)), np.arange(0)
    scores = {f"parzc ({ranker.preset})": ranker.predict(features)}
    scores |= {name: proxy_scores(features, name) for name in features.scores}
    results = {
        name: Result(
            "proxy" if name in features.scores else "ranker",
            {metric: [value] for metric, value in measure(benchmark, values, none, every).items()},
        )
        for name, values in scores.items()
    }
    print(
        f"\nagreement with {table.target} of {table.name} on {len(benchmark)} archs, any it was trained on included\n"
    )
    print(format_results(results, proxies=len(results)))


if __name__ == "__main__":
    main()
