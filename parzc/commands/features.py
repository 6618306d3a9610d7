"""Extracts the features of a space: `python -m parzc.features nb201 features/`.

`python -m parzc.features status|verify|export DIR` looks after a feature store that exists.
"""

import argparse
import sys
from collections.abc import Sequence

from parzc.commands._run import read_archs, run_command
from parzc.commands.feature_store import COMMANDS, parse
from parzc.datasets import get_space, list_spaces
from parzc.features import ExtractionConfig, build_store, list_proxies
from parzc.features.extraction.engines import ENGINES


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, extract, say where the features are."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        run_command(COMMANDS[argv[0]][0], parse(argv[0], argv[1:]))
        return
    parser = argparse.ArgumentParser(prog="python -m parzc.features", description=__doc__)
    parser.add_argument("space", help=f"search space: {', '.join(list_spaces())}")
    parser.add_argument("out", help="folder of the feature store; an existing one is continued")
    parser.add_argument(
        "--task",
        default="",
        help="task that fixes input size and classes, TASK@SIZE for other inputs (default: the space's first)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--archs", help="file with one arch per line (default: the whole space)")
    which.add_argument("--sample", type=int, help="only this many archs, drawn with the seed")
    parser.add_argument("--batch", type=int, default=16, help="inputs in a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=1, help="number of batches (default: %(default)s)")
    parser.add_argument("--data", default="gaussian", help="gaussian, or an .npz with x_train and y_train")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs, labels (default: %(default)s)")
    parser.add_argument("--proxies", nargs="+", default=(), help=f"among {', '.join(list_proxies())} (default: all)")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    parser.add_argument("--engine", default="local", help=f"{' or '.join(ENGINES)} (default: %(default)s)")
    parser.add_argument("--address", default="", help="of a Ray cluster that runs (default: one is started here)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    run_command(_extract, parser.parse_args(argv))


def _extract(args: argparse.Namespace) -> None:
    space = get_space(args.space)
    if args.sample is not None:
        archs: Sequence[str] = space.sample(args.sample, args.seed)
    else:
        archs = read_archs(args.archs, space) if args.archs else space.archs()
    config = ExtractionConfig(
        args.space, space.task(args.task).name, args.batch, args.data, args.seed, tuple(args.proxies), args.batches
    )
    store = build_store(args.out, config, archs, args.workers, True, args.engine, args.address)
    print(f"{len(store)} different functions in {args.out}")
    if failed := store.failed:
        arch, why = next(iter(failed.items()))
        print(
            f"{len(failed)} failed, {arch} with {why}; see python -m parzc.features status {args.out}", file=sys.stderr
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
