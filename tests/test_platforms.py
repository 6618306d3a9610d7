"""What other systems lack is needed nowhere: modules of one system only, folders to open, open files to move."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import same

import parzc
from parzc import files
from parzc.datasets import get_space
from parzc.features import ExtractionConfig, FeatureStore, build_store
from parzc.files import discard, locked, remove_stale, write_atomically

CONFIG = ExtractionConfig("nb201", batch=2, proxies=("params", "l2_norm"))
SPACE = get_space("nb201")
ARCHS = sorted({SPACE.canonical(arch) for arch in SPACE.archs() if "conv" not in arch})[:4]

HIDDEN = """
import os, sys

import psutil  # has a file of its own for each system; the one for this system may need them

class Hide:
    '''Finds no module of one system only; parzc may not import any of them, other packages may try.'''

    names = {"fcntl", "resource", "grp", "pwd", "termios", "readline", "syslog"}

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ImportError(f"{name} is not there")

for name in Hide.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hide())
for name in ("fork", "forkpty", "getuid", "geteuid", "sysconf", "mkfifo", "setsid", "killpg"):
    delattr(os, name)

import importlib, pkgutil
import parzc

for module in pkgutil.walk_packages(parzc.__path__, "parzc."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert not Hide.names & set(sys.modules), Hide.names & set(sys.modules)

from parzc.features import ExtractionConfig, FeatureStore, build_store
from parzc.tuning.owners import machine

assert machine()
store = build_store(sys.argv[1], ExtractionConfig("nb201", batch=2, proxies=("params", "l2_norm")), sys.argv[2:], 1)
assert not hasattr(sys.modules["filelock"], "fcntl") and not sys.modules["filelock"].has_fcntl
print(len(FeatureStore.open(sys.argv[1]).read()), len([n for n in sys.modules if n.startswith("parzc.")]))
"""


def test_all_of_parzc_is_imported_and_a_store_is_written_without_modules_of_one_system(tmp_path):
    # Windows names the user there, other systems in the module `pwd`.
    environment = os.environ | {"USERNAME": "me", "PYTHONWARNINGS": "ignore"}
    environment |= {"PYTHONPATH": str(Path(parzc.__file__).parents[1])}
    command = [sys.executable, "-c", HIDDEN, str(tmp_path / "store"), *ARCHS]
    done = subprocess.run(command, capture_output=True, env=environment, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows, modules = map(int, done.stdout.split())
    assert rows == 4 and modules > 80
    assert same(FeatureStore.open(tmp_path / "store").read(), build_store(tmp_path / "here", CONFIG, ARCHS, 1).read())


def is_open(path):
    """Whether this process has a file open, or maps it."""
    path = os.path.abspath(path)
    streams = {os.path.realpath(stream) for stream in Path("/proc/self/fd").iterdir()}
    return path in streams or any(line.endswith(path) for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.fixture
def windows(monkeypatch):
    """The file system refuses what Windows refuses: to open a folder, to rename, replace or remove an open file."""
    calls = {name: getattr(os, name) for name in ("open", "replace", "rename", "unlink")}

    def open_file(path, *arguments, **keywords):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return calls["open"](path, *arguments, **keywords)

    def change(name):
        def call(*paths, **keywords):
            if any(map(is_open, paths)):
                raise PermissionError(32, "The process cannot access the file", str(paths[0]))
            return calls[name](*paths, **keywords)

        return call

    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc to know which files are open")
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(os, "open", open_file)
    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, change(name))


def test_windows_refuses_what_it_should(windows, tmp_path):
    del windows
    with open(tmp_path / "file", "wb") as file:
        file.write(b"content")
        for change in (Path.unlink, lambda path: path.rename(tmp_path / "other")):
            with pytest.raises(PermissionError):
                change(tmp_path / "file")
        with pytest.raises(PermissionError):
            os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "file").rename(tmp_path / "other")
    mapped = np.memmap(tmp_path / "other", mode="r")
    with pytest.raises(PermissionError):
        (tmp_path / "other").unlink()
    assert bytes(mapped) == b"content"


def test_files_are_written_and_half_written_ones_removed_on_windows(windows, tmp_path):
    del windows
    write_atomically(tmp_path / "file", b"old\n")
    write_atomically(tmp_path / "file", b"new\n")
    fresh, old, alive = (tmp_path / f".{name}.1.partial" for name in ("fresh", "old", "alive"))
    for path in (fresh, old, alive):
        path.write_bytes(b"half")
    for path in (old, alive):
        os.utime(path, (1, 1))
    with open(alive, "r+b") as stream:
        assert files.lock(stream.fileno(), blocking=False)
        assert remove_stale(tmp_path) == 1
        discard(alive)
    assert {path.name for path in tmp_path.iterdir()} == {"file", fresh.name, alive.name}
    assert (tmp_path / "file").read_bytes() == b"new\n"
    discard(alive)
    assert not alive.exists()


def test_a_locked_folder_is_locked_on_windows(windows, tmp_path):
    del windows
    with locked(tmp_path):
        other = os.open(tmp_path / ".lock", os.O_RDWR)
        assert not files.lock(other, blocking=False)
    assert files.lock(other, blocking=False)
    os.close(other)


def test_a_store_grows_and_is_read_on_windows(windows, tmp_path):
    del windows
    for count in (2, 4):
        store = build_store(tmp_path / "store", CONFIG, ARCHS[:count], workers=1)
        assert len(store.read()) == count
    names = {path.name.split("-")[0] for path in (tmp_path / "store").iterdir()}
    assert names == {"manifest.json", "shard", "seconds", "index", ".lock"}
