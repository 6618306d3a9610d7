"""Files that are either absent or complete, whatever happens to the process that writes them."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either absent (or as it was) or complete, also after a crash or loss of power.

    Raises:
        OSError: if it cannot be written, for example on a full disk; nothing is left behind then, and `filename` says
            which file it was.
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
            # Within the block, because closing the file gives up the lock that says its writer is alive.
            partial.replace(path)
        _sync(path.parent)
    except OSError as reason:
        if reason.errno and not reason.filename:
            reason.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _claim(path: Path) -> tuple[Path, int]:
    """Return a new file beside `path`, locked for as long as it is open, and its descriptor."""
    while True:
        partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
        stream = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        _lock(stream, fcntl.LOCK_SH)
        # Between these two steps somebody may have taken the file for one that a dead writer left.
        if partial.exists():
            return partial, stream
        os.close(stream)


def _sync(folder: Path) -> None:
    stream = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(stream)
    finally:
        os.close(stream)


def names(folder: Path, start: str) -> list[str]:
    """Return the names in a folder that begin so, in no order; much faster than `glob` where there are many."""
    return [name for name in os.listdir(folder) if name.startswith(start)]


def remove_stale(folder: Path) -> int:
    """Remove what writers that were killed left half written, not what others are writing; return how many."""
    removed = 0
    for partial in [folder / name for name in names(folder, ".") if name.endswith(".partial")]:
        try:
            stream = os.open(partial, os.O_WRONLY)
        except FileNotFoundError:
            continue
        try:
            # The kernel drops the lock of a process that ends, in whatever way.
            if _lock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB):
                partial.unlink(missing_ok=True)
                removed += 1
        finally:
            os.close(stream)
    return removed


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder waiting while the block runs."""
    stream = os.open(folder, os.O_RDONLY)
    try:
        _lock(stream, fcntl.LOCK_EX)
        yield
    finally:
        os.close(stream)


def _lock(stream: int, kind: int) -> bool:
    """Return whether a file could be locked; some network file systems have no locks."""
    try:
        fcntl.flock(stream, kind)
    except OSError:
        return False
    return True
