"""Progress that people watch: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


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
        self._before = done
        self._start = self._said = time.monotonic()
        terminal = sys.stderr.isatty()
        self._lines = shown and not terminal
        self._bar = tqdm(total=total, initial=done, unit=unit, disable=not (shown and terminal))

    def __enter__(self) -> "Progress":
        if self._lines and self._before:
            print(f"{self._before} of {self.total} {self.unit}s are done already", file=sys.stderr, flush=True)
        return self

    def update(self, count: int) -> None:
        """Count `count` more units as done."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._lines and (now - self._said >= self.every or self.done >= self.total):
            self._said = now
            rate = (self.done - self._before) / max(now - self._start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            print(
                f"{self.done} of {self.total} {self.unit}s, {rate:.2f} a second, {left / 60:.1f} minutes left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
