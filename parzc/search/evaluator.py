"""Measures the features of architectures once, and keeps them.

Features that come with the space, or a store that is given, are read and never written. What they lack is measured as
they were, and kept in a store of the search.
"""

import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parzc.datasets import Space
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureStore, FeatureTable, build_store, shipped
from parzc.features.extraction.progress import say

FIRST = 8
"""Architectures that are measured in this process, to see how long each takes."""

STARTING = 15.0
"""Seconds in which other processes start and learn what to do; less work than that is done in this process."""

MANY = 500
"""Architectures to measure at once from which on a bar, and the seconds of each proxy, are shown."""


class Evaluator:
    """Gives the features of architectures.

    Args:
        space: the search space.
        task: of the space; its first if empty.
        folder: of the store for what is measured; one that ends with this object if None.
        features: folder of a store to read; the features that come with the space if empty.
        proxies: what to measure where there is no store to read; all that are registered if empty.
        workers: processes that measure; all cores if None, one where other processes could not find the space.
        engine: `local`, or `ray` for a Ray cluster.
        progress: whether to show it.

    Attributes:
        failed: functions that could not be measured, and why.

    Raises:
        InputError: if `features` is no store, or one of another space.
    """

    def __init__(
        self,
        space: Space,
        task: str = "",
        folder: Path | None = None,
        features: str | Path = "",
        proxies: Sequence[str] = (),
        workers: int | None = None,
        engine: str = "local",
        progress: bool = False,
    ) -> None:
        self.space, self.workers, self.engine, self.progress = space, workers, engine, progress
        self.known = _known_store(space, features)
        self._task, self._proxies, self._folder = space.task(task).name, tuple(proxies), folder
        self._own: FeatureStore | None = None
        self._each: float | None = None
        self.failed: dict[str, str] = {}

    def features(self, archs: Sequence[str]) -> FeatureTable:
        """Return the features of architectures in their order, each row called by its architecture.

        One that cannot be measured has no row; `failed` says why.

        Raises:
            InputError: if none can be measured.
        """
        functions = [self.space.canonical(arch) for arch in archs]
        read = {} if self.known is None else self._there(self.known, functions)
        lacking = [function for function in dict.fromkeys(functions) if function not in read]
        tables = [] if self.known is None or not read else [self.known.read(list(read))]
        if lacking:
            tables += self._measured(lacking)
        if not tables:
            raise InputError(self._nothing(functions))
        table = FeatureTable.concatenate(tables)
        rows = {function: row for row, function in enumerate(table.archs)}
        kept = [(arch, rows[function]) for arch, function in zip(archs, functions, strict=True) if function in rows]
        return table[[row for _, row in kept]].rename([arch for arch, _ in kept])

    def is_measured(self, archs: Sequence[str]) -> list[bool]:
        """Return for each architecture whether its features are kept already."""
        functions = [self.space.canonical(arch) for arch in archs]
        stores = [store for store in (self.known, self._opened()) if store is not None]
        there = {function for store in stores for function in self._there(store, functions)}
        return [function in there for function in functions]

    @staticmethod
    def _there(store: FeatureStore, functions: Sequence[str]) -> dict[str, None]:
        found = store.index.find(functions) >= 0
        return {function: None for function, there in zip(functions, found, strict=True) if there}

    def _measured(self, functions: Sequence[str]) -> list[FeatureTable]:
        """Measure what the own store lacks, and return its rows of these functions."""
        own = self._opened()
        todo = list(functions) if own is None else own.lacking(functions)
        todo = [function for function in todo if function not in self.failed]
        if todo:
            own = self._own = self._build(todo)
            self._fail({f: own.failed.get(f, "it was not measured") for f in own.lacking(todo)})
        there = [] if own is None else list(self._there(own, functions))
        return [own.read(there)] if own is not None and there else []

    def _build(self, todo: Sequence[str]) -> FeatureStore:
        """Measure architectures that the own store lacks, in this process where others would start for too little."""
        begin, path, config = time.perf_counter(), self._path, self._config()
        _ = self.space.slots  # takes a while when a space of choices is first asked for them
        workers = self.workers if self.workers or self.space.reference else 1
        shown, left = self.progress and len(todo) >= MANY, list(todo)
        if self.engine == "local" and workers != 1:
            if self._each is None:
                first, left = left[:FIRST], left[FIRST:]
                start = time.perf_counter()
                store = build_store(path, config, first, 1)
                self._each = (time.perf_counter() - start) / len(first)
            if len(left) * self._each < STARTING:
                workers = 1
        if left:
            store = build_store(path, config, left, workers, shown, self.engine)
        # A few are measured for each ask: a line for them is enough.
        seconds = time.perf_counter() - begin
        say(f"measured {len(todo)} architectures in {seconds:.0f} s", self.progress and not shown)
        return store

    def _fail(self, failed: dict[str, str]) -> None:
        self.failed |= failed
        for function, why in failed.items():
            say(f"'{function}' cannot be measured and is not asked for: {why}", self.progress)

    def _opened(self) -> FeatureStore | None:
        """Return the own store, if there is one by now, with what other processes have added to it."""
        if self._own is None and self._folder is not None and (self._folder / "manifest.json").is_file():
            self._own = FeatureStore.open(self._folder)
            self.failed |= self._own.failed
        elif self._own is not None:
            self._own.refresh()
        return self._own

    @property
    def _path(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="parzc-features-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _config(self) -> ExtractionConfig:
        """Return how to measure: as the store that is read was made, if there is one."""
        config = ExtractionConfig(self.space, self._task, proxies=self._proxies)
        if self.known is None:
            return config
        there: dict[str, Any] = self.known.manifest["config"]
        if str(there.get("data", "")).startswith("sha256:"):
            raise InputError(
                f"{self.known.path} was measured on images of a file, and lacks architectures that the search needs; "
                "measure them into it, or leave --features out"
            )
        names = ("task", "batch", "batches", "data", "seed")
        own = {name: there[name] for name in names if name in there}
        return replace(config, **own, proxies=tuple(there.get("proxies", ())))

    def _nothing(self, functions: Sequence[str]) -> str:
        why = next((self.failed[f] for f in functions if f in self.failed), "no architecture was given")
        return f"none of {len(functions)} architectures of {self.space.name} can be measured: {why}"


def _known_store(space: Space, features: str | Path) -> FeatureStore | None:
    if not features:
        try:
            return shipped(space.name)
        except InputError:
            return None
    store = FeatureStore.open(features)
    there = store.manifest["config"].get("space", space.name)
    if there != space.name:
        raise InputError(f"{features} holds features of {there}; give a store of {space.name}")
    return store
