"""Who works on a trial, and whether they still live: for processes, on one machine or several, that share a study.

The process of a running trial writes its number and machine into it, and then a beat every few seconds. A process of
this machine that is gone is noticed at once, any other when its beat has stood still for too long.
"""

import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

BEAT_SECONDS = 10.0
"""Between two beats of a running trial."""
DEAD_SECONDS = 120.0
"""A trial whose beat nobody has seen to change for so long is given up."""


def machine() -> str:
    """Return a name of this machine, or container, which numbers its processes by itself."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def runs(process: int) -> bool:
    """Return whether a process of this machine runs, as far as the system says.

    One that has ended does not, even if nobody has asked for its exit status: containers often have no process that
    does so for orphans.
    """
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    # The state stands behind the name of the program, which is in brackets and may hold any character.
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def owner_of_process() -> dict[str, Any]:
    """Return what a process writes into its trials."""
    return {"machine": machine(), "process": os.getpid()}


def end(storage: BaseStorage, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
    """End a trial and return whether it was still running."""
    try:
        storage.set_trial_state_values(trial_id, state, values)
        return True
    except UpdateFinishedTrialError:
        return False


class Watch:
    """Notices trials whose workers are gone; it has to be asked now and then, and remembers the beats that it saw."""

    def __init__(self) -> None:
        self._beats: dict[int, tuple[object, float]] = {}

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Return whether nobody works on a running trial any more."""
        owner = trial.user_attrs.get("owner", {})
        if owner.get("machine") == machine() and not _is_there(owner):
            return True
        # The clocks of two machines may differ: what counts is how long this process has seen no change.
        beat, now = trial.user_attrs.get("beat"), time.monotonic()
        before, since = self._beats.get(trial.number, (beat, now))
        self._beats[trial.number] = (beat, since if before == beat else now)
        return bool(before == beat) and now - since > DEAD_SECONDS


def _is_there(owner: dict[str, Any]) -> bool:
    if owner["process"] == os.getpid() and "token" in owner:
        return any(beats.token == owner["token"] for beats in _ALL)
    return runs(owner["process"])


class Beats:
    """Shows that the trials of this process are being worked on, from a thread that ends with the last of them.

    Args:
        storage: of their study.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self.token = secrets.token_hex(4)
        self._storage, self._count = storage, 0
        self._trials: set[int] = set()
        self._process = os.getpid()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        _ALL.add(self)

    @property
    def owner(self) -> dict[str, Any]:
        """What is written into a trial of this object, so that others can see whether it is still there."""
        return {**owner_of_process(), "token": self.token}

    def add(self, trial_id: int) -> None:
        """Begin to show that a trial is being worked on."""
        with self._lock:
            if self._process != os.getpid():  # a fork: the trials so far are those of the other process
                self._process, self._thread, self._trials = os.getpid(), None, set()
            self._trials.add(trial_id)
            if self._thread is None or not self._thread.is_alive():
                self._stop = threading.Event()
                self._thread = threading.Thread(target=_beat, args=(weakref.ref(self), self._stop), daemon=True)
                self._thread.start()

    def remove(self, trial_id: int) -> None:
        """Show it no longer; returns when nothing is written for the trial any more, if it was the last one."""
        with self._lock:
            self._trials.discard(trial_id)
            ended = None if self._trials else self._thread
            if ended is not None:
                self._stop.set()
                self._thread = None
        if ended is not None:
            ended.join()

    def write(self) -> None:
        """Write a beat into each trial."""
        self._count += 1
        for trial_id in list(self._trials):
            try:
                self._storage.set_trial_user_attr(trial_id, "beat", self._count)
            except UpdateFinishedTrialError:
                self._trials.discard(trial_id)
            except Exception:
                # A storage that is away for a moment costs a beat; if it stays away, the next report fails.
                continue


def _beat(beats: "weakref.ref[Beats]", stop: threading.Event) -> None:
    """Beat until the trials have ended, or nobody holds the object any more."""
    while not stop.wait(BEAT_SECONDS):
        living = beats()
        if living is None:
            return
        living.write()
        if not living._trials:
            return
        del living


_ALL: "weakref.WeakSet[Beats]" = weakref.WeakSet()


@contextmanager
def beating(storage: BaseStorage, trial_id: int) -> Iterator[None]:
    """Show that a trial of this process is being worked on while the block runs."""
    beats = Beats(storage)
    beats.add(trial_id)
    try:
        yield
    finally:
        beats.remove(trial_id)
