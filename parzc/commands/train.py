"""Train a ranker on a few labelled architectures, compare it with its baselines, write a run folder."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parzc.commands._measured import check_reads, check_slots, measured_part, open_store, read_functions
from parzc.commands._proxies import undefined
from parzc.commands._run import run_command
from parzc.commands._run_folder import write_metrics, write_ranker, write_run, write_tuning
from parzc.commands._train_config import TrainConfig, parser, read_config
from parzc.datasets import Space, Table, get_space, list_tables, load_table
from parzc.errors import InputError
from parzc.evaluation.protocol import Benchmark, Kind, Learner, compare, format_results
from parzc.evaluation.tabular import tabular_learners
from parzc.ranker import Ranker
from parzc.ranker.presets import get_preset
from parzc.tuning import TunedRanker


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    args = parser().parse_args(argv)
    run_command(lambda parsed: run(read_config(parsed), parsed.workers or os.cpu_count() or 1), args)


def run(config: TrainConfig, workers: int) -> None:
    """Carry out a run and write its folder."""
    start = time.perf_counter()
    space = get_space(config.space)
    table, benchmark = _read(config, space)
    benchmark.split(config.samples, 0)
    out = Path(config.out or f"runs/{space.name}-{table.target}-{config.samples}-{_method(config, '-')}")
    out.mkdir(parents=True, exist_ok=True)
    results = compare(
        benchmark,
        _learners(config, space, out),
        list(benchmark.features.scores),
        config.samples,
        range(config.seeds),
        workers,
        partial(print, flush=True),
    )
    n_test = len(benchmark.split(config.samples, 0)[1])
    print(
        f"\n{space.name}, {table.target}: {config.samples} labelled archs, {n_test} test archs, "
        f"{config.seeds} seed{'s' * (config.seeds > 1)}, {config.protocol} protocol, mean ± standard deviation\n"
    )
    print(format_results(results), flush=True)
    write_metrics(out, config, space, table, n_test, results)
    train, _ = benchmark.split(config.samples, 0)
    learner = _ranker(config, space, out, seed=0)
    write_ranker(out, learner, space, benchmark, table, train, workers)
    if config.tune:
        write_tuning(out, config, _storage(config, out))
    write_run(out, config)
    print(f"\nwritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    print(f"{time.perf_counter() - start:.0f} s")


def _read(config: TrainConfig, space: Space) -> tuple[Table, Benchmark]:
    """Return the part of the table whose features are measured, and the same as a benchmark."""
    table = _load_table(config, space)
    print(f"table: {table.name}, {len(table)} archs, target {table.target} ({table.source})", flush=True)
    validation = _validation(table) if config.protocol == "paper" else None
    store = open_store(space, config.features)
    kept, functions, note = measured_part(table.archs, space, store, "the table")
    if note:
        print(note, flush=True)
    features, row = read_functions(functions, store)
    preset = get_preset(config.preset, space)
    check_reads(preset, config.preset, features, store, space)
    check_slots(features, space)
    for line in undefined(features):
        print(line, flush=True)
    table = _rows(table, kept)
    if validation is None:
        return table, Benchmark(features, row, table.labels)
    return table, Benchmark(features, row, table.labels, validation[kept], test_all=True)


def _load_table(config: TrainConfig, space: Space) -> Table:
    embedded = list_tables(space)
    if not config.table and not embedded:
        raise InputError(f"no accuracies of {space.name} come with parzc; give a file with --table")
    return load_table(config.table or embedded[0], space=space, target=config.target or None)


def _validation(table: Table) -> NDArray[np.float64]:
    if not table.target.endswith("_test"):
        raise InputError(
            f"--protocol paper needs a --target ending in _test, with a column ending in _valid next to it, not "
            f"{table.target}"
        )
    return table.column(table.target.removesuffix("_test") + "_valid")


def _rows(table: Table, kept: NDArray[np.int64]) -> Table:
    archs = tuple(table.archs[i] for i in kept)
    return replace(table, archs=archs, figures={name: values[kept] for name, values in table.figures.items()})


def _learners(config: TrainConfig, space: Space, out: Path) -> dict[str, tuple[Kind, Callable[[int], Learner]]]:
    """Return what is compared, by name; each is made from a seed in any process."""
    tabular = tabular_learners(config.preset, space.name, config.encoder)
    learners: dict[str, tuple[Kind, Callable[[int], Learner]]] = {
        f"parzc ({_method(config, ', ')})": ("ranker", partial(_ranker, config, space, out))
    }
    return learners | {name: ("baseline", partial(_in_space, space, learner)) for name, learner in tabular.items()}


def _in_space(_: Space, make: Callable[[int], Learner], seed: int) -> Learner:
    """Make a learner that names its space: a process that was sent the space knows it by its name."""
    return make(seed)


def _ranker(config: TrainConfig, space: Space, out: Path, seed: int) -> Ranker | TunedRanker:
    if config.tune:
        return TunedRanker(
            config.preset,
            space.name,
            seed,
            config.tune,
            _storage(config, out),
            config.study,
            _settings(config),
            config.ranges,
            partial(print, flush=True),
        )
    return Ranker(config.preset, space, seed, _settings(config))


def _storage(config: TrainConfig, out: Path) -> str:
    return config.storage or str(out / "tuning.journal")


def _settings(config: TrainConfig) -> dict[str, Any] | None:
    return None if config.encoder == "none" else {"graph": config.encoder}


def _method(config: TrainConfig, separator: str) -> str:
    return config.preset if config.encoder == "none" else f"{config.preset}{separator}{config.encoder}"


if __name__ == "__main__":
    main()
