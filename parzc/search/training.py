"""Train one architecture with a command of one's own: `python my_train.py --arch {arch} --out {folder}`.

The command is given to the shell with `{arch}`, `{folder}` and `{epochs}` substituted. The value is the last line that
it prints, or that of the file `result.json` in the folder. Whatever goes wrong is one sentence in `Outcome.reason`.
"""

import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parzc.errors import InputError
from parzc.search import _supervise

RESULT, OUTPUT, ERRORS = "result.json", "stdout.txt", "stderr.txt"
FIELD = re.compile(r"\{(arch|folder|epochs)\}")
LOOK_SECONDS = 0.05
"""Between two looks at a training that runs."""
TAIL_BYTES, TAIL_LINES, TAIL_CHARACTERS = 65536, 3, 500
"""How much of the end of what a training printed is read, and quoted in a reason."""
LONGEST = 400
"""Characters of a line that may be a number."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        value: what the search maximises; NaN if the training failed.
        seconds: that the training took: its own figure if it gives one, else those that passed.
        epochs: that the value stands for, as the training gives them; 0 if it gives none.
        reason: why it failed, in one sentence; empty if it did not.
        interrupted: whether it was ended by `stop` and so neither failed nor gave a value.
    """

    value: float = math.nan
    seconds: float = math.nan
    epochs: float = 0.0
    reason: str = ""
    interrupted: bool = False


class TrainingCommand:
    """A shell command that trains one architecture.

    Args:
        template: the command, with `{arch}` for the architecture, `{folder}` for a folder of its own, and `{epochs}`
            for the epochs that are asked for (0 where the full training is). Values are quoted for the shell, also
            inside the quotes of the template.
        time_limit: seconds after which a training is ended with all its processes; none if not given.

    Raises:
        InputError: if the command does not name `{arch}`, or ends inside quotes, or the limit is no time.
    """

    def __init__(self, template: str, time_limit: float | None = None) -> None:
        if "{arch}" not in template:
            raise InputError(
                f"the training command '{template[:200]}' does not name the architecture; write {{arch}} where it "
                'goes, as in "python my_train.py --arch {arch} --out {folder}"'
            )
        if time_limit is not None and not 0 < time_limit < math.inf:
            raise InputError(f"the time limit {time_limit} is no time; give seconds above 0")
        self.template, self.time_limit = template, time_limit
        self.line("", "")

    def line(self, arch: str, folder: str, epochs: float = 0.0) -> str:
        """Return the command with its fields substituted."""
        return substituted(self.template, {"arch": arch, "folder": folder, "epochs": f"{epochs:g}"})

    def run(self, arch: str, folder: Path, epochs: float = 0.0, stop: threading.Event | None = None) -> Outcome:
        """Train an architecture, and wait for it.

        Args:
            arch: the architecture.
            folder: of this training; made if it is not there. What the command prints is kept in it, in `stdout.txt`
                and `stderr.txt`. Files of an earlier attempt stay, its `result.json` does not.
            epochs: that are asked for; 0 for the full training.
            stop: ends the training, with all its processes, when it is set.

        Returns:
            The value, or why there is none.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
        begin = time.perf_counter()
        status = self._status(self.line(arch, str(folder), epochs), folder, stop or threading.Event())
        seconds = time.perf_counter() - begin
        if status is None:
            return Outcome(seconds=seconds, interrupted=True)
        if status == "late":
            reason = f"it was ended after {self.time_limit:g} s, the time limit"
        elif status:
            reason = _failure(int(status))
        else:
            return _outcome(folder, seconds)
        return Outcome(seconds=seconds, reason=_with_errors(reason, folder))

    def _status(self, command: str, folder: Path, stop: threading.Event) -> int | str | None:
        """Run a command and return its exit status, `late` if it met the limit, or nothing if it was stopped."""
        limit = time.monotonic() + (self.time_limit or math.inf)
        with (folder / OUTPUT).open("wb") as output, (folder / ERRORS).open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-I", _supervise.__file__, command],
                stdin=subprocess.PIPE, stdout=output, stderr=errors, start_new_session=True,
            )  # fmt: skip
        try:
            while True:
                try:
                    return process.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    if stop.is_set():
                        return None
                    if time.monotonic() > limit:
                        return "late"
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a training and whatever it has left running."""
    assert process.stdin is not None
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all have ended (macOS: not yet collected)
            pass
    # Elsewhere the supervisor ends them as soon as this end of its standard input is closed.
    process.stdin.close()
    process.wait()


def substituted(template: str, values: dict[str, str]) -> str:
    """Return a shell command with `{name}` replaced by values, each quoted for where it stands.

    Raises:
        InputError: if the template ends inside quotes.
    """
    parts, quote, at = [], "", 0
    while at < len(template):
        field = FIELD.match(template, at)
        if field:
            parts.append(_quoted(values[field[1]], quote))
            at = field.end()
            continue
        step = 2 if template[at] == "\\" and quote != "'" and os.name == "posix" else 1
        piece = template[at : at + step]
        if piece in ("'", '"') and quote in ("", piece):
            quote = "" if quote else piece
        parts.append(piece)
        at += step
    if quote:
        raise InputError(f"the training command '{template[:200]}' opens a quote {quote} and does not close it")
    return "".join(parts)


def _quoted(value: str, quote: str) -> str:
    if os.name != "posix":
        return value if quote else subprocess.list2cmdline([value])
    if quote == "'":
        return value.replace("'", "'\"'\"'")
    return re.sub(r'([\\"$`])', r"\\\1", value) if quote else shlex.quote(value)


def _failure(status: int) -> str:
    if status > 128:
        try:
            return f"it was ended by the signal {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"it ended with exit status {status}"


def _outcome(folder: Path, seconds: float) -> Outcome:
    """Return the result of a training that ended well."""
    try:
        path = folder / RESULT
        result = _read_result(path) if path.exists() else {"value": _last_line(folder)}
        value = _number(result, "value", math.nan)
        if not math.isfinite(value):
            raise ValueError(f"its value is {value}")
        return Outcome(value, _amount(result, "seconds", seconds), _amount(result, "epochs", 0.0))
    except ValueError as reason:
        return Outcome(seconds=seconds, reason=_with_errors(str(reason), folder))


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        raise ValueError(f"its {RESULT} is no JSON ({reason})") from None
    if not isinstance(result, dict) or "value" not in result:
        raise ValueError(f"its {RESULT} has no 'value'")
    return result


def _last_line(folder: Path) -> float:
    lines = _tail(folder / OUTPUT)
    if not lines:
        raise ValueError(f"it printed nothing and wrote no {RESULT}")
    # Python's own numbers may have underscores, which are no part of what a training prints; a line of this length may
    # have lost its beginning.
    if "_" in lines[-1] or len(lines[-1]) > LONGEST:
        raise ValueError(f"the last line that it printed is '{lines[-1][:100]}', not a number")
    try:
        if "_" in lines[-1]:
            raise ValueError("Python reads 90_5 as 905")
        return float(lines[-1])
    except ValueError:
        raise ValueError(f"the last line that it printed is '{lines[-1][:100]}', not a number") from None


def _number(result: dict[str, Any], name: str, default: float) -> float:
    number = result.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"'{name}' of its {RESULT} is {repr(number)[:100]}, not a number")
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"'{name}' of its {RESULT} is too large for a number") from None


def _amount(result: dict[str, Any], name: str, default: float) -> float:
    number = _number(result, name, default)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"'{name}' of its {RESULT} is {number:g}; it has to be 0 or more")
    return number


def _tail(path: Path) -> list[str]:
    """Return the last lines of a file that are not blank."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _with_errors(reason: str, folder: Path) -> str:
    """Return a reason with the last lines of standard error."""
    lines = _tail(folder / ERRORS)[-TAIL_LINES:]
    return f"{reason}: {' | '.join(lines)[-TAIL_CHARACTERS:]}" if lines else reason
