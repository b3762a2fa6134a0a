"""Progress of long work: a bar on a terminal, occasional lines in a log file."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_S = 30.0  # seconds between two lines of a log
EVERY = 0.1  # or this share of the work, if that takes at least EVERY_S / 10


class Progress:
    """`with Progress("rendered", 1000, "images") as progress: progress.update()`, on stderr.

    A log gets a line after each share `EVERY` of the work, at most one in `EVERY_S` / 10 s and at least one in `EVERY_S` s
    while there is progress. With `ending`, the last line is always written, and a bar stays on the terminal.
    `done` is the number of parts that were done before.
    """

    def __init__(self, verb: str, total: int, unit: str, *, done: int = 0, ending: bool = True) -> None:
        self._verb, self._total, self._unit, self._done, self._ending = verb, total, unit, done, ending
        self._begun, self._first = time.monotonic(), done
        self._last, self._shown = self._begun, done
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=verb,
                unit=f" {unit}",
                smoothing=0.1,
                leave=ending,
                delay=0 if ending else 1,
            )

    def __enter__(self) -> "Progress":
        return self

    def update(self, count: int = 1) -> None:
        """`count` more parts are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        waited, share = now - self._last, (self._done - self._shown) / max(self._total, 1)
        if waited >= EVERY_S or (share >= EVERY and waited >= EVERY_S / 10):
            self._print(now)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """The work has ended."""
        if self._bar is not None:
            self._bar.close()
        elif self._ending and self._done > self._shown:
            self._print(time.monotonic())

    def _print(self, now: float) -> None:
        self._last, self._shown = now, self._done
        spent = now - self._begun
        rate = (self._done - self._first) / spent if spent > 0 else 0.0
        left = f", {_duration((self._total - self._done) / rate)} left" if rate > 0 and self._done < self._total else ""
        print(
            f"{self._verb} {self._done} of {self._total} {self._unit} in {_duration(spent)}{left}",
            file=sys.stderr,
            flush=True,
        )


def announce(what: str) -> None:
    """Prints a line on stderr before work without progress output: "compiling: about three minutes"."""
    print(what, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
