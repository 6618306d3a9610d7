"""Twenty `kill -9` at random moments of one extraction, each time resumed: nothing is lost, little is done twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from tables import same

import parzc
from parzc.datasets import get_space
from parzc.features import ExtractionConfig, FeatureStore, build_store

SPACE = get_space("nb201")
CONFIG = ExtractionConfig("nb201", batch=2, proxies=("params",))
CHEAP = [arch for arch in SPACE.archs() if "nor_conv_3x3" not in arch and arch.count("conv") <= 1]
ARCHS = sorted({SPACE.canonical(arch) for arch in CHEAP})[:120]
WORKERS, CHUNK, KILLS = 2, 4, 20


@pytest.fixture
def extraction(tmp_path):
    """Starts and ends extractions into `tmp_path / "store"`: `start()` gives the process, `end()` its exit status."""
    (tmp_path / "archs.json").write_text(json.dumps(ARCHS))
    script = Path(__file__).resolve().parents[2] / "support" / "killed_extraction.py"
    arguments = [str(tmp_path / name) for name in ("store", "notes", "archs.json")]
    environment = os.environ | {"PYTHONPATH": str(Path(parzc.__file__).parents[1])}
    server = subprocess.Popen(
        [sys.executable, str(script), *arguments, str(CHUNK)], stdin=PIPE, stdout=PIPE, env=environment, text=True
    )

    class Extraction:
        @staticmethod
        def start():
            server.stdin.write("\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        @staticmethod
        def end():
            return int(server.stdout.readline())

    yield Extraction
    server.stdin.close()
    server.stdout.close()
    assert server.wait(timeout=60) == 0


def begun(path):
    """Return the chunks that were begun so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow("twenty extractions have to start and be killed")
def test_twenty_kills_lose_nothing_and_little_is_done_twice(extraction, tmp_path):
    moments = random.Random(0)
    twice = 0
    for kill in range(KILLS):
        before = len(begun(tmp_path / "notes"))
        group = extraction.start()
        deadline = time.monotonic() + 60
        while kill % 2 and len(begun(tmp_path / "notes")) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        os.killpg(group, signal.SIGKILL)
        assert extraction.end() == signal.SIGKILL, "the extraction ended before it was killed"
        if not (tmp_path / "store" / "manifest.json").exists():
            continue
        stored = set(FeatureStore.open(tmp_path / "store").archs)
        chunks = begun(tmp_path / "notes")[before:]
        lost = [chunk for chunk in chunks if not stored.issuperset(chunk)]
        assert not any(stored.intersection(chunk) for chunk in lost), "chunks are stored whole"
        assert len(lost) <= WORKERS
        twice += sum(len(chunk) for chunk in lost)
    extraction.start()
    assert extraction.end() == 0
    chunks = begun(tmp_path / "notes")
    assert max(len(chunk) for chunk in chunks) == CHUNK
    assert sum(len(chunk) for chunk in chunks) == len(ARCHS) + twice and twice > 0
    store = FeatureStore.open(tmp_path / "store")
    assert len(store) == len(store.index.keys) == len(ARCHS), "no architecture is there twice"
    assert not list(store.path.glob(".*")) and not list(store.path.glob("damaged-*"))
    assert same(store.read(), build_store(tmp_path / "reference", CONFIG, ARCHS, workers=1).read())
