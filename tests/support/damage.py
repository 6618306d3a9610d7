"""Damaged bytes, damaged json, payloads; and what an entry point may do with them: work, or say one sentence."""

import copy
import json
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from parzc.errors import InputError

fuzz = settings(
    deadline=None, max_examples=50, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
"""A short run, the same each time; raise `max_examples` and drop `derandomize` to look further."""

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(10**12), st.floats(), st.text(max_size=8),
    st.sampled_from(["nb201", "snip", "../..", "/", "\n", "\0", "__import__('os').system('true')"]),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def damaged(draw, content):
    """Bytes that were cut, flipped, repeated, filled, or that are no such file at all."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "delete", "zeros", "repeat", "other"]))
    if kind == "other":
        return draw(st.binary(max_size=64))
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 8))
        if kind == "cut":
            del data[start:]
        elif kind == "flip" and data:
            data[start] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[start:start] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[start : start + length]
        elif kind == "zeros":
            data[start : start + length] = bytes(length)
        elif kind == "repeat":
            data[start:start] = data[start : start + 50 * length]
    return bytes(data)


@st.composite
def tampered(draw, record):
    """Json of which one or two entries, anywhere, were replaced, removed or added."""
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 2))):
        part, steps = record, draw(st.integers(0, 4))
        while steps and isinstance(part, dict | list) and len(part):
            keys = sorted(part) if isinstance(part, dict) else range(len(part))
            key = draw(st.sampled_from(keys))
            if steps == 1 or not isinstance(part[key], dict | list) or not len(part[key]):
                change = draw(st.sampled_from(["replace", "remove", "add"]))
                if change == "remove":
                    del part[key]
                elif change == "add" and isinstance(part, dict):
                    part[draw(st.text(max_size=8))] = draw(values)
                else:
                    part[key] = draw(values)
                break
            part, steps = part[key], steps - 1
    return json.dumps(record).encode()


class Payload:
    """Leaves a file as soon as somebody unpickles it."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def works_or_says_why(call, *arguments, **options):
    """Call, and return what came of it; an `InputError` must be a sentence on one line, anything else is raised."""
    try:
        return call(*arguments, **options)
    except InputError as error:
        sentence = str(error)
        assert 10 < len(sentence) < 2000
        assert sentence.isprintable() or "\n" not in sentence
        return None
