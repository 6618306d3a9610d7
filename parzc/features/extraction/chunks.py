"""The unit of work: a chunk of architectures, extracted in a worker, sent back as the bytes of a shard."""

import os
import random
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parzc.datasets import Space, get_space, missing_slots
from parzc.errors import InputError
from parzc.features.extraction.one_network import extract
from parzc.features.proxies._registry import resolve
from parzc.features.store import FeatureStore
from parzc.features.store.index import refreshed
from parzc.features.store.record import NodeFeatures
from parzc.features.store.shard import encode
from parzc.features.store.table import FeatureTable

LAST = 8
"""How many chunks at the end are each cut into `PARTS`, so that all workers end at nearly the same time."""

PARTS = 4

LOOK = 30.0
"""Seconds after which a process looks again for what others have added to the store meanwhile."""


@dataclass(frozen=True)
class Extracted:
    """What came of a chunk.

    Args:
        content: the bytes of a shard (a file of the store) with the architectures that worked; empty if none did.
        archs: these architectures.
        seconds: pass or proxy name to the seconds that they took together.
        failed: architecture to why it did not work.
    """

    content: bytes = b""
    archs: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Extraction:
    """Extracts chunks; holds all that a worker on another machine needs.

    To other processes goes the reference of the space, and each of them gets it from its file, module or package.

    Args:
        space: search space, or the reference of one.
        task: one of its tasks.
        seed: of initialisation and labels.
        batches: number of batches, equal parts into which `inputs` are cut.
        proxies: names or references, as in `ExtractionConfig`; all that are registered if empty.
        inputs: of all batches, one behind the other.
        labels: their class indices, if there are any.
    """

    space: str | Space
    task: str
    seed: int
    batches: int
    proxies: tuple[str, ...]
    inputs: Tensor
    labels: Tensor | None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"space": self.space if isinstance(self.space, str) else self.space.reference}

    def __call__(self, archs: Sequence[str]) -> Extracted:
        """Extract the architectures with one thread; one that raises an error does not stop the others.

        Raises:
            InputError: if this process cannot find the space, or a node fills no slot of it.
        """
        space = self._found()
        rows: dict[str, NodeFeatures] = {}
        failed: dict[str, str] = {}
        resolve(self.proxies or None)  # what cannot be loaded stops the extraction, not one architecture
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for arch in archs:
                try:
                    rows[arch] = self._extract(space, arch)
                except Exception as error:  # whatever a network does, it is said and the others go on
                    failed[arch] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        finally:
            torch.set_num_threads(threads)
        for arch, row in rows.items():
            _check_slots(space, arch, row)
        if not rows:
            return Extracted(failed=failed)
        names = {name for row in rows.values() for name in row.seconds}
        seconds = {name: sum(row.seconds.get(name, 0.0) for row in rows.values()) for name in sorted(names)}
        table = self._with_blocks(FeatureTable.of(list(rows.values()), list(rows)))
        return Extracted(encode(table), table.archs, seconds, failed)

    def _found(self) -> Space:
        try:
            return get_space(self.space)
        except InputError as reason:
            raise InputError(
                f"the process {os.getpid()} of {socket.gethostname()} cannot find the space: {reason}"
            ) from None

    def _extract(self, space: Space, arch: str) -> NodeFeatures:
        network = space.network(arch, self.task, self.seed)
        return extract(network, self.inputs, self.labels, self.proxies or None, self.seed, self.batches)

    def _with_blocks(self, table: FeatureTable) -> FeatureTable:
        """Return the table with every block statistic, so that all shards of a store have the same columns."""
        columns = {
            info.name: table.block_statistics.get(info.name, np.full(len(table.blocks), np.nan, np.float32))
            for info in resolve(self.proxies or None)
            if info.block_values is not None
        }
        return replace(table, block_statistics=columns)


def _check_slots(space: Space, arch: str, row: NodeFeatures) -> None:
    missing = missing_slots(space, row.nodes)
    if missing:
        raise InputError(
            f"the node '{missing[0]}' of {arch[:200]} fills no slot of {space.name}, so that no ranker could read the "
            f"features: add Slot('{missing[0]}', ...) to the slots of the space, check it with "
            "parzc.testing.SpaceContract, and start again; what is extracted stays"
        )


class Chunks:
    """Gives architectures in chunks, in an order of this process's own, without those that others add to the store.

    An iterator that may give more after it has ended, once chunks were put back.

    Args:
        archs: what is to be done.
        size: of a chunk, at most.
        store: where to look for what others have done.
    """

    def __init__(self, archs: Sequence[str], size: int, store: FeatureStore) -> None:
        self.others = 0
        self._archs = archs
        # The index as it is now, shared with the store, which forgets its own with every shard that it adds.
        self._folder, self._index = store.path, store.index
        starts = list(range(0, len(archs), size))
        # Two processes that started together do not do the same work one after the other.
        random.Random().shuffle(starts)
        whole = [(start, start + size) for start in starts]
        part = -(-size // PARTS)
        last = [(cut, min(cut + part, stop)) for start, stop in whole[:LAST] for cut in range(start, stop, part)]
        # Taken from the end.
        self._spans = [span for span in last if span[0] < len(archs)] + whole[LAST:]
        self._back: deque[list[str]] = deque()
        self._looked = time.monotonic()

    def __len__(self) -> int:
        return len(self._spans) + len(self._back)

    def __iter__(self) -> "Chunks":
        return self

    def __next__(self) -> list[str]:
        if self._back:
            return self._back.popleft()
        while self._spans:
            start, stop = self._spans.pop()
            chunk = list(self._archs[start:stop])
            left = self._look(chunk)
            self.others += len(chunk) - len(left)
            if left:
                return left
        raise StopIteration

    def _look(self, chunk: list[str]) -> list[str]:
        if time.monotonic() - self._looked > LOOK:
            self._index = refreshed(self._folder, self._index, lambda _path, _error: None)
            self._looked = time.monotonic()
        return [arch for arch, row in zip(chunk, self._index.find(chunk), strict=True) if row < 0]

    def put_back(self, chunk: Sequence[str]) -> None:
        """Do the architectures of a chunk again, each alone."""
        self._back.extend([arch] for arch in chunk)
