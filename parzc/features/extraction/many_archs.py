"""Extracts the features of many architectures of a space into a store, on all cores or machines, resumably."""

import hashlib
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parzc.datasets import Space, Task, get_space
from parzc.datasets.spaces._doors import importing
from parzc.datasets.spaces._references import findable
from parzc.datasets.spaces._registry import recorded_space
from parzc.errors import InputError
from parzc.features.extraction.chunks import Chunks, Extracted, Extraction
from parzc.features.extraction.engines import Engine, LocalEngine, Lost, get_engine
from parzc.features.extraction.progress import Progress, say
from parzc.features.proxies._registry import record, reference, resolve
from parzc.features.store import FeatureStore

CHUNK = 16
"""Architectures in one unit of work: what is computed twice, at most, by each worker after a crash."""

NOTE = 5.0
"""Seconds between records of failures in the manifest."""

DEATHS = 8
"""So many workers may die before anything was extracted; then something else than the architectures is wrong."""


@dataclass(frozen=True)
class ExtractionConfig:
    """What fixes the features of an architecture.

    Args:
        space: a search space, or its name or place as `parzc.datasets.get_space` takes it.
        task: one of its tasks.
        batch: number of inputs in a batch.
        batches: number of batches; every proxy is computed from `batch * batches` inputs.
        data: `gaussian` for standard normal inputs, or an `.npz` file with `x_train` (images, `(n, height, width, 3)`,
            unsigned bytes) and `y_train` (class indices), of which the first are taken.
        seed: of initialisation, inputs, labels.
        proxies: names of the proxies and statistics, or files and modules with proxies of one's own (`my_proxy.py`,
            `my_proxy.py:name`, `module:name`); all that are registered if empty.
    """

    space: str | Space
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
        # By its name, so that a store is the same one when the file of a space has moved.
        entries = asdict(replace(self, space=get_space(self.space).name)) | {
            "proxies": [info.name for info in resolve(self.proxies or None)],
            "initialisation": "each module's own default, seeded by its name",
        }
        if self.data != "gaussian":
            inputs, labels = load_batch(self)
            content = inputs.numpy().tobytes() + (b"" if labels is None else labels.numpy().tobytes())
            entries["data"] = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
        return entries

    def definitions(self) -> dict[str, Mapping[str, object]]:
        """Return what fixes the numbers of each proxy, by name."""
        manifest = self.manifest()
        extraction = {key: manifest[key] for key in ("task", "batch", "batches", "data", "seed", "initialisation")}
        return {info.name: record(info) | extraction for info in resolve(self.proxies or None)}

    def origins(self) -> dict[str, dict[str, str]]:
        """Return the manifest's entry of proxies that do not come with parzc: where each is found, by name."""
        found = {info.name: reference(info) for info in resolve(self.proxies or None)}
        origins = {name: where for name, where in found.items() if where != name}
        return {"origins": origins} if origins else {}

    def extraction(self) -> Extraction:
        """Return the work that a worker does on each chunk of architectures.

        Raises:
            InputError: if the inputs cannot be read, or a name is unknown.
        """
        inputs, labels = load_batch(self)
        # By file or module, so that other processes find what was registered in this one.
        proxies = tuple(reference(info) for info in resolve(self.proxies or None))
        return Extraction(get_space(self.space), self.task, self.seed, self.batches, proxies, inputs, labels)


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
    except Exception as reason:  # a damaged archive raises nearly anything, and claims any size
        why = " ".join(str(reason).split())[:300]
        raise InputError(
            f"cannot read images from {config.data}: {why}; give an .npz with x_train and y_train"
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
    engine: str = "local",
    address: str = "",
) -> FeatureStore:
    """Extract the features of `archs`, each function once, and keep them in the store at `path`.

    Work that is already in the store is not done again, so a run that was stopped is resumed by starting it once more;
    damaged shards are set aside, and what they held is done again. An architecture that fails does not stop the
    others: `FeatureStore.failed` says why, and the next call tries it again. The values do not depend on the engine,
    the number of workers or the order in which they finish.

    Args:
        path: folder of the store.
        config: what to compute.
        archs: architectures of the space, in any notation it takes. Of those that compute the same function (twins) one
            is extracted, the canonical one, and its name is that of the row.
        workers: processes, each with one thread; all cores if not given.
        progress: whether to show a progress bar (plain lines where the output is no terminal), and a summary.
        engine: `local` for processes of this machine, `ray` for a Ray cluster.
        address: of a Ray cluster that runs; one is started on this machine if empty.

    Raises:
        InputError: for an unknown arch, a space that the workers cannot find or whose slots are not complete, a store
            of another configuration, an engine that cannot be used, a disk that is full, or workers that die whatever
            they are given.
    """
    space = _space(config)
    wanted = sorted({space.canonical(arch) for arch in archs})
    extraction = config.extraction()
    runner = get_engine(engine, workers, address)
    store = FeatureStore.create(path, config.manifest(), config.definitions(), _versions())
    _prepare(store, wanted, config, progress)
    todo = store.lacking(wanted)
    chunks = Chunks(todo, CHUNK, store)
    runner = _suited(runner, len(todo), space)
    with Progress(len(wanted), done=len(wanted) - len(todo), shown=progress) as shown:
        _Keeper(store, shown).run(runner, extraction, chunks)
    return FeatureStore.open(path)


def _prepare(store: FeatureStore, wanted: list[str], config: ExtractionConfig, progress: bool) -> None:
    """Set aside what is damaged, and note in the store what is wanted and where space and proxies were found."""
    for old, new in store.set_aside_damaged(wanted):
        say(
            f"{old} in {store.path} is damaged; it is set aside as {new}, and what it held is extracted again", progress
        )
    place = {key: value for key, value in recorded_space(config.space).items() if key != "space"}
    store.note(wanted=len(wanted), **place, **config.origins())


def _suited(runner: Engine, todo: int, space: Space) -> Engine:
    """Return the engine, or this process for little work; other processes have to be able to find the space."""
    if isinstance(runner, LocalEngine) and (runner.workers == 1 or todo <= CHUNK):
        return LocalEngine(1)  # a process would take longer to start than to work
    findable(space)
    return runner


def _space(config: ExtractionConfig) -> Space:
    if importing():
        raise InputError(
            f"{importing()} starts an extraction while it is imported for its search space; put that behind "
            "if __name__ == '__main__'"
        )
    return get_space(config.space)


class _Keeper:
    """Puts results into the store as they come, and keeps count of what failed."""

    def __init__(self, store: FeatureStore, shown: Progress) -> None:
        self.store, self.shown = store, shown
        self.failed: dict[str, str] = {}
        self.lost: set[str] = set()
        self.deaths = 0
        self.noted = time.monotonic()

    def run(self, engine: Engine, work: Extraction, chunks: Chunks) -> None:
        try:
            with closing(engine.run(work, chunks)) as results:
                for chunk, result in results:
                    if isinstance(result, Lost):
                        result = self._lose(chunk, result, chunks)
                    self._keep(result)
                    self.shown.update(len(result.archs) + len(result.failed) + chunks.others, len(result.failed))
                    chunks.others = 0
        finally:
            self._note()
            self.store.write_index()

    def _keep(self, result: Extracted) -> None:
        if result.content:
            try:
                self.store.append_encoded(result.content, len(result.archs), result.seconds)
            except OSError as reason:
                raise InputError(
                    f"cannot write to {self.store.path} ({reason.strerror or reason}); nothing that was there is lost: "
                    "free space, and give the same command again to go on"
                ) from None
        self.failed |= result.failed
        self.shown.spend(len(result.archs), result.seconds)
        if result.failed and time.monotonic() - self.noted > NOTE:
            self._note()

    def _lose(self, chunk: list[str], lost: Lost, chunks: Chunks) -> Extracted:
        """Do the architectures of a chunk whose worker died again, each alone; twice alone is once too often."""
        self.deaths += 1
        if self.deaths > DEATHS and not self.shown.worked:
            raise InputError(f"every worker dies: {lost.reason}; take fewer --workers, or a smaller --batch")
        if len(chunk) == 1 and chunk[0] in self.lost:
            return Extracted(failed={chunk[0]: lost.reason})
        self.lost |= set(chunk) if len(chunk) == 1 else set()
        chunks.put_back(chunk)
        return Extracted()

    def _note(self) -> None:
        self.noted = time.monotonic()
        failed = self.store.manifest.get("failed", {}) | self.failed
        if failed:
            there = set(self.store.lacking(list(failed)))
            with suppress(OSError):  # a full disk is said elsewhere, and what failed is tried again anyway
                self.store.note(failed={arch: why for arch, why in failed.items() if arch in there})


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in ("parzc", "torch", "numpy")}}
