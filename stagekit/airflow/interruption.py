"""The interruption of a task by Airflow, which arrives in a signal handler."""

from __future__ import annotations


class StoppedError(BaseException):
    """Airflow has stopped the task. Not an Exception, so that code which handles ordinary errors does not catch it."""


class Interruption:
    """Raises StoppedError in the main thread, but only while that waits in `with interruption:`.

    A request to Airflow or the Docker engine that is broken off in the middle would confuse the next one.
    """

    def __init__(self) -> None:
        self.is_requested = self._is_waiting = False

    def request(self) -> None:
        """Interrupt the wait, or the next one. Called from a signal handler."""
        self.is_requested = True
        if self._is_waiting:
            self._is_waiting = False
            raise StoppedError

    def check(self) -> None:
        """Raise StoppedError if the task was stopped."""
        if self.is_requested:
            self._is_waiting = False
            raise StoppedError

    def __enter__(self) -> None:
        """Begin to wait, unless the task was stopped."""
        self._is_waiting = True  # before the check: a signal in between interrupts the wait
        self.check()

    def __exit__(self, *_: object) -> None:
        """End the wait."""
        self._is_waiting = False
