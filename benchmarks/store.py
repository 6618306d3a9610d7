"""What a feature store of a million architectures costs that opens it, reads a part, or goes on extracting.

    python benchmarks/store.py [--archs 1000000] [--chunk 16] [--folder DIR]

The shards are made up: twenty nodes and three statistics for each architecture, as many architectures to a shard as an
extraction has in a chunk. Each piece of work runs in a process of its own, of which the seconds and the largest
resident memory are recorded, as they are of a process that only imports the package. Other work on the machine adds to
the seconds, not to the processor seconds.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _records import RESULTS, machine, write

from parzc.features import FeatureStore, FeatureTable
from parzc.features.extraction.chunks import Chunks
from parzc.features.store.parquet import export_parquet
from parzc.features.store.shard import digest, encode

NODES = 20
STATISTICS = ("grad_norm", "snip", "synflow")
DEFINITIONS = {name: {"definition": 1} for name in (*STATISTICS, "params")}
PART = 1000


def arch(i: int) -> str:
    """Return a name that is as long as that of a cell of NAS-Bench-201."""
    return f"|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|{i:012}~1|none~2|"


def make(folder: Path, archs: int, chunk: int) -> None:
    """Write the shards of a store, without waiting for the disk after each."""
    store = FeatureStore.create(folder, {"space": "made up"}, DEFINITIONS)
    rng = np.random.default_rng(0)
    names = tuple(f"cells.{i}.edges.0-1.conv" for i in range(NODES))
    for start in range(0, archs, chunk):
        n = min(chunk, archs - start)
        values = rng.standard_normal((len(STATISTICS), n * NODES), dtype=np.float32)
        table = FeatureTable(
            archs=tuple(arch(i) for i in range(start, start + n)),
            offsets=np.arange(0, (n + 1) * NODES, NODES),
            names=names,
            node=np.tile(np.arange(NODES, dtype=np.int32), n),
            kinds=np.full(n * NODES, "conv2d"),
            fields=np.full((n * NODES, 4), 16),
            statistics=dict(zip(STATISTICS, values, strict=True)),
            scores={name: rng.standard_normal(n) for name in DEFINITIONS},
        )
        content = encode(table)
        (store.path / f"shard-{digest(content)}.safetensors").write_bytes(content)


def some(archs: int) -> list[str]:
    return [arch(i) for i in random.Random(0).sample(range(archs), PART)]


def only_import(_folder: Path, _archs: int) -> int:
    return 0


def index(folder: Path, archs: int) -> int:
    """Open a store without an index, which looks at every byte of every shard and writes one."""
    for file in folder.glob("index-*"):
        file.unlink()
    store = FeatureStore.open(folder)
    assert len(store) >= archs and list(folder.glob("index-*"))
    return len(store)


def opening(folder: Path, archs: int) -> int:
    """Open a store, count it, look up one architecture."""
    store = FeatureStore.open(folder)
    assert arch(archs // 2) in store and arch(archs) not in store
    return len(store)


def part(folder: Path, archs: int) -> int:
    """Read a thousand architectures from anywhere, as training does."""
    table = FeatureStore.open(folder).read(some(archs))
    assert len(table.node) == PART * NODES
    return len(table)


def going_on(folder: Path, archs: int) -> int:
    """Do what the parent of an extraction does before the first chunk, where all but a thousand are done."""
    wanted = sorted(arch(i) for i in range(archs + PART))
    store = FeatureStore.create(folder, {"space": "made up"}, DEFINITIONS)
    assert store.set_aside_damaged(wanted) == []
    chunks = list(Chunks(store.lacking(wanted), 16, store))
    return sum(map(len, chunks))


def adding(folder: Path, archs: int) -> int:
    """Do what the parent does while results come: the first chunks of the store once more, under other names."""
    store = FeatureStore.open(folder)
    there = store.read([arch(i) for i in range(64)])
    for i in range(4):
        store.append(there[16 * i : 16 * (i + 1)].rename([f"{arch(archs + i)}-{j}" for j in range(16)]), {"snip": 1.0})
    store.refresh()
    return len(store) - archs


def exporting(folder: Path, _archs: int) -> int:
    """Write the store as one Parquet file."""
    target = folder.with_suffix(".parquet")
    return export_parquet(FeatureStore.open(folder), target)


WORK = {run.__name__: run for run in (only_import, index, opening, part, going_on, exporting, adding)}


def measure(name: str, folder: Path, archs: int) -> dict[str, float]:
    """Run one piece of work in this process."""
    start, used = time.perf_counter(), time.process_time()
    result = WORK[name](folder, archs)
    return {
        "result": result,
        "seconds": round(time.perf_counter() - start, 3),
        "processor seconds": round(time.process_time() - used, 3),
        "largest resident MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument(
        "--folder", help="where to make the store, or where it was made before (default: a temporary folder)"
    )
    parser.add_argument("--only", choices=WORK, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, Path(args.folder), args.archs)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary) / "store"
        if not folder.exists():
            make(folder, args.archs, args.chunk)
        size = sum(path.stat().st_size for path in folder.iterdir())
        record = {
            "archs": args.archs, "archs in a shard": args.chunk, "shards": len(list(folder.glob("shard-*"))),
            "MB": round(size / 1e6), "machine": machine(), "work": {},
        }  # fmt: skip
        for name, run in WORK.items():
            command = [sys.executable, __file__, "--only", name, "--folder", str(folder), "--archs", str(args.archs)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            what = " ".join((run.__doc__ or "Import the package.").split())
            record["work"][name] = {"what": what} | json.loads(done.stdout.splitlines()[-1])
            print(name, done.stdout.strip(), flush=True)
        record["index MB"] = round(sum(path.stat().st_size for path in folder.glob("index-*")) / 1e6)
    write(RESULTS / "store.json", record)


if __name__ == "__main__":
    main()
