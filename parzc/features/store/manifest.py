"""The manifest of a feature store: what was asked for, by which software, and what failed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parzc.errors import InputError

FORMAT = 1
"""Version of the layout of a store; raised when older stores cannot be read any more."""

MANIFEST = "manifest.json"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of the store in a folder.

    Raises:
        InputError: if there is none, or it is damaged or of another format.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not a feature store: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as reason:
        raise InputError(f"{file} cannot be read ({reason}); restore it or extract into another folder") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{file} is not of format {FORMAT}, the one that this version reads; extract again")
    if not _is_whole(manifest):
        raise InputError(f"{file} is damaged; restore it or extract into another folder")
    return manifest


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    parts = [manifest.get("config"), manifest.get("definitions"), manifest.get("failed", {})]
    if not all(isinstance(part, dict) for part in parts) or not isinstance(manifest.get("versions", []), list):
        return False
    definitions, failed, wanted = parts[1], parts[2], manifest.get("wanted", 0)
    return (
        all(isinstance(part, dict) for part in (*definitions.values(), *manifest.get("versions", [])))
        and all(isinstance(why, str) for why in failed.values())
        and type(wanted) is int
        and wanted >= 0
    )


def difference_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first difference of two parts of a manifest in words, empty if there is none."""
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                return f"{key}: {difference_of(old[key], new[key])}"
            return f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
    return ""
