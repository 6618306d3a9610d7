"""Files of killed writers are removed, those of living writers are not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import parzc
from parzc.files import locked, remove_stale, write_atomically

WRITER = """
import os, sys, time
from pathlib import Path
from parzc.files import write_atomically

def stay(*_):
    print("writing", flush=True)
    time.sleep(600)

os.fsync = stay
write_atomically(Path(sys.argv[1]), b"half")
"""


@pytest.fixture
def environment():
    return os.environ | {"PYTHONPATH": str(Path(parzc.__file__).parents[1])}


def test_a_living_writer_keeps_its_file_and_a_killed_one_does_not(tmp_path, environment):
    path = tmp_path / "file"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert process.stdout.readline() == "writing\n"
        (partial,) = tmp_path.iterdir()
        assert partial.name.startswith(".file.") and partial.name.endswith(".partial")
        assert remove_stale(tmp_path) == 0
        assert list(tmp_path.iterdir()) == [partial]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(tmp_path.iterdir()) == [partial]
    assert remove_stale(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_half_written_stay(tmp_path):
    for name in ("partial", ".hidden", "shard.partial", ".shard"):
        (tmp_path / name).write_text("mine")
    assert remove_stale(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_name_that_was_taken_for_a_dead_writers_is_chosen_anew(tmp_path, monkeypatch):
    """Somebody removes the file between its creation and its lock."""
    from parzc import files

    claimed = []
    original = files.lock

    def lock(stream, blocking=True):
        if not claimed:
            claimed.extend(tmp_path.glob(".*.partial"))
            claimed[0].unlink()
        return original(stream, blocking)

    monkeypatch.setattr(files, "lock", lock)
    write_atomically(tmp_path / "file", b"content")
    assert len(claimed) == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"content")]


FULL = """
import resource, signal, sys
from pathlib import Path
from parzc.files import write_atomically

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), bytes(2000))
except OSError as error:
    print(error.filename)
"""


def test_a_file_that_does_not_fit_leaves_nothing(tmp_path, environment):
    """The kernel stops the write in the middle, as on a full disk."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, env=environment, text=True, check=True
    )
    assert done.stdout == f"{path}\n"
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


LOCKED = """
import sys
from pathlib import Path
from parzc.files import locked

print("asks", flush=True)
with locked(Path(sys.argv[1])):
    print("inside", flush=True)
"""


def test_a_locked_folder_makes_others_wait(tmp_path, environment):
    command = [sys.executable, "-c", LOCKED, str(tmp_path)]
    with locked(tmp_path):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert process.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    assert process.communicate(timeout=60)[0] == "inside\n"
    assert list(tmp_path.iterdir()) == []
