"""Progress that people watch: a bar on a terminal, a plain line now and then elsewhere, a summary at the end."""

import sys
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType

from tqdm import tqdm


def say(sentence: str, shown: bool = True) -> None:
    """Print a sentence for people on standard error, if anything is to be shown."""
    if shown:
        tqdm.write(sentence, file=sys.stderr)
        sys.stderr.flush()


class Progress:
    """Counts work that is done; a context manager.

    Args:
        total: units of work in all.
        done: units that were done before.
        unit: what a unit is called.
        shown: whether to show anything.
        every: seconds between lines where standard error is no terminal.
    """

    def __init__(self, total: int, done: int = 0, unit: str = "arch", shown: bool = True, every: float = 20.0) -> None:
        self.total, self.done, self.unit, self.every = total, done, unit, every
        self.failed = self.worked = 0
        self.seconds: dict[str, float] = {}
        self._before = done
        self._start = self._said = time.monotonic()
        self._shown, terminal = shown, sys.stderr.isatty()
        self._lines = shown and not terminal
        self._bar = tqdm(total=total, initial=done, unit=unit, disable=not (shown and terminal))

    def __enter__(self) -> "Progress":
        if self._lines and self._before:
            say(f"{self._before} of {self.total} {self.unit}s are done already")
        return self

    def update(self, count: int, failed: int = 0) -> None:
        """Count `count` more units as done, `failed` of them in vain."""
        self.done += count
        self.failed += failed
        self._bar.update(count)
        if failed:
            self._bar.set_postfix(failed=self.failed)
        now = time.monotonic()
        if self._lines and (now - self._said >= self.every or self.done >= self.total):
            self._said = now
            say(self._line(now))

    def _line(self, now: float) -> str:
        rate = (self.done - self._before) / max(now - self._start, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        line = f"{self.done} of {self.total} {self.unit}s, {rate:.2f} a second, {left / 60:.1f} minutes left"
        if 600 < left < 1e7:
            line += f", until about {datetime.now() + timedelta(seconds=left):%a %H:%M}"
        return line + (f", {self.failed} failed" if self.failed else "")

    def spend(self, count: int, seconds: Mapping[str, float]) -> None:
        """Count the seconds that each step took for `count` units together."""
        self.worked += count
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    @property
    def summary(self) -> str:
        """Return a table of the seconds of each step for one unit, the longest first; empty if nothing was done."""
        if not self.worked or not self.seconds:
            return ""
        total = sum(self.seconds.values())
        rows = sorted(self.seconds.items(), key=lambda item: -item[1])
        width = max(len(name) for name, _ in rows)
        lines = [f"{total / self.worked:.4f} seconds for one {self.unit}:"]
        lines += [f"{name:>{width}}  {value / self.worked:8.4f}  {value / total:4.0%}" for name, value in rows]
        return "\n".join(lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._shown and kind is None and self.summary:
            say(self.summary)
