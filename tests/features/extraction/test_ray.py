"""A real Ray cluster: a node dies in the middle, and the store is the same as that of the local engine."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tables import same

import parzc
from parzc.datasets import get_space
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureStore, build_store
from parzc.features.extraction.chunks import LAST, PARTS
from parzc.features.extraction.engines import RayEngine

SPACE = get_space("nb201")
CONFIG = ExtractionConfig("nb201", batch=2, proxies=("params", "l2_norm"))
CHEAP = [arch for arch in SPACE.archs() if "nor_conv_3x3" not in arch and arch.count("conv") <= 1]
ARCHS = sorted({SPACE.canonical(arch) for arch in CHEAP})[:200]
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'parzc[ray]'")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(parzc.__file__).parents[1]), "PYTHONWARNINGS": "ignore",
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0",
    "RAY_raylet_start_wait_time_s": "300",
    # Ray runs its workers after everything else, which would leave them too little next to other tests.
    "RAY_worker_niceness": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("reference"), CONFIG, ARCHS, workers=1)


def run(*command, cwd=None):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, env=ENVIRONMENT, text=True, timeout=600, cwd=cwd
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


MINE = """
from parzc.datasets.spaces.nb201 import NB201

class Mine(NB201):
    name = "mine"
"""


@pytest.mark.slow("a cluster of two nodes has to start, and one of them to be missed")
@needs_ray
def test_a_node_that_is_killed_in_the_middle_costs_nothing(reference, tmp_path):
    """The space is in a file of the working directory, which is another one for the processes of the other node."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "my_space.py").write_text(MINE)
    script = str(Path(__file__).resolve().parents[2] / "support" / "ray_cluster.py")
    folders = [str(tmp_path / name) for name in ("store", "notes")]
    printed = run(script, *folders, json.dumps(ARCHS), "my_space.py:Mine", cwd=tmp_path)
    seen = json.loads(printed.splitlines()[-1])
    assert seen["folder"] == "/"
    chunks = 50 - LAST + PARTS * LAST  # of 4 architectures, the last ones in parts
    assert seen["killed"] and seen["stored"] < chunks - 1, "the node was killed in the middle"
    assert seen["there"] >= 2 and seen["here"] > 0 and chunks < seen["here"] + seen["there"] <= chunks + 2
    store = FeatureStore.open(tmp_path / "store")
    assert len(ARCHS) == len(store) == 200
    rows = [len(store.read(store.archs[i : i + 1])) for i in range(3)]
    assert rows == [1, 1, 1] and len(list(store.path.glob("shard-*"))) == chunks
    assert store.failed == {}
    assert same(store.read(), reference.read())


COMMAND = """
import json, sys
from parzc.commands.features import main

main(["nb201", sys.argv[1], "--archs", sys.argv[2], "--batch", "2", "--proxies", "params", "l2_norm",
      "--engine", "ray", "--workers", "2"])
"""


@pytest.mark.slow("a Ray has to start")
@needs_ray
def test_a_ray_is_started_where_no_address_is_given(reference, tmp_path):
    (tmp_path / "archs.txt").write_text("\n".join(ARCHS[:40]))
    printed = run("-c", COMMAND, str(tmp_path / "store"), str(tmp_path / "archs.txt"))
    assert f"40 different functions in {tmp_path / 'store'}" in printed.splitlines()
    assert same(FeatureStore.open(tmp_path / "store").read(), reference.read(ARCHS[:40]))


@needs_ray
def test_an_address_without_a_cluster_is_refused():
    engine = RayEngine(1, "127.0.0.1:1")
    with pytest.raises(InputError, match=r"^there is no Ray cluster at 127\.0\.0\.1:1 \(.+\); correct --address"):
        list(engine.run(str, iter([["a"]])))


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^Ray is not installed; install it with pip install 'parzc\[ray\]', or take"):
        list(RayEngine().run(str, iter([["a"]])))
