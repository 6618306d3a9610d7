"""How the records in `benchmarks/results` are read and written: JSON with one line for each method.

An object is written on one line where it holds no other objects, or where it holds values of its own in addition to a
few such objects, as the record of one method does. Whatever collects such objects has a line for each of them.
"""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parzc.files import write_atomically

RESULTS = Path(__file__).parent / "results"


def read(path: Path, start: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a record; where there is no file yet, `start`."""
    if start is not None and not path.exists():
        return start
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record atomically."""
    lines = [_entry(key, value, 1) for key, value in record.items()]
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def machine() -> dict[str, Any]:
    """Return what a record says of the machine and the versions."""
    packages = ("parzc", "torch", "scikit-learn", "numpy", "scipy")
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _entry(key: str, value: Any, indent: int) -> str:
    return f"{' ' * indent}{json.dumps(key)}: {_text(value, indent)}"


def _text(value: Any, indent: int) -> str:
    if _is_one_line(value):
        return json.dumps(value)
    if isinstance(value, dict):
        lines, ends = [_entry(key, inner, indent + 1) for key, inner in value.items()], "{}"
    else:
        lines, ends = [" " * (indent + 1) + _text(inner, indent + 1) for inner in value], "[]"
    return ends[0] + "\n" + ",\n".join(lines) + "\n" + " " * indent + ends[1]


def _is_one_line(value: Any) -> bool:
    inner = _inner(value)
    depths = [_depth(part) for part in inner]
    return not inner or not any(depths) or (isinstance(value, dict) and max(depths) == 1 and not all(depths))


def _inner(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _depth(value: Any) -> int:
    """Return how many objects are inside each other; lists of numbers do not count."""
    return isinstance(value, dict) + max(map(_depth, _inner(value)), default=0)
