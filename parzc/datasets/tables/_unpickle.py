"""Reading pickles of official benchmark files without trusting them.

A pickle is a program: it may name any importable callable and call it. The files that hold published
accuracies need only a handful of globals, so a format lists those and everything else is refused before it is
looked up.
"""

import gc
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from parzc.errors import InputError

Globals = Mapping[tuple[str, str], Callable[..., object]]
"""What to use for each global that a pickle may name, by `(module, name)`; best a stand-in of our own."""


class _Unpickler(pickle.Unpickler):
    """Resolves the allowed globals from a table and imports nothing."""

    def __init__(self, stream: IO[bytes], allowed: Globals, file: str) -> None:
        super().__init__(stream)
        self._allowed = allowed
        self._file = file

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what stands for a global.

        Raises:
            InputError: if the global is not allowed.
        """
        try:
            return self._allowed[module_name, global_name]
        except KeyError:
            raise InputError(
                f"{self._file} refers to '{module_name}.{global_name}', which the form read here never uses, "
                "so it was not opened; get the official file in that form, or write its accuracies into a CSV file"
            ) from None


def load(stream: IO[bytes], allowed: Globals, *, file: str) -> Any:
    """Return the object that the pickle in `stream` describes.

    Args:
        stream: binary stream, decompressing where the file is compressed.
        allowed: every global that the pickle may name and the callable to use for it.
        file: name of the file for messages.

    Raises:
        InputError: if the pickle names any other global, or is truncated or damaged.
    """
    collecting = gc.isenabled()
    gc.disable()  # only acyclic data is built, and scanning it again and again takes most of the time
    try:
        return _Unpickler(stream, allowed, file).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything, and so does its decompression
        raise InputError(
            f"{file} is truncated or damaged ({type(error).__name__}); get the file again from its official source"
        ) from error
    finally:
        if collecting:
            gc.enable()


def load_checkpoint(path: Path, allowed: Globals, *, official: str) -> Any:
    """Return what `torch.save` wrote into a file, in either of its formats.

    Args:
        path: the file.
        allowed: every global that the file may name besides those of tensors, and the callable to use for it.
        official: name of the official file for messages.

    Raises:
        InputError: if the file names any other global, or is truncated or damaged.
    """
    try:
        with torch.serialization.safe_globals([(f, ".".join(name)) for name, f in allowed.items()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything for a file that is not its own
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise InputError(
                f"{path} refers to '{refused[1]}', which {official} never uses, so it was not opened; it may be "
                f"another official form of these records: get {official}, or write its accuracies into a CSV file"
            ) from error
        raise InputError(f"{path} is damaged; get the official {official} again") from error
