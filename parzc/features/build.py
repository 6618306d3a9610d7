"""Extracts the features of many architectures of a space into a store, on all cores, resumably."""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray
from torch import Tensor

from parzc.datasets import Task, get_space
from parzc.errors import InputError
from parzc.features._registry import resolve
from parzc.features.extract import extract
from parzc.features.progress import Progress
from parzc.features.store import FeatureStore
from parzc.features.table import FeatureTable

CHUNK = 16
"""Architectures in one unit of work: what is computed twice, at most, by each worker after a crash."""


@dataclass(frozen=True)
class ExtractionConfig:
    """What fixes the features of an architecture.

    Args:
        space: name of a search space.
        task: one of its tasks.
        batch: number of inputs in a batch.
        batches: number of batches; with `batch` the data budget of every proxy.
        data: `gaussian` for standard normal inputs, or an `.npz` file with `x_train` (images, `(n, height, width, 3)`,
            unsigned bytes) and `y_train` (class indices), of which the first are taken.
        seed: of initialisation, inputs, labels.
        proxies: names of the proxies and statistics; all if empty.
    """

    space: str
    task: str = "cifar10"
    batch: int = 16
    data: str = "gaussian"
    seed: int = 0
    proxies: tuple[str, ...] = ()
    batches: int = 1

    def __post_init__(self) -> None:
        for name, value in (("batch", self.batch), ("batches", self.batches)):
            if value < 1:
                raise InputError(f"{name} {value} is no number of inputs; give at least 1")

    def manifest(self) -> dict[str, Any]:
        """Return the configuration as recorded with the features: a file is known by the digest of what was taken."""
        record = asdict(self) | {
            "proxies": [info.name for info in resolve(self.proxies or None)],
            "initialisation": "each module's own default, seeded by its name",
        }
        if self.data != "gaussian":
            inputs, labels = load_batch(self)
            content = inputs.numpy().tobytes() + (b"" if labels is None else labels.numpy().tobytes())
            record["data"] = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
        return record

    def definitions(self) -> dict[str, Mapping[str, object]]:
        """Return what fixes the numbers of each proxy, by name."""
        record = self.manifest()
        extraction = {key: record[key] for key in ("task", "batch", "batches", "data", "seed", "initialisation")}
        return {info.name: info.define() | extraction for info in resolve(self.proxies or None)}


@lru_cache(maxsize=4)
def load_batch(config: ExtractionConfig) -> tuple[Tensor, Tensor | None]:
    """Return the inputs `(batches * batch, channels, height, width)` and labels that a configuration names.

    Raises:
        InputError: if the file cannot be read or does not fit the task.
    """
    task = get_space(config.space).task(config.task)
    if config.data == "gaussian":
        generator = torch.Generator().manual_seed(config.seed)
        return torch.randn((config.batches * config.batch, *task.input_shape), generator=generator), None
    wanted = config.batches * config.batch
    try:
        with open(config.data, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            images, labels = file["x_train"][:wanted], file["y_train"][:wanted]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as reason:
        raise InputError(
            f"cannot read images from {config.data}: {reason}; give an .npz with x_train and y_train"
        ) from None
    _check_batch(config, task, images, labels)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (pixels - 0.5) / 0.25, torch.from_numpy(labels.astype(np.int64))


def _check_batch(config: ExtractionConfig, task: Task, images: NDArray[Any], labels: NDArray[Any]) -> None:
    wanted = config.batches * config.batch
    expected = (wanted, *task.input_shape[1:], task.input_shape[0])
    if images.shape != expected or images.dtype != np.uint8:
        raise InputError(
            f"the images of {config.data} are {images.dtype} of shape {images.shape}, but {config.task} takes "
            f"unsigned bytes of shape {expected}"
        )
    if labels.shape != (wanted,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"the labels of {config.data} are {labels.dtype} of shape {labels.shape}, but one class index is needed "
            f"for each of {wanted} images"
        )
    if labels.min() < 0 or labels.max() >= task.classes:
        raise InputError(
            f"the labels of {config.data} range from {labels.min()} to {labels.max()}, but {config.task} has classes "
            f"0 to {task.classes - 1}"
        )


def build_store(
    path: str | Path,
    config: ExtractionConfig,
    archs: Iterable[str],
    workers: int | None = None,
    progress: bool = False,
) -> FeatureStore:
    """Extract the features of `archs`, each function once, and keep them in the store at `path`.

    Work that is already in the store is not done again, so a run that was stopped is resumed by starting it once more.
    The values do not depend on the number of workers.

    Args:
        path: folder of the store.
        config: what to compute.
        archs: architectures of the space, in any notation it takes; twins share the row of their representative.
        workers: processes, each with one thread; all cores if not given.
        progress: whether to show a progress bar (plain lines where the output is no terminal).

    Raises:
        InputError: for an unknown arch, or a store of another configuration.
    """
    space = get_space(config.space)
    wanted = sorted({space.canonical(arch) for arch in archs})
    store = FeatureStore.create(path, config.manifest(), config.definitions())
    todo = [arch for arch in wanted if arch not in store]
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    with Progress(len(wanted), done=len(wanted) - len(todo), shown=progress) as shown:
        for done in _run(path, config, chunks, workers or os.cpu_count() or 1):
            shown.update(done)
    return FeatureStore.open(path)


def _run(path: str | Path, config: ExtractionConfig, chunks: Sequence[list[str]], workers: int) -> Iterator[int]:
    if workers == 1 or len(chunks) < 2:
        yield from (_extract_chunk(path, config, chunk) for chunk in chunks)
        return
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        jobs = (delayed(_extract_chunk)(path, config, chunk) for chunk in chunks)
        yield from Parallel(return_as="generator_unordered")(jobs)


def _extract_chunk(path: str | Path, config: ExtractionConfig, archs: list[str]) -> int:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        space = get_space(config.space)
        inputs, labels = load_batch(config)
        rows = [
            extract(
                space.network(arch, config.task, config.seed),
                inputs,
                labels,
                config.proxies or None,
                config.seed,
                config.batches,
            )
            for arch in archs
        ]
    finally:
        torch.set_num_threads(threads)
    seconds = {name: sum(row.seconds.get(name, 0.0) for row in rows) for row in rows for name in row.seconds}
    FeatureStore.open(path).append(FeatureTable.of(rows, archs, config.definitions()), seconds)
    return len(archs)
