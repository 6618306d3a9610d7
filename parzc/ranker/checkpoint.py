"""Ranker folders: `model.safetensors`, `config.json`, `card.md`; reading one never runs code of it."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from parzc.datasets.spaces._registry import UnknownSpace
from parzc.errors import InputError
from parzc.files import write_atomically
from parzc.ranker.presets import Preset, preset_of_record

SCHEMA = 6


def write(
    path: Path,
    config: Mapping[str, Any],
    preset: Preset,
    tensors: Mapping[str, Tensor],
    counts: Mapping[str, float],
) -> None:
    """Write a ranker folder; `config.json` comes last, so that an interrupted write is not taken for a ranker.

    Args:
        path: of the folder.
        config: what `reading` yields next to the settings.
        preset: the settings.
        tensors: all weights and scales.
        counts: for the card: the ensemble weight of each member by name.
    """
    path.mkdir(parents=True, exist_ok=True)
    content = save({k: v.contiguous() for k, v in tensors.items()})
    record = {"schema": SCHEMA, **config, "resolved": asdict(preset), "software": _software()}
    record["sha256"] = _digest(content)
    write_atomically(path / "model.safetensors", content)
    write_atomically(path / "card.md", _card(record, counts).encode())
    write_atomically(path / "config.json", (json.dumps(record, indent=1) + "\n").encode())


@contextmanager
def reading(path: Path) -> Iterator[tuple[dict[str, Any], Preset, dict[str, Tensor]]]:
    """Yield configuration, settings and tensors of a ranker folder to the block that rebuilds the ranker.

    Raises:
        InputError: if the folder holds no ranker, if a file is damaged or of another schema, or if the block finds that
            the parts do not fit together, or that the space is not known.
    """
    config, content = _read(path)
    try:
        yield config, preset_of_record(config["resolved"]), load(content)
    except UnknownSpace:
        raise
    except (
        SafetensorError,
        LookupError,
        ArithmeticError,
        TypeError,
        AttributeError,
        RuntimeError,
        ValueError,
    ) as reason:
        why = " ".join(f"{type(reason).__name__}: {reason}".split())[:300]
        raise InputError(f"the ranker in {path} is damaged ({why}); save it again") from None


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the configuration and the bytes of the tensors that were written with it."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        content = (path / "model.safetensors").read_bytes()
    except FileNotFoundError as reason:
        raise InputError(
            f"{reason.filename} is missing: {path} is not a whole ranker folder as train.py writes"
        ) from None
    except (OSError, ValueError, RecursionError) as reason:
        raise InputError(f"the ranker in {path} cannot be read ({reason}); save it again") from None
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise InputError(
            f"{path / 'config.json'} is not of schema {SCHEMA}, which this version reads: another version of parzc "
            "wrote it; fit the ranker again and save it"
        )
    if config.get("sha256") != _digest(content):
        raise InputError(
            f"{path / 'model.safetensors'} is damaged: its content does not match config.json; save the ranker again"
        )
    return config, content


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module its state, and leave it in evaluation mode; the errors are those of `check_state`."""
    check_state(module, tensors)
    module.load_state_dict(tensors)
    module.eval()


def check_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` if the tensors are not those of the module's state, or not finite."""
    state = module.state_dict()
    if state.keys() != tensors.keys():
        raise ValueError(f"there is no tensor, or no place, for '{min(state.keys() ^ tensors.keys())}'")
    for name, value in state.items():
        check_tensor(name, tensors[name], value.shape, value.dtype)


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise `ValueError` if a tensor has another shape or type, or holds a value that is not finite."""
    if (tuple(tensor.shape), tensor.dtype) != (tuple(shape), dtype):
        raise ValueError(f"'{name}' is {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {tuple(shape)}")
    if not tensor.isfinite().all():
        raise ValueError(f"'{name}' holds values that are not finite")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _software() -> dict[str, str]:
    packages = ("parzc", "torch", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _card(record: Mapping[str, Any], counts: Mapping[str, float]) -> str:
    space = record["space"] or "any network"
    statistics = ", ".join(record["resolved"]["statistics"])
    scores = ", ".join(record["resolved"]["scores"]) or "none"
    members = ", ".join(f"{name} {weight:.2f}" for name, weight in counts.items())
    return f"""# A parzc ranker

Ranks architectures of: {space}. Preset `{record["preset"]}`, seed {record["seed"]}, fitted on {record["labelled"]}
labelled ones.

- Members and their ensemble weights: {members}
- Node statistics it reads: {statistics}
- Proxies it reads: {scores}
- Encoder of the architecture's graph: {record["resolved"]["graph"]}
- How they are defined, and all settings: `config.json`. Weights and scales: `model.safetensors`.

```python
import parzc

ranker = parzc.Ranker.load("this folder")
scores = ranker.predict(features)  # bigger is better; features as parzc.extract gives them
```

Written by parzc {record["software"]["parzc"]} with torch {record["software"]["torch"]}.
"""
