"""Runs only the newest of many jobs: `Newest`."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """A thread that runs `work(job)` for one job at a time. A job that waits is dropped for a newer one, so that the last
    job is always run and no old ones pile up. `work` must not raise."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work
        self._waiting: list[T] = []  # at most one
        self._busy = self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, job: T) -> None:
        """Runs `job` as soon as the job at work is done, unless a newer one is submitted before."""
        with self._changed:
            self._waiting = [job]
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until no job is left; whether that is so after at most `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), seconds)

    def close(self) -> None:
        """Ends the thread after the job at work."""
        with self._changed:
            self._ended, self._waiting = True, []
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or bool(self._waiting))
                if self._ended:
                    return
                (job,), self._waiting, self._busy = self._waiting, [], True
            try:
                self._work(job)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
