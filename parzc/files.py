"""Files that are either absent or complete, whatever happens to the process that writes them.

Locks are those of the system on an open file, as `filelock` takes them: `flock` on Linux and macOS, `LockFileEx` on
Windows. The system drops the lock of a process that ends, in whatever way. Where a file system has no locks (some
network file systems), nobody waits, and half-written files are left where they are.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

WINDOWS = os.name == "nt"
"""Windows opens no folders, and neither renames nor removes a file that is open."""

CLOSED = 60.0
"""Seconds without a change after which, on Windows, an unlocked half-written file is taken for a dead writer's.

A writer has to close its file there, and so to give up its lock, a moment before it renames it.
"""

BINARY: int = getattr(os, "O_BINARY", 0)
"""Without this flag Windows would write each line end as two characters."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either absent (or as it was) or complete, also after a crash or loss of power.

    Raises:
        OSError: if it cannot be written, for example on a full disk; nothing is left behind then, and `filename` is
            the path of the file.
    """
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which appears under its name when the block has ended well; see `write_atomically`."""
    partial, stream = _claim(path)
    try:
        with open(stream, "wb") as file:
            yield file
            file.flush()
            os.fsync(stream)
            if not WINDOWS:
                # Within the block, because closing the file gives up the lock that shows that its writer is alive.
                partial.replace(path)
        if WINDOWS:
            partial.replace(path)
        _sync(path.parent)
    except OSError as reason:
        if reason.errno and not reason.filename:
            reason.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _claim(path: Path) -> tuple[Path, int]:
    """Return a new file in the folder of `path`, locked for as long as it is open, and its descriptor."""
    while True:
        partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
        stream = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        lock(stream)
        # Between these two steps another process may have removed the file as one that a dead writer left.
        if partial.exists():
            return partial, stream
        os.close(stream)


def _sync(folder: Path) -> None:
    """Write the names in a folder to disk, where the system can: Windows keeps them by itself."""
    if WINDOWS:
        return
    stream = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(stream)
    finally:
        os.close(stream)


def names(folder: Path, start: str) -> list[str]:
    """Return the names in a folder that begin so, in no order; much faster than `glob` where there are many."""
    return [name for name in os.listdir(folder) if name.startswith(start)]


def discard(path: Path) -> None:
    """Remove a file that is not needed any more, if it is there; Windows keeps it while a process reads it."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if not WINDOWS:
            raise


def remove_stale(folder: Path) -> int:
    """Remove the half-written files of writers that are dead, not those of living writers; return how many."""
    partials = [folder / name for name in names(folder, ".") if name.endswith(".partial")]
    return sum(_remove_if_stale(partial) for partial in partials)


def _remove_if_stale(partial: Path) -> bool:
    try:
        if WINDOWS and time.time() - partial.stat().st_mtime < CLOSED:
            return False
        stream = os.open(partial, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        if not lock(stream, blocking=False):
            return False
        if not WINDOWS:
            partial.unlink(missing_ok=True)
    finally:
        os.close(stream)
    if WINDOWS:
        discard(partial)
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder waiting while the block runs."""
    # What is locked is the folder itself; on Windows, which opens none, a file in it that stays there.
    stream = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT) if WINDOWS else os.open(folder, os.O_RDONLY)
    try:
        lock(stream)
        yield
    finally:
        os.close(stream)


def lock(stream: int, blocking: bool = True) -> bool:
    """Return whether an open file could be locked, by this process alone; the lock ends when the file is closed."""
    try:
        return lock_descriptor(stream, blocking=blocking)
    except OSError:  # a file system without locks
        return False
