"""A Ray cluster: one that runs, or one that is started on this machine."""

import logging
import socket
from collections.abc import Callable, Generator, Iterator
from typing import Any

from parzc.errors import InputError
from parzc.features.extraction.engines._base import Chunk, Lost, R
from parzc.features.extraction.engines.local import resident_after_trim

STORE = 100_000_000
"""Bytes of the object store of a Ray that is started here; chunks are far smaller."""

CALLS = 100
"""Chunks after which a worker process is replaced, so that its memory does not grow without bound."""

RETRIES = 3
"""How often Ray itself runs a chunk again whose machine or process died."""


class RayEngine:
    """Runs chunks as tasks of a Ray cluster, one on each CPU; machines may come and go.

    The other machines need this package, but no shared folder: results come back here.

    Args:
        workers: chunks at a time; as many as the cluster has CPUs at the moment if not given.
        address: of a cluster that runs; one is started on this machine, and stopped, if empty.
    """

    def __init__(self, workers: int | None = None, address: str = "") -> None:
        self.workers, self.address = workers, address

    def run(self, work: Callable[[Chunk], R], chunks: Iterator[Chunk]) -> Generator[tuple[Chunk, R | Lost], None, None]:
        """Give each chunk with its result; see `Engine`."""
        ray = _ray()
        connected = self._connect(ray)
        busy: dict[Any, Chunk] = {}
        try:
            task = ray.remote(num_cpus=1, max_retries=RETRIES, max_calls=CALLS)(_call)
            shared = ray.put(work)
            while True:
                while len(busy) < self._places(ray) and (chunk := next(chunks, None)) is not None:
                    busy[task.remote(shared, chunk)] = chunk
                if not busy:
                    return
                # Not for ever: machines that join meanwhile are given work.
                done, _ = ray.wait(list(busy), num_returns=1, timeout=10)
                for reference in done:
                    yield busy.pop(reference), _result(ray, reference)
        finally:
            for reference in busy:
                ray.cancel(reference, force=True)
            if connected:
                ray.shutdown()

    def _connect(self, ray: Any) -> bool:
        """Connect to the cluster, or start one; return whether it was not connected before."""
        if ray.is_initialized():
            return False
        _check(self.address)
        local = {} if self.address else {"num_cpus": self.workers, "object_store_memory": STORE}
        try:
            ray.init(
                address=self.address or "local",
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **local,
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as reason:
            raise _no_cluster(self.address, reason) from None
        return True

    def _places(self, ray: Any) -> int:
        return self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError(
            "Ray is not installed; install it with pip install 'parzc[ray]', or take --engine local"
        ) from None
    return ray


def _check(address: str) -> None:
    """Raise `InputError` if nothing listens at `host:port`; Ray itself would try for minutes, and end the process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as reason:
            raise _no_cluster(address, reason) from None


def _no_cluster(address: str, reason: Exception) -> InputError:
    where = f"there is no Ray cluster at {address}" if address else "Ray cannot be started"
    return InputError(f"{where} ({' '.join(str(reason).split())[:200]}); correct --address, or leave it out")


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(getattr(error, "cause", None), Exception) else error from None
    except ray.exceptions.RayError as error:
        return Lost(f"the process that computed it was lost {RETRIES + 1} times ({type(error).__name__})")


def _call(work: Callable[[Chunk], R], chunk: Chunk) -> R:
    result = work(chunk)
    resident_after_trim()
    return result
