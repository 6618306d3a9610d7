"""Extracts the features of a space: `python -m parzc.features nb201 features/`.

`python -m parzc.features status|archs|verify|export DIR` looks after a feature store that exists.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from parzc.commands._measured import EXTRACT, spelling
from parzc.commands._proxies import DEFAULT_FOR, choose_proxies, undefined_in
from parzc.commands._run import at_least, check_seed, read_archs, run_command
from parzc.commands.feature_store import COMMANDS, parse
from parzc.datasets import Space, get_space, list_spaces
from parzc.features import ExtractionConfig, FeatureStore, build_store, list_proxies
from parzc.features.extraction.engines import ENGINES
from parzc.ranker.presets import PRESETS

TRAINED = 100
"""How many architectures the last lines propose to train, of which `train.py` labels 78 by default."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, extract, say where the features are and what to do next."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        run_command(COMMANDS[argv[0]][0], parse(argv[0], argv[1:]))
        return
    run_command(_extract, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=EXTRACT, description=__doc__)
    add = parser.add_argument
    add(
        "space",
        help=f"search space: {', '.join(list_spaces())}, or one of your own as path/to/file.py:Class or module:Class",
    )
    add("out", help="folder of the feature store; an existing one is continued")
    add(
        "--task",
        default="",
        help="task that fixes input size and classes, TASK@SIZE for other inputs (default: the space's first)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--archs", help="file with one arch per line (default: the whole space)")
    which.add_argument("--sample", type=int, help="only this many archs, drawn with the seed")
    add("--batch", type=int, default=16, help="inputs in a batch (default: %(default)s)")
    add("--batches", type=int, default=1, help="number of batches (default: %(default)s)")
    add("--data", default="gaussian", help="gaussian, or an .npz with x_train and y_train")
    add("--seed", type=int, default=0, help="of weights, inputs, labels (default: %(default)s)")
    proxies = parser.add_mutually_exclusive_group()
    proxies.add_argument(
        "--for",
        dest="presets",
        default="",
        metavar="PRESETS",
        help=f"measure what these presets read, of {', '.join(PRESETS)}, separated by commas (default: those of the "
        f"store if it is there, else {DEFAULT_FOR})",
    )
    proxies.add_argument(
        "--proxies",
        nargs="+",
        default=(),
        help=f"all, or some of {', '.join(list_proxies())}, or files with proxies of your own (path/to/file.py, "
        "path/to/file.py:name, module:name)",
    )
    add("--workers", type=int, help="processes (default: all cores)")
    add("--engine", default="local", help=f"{' or '.join(ENGINES)} (default: %(default)s)")
    add("--address", default="", help="of a Ray cluster that runs (default: one is started here)")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _extract(args: argparse.Namespace) -> None:
    space = get_space(args.space)
    check_seed(args.seed)
    for option in ("batch", "batches"):
        at_least(1, option, getattr(args, option), "is no number of inputs")
    at_least(1, "workers", args.workers, "is no number of processes")
    proxies = choose_proxies(args.out, args.proxies, args.presets)
    if args.sample is not None:
        archs: Sequence[str] = space.sample(args.sample, args.seed)
    else:
        archs = read_archs(args.archs, space) if args.archs else space.archs()
    config = ExtractionConfig(
        args.space, space.task(args.task).name, args.batch, args.data, args.seed, proxies, args.batches
    )
    store = build_store(args.out, config, archs, args.workers, True, args.engine, args.address)
    print("\n".join(_closing(store, space)))
    if failed := store.failed:
        arch, why = next(iter(failed.items()))
        print(f"{len(failed)} failed, {arch} with {why}; see {EXTRACT} status {args.out}", file=sys.stderr)
        sys.exit(1)


def _closing(store: FeatureStore, space: Space) -> list[str]:
    """Return what is in a store, what is wrong with it, and how to go on."""
    folder, count = shlex.quote(str(store.path)), len(store)
    lines = [f"{count} different functions in {store.path}"]
    if not count:
        return lines
    lines += undefined_in(store)
    lines.append(f"{EXTRACT} archs {folder} lists them, one architecture of each function")
    if count > 20:
        trained = min(TRAINED, count)
        lines.append(
            f"next: train some, such as those that {EXTRACT} archs {folder} --sample {trained} draws, write a table "
            "with the columns arch and accuracy, and give it to python train.py "
            f"--space {spelling(space)} --features {folder} --table TABLE.csv --samples {78 * trained // 100}"
        )
    return lines


if __name__ == "__main__":
    main()
