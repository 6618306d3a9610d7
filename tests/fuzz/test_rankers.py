"""Ranker folders of a stranger."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from damage import Payload, damaged, fuzz, tampered, works_or_says_why
from helpers import TEST
from hypothesis import given
from hypothesis import strategies as st

from parzc.ranker import Ranker


@pytest.fixture
def saved(either, tmp_path):
    folder = tmp_path / "ranker"
    either.save(folder)
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}


def use(saved, **changed):
    folder, content = saved
    for name, written in (content | changed).items():
        (folder / name).write_bytes(written)
    ranker = works_or_says_why(Ranker.load, folder)
    if ranker is not None:
        scores = works_or_says_why(ranker.predict, TEST[:3])
        assert scores is None or np.isfinite(scores).all()
    assert {path.name for path in folder.iterdir()} == set(content)


@fuzz
@given(st.data())
def test_configurations(saved, data):
    config = saved[1]["config.json"]
    use(saved, **{"config.json": data.draw(tampered(json.loads(config)) | damaged(config))})


@fuzz
@given(st.data(), st.booleans())
def test_tensors(saved, data, named):
    """Tensors that are damaged, with the checksum that fits, or without."""
    tensors = data.draw(damaged(saved[1]["model.safetensors"]))
    config = json.loads(saved[1]["config.json"])
    if named:
        config["sha256"] = hashlib.sha256(tensors).hexdigest()
    use(saved, **{"model.safetensors": tensors, "config.json": json.dumps(config).encode()})


def test_payloads(saved, marker):
    payload = pickle.dumps(Payload(marker))
    config = json.loads(saved[1]["config.json"]) | {"sha256": hashlib.sha256(payload).hexdigest()}
    use(saved, **{"model.safetensors": payload, "config.json": json.dumps(config).encode()})
    use(saved, **{"config.json": payload})
