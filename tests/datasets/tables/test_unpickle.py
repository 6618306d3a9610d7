"""The restricted unpickler: what it opens, what it refuses, what it says."""

import bz2
import gc
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.datasets.tables import _unpickle
from parzc.errors import InputError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


class CreatesFile:
    """Unpickled by the standard library, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@settings(deadline=None)
@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_round_trips_in_every_protocol(value, protocol):
    # Protocols below 3 write bytes as a call of `_codecs.encode`, and protocol 2 rebuilds them the same way.
    allowed = {
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
        ("builtins", "bytes"): bytes,
    }
    allowed["__builtin__", "bytes"] = bytes
    assert _unpickle.load(io.BytesIO(pickle.dumps(value, protocol)), allowed, file="x") == value


def test_allowed_global_is_replaced_by_its_stand_in():
    payload = pickle.dumps({"a": OrderedDict(b=1), "c": complex(3, 4)})
    allowed = {("collections", "OrderedDict"): dict, ("builtins", "complex"): lambda *parts: parts}
    loaded = _unpickle.load(io.BytesIO(payload), allowed, file="x")
    assert loaded == {"a": {"b": 1}, "c": (3.0, 4.0)}
    assert type(loaded["a"]) is dict


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_payload_is_refused_before_it_runs(tmp_path, protocol):
    victim = tmp_path / "created"
    payload = pickle.dumps([1, CreatesFile(victim)], protocol)
    with pytest.raises(InputError, match=r"^bad\.anb refers to '(posix|nt)\.mkdir', which the form read here"):
        _unpickle.load(io.BytesIO(payload), {("collections", "OrderedDict"): OrderedDict}, file="bad.anb")
    assert not victim.exists()
    pickle.loads(payload)
    assert victim.exists(), "the payload must be one that works, or refusing it proves nothing"


def test_nothing_that_a_pickle_names_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap_module.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"'trap_module\.thing'"):
        _unpickle.load(io.BytesIO(b"ctrap_module\nthing\n."), {}, file="x")


def test_an_allowed_module_does_not_open_its_attributes():
    payload = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."
    with pytest.raises(InputError, match=r"'collections\.OrderedDict\.fromkeys'"):
        _unpickle.load(io.BytesIO(payload), {("collections", "OrderedDict"): OrderedDict}, file="x")


def test_every_truncation_names_the_file():
    payload = pickle.dumps({"accuracy": [1.5, 2.5], "name": "x" * 50})
    for end in range(len(payload)):
        with pytest.raises(InputError, match=r"^cut\.pickle is truncated or damaged \(\w+\); get the file again"):
            _unpickle.load(io.BytesIO(payload[:end]), {}, file="cut.pickle")


@settings(deadline=None)
# The opcodes `p` and `r` name a place in the memo: a large one would really allocate gigabytes.
@given(st.binary(max_size=60).filter(lambda garbage: not set(b"pr") & set(garbage)))
def test_garbage_gives_a_value_or_an_input_error(garbage):
    try:
        _unpickle.load(io.BytesIO(garbage), {}, file="garbage.pickle")
    except InputError as error:
        assert str(error).startswith("garbage.pickle ")


def test_damaged_compression_names_the_file(tmp_path):
    path = tmp_path / "000001.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps(list(range(1000))))[:-20])
    with (
        bz2.open(path) as stream,
        pytest.raises(InputError, match=r"000001\.pickle\.pbz2 is truncated or damaged"),
    ):
        _unpickle.load(stream, {}, file=str(path))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("payload", [pickle.dumps(1), b"garbage"])
def test_garbage_collection_is_left_as_it_was(enabled, payload):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        try:
            _unpickle.load(io.BytesIO(payload), {}, file="x")
        except InputError:
            assert payload == b"garbage"
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
