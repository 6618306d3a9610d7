"""Processes of this machine."""

import gc
import mmap
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from joblib.externals.loky import process_executor
from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from parzc.features.extraction.engines._base import Chunk, Lost, R

ROOM = 600_000_000
"""Bytes that a worker may hold beyond what its first chunk left before it gives back what it does not use.

To give memory back after each chunk, and to get it again, takes time that the next networks do not need to wait for.
"""

GROWTH = 200_000_000
"""Bytes that a worker may still hold beyond that when it has given back; then another takes its place."""

IDLE = 60.0
"""Seconds without work after which a worker ends by itself, because whoever started it may have been killed."""

KEPT = 2**30
"""Bytes that the allocator of glibc keeps for the next arrays, instead of asking the system for them again."""

ENVIRONMENT = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    **{name: str(KEPT) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")},
}
"""Of the process of a worker."""


class LocalEngine:
    """Runs chunks in processes of this machine, or in this process if there is to be one only.

    Args:
        workers: how many processes, each with one thread.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Callable[[Chunk], R], chunks: Iterator[Chunk]) -> Generator[tuple[Chunk, R | Lost], None, None]:
        """Give each chunk with its result; see `Engine`."""
        if self.workers == 1:
            while (chunk := next(chunks, None)) is not None:
                yield chunk, work(chunk)
            return
        workers = [_Worker(work) for _ in range(self.workers)]
        idle, busy = list(workers), dict[Future[Any], tuple[_Worker, Chunk]]()
        # Side by side: who gives a process its first chunk waits until it has started, who ends it until it has ended.
        with ThreadPoolExecutor(self.workers) as threads:
            try:
                while True:
                    given = [(idle.pop(), chunk) for chunk in islice(chunks, len(idle))]
                    busy |= zip(threads.map(lambda pair: pair[0].submit(pair[1]), given), given, strict=True)
                    if not busy:
                        return
                    done, _ = wait(busy, return_when=FIRST_COMPLETED)
                    for future in done:
                        worker, chunk = busy.pop(future)
                        idle.append(worker)
                        yield chunk, worker.result(future)
            finally:
                list(threads.map(lambda worker: worker.stop(now=bool(busy)), workers))


class _Worker:
    """One process, replaced when it has died or grown; alone in its pool, so that a death is blamed on its chunk."""

    def __init__(self, work: Callable[[Chunk], Any]) -> None:
        self._work = work
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, chunk: Chunk) -> Future[Any]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, timeout=IDLE, initializer=_begin, initargs=(self._work,), env=ENVIRONMENT
            )
        future: Future[Any] = self._pool.submit(_call, chunk)
        return future

    def result(self, future: Future[Any]) -> Any:
        try:
            result, grown = future.result()
        except TerminatedWorkerError:
            self.stop(now=True)
            return Lost("the process that computed it was killed or crashed, perhaps for lack of memory")
        if grown:
            self.stop()
        return result

    def stop(self, now: bool = False) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=now)
            self._pool = None


_work: Callable[[Chunk], Any]
"""What the process of a worker does."""

_left: int | None = None
"""Bytes that this process, that of a worker, held after its first chunk, once it had given back what was not in use."""


def _begin(work: Callable[[Chunk], Any]) -> None:
    global _work
    _work = work
    if resident():
        # loky would stop a worker that keeps memory for its next chunk, and warn whoever looks; `_call` watches it.
        process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize


def _call(chunk: Chunk) -> tuple[Any, bool]:
    """Return what the work gives for a chunk, and whether this process has grown by more than `GROWTH`."""
    global _left
    result = _work(chunk)
    if _left is None:
        _left = resident_after_trim()
    return result, resident() - _left > ROOM and resident_after_trim() - _left > GROWTH


def resident() -> int:
    """Return how many bytes of memory this process holds; 0 where there is no `/proc` to read it from."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    return 0


def resident_after_trim() -> int:
    """Give memory that is not used back to the system, and return what this process still holds, in bytes.

    The allocator of glibc keeps what was freed between blocks that are in use; networks of all sizes leave many such
    holes.
    """
    gc.collect()
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).malloc_trim(0)
    return resident()
