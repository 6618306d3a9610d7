"""Images for extraction, an `.npz`."""

import io
import pickle

import numpy as np
from damage import Payload, damaged, fuzz, works_or_says_why
from hypothesis import given
from hypothesis import strategies as st

from parzc.features.extraction.many_archs import ExtractionConfig, load_batch

FILE = io.BytesIO()
np.savez(FILE, x_train=np.zeros((2, 32, 32, 3), np.uint8), y_train=np.arange(2))


def check(path):
    load_batch.cache_clear()
    batch = works_or_says_why(load_batch, ExtractionConfig("nb201", batch=2, data=str(path)))
    assert batch is None or batch[0].shape == (2, 3, 32, 32)


@fuzz
@given(damaged(FILE.getvalue()))
def test_archives(tmp_path, content):
    (tmp_path / "images.npz").write_bytes(content)
    check(tmp_path / "images.npz")


HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 32, 32, 3), }"


@fuzz
@given(
    damaged(HEADER)
    | st.sampled_from(
        [
            HEADER.replace(b"2,", b"99999999999,"),
            HEADER.replace(b"|u1", b"|O"),
            b"(" * 50_000,
            HEADER.replace(b"2,", b"-2,"),
        ]
    )
)
def test_headers_of_arrays(tmp_path, header):
    """A header that says what it likes, for example that the array takes more memory than there is."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "images.npz", "w") as archive:
        for name in ("x_train.npy", "y_train.npy"):
            content = b"\x93NUMPY\x01\x00" + (len(header) % 65536).to_bytes(2, "little") + header + bytes(6144)
            archive.writestr(name, content)
    check(tmp_path / "images.npz")


def test_payloads(tmp_path, marker):
    objects = np.array([Payload(marker)], dtype=object)
    np.savez(tmp_path / "images.npz", x_train=objects, y_train=objects)
    check(tmp_path / "images.npz")
    (tmp_path / "images.npz").write_bytes(pickle.dumps(Payload(marker)))
    check(tmp_path / "images.npz")
