"""What every engine does: give chunks of work to workers, and results back in whatever order they come."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

R = TypeVar("R")
Chunk = list[str]


@dataclass(frozen=True)
class Lost:
    """In the place of a result: the worker died over the chunk."""

    reason: str


class Engine(Protocol):
    """Runs work on chunks of architectures, in several processes or on several machines."""

    def run(self, work: Callable[[Chunk], R], chunks: Iterator[Chunk]) -> Generator[tuple[Chunk, R | Lost], None, None]:
        """Give each chunk with its result, as soon as there is one.

        A worker gets its next chunk only when the caller has come back for more. So a crash loses at most one chunk for
        each worker of what the caller has not kept yet. `chunks` is asked again after it has ended, because the caller
        may have put chunks back that were lost.

        Closing the generator stops what runs.

        Args:
            work: a function that can be pickled; it is sent to each worker once. What it raises is raised here.
            chunks: the work; empty chunks are not allowed.
        """
        ...
