"""Engines: the same results whatever runs them; deaths of workers are survived and blamed on what caused them."""

import os
import platform
import resource
import signal
import time
from concurrent.futures import wait
from typing import ClassVar

import numpy as np
import pytest
import torch
from tables import same

from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import ExtractionConfig, build_store
from parzc.features.extraction.chunks import LAST, Chunks, Extraction
from parzc.features.extraction.engines import LocalEngine, Lost, RayEngine, get_engine, local
from parzc.features.extraction.engines.local import _Worker
from parzc.features.store import FeatureStore

SPACE = get_space("nb201")
CONFIG = ExtractionConfig("nb201", batch=2, proxies=("params", "l2_norm"))
CHEAP = [arch for arch in SPACE.archs() if "conv" not in arch]
ARCHS = sorted({SPACE.canonical(arch) for arch in CHEAP})[:24]
"""Without convolutions in the cells, so that each takes a few hundredths of a second."""


class Stack:
    """Chunks that may be put back after the last was taken."""

    def __init__(self, chunks):
        self.left, self.taken = list(chunks), 0

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.taken += 1
        return self.left.pop()


class Upper:
    """Work for tests: letters in upper case; some letters mean harm."""

    def __call__(self, chunk):
        if "raise" in chunk:
            raise ValueError("no such letter")
        if "die" in chunk:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return [letter.upper() for letter in chunk], os.getpid()


class Faults:
    """Work for tests: threads that torch takes, and pages that the system gives for arrays of 64 MB in turn."""

    def __call__(self, chunk):
        del chunk
        faults = []
        for _ in range(6):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        return torch.get_num_threads(), faults


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than that of glibc")
def test_a_worker_has_one_thread_and_keeps_memory_for_the_next_arrays():
    worker = _Worker(Faults())
    try:
        (threads, first), _, (_, third) = (worker.result(worker.submit(["a"])) for _ in range(3))
    finally:
        worker.stop()
    assert threads == 1 and first[0] > 500 and max(first[-3:]) < 50
    # What the first chunk left is looked at once; from then on memory is kept between chunks, too.
    assert max(third) < 50


class Holds:
    """Work for tests: fills `chunk[0]` MB of memory for the time being and `chunk[1]` MB for good, in over a second.

    loky looks at the memory of a worker once a second, and would stop one that keeps so much.
    """

    held: ClassVar[list[torch.Tensor]] = []

    def __call__(self, chunk):
        passing, lasting = (torch.ones(megabytes * 2**18) for megabytes in chunk)
        self.held.append(lasting)
        del passing
        time.sleep(1.1)
        return os.getpid()


@pytest.mark.slow("loky looks at the memory of a worker once a second")
def test_a_worker_that_grows_is_replaced_and_one_that_had_much_to_do_is_not():
    def pid(passing, lasting):
        future = worker.submit([passing, lasting])
        # Where loky stops the worker, its warning is an error here, and nothing ever comes.
        assert wait([future], 60).done
        return worker.result(future)

    worker = _Worker(Holds())
    try:
        busy = {pid(passing, 1) for passing in (1, 500, 900, 900)}
        growing = [pid(1, 150) for _ in range(6)]
    finally:
        worker.stop(now=True)
    assert len(busy) == 1 and busy == set(growing[:4]) and len({*growing, *busy}) == 2


@pytest.mark.slow("worker processes start, end and start again")
def test_a_worker_that_ended_for_want_of_work_begins_anew(monkeypatch):
    monkeypatch.setattr(local, "IDLE", 0.5)
    worker = _Worker(Upper())
    try:
        (first, before), (second, after) = (worker.result(worker.submit(["a"])) for _ in _slowly(2))
    finally:
        worker.stop()
    assert first == second == ["A"] and before != after


def _slowly(n):
    for i in range(n):
        time.sleep(2.0 * bool(i))
        yield i


def test_processes_start_side_by_side():
    """Also where the work is too much for the buffer of a pipe."""
    start = time.time()
    begun = [began for _, (_, began) in LocalEngine(2).run(Began(), Stack([["a"], ["b"]]))]
    # One after the other they would be as far apart as it takes one to start, however busy the machine is.
    assert abs(begun[0] - begun[1]) < 0.7 * (min(begun) - start)


class Began:
    """Work for tests: 4 MB, and who did it when."""

    def __init__(self):
        self.load = torch.zeros(2**20)

    def __call__(self, chunk):
        del chunk
        time.sleep(0.5)
        return os.getpid(), time.time()


def test_one_worker_is_this_process():
    chunks = [[f"a{i}", f"b{i}"] for i in range(3)]
    found = list(LocalEngine(1).run(Upper(), Stack(chunks)))
    assert [chunk for chunk, _ in found] == chunks[::-1]
    assert all(result == ([letter.upper() for letter in chunk], os.getpid()) for chunk, result in found)


def test_two_workers_share_the_chunks_and_one_that_dies_is_replaced():
    """A worker gets a chunk only when the last result was kept."""
    chunks = Stack([["a", "die"], *([str(i)] for i in range(8))])
    found, kept = {}, 0
    for chunk, result in LocalEngine(2).run(Upper(), chunks):
        found[tuple(chunk)] = result
        if isinstance(result, Lost):
            chunks.left.append(["a"])
        assert chunks.taken <= kept + 2
        time.sleep(0.05)
        kept += 1
    assert found.pop(("a", "die")).reason.startswith("the process that computed it was killed or crashed")
    assert {key: value[0] for key, value in found.items()} == {(x,): [x.upper()] for x in "01234567a"}
    pids = {pid for _, pid in found.values()}
    assert len(pids) in (2, 3) and os.getpid() not in pids


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="no such letter"):
        list(LocalEngine(2).run(Upper(), Stack([["raise"]])))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("slurm",), "there is no engine 'slurm'; choose one of local, ray"),
        (("local", 0), "0 workers do nothing; give at least 1"),
        (("local", 1, "there:1"), "the engine 'local' has no address; leave --address out, or take --engine ray"),
    ],
)
def test_an_engine_that_makes_no_sense_is_refused(tmp_path, arguments, sentence):
    with pytest.raises(InputError, match=f"^{sentence}$"):
        get_engine(*arguments)
    engine, workers, address = (*arguments, None, "")[:3] if len(arguments) < 3 else arguments
    with pytest.raises(InputError, match=f"^{sentence}$"):
        build_store(tmp_path / "store", CONFIG, ARCHS, workers, engine=engine, address=address or "")
    assert not (tmp_path / "store").exists()


def test_engines_by_name():
    assert isinstance(get_engine(), LocalEngine) and get_engine().workers == os.cpu_count()
    assert get_engine("local", 3).workers == 3
    ray = get_engine("ray", 3, "here:1")
    assert isinstance(ray, RayEngine) and (ray.workers, ray.address) == (3, "here:1")


EXTRACT = Extraction._extract


def test_an_arch_that_fails_is_recorded_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    bad = {ARCHS[3]: "one", ARCHS[20]: "two"}

    def extract(self, space, arch):
        if arch in bad:
            raise RuntimeError(f"fault\nnumber {bad[arch]}")
        return EXTRACT(self, space, arch)

    monkeypatch.setattr(Extraction, "_extract", extract)
    store = build_store(tmp_path, CONFIG, ARCHS, workers=1, progress=True)
    reasons = {arch: f"RuntimeError: fault number {number}" for arch, number in bad.items()}
    assert store.failed == FeatureStore.open(tmp_path).manifest["failed"] == reasons
    assert set(store.archs) == set(ARCHS) - set(bad)
    assert "24 of 24 archs" in (error := capsys.readouterr().err) and ", 2 failed" in error
    # The next call tries them again.
    del bad[ARCHS[3]]
    assert set(build_store(tmp_path, CONFIG, ARCHS, workers=1).failed) == {ARCHS[20]}
    del bad[ARCHS[20]]
    store = build_store(tmp_path, CONFIG, ARCHS, workers=1)
    assert store.failed == store.manifest["failed"] == {} and len(store) == 24


class Fragile:
    """An engine whose workers die over one architecture."""

    def __init__(self, arch):
        self.arch, self.deaths = arch, []

    def run(self, work, chunks):
        while (chunk := next(chunks, None)) is not None:
            if self.arch in chunk:
                self.deaths.append(len(chunk))
            yield chunk, Lost("out of memory") if self.arch in chunk else work(chunk)


def test_an_arch_that_kills_its_worker_is_recorded_and_its_chunk_is_not_lost(tmp_path, monkeypatch):
    engine = Fragile(ARCHS[5])
    monkeypatch.setattr("parzc.features.extraction.many_archs.get_engine", lambda *_: engine)
    store = build_store(tmp_path, CONFIG, ARCHS)
    assert store.failed == {ARCHS[5]: "out of memory"}
    assert set(store.archs) == set(ARCHS) - {ARCHS[5]}
    assert engine.deaths == [4, 1, 1]


class Dying:
    """An engine all of whose workers die."""

    def __init__(self):
        self.deaths = 0

    def run(self, _work, chunks):
        for chunk in chunks:
            self.deaths += 1
            yield chunk, Lost("no memory at all")


def test_workers_that_die_whatever_they_get_end_the_run(tmp_path, monkeypatch):
    engine = Dying()
    monkeypatch.setattr("parzc.features.extraction.many_archs.get_engine", lambda *_: engine)
    with pytest.raises(InputError, match=r"^every worker dies: no memory at all; take fewer --workers, or a smaller"):
        build_store(tmp_path, CONFIG, ARCHS)
    assert engine.deaths == 9
    assert len(FeatureStore.open(tmp_path)) == 0


def test_a_full_disk_ends_with_one_sentence_and_the_run_goes_on_later(tmp_path, monkeypatch):
    from parzc import files

    replaced = 0

    def fsync(stream):
        nonlocal replaced
        replaced += 1
        if replaced > 6:
            raise OSError(28, "No space left on device")
        return original_fsync(stream)

    original_fsync = os.fsync
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", fsync)
        with pytest.raises(InputError, match=r"^cannot write to .* \(No space left on device\); nothing"):
            build_store(tmp_path, CONFIG, ARCHS, workers=1)
    assert not list(tmp_path.glob(".*.partial"))
    reference = build_store(tmp_path / "reference", CONFIG, ARCHS, workers=1)
    assert same(build_store(tmp_path, CONFIG, ARCHS, workers=1).read(), reference.read())


def test_chunks_come_once_each_and_again_when_put_back(tmp_path):
    store = FeatureStore.create(tmp_path, {}, {})
    archs = [f"{i:02d}" for i in range(42)]
    chunks = Chunks(archs, 4, store)
    whole = 11 - LAST
    assert len(chunks) >= whole + LAST
    found = list(chunks)
    assert sorted(arch for chunk in found for arch in chunk) == archs
    assert [len(chunk) for chunk in found[whole:]] == [1] * (len(archs) - sum(map(len, found[:whole])))
    assert all(archs.index(chunk[0]) % 4 == 0 and len(chunk) in (2, 4) for chunk in found[:whole])
    assert next(chunks, None) is None
    chunks.put_back(["03", "04"])
    assert list(chunks) == [["03"], ["04"]]


def test_what_others_add_meanwhile_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("parzc.features.extraction.chunks.LOOK", 0.0)
    reference = build_store(tmp_path / "reference", CONFIG, ARCHS[:4], workers=1)
    store = FeatureStore.create(tmp_path / "store", reference.manifest["config"], reference.definitions)
    chunks = Chunks(ARCHS[:6], 3, store)
    store.append(reference.read(ARCHS[1:4]))
    assert sorted(arch for chunk in chunks for arch in chunk) == sorted([ARCHS[0], *ARCHS[4:6]])
    assert chunks.others == 3


def test_all_shards_have_the_same_block_columns(tmp_path):
    """The first network has no blocks whose values exist; read alone it has the columns of the others all the same."""
    dead = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    config = ExtractionConfig("nb201", batch=2, proxies=("expressivity", "trainability"))
    table = build_store(tmp_path, config, [dead], workers=1).read()
    assert {name: values.tolist() for name, values in table.block_statistics.items()} == {
        "expressivity": [], "trainability": [],
    }  # fmt: skip
    assert np.isnan(table.scores["expressivity"][0])
