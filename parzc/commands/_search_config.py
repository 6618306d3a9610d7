"""The options of `search.py`, and the `run.json` that keeps them for a search that is continued."""

import argparse
import json
import math
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parzc.commands._run import at_least, check_file
from parzc.commands._search_options import read_settings, scored_options, trained_options
from parzc.datasets import list_spaces
from parzc.errors import InputError
from parzc.files import write_atomically

RUN = "run.json"
FIXED = (
    *("space", "table", "target", "budget", "algorithm", "score", "batch", "epochs", "objectives", "features", "task"),
    *("settings", "seeds"),
)
"""Options that a search that is continued has to repeat; `seeds` may grow."""

EPILOG = """examples:
  python search.py --space nb201 --trainings 30
      on the accuracies that come with parzc, as if it trained
  python search.py --space nb201 --table accuracies.csv --target cifar10_valid --report cifar10_test --seeds 10
      on a table of one's own
  python search.py --space my_space.py:space --train "python my_train.py --arch {arch} --out {folder}" --jobs 2
      with real trainings; the value is the last line that the command prints, or "value" in {folder}/result.json
  python search.py --space nb201 --trainings 30 --budget flops=100e6 params=0.2e6:1e6
      under hard bounds, which hold before anything is trained
  python search.py --space nb201 --score az_nas --evaluations 3000 --algorithm evolution
      without any training: the architecture with the best score of untrained networks

The same command again continues a search; a larger --trainings extends it. Ctrl-C loses only what is in training."""


@dataclass(frozen=True)
class SearchConfig:
    """Everything that fixes a search; `run.json` holds it."""

    space: str = "nb201"
    trainings: int = 30
    table: str = ""
    target: str = ""
    report: str = ""
    seconds: str = ""
    train: str = ""
    time_limit: float = 0.0
    epochs: int = 0
    jobs: int = 1
    budget: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("accuracy",)
    algorithm: str = "guided"
    score: str = ""
    evaluations: int = 0
    settings: tuple[str, ...] = ()
    batch: int = 1
    seeds: int = 1
    task: str = ""
    features: str = ""
    storage: str = ""
    out: str = ""
    workers: int = 0


def parser(algorithms: tuple[str, ...]) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        algorithms: names of those that there are.
    """
    default = SearchConfig()
    parsed = argparse.ArgumentParser(
        prog="search.py",
        description="Search a space for its best architecture with few trainings, and write a run folder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    add = parsed.add_argument
    add("--space", default=default.space, help=f"{', '.join(list_spaces())}, or your own as path/to/file.py:Name")
    add(
        "--trainings",
        type=int,
        default=None,
        metavar="N",
        help=f"architectures to train in all, those of earlier calls included (default: {default.trainings})",
    )
    where = parsed.add_argument_group("where accuracies come from (default: a table that comes with parzc)")
    add = where.add_argument
    add("--table", default="", help="file or name of a table: an architecture is looked up in place of a training")
    add("--target", default="", help="column of the table that is searched for its largest value")
    add("--report", default="", help="column of the table that is recorded next to it, and never searched on")
    add("--seconds", default="", help="column of the table that says how long each training took")
    add("--train", default="", metavar="COMMAND", help="shell command that trains {arch}, with a {folder} of its own")
    add(
        "--time-limit",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds after which a training is ended (default: none)",
    )
    add("--jobs", type=int, default=1, metavar="N", help="trainings at once (default: %(default)s)")
    add(
        "--epochs",
        type=int,
        default=0,
        metavar="N",
        help="epochs of the full training, for commands that name {epochs} or report fewer",
    )
    how = parsed.add_argument_group("how to search")
    add = how.add_argument
    add(
        "--budget",
        nargs="+",
        default=(),
        metavar="BOUND",
        help="hard bounds: params=5e6, flops=100e6:600e6 (multiply-accumulates), n_layers=50%%",
    )
    add(
        "--objectives",
        nargs="+",
        default=default.objectives,
        metavar="NAME",
        help="accuracy, and a cost to make small at the same time, such as flops (default: accuracy)",
    )
    add(
        "--algorithm",
        default=None,
        help=f"{', '.join(algorithms)} (default: {default.algorithm}, with --score random)",
    )
    add("--set", nargs="+", default=(), metavar="NAME=VALUE", dest="settings", help="settings of the algorithm")
    add(
        "--batch",
        type=int,
        default=None,
        metavar="N",
        help="architectures to ask for at once (default: 1; all of a search whose algorithm looks at no values)",
    )
    add(
        "--seeds", type=int, default=1, metavar="N", help="searches, each with a seed of its own (default: %(default)s)"
    )
    add("--task", default="", help="data set of the space that networks are built for (default: its first)")
    add("--features", default="", metavar="DIR", help="feature store to read from (default: what comes with parzc)")
    free = parsed.add_argument_group("search without training")
    add = free.add_argument
    add(
        "--score",
        default="",
        help="make this large and train nothing: a proxy, several joined as in nwot+synflow, az_nas, or the folder of "
        "a ranker; accuracies of a table are shown and never searched on",
    )
    add(
        "--evaluations",
        type=int,
        default=0,
        metavar="N",
        help="architectures to score (default: 1000; 10 for perturbation, 1 for pruning)",
    )
    what = parsed.add_argument_group("where it is kept")
    add = what.add_argument
    add("--out", default="", help="run folder (default: runs/search-SPACE-ALGORITHM, with the target or 'train')")
    add("--storage", default="", metavar="URL", help="journal file or database of the trials, which workers share")
    add("--workers", type=int, default=0, help="processes that measure networks (default: all cores)")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parsed


def read_config(args: argparse.Namespace) -> SearchConfig:
    """Return the configuration that a command line asks for.

    Raises:
        InputError: if an option cannot be used, or not together with another one.
    """
    given: dict[str, Any] = {f.name: getattr(args, f.name) for f in fields(SearchConfig)}
    given |= {name: tuple(given[name]) for name in ("budget", "objectives", "settings")}
    given |= scored_options(given) if args.score else trained_options(given)
    config = SearchConfig(**given)
    if not config.score:
        at_least(1, "trainings", config.trainings, "leaves nothing to train")
    at_least(1, "jobs", config.jobs, "trains nothing")
    if args.batch is not None:
        at_least(1, "batch", config.batch, "asks for nothing")
    at_least(1, "seeds", config.seeds, "leaves nothing to run")
    at_least(0, "epochs", config.epochs, "is no number of epochs")
    at_least(0, "workers", config.workers, "is no number of processes")
    if not 0 <= config.time_limit < math.inf:
        raise InputError(f"--time-limit {config.time_limit} is no time; give seconds")
    read_settings(config.settings)
    _check_source(config)
    if config.storage and "://" not in config.storage:
        check_file(config.storage, "--storage")
    return config


def _check_source(config: SearchConfig) -> None:
    """Raise `InputError` if options of trainings and of tables are mixed."""
    if config.train:
        for name in ("table", "target", "report", "seconds"):
            if getattr(config, name):
                raise InputError(
                    f"--{name} {getattr(config, name)} is for searches on a table; leave it or --train away"
                )
        if "{epochs}" in config.train and not config.epochs:
            raise InputError("--train names {epochs}; give the epochs of the full training with --epochs")
        return
    default = SearchConfig()
    for name in ("time_limit", "jobs", "epochs"):
        if getattr(config, name) != getattr(default, name):
            option = name.replace("_", "-")
            raise InputError(f"--{option} {getattr(config, name)} is for trainings; give a command with --train")


def check_run(out: Path, config: SearchConfig) -> None:
    """Check that a folder that has a `run.json` is of the same search.

    Raises:
        InputError: if the folder holds another search; the option that differs is named.
    """
    path = out / RUN
    if path.exists():
        before = _read(path)
        for name in FIXED:
            default, here = (_plain(getattr(one, name)) for one in (SearchConfig(), config))
            there = before.get(name, default)
            same = there <= here if name == "seeds" and isinstance(there, int) else there == here
            if not same:
                raise InputError(
                    f"{out} holds a search with --{name} {_shown(there)}, not {_shown(here)}; give the same "
                    "options to continue it, or name another folder with --out"
                )


def write_run(out: Path, config: SearchConfig) -> None:
    """Write `run.json`."""
    # Where trials are kept may name a password, and is given again by the same command.
    kept = {name: value for name, value in asdict(config).items() if name != "storage"}
    write_atomically(out / RUN, (json.dumps({"config": kept, "parzc": version("parzc")}, indent=1) + "\n").encode())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value)) or "(none)"


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        record = None
    if not isinstance(record, dict) or "trainings" not in record:
        raise InputError(f"{path} is no run.json of search.py; name another folder with --out")
    return record
