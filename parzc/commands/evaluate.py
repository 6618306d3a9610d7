"""Rank architectures with a trained ranker, and compare it with the hand-crafted proxies where accuracies are known."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from parzc.commands._run import ranked, read_archs, read_features, run_command
from parzc.datasets import Space, Table, get_space, load_table
from parzc.errors import InputError
from parzc.evaluation.protocol import Benchmark, Result, format_results, measure, proxy_scores
from parzc.files import write_atomically
from parzc.ranker.estimator import GOALS, Ranker


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and rank."""
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__)
    add = parser.add_argument
    add("--ranker", required=True, help="ranker folder that train.py wrote, for example runs/.../ranker")
    add("--table", help="table with accuracies to compare with: a file, a NATS-Bench directory, or an embedded table")
    add("--target", help="label column of the table")
    add("--archs", help="file with one arch per line to rank (default: those of the table, or the whole space)")
    add("--features", default="", help="folder of a feature store (default: the features that come with parzc)")
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
    if args.top < 1:
        raise InputError(f"--top {args.top} prints nothing; give at least 1")
    if args.suggest < 0:
        raise InputError(f"--suggest {args.suggest} is not a number of archs; give 0 or more")
    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise InputError(f"--out {args.out} is in a folder that does not exist; make it first")
    ranker = Ranker.load(args.ranker)
    if not ranker.space:
        raise InputError(f"the ranker in {args.ranker} is for networks of no known space; use it from Python")
    space = get_space(ranker.space)
    table = load_table(args.table, space=space, target=args.target) if args.table else None
    archs = read_archs(args.archs, space) if args.archs else (table.archs if table else space.archs())
    features, row = read_features(archs, space, args.features)
    scores, deviations = ranker.predict_dist(features)
    suggested = ranker.suggest(features[row], args.suggest, args.goal) if args.suggest else []
    ranking = ranked(archs, scores, deviations, row)
    if table:
        ranking[table.target] = ranking["arch"].map(dict(zip(table.archs, table.labels, strict=True)))
    print(f"{len(ranking)} archs of {space.name} ranked by {args.ranker}; bigger scores are better\n")
    print(ranking.head(args.top).to_string(index=False, float_format="%.3f"))
    if args.out:
        write_atomically(Path(args.out), ranking.to_csv(index=False, float_format="%.6g").encode())
        print(f"\nwhole ranking written to {args.out}")
    if suggested:
        what = {"ranking": "together they tell most about the others", "best": "the best one should be among them"}
        print(f"\ntrain these {args.suggest} next: {what[args.goal]}\n")
        for index in suggested:
            print(archs[index])
    if table:
        _compare(table, space, ranker, args.features, set(archs))


def _compare(table: Table, space: Space, ranker: Ranker, folder: str, archs: set[str]) -> None:
    kept = np.array([arch in archs for arch in table.archs])
    if kept.sum() < 10:
        print(f"\n{kept.sum()} of the ranked archs are in {table.name}: too few to compare; 10 are needed")
        return
    features, row = read_features([arch for arch, keep in zip(table.archs, kept, strict=True) if keep], space, folder)
    benchmark = Benchmark(features, row, table.labels[kept])
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
