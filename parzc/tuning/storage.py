"""Where a study is kept: a journal file, or a database that Optuna takes by its URL.

What Optuna (5.0) leaves to its callers, and is done here: a journal whose last line was cut off by a crash is mended
(Optuna would append the next record to that line), a damaged one is refused in one sentence, the lock of a dead process
can be found (see `_Lock`), and a study is resumed only by those whose trials depend on the same.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock

from parzc.errors import InputError
from parzc.files import BINARY, WINDOWS, lock

Location = str | Path | None
Direction = Literal["maximize", "minimize"]

GRACE_SECONDS = 30
"""How long Optuna's lock may be held before its holder is taken to be dead, where the system has no locks."""
HELD = b"1"
"""In the file of the system's lock while Optuna's lock is held, too."""


def open_storage(location: Location) -> BaseStorage:
    """Open, or create, the storage at a path (journal file) or URL (database); in memory if there is none.

    A last line without its end, which a crash in the middle of writing leaves, is cut from a journal.

    Raises:
        InputError: if the journal is damaged, or the database cannot be used.
    """
    if location is None:
        return InMemoryStorage()
    return _open_database(str(location)) if "://" in str(location) else _open_journal(Path(location))


def _open_journal(path: Path) -> BaseStorage:
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; create it, or keep the journal elsewhere")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file for the journal")
    absolute = str(path.resolve())
    guard = _Lock(absolute)
    if path.exists():
        # Whoever writes holds the lock, so that a line without its end is nobody's work in progress.
        guard.acquire()
        try:
            _check_journal(path)
        finally:
            guard.release()
    try:
        return JournalStorage(JournalFileBackend(absolute, lock_obj=guard))
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as reason:
        raise _damaged(path, f"{type(reason).__name__}: {reason}") from None


class _Lock(BaseJournalFileLock):
    """The lock of a journal: one of the system, and Optuna's.

    The system drops its lock when a process dies, so that nobody waits for a dead one. Programs that open the journal
    by Optuna alone know Optuna's lock only. That one is a link to the journal, which works on NFS, too: a relative one
    would lead nowhere, and Optuna would wait for ever for a dead owner. Windows allows links to administrators only;
    there the lock is a file.
    """

    def __init__(self, journal: str) -> None:
        self._path, self._stream = Path(journal).with_name(f".{Path(journal).name}.lock"), -1
        kind = JournalFileOpenLock if WINDOWS else JournalFileSymlinkLock
        self._optuna = kind(journal, grace_period=GRACE_SECONDS)

    def acquire(self) -> bool:
        """Wait until the lock is taken."""
        # Not the journal itself: on Windows nobody else could read it meanwhile.
        stream = os.open(self._path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
        if lock(stream) and os.read(stream, 1) == HELD:
            # Its last holder has died with Optuna's lock, too.
            os.ftruncate(stream, 0)
            with suppress(RuntimeError):
                self._optuna.release()
        try:
            taken = self._optuna.acquire()
        except BaseException:
            os.close(stream)
            raise
        os.lseek(stream, 0, os.SEEK_SET)
        os.write(stream, HELD)
        self._stream = stream
        return taken

    def release(self) -> None:
        """Give the lock to others."""
        os.ftruncate(self._stream, 0)
        self._optuna.release()
        os.close(self._stream)


def _check_journal(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    whole = sum(map(len, lines))
    if lines and not lines[-1].endswith(b"\n"):
        whole -= len(lines.pop())
        if not lines:
            raise _damaged(path, "it holds no whole line")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not {"op_code", "worker_id"} <= record.keys():
            raise _damaged(path, f"line {number} is no record")
    if whole < path.stat().st_size:
        with path.open("r+b") as stream:
            stream.truncate(whole)


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a journal of Optuna, or damaged ({why}); delete it, or name another")


def _open_database(url: str) -> BaseStorage:
    # Both come with optuna's import of a database only.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    name = url.split("://")[0] + "://…"
    try:
        name = make_url(url).render_as_string(hide_password=True)
        return optuna.storages.RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as reason:
        why = str(reason).splitlines()[0][:200].replace(url, name)
        raise InputError(f"the storage {name} cannot be used ({why}); give a journal file or a database URL") from None


def open_study(
    storage: BaseStorage,
    name: str,
    location: Location,
    identity: dict[str, Any],
    directions: Sequence[Direction] = ("maximize",),
) -> optuna.Study:
    """Create a study, or join one of the same identity.

    Args:
        storage: which keeps it.
        name: of the study.
        location: of the storage, for messages.
        identity: everything that trials depend on, as json values.
        directions: `maximize` or `minimize` for each objective.

    Raises:
        InputError: if there is a study of this name whose trials depend on something else.
    """
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
    try:
        study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
    except KeyError:
        study = _create(storage, name, pruner, directions)
    # A process that comes between the creation and this line writes the same, or is refused by `check_identity`.
    if "identity" not in study.user_attrs:
        study.set_user_attr("identity", identity)
    check_identity(study, location, identity)
    return study


def _create(
    storage: BaseStorage, name: str, pruner: optuna.pruners.BasePruner, directions: Sequence[Direction]
) -> optuna.Study:
    try:
        return optuna.create_study(storage=storage, study_name=name, directions=directions, pruner=pruner)
    except DuplicatedStudyError:
        # Another process was quicker.
        return optuna.load_study(storage=storage, study_name=name, pruner=pruner)


def check_identity(study: optuna.Study, location: Location, identity: dict[str, Any]) -> None:
    """Raise `InputError` that names the first difference if the trials of a study depend on something else."""
    there, here = _flat(study.user_attrs["identity"]), _flat(identity)
    for key in {**here, **there}:
        if there.get(key) != here.get(key):
            was, now = (str(values.get(key, "absent")) for values in (there, here))
            raise InputError(
                f"{_shown(location)} holds a study '{study.study_name}' of other trials: {key} is {was} there and "
                f"{now} here; repeat what it was made with, or name another study or storage"
            )


def _shown(location: Location) -> str:
    if location is None or "://" not in str(location):
        return str(location)
    from sqlalchemy.engine import make_url

    return make_url(str(location)).render_as_string(hide_password=True)


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def load_study(location: str | Path, name: str) -> optuna.Study:
    """Return a study of a storage, to look at.

    Raises:
        InputError: if there is no such study, or the storage is damaged.
    """
    if "://" not in str(location) and not Path(location).is_file():
        raise InputError(f"there is no journal {location}; correct the path")
    storage = open_storage(location)
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        names = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise InputError(f"{_shown(location)} holds no study '{name}'; it holds: {names}") from None
