"""The reader of the official file of NAS-Bench-101, on files of its structure that are written here byte by byte."""

import base64
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parzc.datasets import get_space, load_table
from parzc.datasets.tables import _tfrecord, nas_bench_101
from parzc.errors import InputError

SPACE = get_space("nb101")
C3, C1, MP = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
CELLS = {
    "aaa": ("010001000", f"input,{C3},output", f"{C3}:1|output:01"),
    "bbb": ("0110001000010000", f"input,{MP},{C1},output", f"{MP}:1|{C1}:11|output:001"),
}


def crc32c(data):
    """Bit by bit, from the polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def frame(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def evaluation(epoch, valid, test):
    """A message EvaluationData: five doubles, and the path of a checkpoint."""
    values = enumerate((epoch, 1.5, 0.99, valid, test), start=1)
    doubles = b"".join(bytes([number << 3 | 1]) + struct.pack("<d", value) for number, value in values)
    return doubles + bytes([6 << 3 | 2, 4]) + b"ckpt"


def metrics(epochs, valid, test):
    """A message ModelMetrics: three evaluations, the number of parameters, the total time."""
    evaluations = [evaluation(0, 0.1, 0.1), evaluation(epochs / 2, 0.5, 0.5), evaluation(epochs, valid, test)]
    message = b"".join(bytes([1 << 3 | 2, len(part)]) + part for part in evaluations)
    # 8,555,530 in groups of seven bits, the lowest first.
    parameters = bytes([2 << 3, 8_555_530 & 127 | 128, 8_555_530 >> 7 & 127 | 128, 8_555_530 >> 14 & 127 | 128, 4])
    return message + parameters + bytes([3 << 3 | 1]) + struct.pack("<d", 1234.5)


def record(cell, epochs, valid, test):
    adjacency, operations, _ = CELLS[cell]
    encoded = base64.b64encode(metrics(epochs, valid, test)).decode()
    return json.dumps([cell, epochs, adjacency, operations, encoded]).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nasbench_only108.tfrecord"


def test_check_value_of_the_checksum():
    """The check value of CRC-32C, unmasked by the inverse of its rotation and addition."""
    assert crc32c(b"123456789") == 0xE3069283
    rotated = (int(_tfrecord.masked_crc32c([b"123456789"])[0]) - 0xA282EAD8) % 2**32
    assert (rotated >> 17 | rotated << 15) % 2**32 == 0xE3069283


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_checksums_of_records_of_any_length(records):
    assert _tfrecord.masked_crc32c(records).tolist() == [masked(data) for data in records]


def test_accuracies_are_the_mean_of_the_trainings(path):
    rows = [("bbb", 108, 0.9, 0.8), ("aaa", 108, 0.91, 0.905), ("bbb", 108, 0.92, 0.83), ("bbb", 108, 0.94, 0.86)]
    path.write_bytes(b"".join(frame(record(*row)) for row in rows))
    table = load_table(path, space=SPACE, target="cifar10_test")
    assert table.archs == (CELLS["bbb"][2], CELLS["aaa"][2])
    assert (table.source, table.columns) == (nas_bench_101.SOURCE, ("cifar10_valid", "cifar10_test"))
    assert table.column("cifar10_valid").tolist() == pytest.approx([92, 91])
    assert table.labels.tolist() == pytest.approx([83, 90.5])


def test_of_the_full_file_the_longest_training_counts(path):
    budgets = [(4, 0.3), (108, 0.9), (12, 0.5), (36, 0.7), (108, 0.94)]
    path.write_bytes(b"".join(frame(record("aaa", epochs, value, value)) for epochs, value in budgets))
    assert load_table(path, space=SPACE, target="cifar10_valid").labels.tolist() == pytest.approx([92])


def test_more_records_than_are_checked_at_once(path, monkeypatch):
    monkeypatch.setattr(_tfrecord, "CHUNK", 3)
    frames = [frame(bytes([i]) * i) for i in range(8)]
    path.write_bytes(b"".join(frames))
    assert list(_tfrecord.read_records(path)) == [bytes([i]) * i for i in range(8)]
    frames[7] = frames[7][:-5] + b"x" + frames[7][-4:]
    path.write_bytes(b"".join(frames))
    with pytest.raises(InputError, match="record 7 is truncated or damaged"):
        list(_tfrecord.read_records(path))


def test_every_damaged_byte_is_noticed_and_its_record_named(path):
    whole = [frame(b"first"), frame(b"second"), frame(b"third")]
    for place in range(len(whole[1])):
        damaged = bytearray(whole[1])
        damaged[place] ^= 0x10
        path.write_bytes(whole[0] + damaged + whole[2])
        with pytest.raises(InputError, match=r"only108\.tfrecord, record 1 is truncated or damaged; get the file"):
            list(_tfrecord.read_records(path))
        path.write_bytes(whole[0] + whole[1][:place])
        if place:
            with pytest.raises(InputError, match=r"record 1 is truncated or damaged"):
                list(_tfrecord.read_records(path))


def test_a_length_without_its_checksum_is_not_believed(path):
    """Otherwise it would be asked for as memory."""
    path.write_bytes(struct.pack("<QI", 2**62, 0) + b"data")
    with pytest.raises(InputError, match="record 0 is truncated or damaged"):
        list(_tfrecord.read_records(path))


def changed(**parts):
    fields = dict(
        zip(("cell", "epochs", "adjacency", "ops", "metrics"), json.loads(record("aaa", 108, 0.9, 0.9)), strict=True)
    )
    return json.dumps(list((fields | parts).values())).encode()


def encoded(message):
    return base64.b64encode(message).decode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "codec can't decode"),
        (b"[1, 2]", "not enough values"),
        (b"7", "cannot unpack"),
        (changed(metrics="?"), "base64"),
        (changed(metrics=encoded(b"")), "list index out of range"),
        (changed(metrics=encoded(metrics(108, 0.9, 0.9)[:-3])), "unpack_from requires"),
        (changed(metrics=encoded(b"\x0a\x09ab")), "the metrics end within a field"),
        (changed(metrics=encoded(b"\x0b")), "field 1 has the unknown type 3"),
        (changed(metrics=encoded(b"\xff")), "index out of range"),
        (changed(metrics=encoded(b"\x0a\x00" * 3)), "4"),
        (changed(adjacency="1" * 10), "the matrix of 3 operations has 9 digits"),
        (changed(adjacency=7), "zfill"),
        (changed(ops=f"input,{C3},conv"), "write ops like"),
        (changed(epochs="many"), "invalid literal"),
    ],
)  # fmt: skip
def test_other_records_are_refused_and_named(path, content, reason):
    path.write_bytes(frame(record("bbb", 108, 0.9, 0.9)) + frame(content))
    with pytest.raises(InputError, match=rf"only108\.tfrecord, record 1 is none of NAS-Bench-101 \(.*{reason}"):
        load_table(path, space=SPACE, target="cifar10_test")


def test_an_empty_file_holds_no_rows(path):
    path.write_bytes(b"")
    with pytest.raises(InputError, match="holds no rows"):
        load_table(path, space=SPACE, target="cifar10_test")


def test_the_file_is_of_its_space_only(path):
    path.write_bytes(frame(record("aaa", 108, 0.9, 0.9)))
    with pytest.raises(InputError, match="has no format known for nb201"):
        load_table(path, space=get_space("nb201"))
