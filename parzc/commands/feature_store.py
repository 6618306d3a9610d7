"""Commands on a feature store that exists: `python -m parzc.features status|archs|verify|export DIR`."""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from parzc.commands._proxies import undefined_in
from parzc.commands._run import check_file, check_seed
from parzc.errors import InputError
from parzc.features.store import FeatureStore
from parzc.features.store.parquet import export_parquet
from parzc.files import remove_stale

WINDOW = 600.0
"""Seconds of work, up to the newest shard, over which the rate is measured."""


def status(store: FeatureStore) -> list[str]:
    """Return lines on a store: how much is done and how fast, what failed and why, the configuration.

    Proxies without a value for most architectures come last, with the reason.
    """
    config, failed = store.manifest["config"], store.failed
    done, wanted = len(store), max(store.manifest.get("wanted", 0), len(store))
    line = f"{store.path}: {done} of {wanted} functions of {config.get('space', 'an unknown space')} are done"
    lines = [line + (f", {len(failed)} failed" if failed else "")]
    rate, until = _rate(store)
    if rate:
        left = wanted - done - len(failed)
        rest = f", {left / rate / 60:.0f} minutes left at that rate" if left > 0 else ""
        lines.append(f"{rate:.2f} a second in the last minutes of work, until {until:%Y-%m-%d %H:%M}{rest}")
    proxies = config.get("proxies", [])
    options = [f"{key} {value}" for key, value in config.items() if key not in ("space", "proxies")]
    lines.append(f"configuration: {', '.join(options)}; {len(proxies)} proxies: {', '.join(map(str, proxies))}")
    for versions in store.manifest.get("versions", []):
        lines.append("made with " + ", ".join(f"{name} {value}" for name, value in dict(versions).items()))
    for why, count in Counter(failed.values()).most_common():
        first = min(arch for arch in failed if failed[arch] == why)
        lines.append(f"failed, {count} of them ({first} the first): {why}")
    seconds = sorted(store.seconds.items(), key=lambda item: -item[1])
    if seconds:
        longest = ", ".join(f"{name} {value:.3f}" for name, value in seconds[:8])
        lines.append(f"{sum(value for _, value in seconds):.3f} seconds for one arch: {longest}, ...")
    return lines + undefined_in(store)


def _rate(store: FeatureStore) -> tuple[float, datetime]:
    """Return how many functions a second were stored when work last went on, and when that was; 0 if unknown."""
    rows = np.diff(store.index.starts)
    times = np.array([(store.path / name).stat().st_mtime for name in store.index.shards])
    if not len(times):
        return 0.0, datetime.min
    recent = times >= times.max() - WINDOW
    span = times.max() - times[recent].min()
    # What was stored first in the window was computed before it.
    counted = rows[recent & (times > times[recent].min())].sum()
    return (float(counted / span) if span > 0 else 0.0), datetime.fromtimestamp(times.max())


def verify(store: FeatureStore) -> list[str]:
    """Check every byte of a store, set aside what is damaged, renew the index; return what was done."""
    removed = remove_stale(store.path)
    renamed = store.set_aside_damaged()
    store.write_index()
    lines = [f"{old} is damaged and was set aside as {new}; extract again to make it good" for old, new in renamed]
    if removed:
        lines.append(f"{removed} half-written files of killed processes were removed")
    return [*lines, f"{store.path}: {len(store.index.shards)} shards with {len(store)} functions are intact"]


def _status(args: argparse.Namespace) -> None:
    print("\n".join(status(FeatureStore.open(args.store))))


def _archs(args: argparse.Namespace) -> None:
    archs = FeatureStore.open(args.store).archs
    if args.sample is None:
        print("\n".join(archs))
        return
    check_seed(args.seed)
    if not 1 <= args.sample <= len(archs):
        raise InputError(f"cannot draw {args.sample} of {len(archs)} architectures; ask for 1 to {len(archs)}")
    chosen = np.random.default_rng(args.seed).choice(len(archs), size=args.sample, replace=False)
    print("\n".join(archs[i] for i in chosen))


def _verify(args: argparse.Namespace) -> None:
    print("\n".join(verify(FeatureStore.open(args.store))))


def _export(args: argparse.Namespace) -> None:
    store, target = FeatureStore.open(args.store), Path(args.file)
    if target.suffix != ".parquet":
        raise InputError(f"{target} is not named like a Parquet file; give one that ends in .parquet")
    check_file(args.file)
    print(f"{export_parquet(store, target)} functions written to {target}")


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "status": (_status, "Say how much of a feature store is done, how fast, what failed and why."),
    "archs": (_archs, "List the architectures of a feature store, one of each function to a line."),
    "verify": (_verify, "Check every byte of a feature store, set damaged shards aside, renew the index."),
    "export": (_export, "Write a feature store as one Parquet file."),
}


def parse(command: str, argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of one of `COMMANDS`."""
    parser = argparse.ArgumentParser(prog=f"python -m parzc.features {command}", description=COMMANDS[command][1])
    parser.add_argument("store", help="folder of the feature store")
    if command == "export":
        parser.add_argument("file", help="the .parquet file to write")
    if command == "archs":
        parser.add_argument("--sample", type=int, help="only this many, drawn with the seed, for example to train them")
        parser.add_argument("--seed", type=int, default=0, help="of the drawing (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)
