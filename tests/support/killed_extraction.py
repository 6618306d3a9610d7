"""Starts an extraction in a process group of its own for each line of standard input, and says how it ended.

`python killed_extraction.py STORE NOTES ARCHS CHUNK`: ARCHS is a file of json; NOTES gets a line for each chunk begun.
The extraction is forked, because a process that imports torch anew takes longer to start than to be killed.
"""

import json
import os
import sys
import time

import torch
from joblib.externals.loky.backend import context

from parzc.features import ExtractionConfig, build_store
from parzc.features.extraction import many_archs
from parzc.features.extraction.chunks import Extraction

CONFIG = ExtractionConfig("nb201", batch=2, proxies=("params",))


def noted(extraction, archs):
    """Extract slowly, after a note of what was begun."""
    note = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, (json.dumps(archs) + "\n").encode())
    os.close(note)
    time.sleep(0.25)
    return original(extraction, archs)


def extract(archs):
    os.setsid()
    print(os.getpid(), flush=True)
    build_store(sys.argv[1], CONFIG, archs, workers=2)


if __name__ == "__main__":
    original, Extraction.__call__ = Extraction.__call__, noted
    torch.set_num_threads(1)
    context.set_start_method("fork")
    many_archs.CHUNK = int(sys.argv[4])
    with open(sys.argv[3], encoding="utf-8") as stream:
        archs = json.load(stream)
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            try:
                extract(archs)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
