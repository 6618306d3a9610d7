"""The configuration of `train.py`: its options, and the `run.json` that keeps them."""

import argparse
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from parzc.commands._run import at_least, check_file
from parzc.datasets import get_space, list_spaces
from parzc.errors import InputError
from parzc.models.fusion import GRAPHS
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import PRESETS, get_preset
from parzc.tuning import RANGES, search_space

PROTOCOLS = ("honest", "paper")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that fixes a run; `run.json` holds it and `--config` reads it back."""

    space: str = "nb201"
    samples: int = 78
    table: str = ""
    target: str = ""
    preset: str = "default"
    encoder: str = "none"
    tune: int = 0
    storage: str = ""
    study: str = "parzc"
    ranges: str = "cut"
    seeds: int = 10
    protocol: str = "honest"
    features: str = ""
    out: str = ""


def parser() -> argparse.ArgumentParser:
    default = TrainConfig()
    parsed = argparse.ArgumentParser(
        prog="train.py",
        description="Train a ranker on few labelled architectures, compare it with its baselines, write a run folder.",
        argument_default=argparse.SUPPRESS,
        epilog="Without --table the accuracies that come with the installation are used. --table takes a CSV or "
        "Parquet file with a column 'arch', an official NATS-Bench directory, or an official NAS-Bench-201 .pth file.",
    )
    add = parsed.add_argument
    add(
        "--space",
        help=f"search space: {', '.join(list_spaces())}, or one of your own as path/to/file.py:Class or module:Class "
        f"(default: {default.space})",
    )
    add("--samples", type=int, help=f"number of labelled architectures (default: {default.samples})")
    add("--table", help="file or name of the table with the accuracies; archs that are not measured are left out")
    add("--target", help="label column of the table")
    add("--preset", help=f"ranker: {', '.join(PRESETS)} (default: {default.preset})")
    add(
        "--encoder",
        choices=("none", *GRAPHS),
        help="encoder of the architecture, in addition to the node statistics, for --preset paper (default: none)",
    )
    add("--tune", type=int, help="Optuna trials, cross-validated inside the labelled architectures (default: none)")
    add("--storage", help="journal file or database URL that keeps the trials of --tune (default: OUT/tuning.journal)")
    add("--study", help=f"start of the names of the studies in --storage (default: {default.study})")
    add(
        "--ranges", help=f"ranges of --tune: {', '.join(RANGES)}, as the ParZC paper prints (default: {default.ranges})"
    )
    add("--seeds", type=int, help=f"number of splits, each with a fit of every method (default: {default.seeds})")
    add(
        "--protocol",
        choices=PROTOCOLS,
        help="honest: test on all archs not trained on; paper: learn from validation accuracy and test on the whole "
        "table, training archs included (default: honest)",
    )
    add("--features", help="folder of a feature store (default: the features that come with the installation)")
    add("--out", help="run folder (default: runs/SPACE-TARGET-SAMPLES-PRESET, and -ENCODER if there is one)")
    add("--config", default=None, help="a run.json to repeat, or its run folder; other options that are given win")
    add("--workers", type=int, default=None, help="processes (default: all cores)")
    add("--debug", action="store_true", default=False, help="show the traceback of an error")
    return parsed


def read_config(args: argparse.Namespace) -> TrainConfig:
    """Return the configuration that a command line, or a `run.json` and a command line, ask for.

    Raises:
        InputError: if the file is no `run.json`, or an option cannot be used.
    """
    names = {f.name for f in fields(TrainConfig)}
    config = _read_file(Path(args.config), names) if args.config else TrainConfig()
    config = replace(config, **{name: value for name, value in vars(args).items() if name in names})
    at_least(1, "seeds", config.seeds, "leaves nothing to run")
    at_least(0, "tune", config.tune, "is not a number of trials")
    at_least(1, "workers", args.workers, "is not a number of processes")
    if config.protocol not in PROTOCOLS:
        raise InputError(f"there is no protocol '{config.protocol}'; choose one of {', '.join(PROTOCOLS)}")
    _check_encoder(config)
    _check_tuning(config)
    return config


def _check_encoder(config: TrainConfig) -> None:
    space, preset = get_space(config.space), get_preset(config.preset)
    with_encoder = [name for name, other in PRESETS.items() if other.model == "mabn"]
    if config.encoder in GRAPHS and preset.model != "mabn":
        raise InputError(
            f"--encoder {config.encoder} cannot be used with --preset {config.preset}; take --preset "
            f"{' or '.join(with_encoder)}, or leave --encoder away"
        )
    make_encoder(preset.override({"graph": config.encoder}), space.name)


def _check_tuning(config: TrainConfig) -> None:
    if config.tune:
        search_space(config.preset, config.encoder, config.ranges)
        if config.storage and "://" not in config.storage:
            check_file(config.storage, "--storage")
        return
    default = TrainConfig()
    for name in ("storage", "study", "ranges"):
        if getattr(config, name) != getattr(default, name):
            raise InputError(f"--{name} {getattr(config, name)} is for tuning; give a number of trials with --tune")


def _read_file(path: Path, names: set[str]) -> TrainConfig:
    path = path / "run.json" if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["config"]
        unknown = sorted(set(record) - names)
        if unknown:
            raise InputError(f"{path} holds the unknown option '{unknown[0]}'; it was written by another version")
        for name, value in record.items():
            if type(value) is not type(getattr(TrainConfig(), name)):
                raise InputError(f"{path}: {name} cannot be {value!r}; write it as train.py does")
        return TrainConfig(**record)
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as reason:
        raise InputError(f"{path} is not a run.json of train.py ({reason})") from None
