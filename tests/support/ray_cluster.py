"""Extracts on a Ray cluster of two nodes of this machine and kills one in the middle; prints what happened as json.

`python ray_cluster.py STORE FOLDER ARCHS SPACE`, where FOLDER is for notes of which node did which chunk.
"""

import json
import os
import sys
import threading
import time
import uuid
from contextlib import chdir
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from parzc.features import ExtractionConfig, build_store
from parzc.features.extraction import many_archs

MEMORY = 100_000_000
NODE = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}


class Noted:
    """Extraction that notes its working directory when it begins a chunk, in a file named after its node."""

    def __init__(self, extraction, folder):
        self.extraction, self.folder = extraction, folder

    def __call__(self, archs):
        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"{node}.{uuid.uuid4().hex}").write_text(os.getcwd())
        time.sleep(0.1)
        return self.extraction(archs)


def main(store, folder, archs, space):
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    with chdir("/"):  # as on another machine, where relative paths lead elsewhere
        second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    original = ExtractionConfig.extraction
    ExtractionConfig.extraction = lambda self: Noted(original(self), folder)
    many_archs.CHUNK = 4
    seen = {}

    def kill():
        # Two chunks begun there: it is in the middle of one, and has done another.
        while len(list(folder.glob(f"{second.node_id}.*"))) < 2:
            time.sleep(0.01)
        seen["stored"] = len(list(store.glob("shard-*")))
        cluster.remove_node(second, allow_graceful=False)
        seen["killed"] = True

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    config = ExtractionConfig(space, batch=2, proxies=("params", "l2_norm"))
    build_store(store, config, archs, engine="ray", address=cluster.address)
    killer.join(timeout=60)
    begun = [path.name.split(".")[0] for path in folder.iterdir()]
    (seen["folder"],) = {path.read_text() for path in folder.glob(f"{second.node_id}.*")}
    print(json.dumps(seen | {
        "here": sum(node != second.node_id for node in begun), "there": sum(node == second.node_id for node in begun),
    }))  # fmt: skip
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4])
