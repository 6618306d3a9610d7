"""Train a ranker on a few labelled architectures, compare it with its baselines, write a run folder."""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parzc.commands._run import ranked, read_features, run_command
from parzc.datasets import Space, Table, get_space, list_spaces, list_tables, load_table
from parzc.errors import InputError
from parzc.evaluation.importance import MIN_NETWORKS, node_importance
from parzc.evaluation.protocol import Benchmark, Kind, Learner, compare, format_results
from parzc.evaluation.tabular import tabular_learners
from parzc.files import write_atomically
from parzc.models.fusion import GRAPHS
from parzc.ranker import Ranker
from parzc.ranker.assembly import make_encoder
from parzc.ranker.presets import PRESETS, get_preset
from parzc.tuning import RANGES, TunedRanker, load_study, search_space, study_name, write_report

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


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    args = _parser().parse_args(argv)
    run_command(lambda parsed: run(_config(parsed), parsed.workers or os.cpu_count() or 1), args)


def _parser() -> argparse.ArgumentParser:
    default = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
        epilog="Without --table the accuracies that come with the installation are used. --table takes a CSV or "
        "Parquet file with a column 'arch', an official NATS-Bench directory, or an official NAS-Bench-201 .pth file.",
    )
    add = parser.add_argument
    add("--space", help=f"search space: {', '.join(list_spaces())} (default: {default.space})")
    add("--samples", type=int, help=f"number of labelled architectures (default: {default.samples})")
    add("--table", help="file or name of the table with the accuracies")
    add("--target", help="label column of the table")
    add("--preset", help=f"ranker: {', '.join(PRESETS)} (default: {default.preset})")
    add(
        "--encoder",
        choices=("none", *GRAPHS),
        help="encoder of the architecture beside the node statistics, for --preset paper (default: none)",
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
    parser.add_argument("--config", default=None, help="a run.json to repeat; options given beside it win")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: all cores)")
    parser.add_argument("--debug", action="store_true", default=False, help="show the traceback of an error")
    return parser


def _config(args: argparse.Namespace) -> TrainConfig:
    names = {f.name for f in fields(TrainConfig)}
    config = _read_config(Path(args.config), names) if args.config else TrainConfig()
    config = replace(config, **{name: value for name, value in vars(args).items() if name in names})
    if config.seeds < 1:
        raise InputError(f"--seeds {config.seeds} leaves nothing to run; give at least 1")
    if config.protocol not in PROTOCOLS:
        raise InputError(f"there is no protocol '{config.protocol}'; choose one of {', '.join(PROTOCOLS)}")
    if config.tune < 0:
        raise InputError(f"--tune {config.tune} is not a number of trials; give 0 or more")
    make_encoder(get_preset(config.preset, config.space).override({"graph": config.encoder}), config.space)
    _check_tuning(config)
    return config


def _check_tuning(config: TrainConfig) -> None:
    if config.tune:
        search_space(config.preset, config.encoder, config.ranges)
        return
    default = TrainConfig()
    for name in ("storage", "study", "ranges"):
        if getattr(config, name) != getattr(default, name):
            raise InputError(f"--{name} {getattr(config, name)} is for tuning; give a number of trials with --tune")


def _read_config(path: Path, names: set[str]) -> TrainConfig:
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


def run(config: TrainConfig, workers: int) -> None:
    """Carry out a run and write its folder."""
    start = time.perf_counter()
    space = get_space(config.space)
    table = _load_table(config, space)
    print(f"table: {table.name}, {len(table)} archs, target {table.target} ({table.source})", flush=True)
    out = Path(config.out or f"runs/{space.name}-{table.target}-{config.samples}-{_method(config, '-')}")
    benchmark = _benchmark(config, space, table)
    benchmark.split(config.samples, 0)
    out.mkdir(parents=True, exist_ok=True)
    ranker_name = f"parzc ({_method(config, ', ')})"
    learners: dict[str, tuple[Kind, Callable[[int], Learner]]] = {
        ranker_name: ("ranker", partial(_ranker, config, out))
    }
    tabular = tabular_learners(config.preset, config.space, config.encoder)
    learners |= {name: ("baseline", learner) for name, learner in tabular.items()}
    proxies = list(benchmark.features.scores)
    results = compare(
        benchmark, learners, proxies, config.samples, range(config.seeds), workers, partial(print, flush=True)
    )
    n_test = len(benchmark.split(config.samples, 0)[1])
    print(
        f"\n{space.name}, {table.target}: {config.samples} labelled archs, {n_test} test archs, "
        f"{config.seeds} seed{'s' * (config.seeds > 1)}, {config.protocol} protocol, mean ± standard deviation\n"
    )
    print(format_results(results), flush=True)
    _write_json(out / "metrics.json", {
        "space": space.name, "table": table.name, "target": table.target, "samples": config.samples,
        "protocol": config.protocol, "seeds": list(range(config.seeds)), "n_test": n_test,
        "results": {name: result.summary() for name, result in results.items()},
    })  # fmt: skip
    _write_ranker(config, space, benchmark, table, out, workers)
    if config.tune:
        names = {seed: study_name(config.study, seed) for seed in range(config.seeds)}
        studies = {seed: load_study(_storage(config, out), name) for seed, name in names.items()}
        write_report(studies, out / "tuning.csv", out / "tuning.png")
    _write_json(out / "run.json", {"config": asdict(config), "parzc": version("parzc")})
    print(f"\nwritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    print(f"{time.perf_counter() - start:.0f} s")


def _load_table(config: TrainConfig, space: Space) -> Table:
    embedded = list_tables(space)
    if not config.table and not embedded:
        raise InputError(f"no accuracies of {space.name} come with parzc; give a file with --table")
    return load_table(config.table or embedded[0], space=space, target=config.target or None)


def _benchmark(config: TrainConfig, space: Space, table: Table) -> Benchmark:
    features, row = read_features(table.archs, space, config.features)
    if config.protocol == "honest":
        return Benchmark(features, row, table.labels)
    if not table.target.endswith("_test"):
        raise InputError(
            f"--protocol paper needs a --target ending in _test, with its _valid beside it, not {table.target}"
        )
    validation = table.column(table.target.removesuffix("_test") + "_valid")
    return Benchmark(features, row, table.labels, validation, test_all=True)


def _ranker(config: TrainConfig, out: Path, seed: int) -> Ranker | TunedRanker:
    if config.tune:
        return TunedRanker(
            config.preset,
            config.space,
            seed,
            config.tune,
            _storage(config, out),
            config.study,
            _settings(config),
            config.ranges,
            partial(print, flush=True),
        )
    return Ranker(config.preset, config.space, seed, _settings(config))


def _storage(config: TrainConfig, out: Path) -> str:
    return config.storage or str(out / "tuning.journal")


def _settings(config: TrainConfig) -> dict[str, Any] | None:
    return None if config.encoder == "none" else {"graph": config.encoder}


def _method(config: TrainConfig, separator: str) -> str:
    return config.preset if config.encoder == "none" else f"{config.preset}{separator}{config.encoder}"


def _write_ranker(
    config: TrainConfig,
    space: Space,
    benchmark: Benchmark,
    table: Table,
    out: Path,
    workers: int,
) -> None:
    """Write the ranker of the first split, its ranking of every arch, and what the labelled nodes say."""
    train, _ = benchmark.split(config.samples, 0)
    labelled, labels = benchmark.features[benchmark.row[train]], benchmark.to_learn[train]
    learner = _ranker(config, out, seed=0).fit(labelled, labels, benchmark.features)
    ranker = learner.ranker_ if isinstance(learner, TunedRanker) else learner
    if isinstance(learner, TunedRanker):
        tuned = learner.tuned_
        print(f"\nseed 0 tuned in {tuned.trials} trials: cross-validated Kendall {tuned.kendall:.3f}, {tuned.settings}")
    ranker.save(out / "ranker")
    scores, deviations = ranker.predict_dist(benchmark.features)
    ranking = ranked(table.archs, scores, deviations, benchmark.row)
    ranking["labelled"] = ranking["arch"].isin({table.archs[i] for i in train}).astype(int)
    write_atomically(out / "ranking.csv", ranking.to_csv(index=False, float_format="%.6g").encode())
    if len(train) < MIN_NETWORKS:
        print(f"node importances need {MIN_NETWORKS} labelled archs; with {len(train)} none are written")
    else:
        importance = node_importance(labelled, labels, space.slots, workers=workers)
        importance.write(out / "importance.csv", out / "importance.png")


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
