"""Where extraction runs: processes of this machine, or a Ray cluster."""

import os

from parzc.errors import InputError
from parzc.features.extraction.engines._base import Chunk, Engine, Lost
from parzc.features.extraction.engines.local import LocalEngine
from parzc.features.extraction.engines.ray import RayEngine

__all__ = ["ENGINES", "Chunk", "Engine", "LocalEngine", "Lost", "RayEngine", "get_engine"]

ENGINES = ("local", "ray")


def get_engine(name: str = "local", workers: int | None = None, address: str = "") -> Engine:
    """Return an engine by its name.

    Args:
        name: `local` or `ray`.
        workers: processes, each with one thread; if not given, all cores of the machine or the cluster.
        address: of a Ray cluster that runs; one is started on this machine if empty.

    Raises:
        InputError: for another name, fewer than one worker, an address without a cluster, or if Ray is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"there is no engine '{name}'; choose one of {', '.join(ENGINES)}")
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers do nothing; give at least 1")
    if address and name != "ray":
        raise InputError(f"the engine '{name}' has no address; leave --address out, or take --engine ray")
    return RayEngine(workers, address) if name == "ray" else LocalEngine(workers or os.cpu_count() or 1)
